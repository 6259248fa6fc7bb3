"""The training loop (paper section 3.3), on one process or several; what it trains is a recipe's business."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from pathlib import Path
from typing import Any

from torch_utils.distributed import World, wait_for_all
from torch_utils.locks import hold
from torch_utils.misc import UserError
from training.data.storage import Dataset
from training.evaluation import metric_features
from training.recipe import Recipe
from training.run.log import CONFIG, RunLog, save_config
from training.run.state import STATE, is_begun, resume
from training.run.stop_request import StopRequest

LOCK = ".lock"


def training_loop(
    config: Any, dataset: Dataset, outdir: Path, world: World, recipe: Recipe, *, command: str = "",
    allow_change: bool = False,
) -> None:  # fmt: skip
    """Train until ``config.run.total_kimg``; goes on where the state in ``outdir`` was written.

    Args:
        recipe: what is trained; ``config`` is one of its own.
        command: that does this, for ``config.yaml``.
        allow_change: go on though the configuration or the data have changed.

    SIGTERM and Ctrl-C finish the step, save, and return (Ctrl-C then raises KeyboardInterrupt).

    Raises:
        UserError: the configuration does not fit the data, the run was begun otherwise or is not seen by every machine,
            a loss or gradient is not finite (the last checkpoint stays), files cannot be written, or another process
            is training in ``outdir``.
    """
    here = hold(outdir / LOCK, f"--outdir {outdir}", "training there") if world.is_main else contextlib.nullcontext()
    with here:
        _train(config, dataset, outdir, world, command, allow_change, recipe)


def _train(
    config: Any, dataset: Dataset, outdir: Path, world: World, command: str, allow_change: bool, recipe: Recipe
) -> None:
    """:func:`training_loop`, by the only processes that write to ``outdir``."""
    resuming = is_begun(outdir, world)
    recipe.check_memory(config, world)
    features = metric_features(config, world.device) if world.is_main else None
    task, state = recipe.begin(config, dataset, world, resuming=resuming)
    remarks = resume(state, outdir, world, allow_change) if resuming else recipe.describe(config, state)
    run, total = config.run, round(config.run.total_kimg * 1000)
    if world.is_main:
        save_config(config, outdir / CONFIG, (command, f"data: {dataset.summary}"))
    outputs = recipe.outputs(task, dataset, outdir, features) if world.is_main else None
    log = RunLog(outdir if world.is_main else None, state.cur_nimg, total)
    last_tick = last_snapshot = state.cur_nimg
    fresh, started = state.step == 0, time.monotonic() - state.seconds
    with StopRequest().listening() as request, contextlib.closing(log), contextlib.closing(state.reader):
        for line in remarks:
            log.write(line)
        while True:
            done, stopping = state.cur_nimg >= total, request.of_any(world)

            # A picture, the distance to the data, and everything needed to resume.
            measured: dict[str, float] = {}
            if fresh or done or stopping or state.cur_nimg >= last_snapshot + 1000 * run.snapshot_kimg:
                state.seconds = time.monotonic() - started
                if outputs is not None:
                    measured = outputs.write(state, in_haste=stopping)
                wait_for_all()
                last_snapshot, fresh = state.cur_nimg, False

            # A line of statistics.
            if measured or done or stopping or state.cur_nimg >= last_tick + 1000 * run.tick_kimg:
                log.report(state.step, state.cur_nimg, world.device, measured)
                last_tick = state.cur_nimg
            if done or stopping:
                break

            losses = recipe.train_step(task, state)
            check_finite(losses, state.step, outdir)
            log.add(losses, config.optim.batch_size)
    if request.signal == signal.SIGINT:
        raise KeyboardInterrupt


def check_finite(losses: dict[str, float], step: int, outdir: Path) -> None:
    """UserError naming losses and norms that are NaN or infinite; on every process alike, for all see the means."""
    wrong = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        kept = f"the last good checkpoint is {outdir / STATE}"
        raise UserError(f"{outdir}: step {step} went wrong: {', '.join(wrong)}; training stopped, {kept}")

"""The training loop (paper section 3.3), for both stages, on one process or several."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_utils.distributed import World, copy_from_main, mean_over_processes, wait_for_all
from torch_utils.locks import hold
from torch_utils.misc import UserError
from torch_utils.ops.point_network import cpu_has_bf16
from training.config import TrainConfig
from training.data.label_models import check_models
from training.data.label_priors import priors_of
from training.data.mirror import label_mirror
from training.data.reader import Batch, PortraitReader
from training.data.storage import Dataset
from training.evaluation import Evaluation, Features, metric_features
from training.expression_warmup import warm_up_expression
from training.models import build_networks, load_body, load_face, manifold_coverage
from training.phases import accumulate_discriminators, accumulate_generator, camera_of, make_fakes, pictures_for, resize
from training.recipe import Recipe, Task
from training.run.log import CONFIG, RunLog, save_config, snapshot_path
from training.run.memory import check_memory, estimate
from training.run.optimizers import update
from training.run.snapshot import save_snapshot, snapshot_inputs
from training.run.state import BEST, LATEST, STATE, RunState, is_begun, resume
from training.run.stop_request import StopRequest
from training.sampling import Inputs, InputSampler, random_generator
from training.superresolution_start import start_as_interpolation

LOCK = ".lock"
STEP_KEY = 1  # of the draws of the steps
PRIOR_ROWS = 4096  # of labels, in the saved models


ManifoldTask = Task[TrainConfig, InputSampler]


class Manifolds:
    """What a run of the manifold generator is made of (:class:`training.recipe.Recipe`)."""

    config_class = TrainConfig

    def estimate(self, config: TrainConfig, share: int, *, bf16: bool, parameters: tuple[int, int], compiled: bool):
        """Memory of a step."""
        return estimate(config, share, bf16=bf16, parameters=parameters, compiled=compiled)

    def check_memory(self, config: TrainConfig, world: World) -> None:
        """See :func:`training.run.memory.check_memory`."""
        check_memory(config, world)

    def begin(
        self, config: TrainConfig, dataset: Dataset, world: World, *, resuming: bool = False
    ) -> tuple[ManifoldTask, RunState]:
        """See :func:`begin`."""
        return begin(config, dataset, world, resuming=resuming)

    def trial(self, config: TrainConfig) -> TrainConfig:
        """The same without what takes long before the first step."""
        return replace(config, expression_warmup=0, discriminator_warmup=0, superresolution_init="random")

    def describe(self, config: TrainConfig, state: RunState) -> list[str]:
        """See :func:`describe`."""
        return describe(config, state)

    def train_step(self, task: ManifoldTask, state: RunState) -> dict[str, float]:
        """See :func:`train_step`."""
        return train_step(task, state)

    def outputs(self, task: ManifoldTask, dataset: Dataset, outdir: Path, features: Features | None) -> Outputs:
        """See :class:`Outputs`."""
        return Outputs(task, dataset, outdir, features)


MANIFOLDS = Manifolds()


def training_loop(
    config: Any, dataset: Dataset, outdir: Path, world: World, *, command: str = "", allow_change: bool = False,
    recipe: Recipe = MANIFOLDS,
) -> None:  # fmt: skip
    """Train until ``config.run.total_kimg``; goes on where the state in ``outdir`` was written.

    Args:
        command: that does this, for ``config.yaml``.
        allow_change: go on though the configuration or the data have changed.
        recipe: what is trained; ``config`` is one of its own.

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


def begin(
    config: TrainConfig, dataset: Dataset, world: World, *, resuming: bool = False
) -> tuple[ManifoldTask, RunState]:
    """A run at its beginning, on every process the same.

    Args:
        resuming: a saved state will be loaded, so nothing is read or trained that would be the run's beginning.
    """
    check_data(config, dataset, world)
    makes = world.is_main and not resuming  # the others take over what it has made
    networks = build_networks(config, resuming=not makes).to(world.device)
    mirror = label_mirror(load_face(config), load_body(config)) if config.mirror else None
    sampler = InputSampler(dataset, mirror, config.losses.points)
    steps = config.expression_warmup
    if steps and config.init_from is None and makes:
        generator, imitation = networks.generator, networks.imitation
        assert imitation is not None
        warm_up_expression(generator.expression_deformation, imitation, sampler, steps=steps, seed=config.seed)
    if config.stage == 2 and config.superresolution_init == "interpolation" and makes:
        start_as_interpolation(networks.generator, sampler, seed=config.seed)
    for part in (networks.generator, networks.discriminators):
        copy_from_main(part)
    reader = PortraitReader(
        dataset,
        config.optim.batch_size // world.size,
        seed=config.seed,
        mirror=mirror,
        rank=world.rank,
        world_size=world.size,
        workers=config.run.workers,
        pin_memory=world.device.type == "cuda",
    )
    state = RunState(config, networks, reader, dataset.checksum)
    return Task(config, world, sampler, set_precision(config.run.precision, world.device)), state


def train_step(task: ManifoldTask, state: RunState) -> dict[str, float]:
    """One update of both sides; returns its losses and gradient norms, means over all processes."""
    config, world, networks = task.config, task.world, state.networks
    optim, discriminators = config.optim, networks.discriminators
    torch.manual_seed(random_generator(config.seed, state.step, world.rank).initial_seed())  # nothing of ours uses it
    share = optim.batch_size // world.size
    inputs = task.sampler.draw(optim.batch_size, config.seed, STEP_KEY, state.step)
    inputs = inputs.part(slice(world.rank * share, (world.rank + 1) * share)).to(world.device)
    reals, real_inputs = real_pictures(task, state, next(state.reader))

    # The generator's gradients (eqs. 8 to 13), and its pictures.
    if state.step >= config.discriminator_warmup:
        losses, fakes = accumulate_generator(networks, config, inputs, task.autocast, reals)
        losses["G/gradient_norm"] = update(state.g_opt, networks.generator.children(), optim.clip_norm)
    else:
        losses, fakes = {}, make_fakes(networks.generator, config, inputs, task.autocast)

    # The discriminators' gradients (eq. 8), with R1 and R2.
    cameras = {name: (camera_of(name, real_inputs), camera_of(name, inputs)) for name in reals}
    losses |= accumulate_discriminators(networks, config, reals, fakes, cameras, state.step, task.autocast)
    losses["D/gradient_norm"] = update(state.d_opt, discriminators.values(), optim.clip_norm)

    state.step += 1
    state.cur_nimg += optim.batch_size
    for average in state.ema:
        average.update(networks.generator, state.step)
    # One copy to the host for all of them.
    values = mean_over_processes(torch.stack([value.float() for value in losses.values()])).tolist()
    return dict(zip(losses, values, strict=True))


def real_pictures(task: ManifoldTask, state: RunState, batch: Batch) -> tuple[dict[str, Tensor], Inputs]:
    """What the discriminators see of a batch of the data set, and its labels."""
    config, device = task.config, task.world.device
    labels = {name: batch.labels[name].to(device, non_blocking=True) for name in Inputs._fields if name in batch.labels}
    inputs = Inputs(*(labels.get(name, torch.empty(0)) for name in Inputs._fields))
    portrait = resize(batch.image.to(device, non_blocking=True), config.portrait_size)
    face = resize(batch.face.to(device, non_blocking=True), config.face_size)
    return pictures_for(state.networks.generator, config, portrait, face, inputs), inputs


class Outputs:
    """What a run leaves behind at every snapshot."""

    def __init__(self, task: ManifoldTask, dataset: Dataset, outdir: Path, features: Features | None):
        config, sampler = task.config, task.sampler
        self.config, self.outdir = config, outdir
        self.shown = snapshot_inputs(sampler, config.run.snapshot_people, config.seed, load_face(config))
        self.priors = priors_of(dataset, mirror=sampler.mirror, max_rows=PRIOR_ROWS)
        self.evaluation = Evaluation(config, dataset, sampler, features)

    def draw(self, path: Path, state: RunState) -> None:
        """The picture of where training stands."""
        save_snapshot(path, state.g_ema, self.config, self.shown)

    def write(self, state: RunState, *, in_haste: bool) -> dict[str, float]:
        """Picture, distances (neither of them in haste), state and models; returns the distances.

        The state comes before the models: a kill in between leaves an older model, never an older state.
        """
        measured: dict[str, float] = {}
        if not in_haste:
            self.draw(snapshot_path(self.outdir, state.cur_nimg), state)
            measured = self.evaluation(state.g_ema)
        distance = measured.get("distance", math.inf)
        better = distance < (math.inf if state.best is None else state.best)
        if better:
            state.best = distance
        state.save(self.outdir)
        for name in (LATEST, *([BEST] if better else [])):
            state.save_model(self.outdir / name, self.priors)
        return measured


def check_finite(losses: dict[str, float], step: int, outdir: Path) -> None:
    """UserError naming losses and norms that are NaN or infinite; on every process alike, for all see the means."""
    wrong = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        kept = f"the last good checkpoint is {outdir / STATE}"
        raise UserError(f"{outdir}: step {step} went wrong: {', '.join(wrong)}; training stopped, {kept}")


def check_data(config: TrainConfig, dataset: Dataset, world: World) -> None:
    """UserError where sizes do not fit the data set or the processes (enlarged pictures would teach blur), or where the
    labels refer to other models."""
    check_models(dataset.manifest, {"body": config.body_model, "face": config.face_model}, dataset.path)
    needed = {"portrait": ("images", config.portrait_size, dataset.image_size)}
    needed["face"] = ("faces", config.face_size, dataset.face_size)
    for view in config.discriminators.views:
        name, expected, there = needed[view]
        if there < expected:
            raise UserError(f"{dataset.path}: {name}: expected at least {expected} pixels a side, found {there}")
    share_of(config.optim.batch_size, world)


def share_of(batch_size: int, world: World) -> int:
    """A process's part of a batch. Raises UserError where processes cannot have equal ones."""
    share, rest = divmod(batch_size, world.size)
    if rest:
        found = f"{batch_size} for {world.size} processes"
        raise UserError(f"--batch_size: expected a multiple of the number of processes, found {found}")
    return share


def set_precision(precision: str, device: torch.device) -> bool:
    """Let matrix products round as ``run.precision`` allows; returns whether autocast to bfloat16 is asked for.

    Raises:
        UserError: bf16 on a GPU that has none.
    """
    on_gpu = device.type == "cuda"
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    if precision == "bf16" and on_gpu and not has_bf16:
        raise UserError(f"--precision bf16: expected a GPU with bfloat16, found {torch.cuda.get_device_name(device)}")
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    return precision == "bf16" or (precision == "auto" and has_bf16)


def trained(name: str, part: torch.nn.Module) -> str:
    """A line about a network's size."""
    counts = [sum(p.numel() for p in part.parameters() if p.requires_grad or everything) for everything in (0, 1)]
    return f"{name}: {counts[0]:,} parameters trained of {counts[1]:,}"


def describe(config: TrainConfig, state: RunState) -> list[str]:
    """Lines for a person: what is trained, and whether the manifolds lie where the body is."""
    parts = {"G": state.networks.generator, **{f"D_{n}": d for n, d in state.networks.discriminators.items()}}
    lines = [trained(name, part) for name, part in parts.items()]
    lines.append(f"manifolds cover {manifold_coverage(state.networks.generator):.1%} of the mean body's front")
    if config.stage == 1 and config.init_from is not None and 0 < config.optim.ema_rampup < 1:
        share = f"{state.ema[0].share_of_first(10):.1g} of it after 10 steps"
        expected = "expected ema_rampup 1, or 0 for the whole ema_decay"
        lines.append(f"warning: the running mean forgets {config.init_from} at once ({share}): {expected}")
    return lines

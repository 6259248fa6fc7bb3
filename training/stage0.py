"""What stage 0 is for any representation: rows about drawn people in a file, and learning from them step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from networks.saved_model import Representation, SavedModel, unpack_model
from torch_utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from torch_utils.config import completed, config_to_dict, differences
from torch_utils.misc import UserError
from torch_utils.worker_pool import usable_cores, worker_pool
from training.regression import Regression
from training.run.log import CONFIG, RunLog, save_config
from training.run.state import LATEST

START, STATE = "start", "pretrain_state.safetensors"
HELD_OUT_SHARE = 20  # one person of so many is not learned from
WITHOUT_EFFECT = ("workers", "save_every")  # what changes no weights, of any configuration


def learned(people: int) -> int:
    """People that are learned from; the others, held out, tell how well strangers are known."""
    return people - max(1, people // HELD_OUT_SHARE)


def collect(
    path: Path,
    kind: np.dtype,
    shape: tuple[int, int],
    draw: Callable[[int], np.ndarray],
    is_drawn: Callable[[np.ndarray], np.ndarray],
    workers: int,
    unit: str = "points",
) -> np.ndarray:
    """Rows about all people [P, N] in ``path``; goes on where it was stopped.

    Args:
        kind, shape: of the rows.
        draw: the rows [N] of a person by number; it is pickled.
        is_drawn: which people [P] have rows already.
        workers: processes that draw; -1: one a core, 0: none but this one.
        unit: what the rows are, for messages.

    Raises:
        UserError: the file has something else.
    """
    rows = _open(path, kind, shape, unit) if path.exists() else np.lib.format.open_memmap(path, "w+", kind, shape)
    missing = np.flatnonzero(~is_drawn(rows)).tolist()
    workers = usable_cores() if workers < 0 else workers
    with worker_pool(draw, min(workers, len(missing))) as draw_all:
        found = tqdm(draw_all(missing), "people", shape[0], initial=shape[0] - len(missing), unit="person")
        for index, row in zip(missing, found, strict=True):
            rows[index] = row
    return rows


def _open(path: Path, kind: np.dtype, shape: tuple[int, int], unit: str) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r+")
    except (ValueError, OSError, EOFError):
        raise UserError(f"{path}: expected {unit} of drawn people, found another or a damaged file") from None
    if rows.dtype != kind or rows.shape != shape:
        found = " with ".join(map(str, rows.shape)) if rows.dtype == kind else "other numbers"
        raise UserError(f"{path}: expected {shape[0]} people with {shape[1]} {unit}, found {found}")
    return rows


def check_begun(path: Path, metadata: dict[str, Any], config: Any, keys: Sequence[str]) -> None:
    """UserError unless the model in ``path`` began with the same values of ``keys`` as ``config`` has."""
    begun, now = completed(type(config), metadata), config_to_dict(config)
    if changed := differences({k: begun.get(k) for k in keys}, {k: now[k] for k in keys}):
        raise UserError(f"{path}: this pretraining was begun otherwise ({'; '.join(changed)})")


def earlier_model(path: str, kinds: Sequence[Representation]) -> SavedModel:
    """The model of an earlier pretraining that ``init_from`` names. UserError where it is another one, or none."""
    model = unpack_model(load_checkpoint(path), path, kinds)
    if not isinstance(model.metadata.get("pretraining"), dict):
        raise UserError(f"{path}: init_from: expected a model of training.pretrain, found another one")
    return model


class Learning(ABC):
    """A regression on drawn people: what changes while it goes on, and a step of it.

    Args:
        config: of the whole stage: ``steps``, ``batch_size``, ``save_every`` and what changes weights.
        generator: what learns.
    """

    regression: Regression

    def __init__(self, config: Any, generator: nn.Module):
        self.config, self.generator, self.step = config, generator, 0

    @abstractmethod
    def __call__(self) -> dict[str, float]:
        """One step; returns what the log shows of it."""

    @abstractmethod
    def strangers(self) -> dict[str, float]:
        """How well people are known that are not learned from, by what the log calls it."""

    @abstractmethod
    def save_model(self, path: Path) -> None:
        """Write the generator as ``--ckpt`` and ``init_from`` read it."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {
            "pretrain": config_to_dict(self.config),
            "step": self.step,
            "generator": self.generator.state_dict(),
            "regression": self.regression.state_dict(),
        }

    def load_state_dict(self, data: dict[str, Any], where: str) -> None:
        """Go on where ``data`` was saved; UserError where it is of another configuration or program."""
        missing = [name for name in self.state_dict() if name not in data]
        if missing:
            raise UserError(f"{where}: expected the state of a pretraining, found no '{missing[0]}'")
        now = config_to_dict(self.config)
        begun = completed(type(self.config), data["pretrain"]) | {name: now[name] for name in WITHOUT_EFFECT}
        if changed := differences(begun, now):
            raise UserError(f"{where}: this pretraining was begun otherwise ({'; '.join(changed)})")
        load_weights(self.generator, data["generator"], where)
        self.regression.load_state_dict(data["regression"])
        self.step = data["step"]


def learn(task: Learning, outdir: Path, device: torch.device, *, command: str = "") -> None:
    """All steps that are left, with the log of every run; the same call goes on where it was stopped.

    Args:
        command: that does this, for ``config.yaml``.

    Raises:
        UserError: a state of another pretraining, or a place that cannot be written to.
    """
    config, state = task.config, outdir / STATE
    if state.exists():
        task.load_state_dict(load_checkpoint(state), str(state))
    else:
        save_config(config, outdir / CONFIG, (command, f"data: {config.people} drawn people, seed {config.seed}"))
    log = RunLog(outdir, task.step * config.batch_size, config.steps * config.batch_size)
    try:
        while task.step < config.steps:
            log.add(task(), config.batch_size)
            if task.step % config.save_every == 0 or task.step == config.steps:
                save_checkpoint(state, task.state_dict())
                task.save_model(outdir / LATEST)
                log.report(task.step, task.step * config.batch_size, device, task.strangers())
    finally:
        log.close()

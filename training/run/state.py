"""The state of a run: everything that resuming needs, in one file; the one before it is kept beside it.

A run is (config, data set, step, networks, optimizers, running means, position in the data). Random numbers are no part
of it: they follow from (seed, step), see :mod:`training.sampling`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from networks.person.expressions import face_model_name
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from torch_utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from torch_utils.config import completed, config_to_dict, differences
from torch_utils.distributed import World, mean_over_processes
from torch_utils.misc import UserError, atomic_path, one_line
from torch_utils.tensor_file import write_tensor_file
from training.data.reader import PortraitReader
from training.run.ema import WeightAverage
from training.run.optimizers import discriminator_optimizer, generator_optimizer
from training.sampling import random_generator

STATE, LATEST, BEST = "state.safetensors", "latest", "best"
PREVIOUS, EARLIER = "state_previous.safetensors", "state.pt"  # the latter of runs that are older than the format
NUM_MEAN_SAMPLES = 10_000  # of the mean styles, as in the method


class RunState:
    """What changes while a run goes on.

    Attributes:
        step: updates so far; cur_nimg: images that discriminators have seen; seconds: spent in all sessions.
        best: the least distance to the data so far, None before the first one was measured.
        intact: whether the newest state in the run folder is good, as far as is known.
    """

    def __init__(self, config: Any, networks: Any, reader: PortraitReader, dataset: str):
        self.config, self.networks, self.reader, self.dataset = config, networks, reader, dataset
        self.g_opt, self.d_opt = self.optimizers()
        self.ema = self.averages()
        self.step = self.cur_nimg = 0
        self.seconds = 0.0
        self.best: float | None = None
        self.intact = True

    def optimizers(self) -> tuple[torch.optim.Adam, torch.optim.Adam]:
        """Of the generator and of the discriminators."""
        optim = self.config.optim
        return (
            generator_optimizer(self.networks.generator, optim),
            discriminator_optimizer(self.networks.discriminators, optim),
        )

    def averages(self) -> list[WeightAverage]:
        """Running means; the first one's generator is kept and shown."""
        optim = self.config.optim
        return [WeightAverage(self.networks.generator, decay, optim.ema_rampup) for decay in optim.ema_decays]

    @property
    def g_ema(self) -> Any:
        """The generator that is kept and shown."""
        return self.ema[0].average

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {
            "config": config_to_dict(self.config),
            "dataset": self.dataset,
            "counters": {"step": self.step, "cur_nimg": self.cur_nimg, "seconds": self.seconds, "best": self.best},
            "generator": self.networks.generator.state_dict(),
            "discriminators": self.networks.discriminators.state_dict(),
            "g_opt": self.g_opt.state_dict(),
            "d_opt": self.d_opt.state_dict(),
            "ema": [average.state_dict() for average in self.ema],
            "reader": self.reader.state_dict(),
        }

    def save(self, outdir: Path) -> None:
        """Write ``outdir/state.safetensors``; raises UserError where that fails, and then the one before it stays.

        At every moment there is a good one: the one before becomes ``state_previous.safetensors`` when the new one is
        whole, and a damaged one never does.
        """
        with atomic_path(outdir / STATE) as temporary:
            write_tensor_file(temporary, self.state_dict())
            if self.intact and (outdir / STATE).exists():
                os.replace(outdir / STATE, outdir / PREVIOUS)
        self.intact = True

    def load(self, outdir: Path, *, allow_change: bool = False) -> list[str]:
        """Take over the newest good state in ``outdir``.

        Returns:
            what a person should know: lines about damaged ones.

        Raises:
            UserError: no state is good, or it belongs to another configuration or data set and ``allow_change`` is not
                given. The section ``run`` of the configuration may differ: it does not change what is computed.
        """
        path, data, remarks = read_state(outdir)
        where, self.intact = str(path), path.name == STATE
        missing = [name for name in self.state_dict() if name not in data]
        if missing:
            raise UserError(f"{where}: expected the state of a training run, found no '{missing[0]}'")
        changed = changes(data, self.config, self.dataset)
        if changed and not allow_change:
            raise UserError(f"{outdir}: this run was begun otherwise ({'; '.join(changed)}); --allow_change goes on")
        load_weights(self.networks.generator, data["generator"], f"{where}: generator")
        load_weights(self.networks.discriminators, data["discriminators"], f"{where}: discriminators")
        try:
            _load_optimizer(self.g_opt, data["g_opt"])
            _load_optimizer(self.d_opt, data["d_opt"])
            for average, state in zip(self.ema, data["ema"], strict=True):
                average.load_state_dict(state)
            self.load_more(data)
        except (ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{where}: optimizers and means do not fit: {one_line(str(error))}") from error
        if data["dataset"] == self.dataset:
            self.reader.load_state_dict(data["reader"])
        for name, value in data["counters"].items():
            setattr(self, name, value)
        return [f"{remark}; going on from {path.name} at {self.cur_nimg} images" for remark in remarks]

    def load_more(self, data: dict[str, Any]) -> None:
        """What a kind of run has beside that; raises KeyError, ValueError or RuntimeError where it does not fit."""

    def save_model(self, path: Path, priors: LabelPriors) -> None:
        """Write the averaged generator, its mean styles measured, as ``gen_video.py --ckpt`` reads it."""
        self.settle(priors)
        metadata = {
            "training": config_to_dict(self.config),
            "face_model": face_model_name(self.config.face_model),
            "dataset": self.dataset,
            "cur_nimg": self.cur_nimg,
        }
        save_checkpoint(path, pack_model(SavedModel(self.g_ema, priors, metadata)))

    def settle(self, priors: LabelPriors) -> None:
        """Measure what a saved model holds beside its weights."""
        latents = priors.sample_latents(NUM_MEAN_SAMPLES, random_generator(0))
        device = self.g_ema.mean_phase.device
        self.g_ema.set_mean_styles(latents.z_id.to(device), latents.z_noise.to(device))


def find_states(outdir: Path) -> list[Path]:
    """States of a run, the newest first."""
    return [path for name in (STATE, PREVIOUS, EARLIER) if (path := outdir / name).exists()]


def read_state(outdir: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest state that can be read, and why it is not a newer one. Raises UserError where there is none."""
    remarks = []
    for path in find_states(outdir):
        try:
            data = load_checkpoint(path)
        except UserError as error:
            remarks.append(str(error))
            continue
        if not remarks and path.name == PREVIOUS:
            remarks.append(f"{outdir / STATE}: missing, for a session was killed as it saved")
        return path, data, remarks
    raise UserError("; ".join(remarks) or f"{outdir}: expected the state of a run, found none")


def is_begun(outdir: Path, world: World) -> bool:
    """Whether there is a state to go on with. UserError where only some of the processes see it: they would go on from
    different weights."""
    seen = bool(find_states(outdir))
    share = mean_over_processes(torch.tensor([float(seen)], device=world.device)).item()
    if share not in (0.0, 1.0):
        found = f"a state on {share:.0%} of the processes"
        raise UserError(f"--outdir {outdir}: expected a folder that all machines share, found {found}")
    return seen


def resume(state: RunState, outdir: Path, world: World, allow_change: bool) -> list[str]:
    """Take over the newest good state on every process; returns lines for a person.

    Raises:
        UserError: there is none, it is of another run, or the processes have found different ones.
    """
    remarks = state.load(outdir, allow_change=allow_change)
    steps = torch.tensor([float(state.step)], dtype=torch.float64, device=world.device)
    if mean_over_processes(steps).item() != state.step:
        raise UserError(f"{outdir}: expected the same state on all processes, found others beside step {state.step}")
    return remarks


def _load_optimizer(optimizer, state: dict[str, Any]) -> None:
    """State of Adam, but with today's learning rates and betas: they are the configuration's."""
    kept = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, kept, strict=True):
        group.update(settings)


def changes(data: dict[str, Any], config: Any, dataset: str) -> list[str]:
    """In what a saved run differs from this one, a phrase each; the section ``run`` does not count."""
    old = completed(type(config), data["config"])
    found = differences(old | {"run": None}, config_to_dict(config) | {"run": None})
    if data["dataset"] != dataset:
        found.append(f"data set with checksum {str(data['dataset'])[:12]} -> {dataset[:12]}")
    return found

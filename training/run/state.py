"""The state of a run: everything that resuming needs, in one file.

A run is (config, data set, step, networks, optimizers, running means, position in the data). Random numbers are no part
of it: they follow from (seed, step), see :mod:`training.sampling`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from networks.manifold.generator import Generator
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from torch_utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from torch_utils.config import config_from_dict, config_to_dict, differences
from torch_utils.misc import UserError, one_line
from training.config import TrainConfig
from training.data.reader import PortraitReader
from training.models import Networks
from training.run.ema import WeightAverage
from training.run.optimizers import discriminator_optimizer, generator_optimizer
from training.sampling import random_generator

STATE, LATEST, BEST = "state.safetensors", "latest", "best"
NUM_MEAN_SAMPLES = 10_000  # of the mean styles, as in the method


class RunState:
    """What changes while a run goes on.

    Attributes:
        step: updates so far; cur_nimg: images that discriminators have seen; seconds: spent in all sessions.
        best: the least distance to the data so far, None before the first one was measured.
    """

    def __init__(self, config: TrainConfig, networks: Networks, reader: PortraitReader, dataset: str):
        self.config, self.networks, self.reader, self.dataset = config, networks, reader, dataset
        self.g_opt = generator_optimizer(networks.generator, config.optim)
        self.d_opt = discriminator_optimizer(networks.discriminators, config.optim)
        optim = config.optim
        self.ema = [WeightAverage(networks.generator, decay, optim.ema_rampup) for decay in optim.ema_decays]
        self.step = self.cur_nimg = 0
        self.seconds = 0.0
        self.best: float | None = None

    @property
    def g_ema(self) -> Generator:
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
        """Write ``outdir/state.safetensors``; raises UserError where that fails, and then the one before it stays."""
        save_checkpoint(outdir / STATE, self.state_dict())

    def load(self, outdir: Path, *, allow_change: bool = False) -> None:
        """Take over ``outdir/state.safetensors``.

        Raises:
            UserError: the file is damaged, or belongs to another configuration or data set and ``allow_change`` is not
                given. The section ``run`` of the configuration may differ: it does not change what is computed.
        """
        where = str(outdir / STATE)
        data = load_checkpoint(where)
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
        except (ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{where}: optimizers and means do not fit: {one_line(str(error))}") from error
        if data["dataset"] == self.dataset:
            self.reader.load_state_dict(data["reader"])
        for name, value in data["counters"].items():
            setattr(self, name, value)

    def save_model(self, path: Path, priors: LabelPriors) -> None:
        """Write the averaged generator, its mean styles measured, as ``gen_video.py --ckpt`` reads it."""
        latents = priors.sample_latents(NUM_MEAN_SAMPLES, random_generator(0))
        device = self.g_ema.mean_phase.device
        self.g_ema.set_mean_styles(latents.z_id.to(device), latents.z_noise.to(device))
        metadata = {"training": config_to_dict(self.config), "dataset": self.dataset, "cur_nimg": self.cur_nimg}
        save_checkpoint(path, pack_model(SavedModel(self.g_ema, priors, metadata)))


def _load_optimizer(optimizer, state: dict[str, Any]) -> None:
    """State of Adam, but with today's learning rates and betas: they are the configuration's."""
    kept = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, kept, strict=True):
        group.update(settings)


def changes(data: dict[str, Any], config: TrainConfig, dataset: str) -> list[str]:
    """In what a saved run differs from this one, a phrase each; the section ``run`` does not count."""
    old = data["config"]
    with contextlib.suppress(UserError):  # keys that the run did not know yet had their defaults' effect
        old = config_to_dict(config_from_dict(TrainConfig, old, "state"))
    found = differences(old | {"run": None}, config_to_dict(config) | {"run": None})
    if data["dataset"] != dataset:
        found.append(f"data set with checksum {str(data['dataset'])[:12]} -> {dataset[:12]}")
    return found

"""The state of a run of the tri-grid generator: that of every run, and D's running mean, which reads poses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from networks.person.priors import LabelPriors
from networks.trigrid.pose_reader import PoseReader, pack_pose_reader
from torch_utils.checkpoint import save_checkpoint
from torch_utils.config import config_to_dict
from torch_utils.misc import UserError, one_line
from training.run.ema import WeightAverage
from training.run.state import RunState
from training.trigrid.config import GROUP, TriGridTrainConfig
from training.trigrid.history import FakeHistory, Remembered
from training.trigrid.models import TriGridNetworks

POSE_READER = "pose_reader"  # beside `latest` and `best`


class TriGridState(RunState):
    """See the module's docstring."""

    config: TriGridTrainConfig
    networks: TriGridNetworks

    def __init__(self, config: TriGridTrainConfig, networks: TriGridNetworks, *more: Any):
        super().__init__(config, networks, *more)
        self.d_ema = WeightAverage(networks.discriminators, *config.optim.ema)
        self.history = FakeHistory()

    def optimizers(self) -> tuple[torch.optim.Adam, torch.optim.Adam]:
        """D's rate and betas make up for R1's rare steps, as in StyleGAN2."""
        optim, interval = self.config.optim, self.config.discriminator.r1_interval
        lazy = interval / (interval + 1) if interval > 1 and self.config.discriminator.r1_gamma else 1.0
        self.rates = optim.g_lr, optim.d_lr * lazy
        trained = [parameter for parameter in self.networks.generator.parameters() if parameter.requires_grad]
        g_opt = torch.optim.Adam(trained, lr=self.rates[0], betas=optim.betas)
        first, second = (beta**lazy for beta in optim.betas)
        return g_opt, torch.optim.Adam(
            self.networks.discriminators.parameters(), lr=self.rates[1], betas=(first, second)
        )

    def set_rates(self, share: float) -> None:
        """Learning rates of the next step: ``share`` of the configuration's."""
        for optimizer, rate in zip((self.g_opt, self.d_opt), self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = share * rate

    def averages(self) -> list[WeightAverage]:
        """One running mean."""
        return [WeightAverage(self.networks.generator, *self.config.optim.ema)]

    def update_averages(self) -> None:
        """After a step."""
        self.ema[0].update(self.networks.generator, self.step)
        self.d_ema.update(self.networks.discriminators, self.step)

    def begin_from(self, data: dict[str, Any], path: str) -> None:
        """Running means of the stage before, if it has any. Raises UserError where they do not fit."""
        if "ema" not in data:
            return
        try:
            self.ema[0].load_state_dict(data["ema"][0])
            self.d_ema.load_state_dict(data["d_ema"])
        except (KeyError, IndexError, RuntimeError) as error:
            raise UserError(f"{path}: running means do not fit: {one_line(str(error))}") from error
        self.ema[0].take_buffers(self.networks.generator)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        kept = {"history": self.history.state_dict()} if self.config.discriminator.history else {}
        return {**super().state_dict(), "d_ema": self.d_ema.state_dict(), **kept}

    def load_more(self, data: dict[str, Any]) -> None:
        """What other runs do not have."""
        self.d_ema.load_state_dict(data["d_ema"])
        self.ema[0].take_buffers(self.networks.generator)
        if self.config.discriminator.history:  # of the main process, for all
            self.history.load_state_dict(data["history"], next(self.networks.generator.parameters()).device)

    def remember(self, people: Remembered) -> Remembered | None:
        """Keep the people of a step; returns those of the last ones that E_D looks at again, where it does."""
        share = self.config.discriminator.history * len(people.pose) // self.config.optim.batch_size
        if not share:
            return None
        self.history.add(people)
        return self.history.draw(share)

    def settle(self, priors: LabelPriors) -> None:
        """The mean w is tracked in training."""

    def pose_reader(self) -> PoseReader:
        """E_D with averaged weights."""
        discriminator = self.d_ema.average["portrait"]  # type: ignore[index]
        return PoseReader(discriminator, self.config.raw_size_at(self.config.first_kimg + self.cur_nimg / 1000))

    def save_model(self, path: Path, priors: LabelPriors) -> None:
        """Write the averaged generator, and beside it what reads poses off photographs."""
        super().save_model(path, priors)
        settings = {**config_to_dict(self.config.discriminator), "group": GROUP}
        settings |= {"image_size": self.config.generator.image_size}
        reader = path.with_name(f"{path.name}_{POSE_READER}")
        save_checkpoint(reader, pack_pose_reader(self.pose_reader(), settings, self.config.generator.rest_pose))

"""Plain regression: Adam over a known number of steps."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter


class Regression:
    """Adam with a learning rate per group, warmed up over a tenth of the steps and then annealed to 0.

    Args:
        rates: highest rates, each with its parameters.
        steps: how many there will be.
    """

    def __init__(self, rates: Sequence[tuple[float, list[Iterable[Parameter]]]], steps: int):
        groups = [{"params": [p for part in parts for p in part], "lr": rate} for rate, parts in rates]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, [rate for rate, _ in rates], total_steps=steps, pct_start=0.1
        )

    def step(self, loss: Tensor) -> float:
        """One update; returns the loss. Raises FloatingPointError when it is not finite."""
        value = loss.item()
        if not np.isfinite(value):
            raise FloatingPointError("the loss is not finite")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return value

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": {"last_epoch": self.schedule.last_epoch}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken: of the same parameters, rates and number of steps."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.last_epoch = state["schedule"]["last_epoch"]

"""Plain regression: Adam over a known number of steps."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter


class Regression:
    """Adam with a learning rate per group, warmed up over a tenth of the steps and then annealed to 0.

    Args:
        rates: parameters by their highest rate.
        steps: how many there will be.
    """

    def __init__(self, rates: dict[float, list[Iterable[Parameter]]], steps: int):
        groups = [{"params": [p for part in parts for p in part], "lr": rate} for rate, parts in rates.items()]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, list(rates), total_steps=steps, pct_start=0.1
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

"""What stage 0 of tri-grids minimises: opacity and colours at points of rays whose targets are known."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.trigrid.volume import DENSITY_SHIFT

INTERVAL = 0.016  # metres whose opacity is told


class Errors(NamedTuple):
    """Each a number."""

    opacity: Tensor  # :func:`opacity_error`
    colours: Tensor  # :func:`colour_error`
    white: Tensor  # absolute errors of what is behind people
    rendered: Tensor  # absolute errors of rendered colours
    masks: Tensor  # and of rendered opacity

    def total(self, colour: float) -> Tensor:
        """With the weight of people's colours."""
        return self.opacity + self.white + self.masks + colour * (self.colours + self.rendered)


def opacity_error(density: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean cross-entropy of the opacity of :data:`INTERVAL`, less what uncertain targets cannot go below.

    Args:
        density: raw, any shape.
        wanted, weight: in 0..1, like it.
    """
    passed = INTERVAL * F.softplus(density - DENSITY_SHIFT)
    entropy = (1 - wanted) * passed - wanted * (1e-6 - torch.expm1(-passed)).log()
    least = torch.special.entr(wanted) + torch.special.entr(1 - wanted)
    return (weight * (entropy - least)).mean()


def colour_error(colours: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of colours [..., 3], as far as they count: weight [...]."""
    off = (weight * (colours - wanted).abs().mean(-1)).sum()
    return off / weight.sum().clamp_min(1)

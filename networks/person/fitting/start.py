"""Where a fit begins: the head's turn and the similarity that lay the mean face on what was seen."""

from __future__ import annotations

import torch
from torch import Tensor

from networks.person.fitting.fit import Observed, neutral
from networks.person.fitting.frames import HEAD_TURN, ROLL, SHIFT, joint_eulers, to_picture
from networks.person.fitting.points import BodyPoints

_TURNS = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64)  # radians
_NODS = torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)


@torch.no_grad()
def first_guess(points: BodyPoints, seen: Observed, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Frames [F, Q] and actions [F, 52] from which Gauss-Newton steps arrive: the best of some head turns.

    Args:
        points: N of them.
        seen: at least three points in every frame.
        shape: [90], the mean person's will do.
    """
    turn, nod = (grid.flatten() for grid in torch.meshgrid(_TURNS, _NODS, indexing="ij"))
    tried, actions = neutral(len(turn))
    tried[:, HEAD_TURN] = torch.stack([torch.zeros_like(turn), turn, nod], -1)
    posed = points.pose(points.canonical(shape, actions), points.transforms(points.joints(shape), joint_eulers(tried)))
    model = to_picture(posed, tried)  # [T, N, 2] in the frame's own units
    found, actions = neutral(len(seen.pixels))
    for row, (pixels, certainty) in enumerate(zip(seen.pixels, seen.certainty, strict=True)):
        there = certainty > 0
        placed, error = _similarities(model[:, there], pixels[there], certainty[there])
        best = int(error.argmin())
        found[row] = tried[best]
        found[row, ROLL : SHIFT.stop] = placed[best]
    return found, actions


def _similarities(model: Tensor, pixels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares similarities of many models [T, N, 2] onto pixels [N, 2]: (roll, log scale, x, y) [T, 4] and the
    sum of squares that each leaves, in its own units [T]."""
    weight = weight / weight.sum()
    a, b = torch.view_as_complex(model.contiguous()), torch.view_as_complex(pixels.contiguous())
    a_mean, b_mean = (weight * a).sum(-1, keepdim=True), (weight * b).sum(-1, keepdim=True)
    a_off, b_off = a - a_mean, b - b_mean
    factor = (weight * a_off.conj() * b_off).sum(-1, keepdim=True) / (weight * a_off.abs() ** 2).sum(-1, keepdim=True)
    shift = (b_mean - factor * a_mean).squeeze(-1)
    error = (weight * (factor * a_off - b_off).abs() ** 2).sum(-1)
    factor = factor.squeeze(-1)
    return torch.stack([factor.angle(), factor.abs().log(), shift.real, shift.imag], -1), error

"""Which rays of a photo a step of an inversion looks at: some from all over, and a square patch, as patch
discriminators do (Schwarz et al. 2020, GRAF)."""

from __future__ import annotations

import torch
from torch import Tensor

PATCH = 32  # pixels a side
FOCUS = 0.35  # spread of patches' middles about the head's, in the frame's units


def scattered(size: int, count: int, random: torch.Generator) -> Tensor:
    """So many of the pixels of a picture of ``size``: [count]."""
    return torch.randint(size * size, (count,), generator=random)


def patch(size: int, random: torch.Generator, near: float, *, far: bool = True, count: int = PATCH) -> Tensor:
    """A square of the pixels of a picture of ``size``: [count^2].

    Args:
        near: pixels between two of the patch, at the nearest.
        far: patches reach from there to the whole picture, else all are near.
        count: pixels a side; of smaller pictures as many as they have.
    """
    count = min(count, size)
    farthest = (size - 1) / max(count - 1, 1)  # where it is the whole picture
    near = min(near, farthest)
    spacing, *middle = torch.rand(3, generator=random).tolist()
    spacing = near * (farthest / near) ** spacing if far else near
    room = 0.5 * (size - 1 - spacing * (count - 1))
    offsets = spacing * (torch.arange(count) - 0.5 * (count - 1))
    rows, columns = (
        (0.5 * (size - 1) + max(-room, min(room, FOCUS * (2 * place - 1) * (size - 1))) + offsets).round().long()
        for place in middle
    )
    return (rows[:, None] * size + columns).flatten().clamp(0, size * size - 1)

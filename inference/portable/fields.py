"""Displacements of any point, interpolated between the nodes of grids."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Box = tuple[float, float, float, float]  # as in OPENINGS
AROUND, FADE = 0.008, 0.004  # of openings, which are finer, and over which that begins


class Grid(NamedTuple):
    """C displacements of any point in a box, interpolated between nodes."""

    values: Tensor  # [C, Z, Y, X, 3]
    origin: Tensor  # [3] the first node
    spacing: float

    def at(self, points: Tensor) -> Tensor:
        """points [N, 3] -> [C, N, 3]; outside the box its border's."""
        last = torch.tensor(self.values.shape[3:0:-1]) - 1  # X, Y, Z
        place = 2 * (points - self.origin) / (self.spacing * last) - 1
        volume = self.values.permute(0, 4, 1, 2, 3).flatten(0, 1)[None]
        found = F.grid_sample(volume, place[None, None, None], align_corners=True, padding_mode="border")
        return found[0, :, 0, 0].unflatten(0, (-1, 3)).transpose(1, 2)


class Field(NamedTuple):
    """C displacements of any point, where lids and lips part by finer grids."""

    whole: Grid
    openings: tuple[tuple[Box, Grid], ...] = ()

    def at(self, points: Tensor) -> Tensor:
        """points [N, 3] -> [C, N, 3]."""
        found = self.whole.at(points)
        for box, grid in self.openings:
            inside = (depth_in(box, points) / FADE).clamp(max=1)
            some = (inside > 0).nonzero()[:, 0]
            if len(some):
                found[:, some] = found[:, some].lerp(grid.at(points[some]), inside[some, None])
        return found

    def map(self, change: Callable[[Tensor], Tensor]) -> "Field":
        """Of changed displacements [C, ...]."""
        return Field(
            self.whole._replace(values=change(self.whole.values)),
            tuple((box, grid._replace(values=change(grid.values))) for box, grid in self.openings),
        )


def depth_in(box: Box, points: Tensor) -> Tensor:
    """How far points [N, 3] lie inside of an opening and what is around it [N], along x or y; less than 0 outside."""
    left, right, low, high = box
    x, y = points[:, 0], points[:, 1]
    return torch.stack([x - left, right - x, y - low, high - y]).amin(0) + AROUND

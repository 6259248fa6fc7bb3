"""Triangles over a grid, large where little is lost and small where much would be (right-triangulated networks, RTIN).

A square is halved along its diagonal, each half at the middle of its longest side, and so on down to the cells (Evans,
Kirkpatrick, Townsend 2001). A middle is needed where leaving it out would err by more than is allowed, and where one
below it is needed: so neighbours agree on it, and the mesh has no cracks.
"""

import functools
import math

import torch
from torch import Tensor


@functools.cache
def _levels(cells: int) -> list[Tensor]:
    """Corners of each level's triangles, coarse to fine, [2^(l + 1), 3] nodes: the ends of the longest side, then the
    right angle. The halves of triangle i are 2 i and 2 i + 1 of the next level."""
    low, right, above, far = 0, cells, cells * (cells + 1), cells * (cells + 1) + cells  # the square's corners
    levels = [torch.tensor([[far, low, right], [low, far, above]])]
    for _ in range(2 * round(math.log2(cells))):
        a, b, c = levels[-1].unbind(1)
        middle = (a + b) // 2
        levels.append(torch.stack([c, a, middle, b, c, middle], 1).view(-1, 3))
    return levels


def bisect(values: Tensor, kept: Tensor, error: float, largest: int) -> Tensor:
    """A mesh over the kept cells of a grid.

    Args:
        values: [N, N, C] at the nodes, N = 2^n + 1: what is to be interpolated.
        kept: [N - 1, N - 1] bool, which cells to cover; no others are.
        error: Euclidean, that is allowed in the middle of a triangle's longest side.
        largest: cells that triangles' legs may be long.

    Returns:
        [F, 3] int64 nodes (row * N + column), counter-clockwise where columns run right and rows up.
    """
    cells = len(kept)
    levels, flat = _levels(cells), values.flatten(0, 1)
    cell = (levels[-1] // (cells + 1)).amin(1) * cells + (levels[-1] % (cells + 1)).amin(1)
    some = [kept.flatten()[cell]]  # of each level, fine to coarse: whether a triangle has a cell that is kept
    every = [some[0]]
    for _ in levels[1:]:
        some.append(some[-1].view(-1, 2).any(1))
        every.append(every[-1].view(-1, 2).all(1))
    some, every = some[::-1], every[::-1]
    needed = torch.zeros(len(flat), dtype=torch.bool)
    for level in range(len(levels) - 2, -1, -1):
        a, b, _ = levels[level].unbind(1)
        middle = (a + b) // 2
        errs = (0.5 * (flat[a] + flat[b]) - flat[middle]).norm(dim=-1) > error
        wanted = some[level] & (errs | ~every[level] | (cells / 2 ** (level / 2) > largest))
        if level + 2 < len(levels):
            below = levels[level + 1][:, :2].sum(1) // 2
            wanted |= needed[below].view(-1, 2).any(1)
        needed[middle[wanted]] = True
    found, active = [], torch.ones(2, dtype=torch.bool)
    for level, corners in enumerate(levels):
        is_split = active & needed[corners[:, :2].sum(1) // 2] & (level + 1 < len(levels))
        found.append(corners[active & ~is_split & every[level]])
        active = is_split.repeat_interleave(2)
    return torch.cat(found)

"""The manifolds as surfaces: where each lies over a grid; the same for all of a model's people."""

from typing import NamedTuple

import torch
from torch import Tensor

from inference.fast.grids import HALF_REACH
from networks.manifold.generator import Generator

CELLS = 128  # a side, over all that the portrait camera sees: 5 mm each


class Surfaces(NamedTuple):
    """Manifolds over the nodes of a grid that is wider than the flattened maps; row 0 is the lowest."""

    points: Tensor  # [K, N, N, 3] canonical
    valid: Tensor  # [K, N, N] bool: whether the flattening view meets the manifold there


@torch.inference_mode()
def find_surfaces(generator: Generator) -> Surfaces:
    """The manifolds over CELLS^2 cells, as the view that flattened them would see them in a frame; on the CPU.

    Between the samples of that view M is as good as linear: the points lie within half a millimetre of the level sets.
    """
    points, valid = generator.flat_crossings(CELLS + 1, HALF_REACH, either_direction=False)  # [N N, K, 3], [N N, K]
    sides = (CELLS + 1, CELLS + 1)
    return Surfaces(points.transpose(0, 1).unflatten(1, sides).cpu(), valid.bool().T.unflatten(1, sides).cpu())

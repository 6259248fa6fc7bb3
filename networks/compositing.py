"""From crossings to pixels: lookup in the flattened manifolds and alpha compositing over white."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.manifolds import flat_coordinates

TRANSMITTANCE_EPSILON = 1e-10


class Composite(NamedTuple):
    rgb: Tensor  # [B, R, 3] in 0..1 over white
    alpha: Tensor  # [B, R]
    depth: Tensor  # [B, R] along the ray, canonical units; 0, without gradient, where alpha is 0


def lookup_manifolds(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear fetch from the flattened maps.

    Args:
        maps: [B, K, C, h, w], row 0 = lowest y.
        points: [B, R, K, 3] canonical; the k-th point reads the k-th map.

    Returns:
        [B, R, K, C].
    """
    batch, count = maps.shape[:2]
    grid = flat_coordinates(points).transpose(1, 2).flatten(0, 1)[:, :, None]  # [BK, R, 1, 2]
    values = F.grid_sample(maps.flatten(0, 1), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values.squeeze(-1).unflatten(0, (batch, count)).permute(0, 3, 1, 2)


def composite(rgba: Tensor, order: Tensor, depth: Tensor) -> Composite:
    """Front to back: T_i = prod_{k<i} (1 - alpha_k + 1e-10), C = sum T_i alpha_i c_i + (1 - sum T_i alpha_i).

    Args:
        rgba: [B, R, K, 4] in 0..1; alpha is 0 where there is no crossing.
        order: [B, R, K] values to sort by, nearest first; layers at the same value keep their order.
        depth: [B, R, K] distances along the ray that the depth map averages.
    """
    index = order.argsort(dim=-1, stable=True)
    rgba = rgba.gather(2, index[..., None].expand_as(rgba))
    alpha = rgba[..., 3]
    transmittance = torch.cumprod(1 - alpha + TRANSMITTANCE_EPSILON, -1)
    transmittance = F.pad(transmittance[..., :-1], (1, 0), value=1.0)
    weights = transmittance * alpha  # [B, R, K]
    total = weights.sum(-1)
    rgb = (weights[..., None] * rgba[..., :3]).sum(2) + (1 - total)[..., None]
    # The divisor is replaced as well as the result: the gradient of an unused 0/0 would still be NaN. However small an
    # alpha, its depth is exact; only below the smallest normal number is there nothing to divide by.
    seen = total >= torch.finfo(total.dtype).tiny
    mean_depth = (weights * depth.gather(-1, index)).sum(-1) / torch.where(seen, total, 1.0)
    return Composite(rgb, total, torch.where(seen, mean_depth, 0.0))

"""Volume rendering of densities along rays, with samples where they matter (EG3D; NeRF, section 5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

DENSITY_SHIFT = 1.0  # a raw density of 1 is the middle of softplus
EPSILON = 1e-10  # what an opaque interval lets through
CUT_AWAY = -1000.0  # raw density where nothing may be
MASK_GAIN, MASK_SHIFT = 1.002, 0.001  # so that opaque pixels have a mask of 1 in spite of EPSILON (PanoHead)


class Marched(NamedTuple):
    """R rays of S samples."""

    colour: Tensor  # [B, R, C] sums of weights times colours
    depth: Tensor  # [B, R] along the ray
    weights: Tensor  # [B, R, S - 1] of the intervals between samples

    @property
    def alpha(self) -> Tensor:
        """[B, R] sums of weights."""
        return self.weights.sum(-1)

    @property
    def mask(self) -> Tensor:
        """[B, R] the person's share of every pixel."""
        return self.alpha * MASK_GAIN - MASK_SHIFT


def stratified_depths(near: float, far: float, jitter: Tensor) -> Tensor:
    """Evenly spread depths, each moved by its number in 0..1 towards the next: jitter [..., S] -> [..., S]."""
    count = jitter.shape[-1]
    step = (far - near) / (count - 1)
    return torch.linspace(near, far, count, device=jitter.device, dtype=jitter.dtype) + jitter * step


def march(colours: Tensor, densities: Tensor, depths: Tensor) -> Marched:
    """Composite intervals between neighbouring samples, front to back.

    Args:
        colours: [B, R, S, C].
        densities: [B, R, S] raw.
        depths: [B, R, S] ascending.
    """
    middle = (densities[..., 1:] + densities[..., :-1]) / 2
    alpha = 1 - torch.exp(-F.softplus(middle - DENSITY_SHIFT) * depths.diff(dim=-1))
    through = torch.cumprod(1 - alpha + EPSILON, -1)
    weights = alpha * torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], -1)
    between = (depths[..., 1:] + depths[..., :-1]) / 2
    colour = (weights[..., None] * (colours[..., 1:, :] + colours[..., :-1, :]) / 2).sum(-2)
    depth = (weights * between).sum(-1) / weights.sum(-1)
    depth = depth.nan_to_num(torch.inf).clamp(depths.amin().detach(), depths.amax().detach())
    return Marched(colour, depth, weights)


@torch.no_grad()
def importance_depths(depths: Tensor, weights: Tensor, uniform: Tensor) -> Tensor:
    """Further depths where the weights are (NeRF, section 5.2; smoothed as in mip-NeRF).

    Args:
        depths: [B, R, S] of the coarse samples.
        weights: [B, R, S - 1] of their intervals.
        uniform: [B, R, N] numbers in 0..1, of the inverse cumulative distribution.

    Returns:
        [B, R, N], in the order of ``uniform``.
    """
    smooth = F.max_pool1d(weights, 2, stride=1, padding=1)
    smooth = F.avg_pool1d(smooth, 2, stride=1) + 0.01
    density = smooth[..., 1:-1] + 1e-5
    cumulative = torch.cumsum(density / density.sum(-1, keepdim=True), -1)
    cumulative = torch.cat([torch.zeros_like(cumulative[..., :1]), cumulative], -1).contiguous()  # [B, R, S - 2]
    edges = (depths[..., 1:] + depths[..., :-1]) / 2
    right = torch.searchsorted(cumulative, uniform.contiguous(), right=True)
    below, above = (right - 1).clamp_min(0), right.clamp_max(cumulative.shape[-1] - 1)
    low, high = cumulative.gather(-1, below), cumulative.gather(-1, above)
    step = torch.where(high - low < 1e-5, 1.0, high - low)
    start = edges.gather(-1, below)
    return start + (uniform - low) / step * (edges.gather(-1, above) - start)


def in_order(order: Tensor, value: Tensor) -> Tensor:
    """Samples [B, R, S] or [B, R, S, C] in ``order`` [B, R, S]."""
    if value.ndim == order.ndim + 1:
        order = order[..., None].expand_as(value)
    return value.gather(2, order)

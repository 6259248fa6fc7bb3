"""Lookup in manifold maps and alpha compositing in plain torch: what the compiled implementations must agree with."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

TRANSMITTANCE_EPSILON = 1e-10


class Composite(NamedTuple):
    rgb: Tensor  # [..., 3] in 0..1 over white
    alpha: Tensor  # [...]
    depth: Tensor  # [...] along the ray, canonical units; 0, without gradient, where alpha is 0


class _CumulativeProduct(torch.autograd.Function):
    """Of factors [..., K], none of them 0. The gradient of ``torch.cumprod`` asks whether one is, and a GPU waits."""

    @staticmethod
    def forward(ctx, factors: Tensor) -> Tensor:
        products = torch.cumprod(factors, -1)
        ctx.save_for_backward(factors, products)
        return products

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        factors, products = ctx.saved_tensors
        return (products * gradient).flip(-1).cumsum(-1).flip(-1) / factors


def composite(rgba: Tensor, order: Tensor, depth: Tensor) -> Composite:
    """Front to back: T_i = prod_{k<i} (1 - alpha_k + 1e-10), C = sum T_i alpha_i c_i + (1 - sum T_i alpha_i).

    Args:
        rgba: [..., K, 4] in 0..1; alpha is 0 where there is no crossing.
        order: [..., K] values to sort by, nearest first; layers at the same value keep their order.
        depth: [..., K] distances along the ray that the depth map averages.
    """
    index = order.argsort(dim=-1, stable=True)
    rgba = rgba.gather(-2, index[..., None].expand_as(rgba))
    alpha = rgba[..., 3]
    transmittance = _CumulativeProduct.apply(1 - alpha + TRANSMITTANCE_EPSILON)
    transmittance = F.pad(transmittance[..., :-1], (1, 0), value=1.0)
    weights = transmittance * alpha  # [..., K]
    total = weights.sum(-1)
    rgb = (weights[..., None] * rgba[..., :3]).sum(-2) + (1 - total)[..., None]
    # The divisor is replaced as well as the result: the gradient of an unused 0/0 would still be NaN. However small an
    # alpha, its depth is exact; only below the smallest normal number is there nothing to divide by.
    seen = total >= torch.finfo(total.dtype).tiny
    mean_depth = (weights * depth.gather(-1, index)).sum(-1) / torch.where(seen, total, 1.0)
    return Composite(rgb, total, torch.where(seen, mean_depth, 0.0))


def look_up(maps: Tensor, coordinates: Tensor) -> Tensor:
    """Bilinear fetch, border repeated: maps [B, K, C, h, w], coordinates [B, R, K, 2] in -1..1 -> [B, R, K, C]."""
    batch, count = maps.shape[:2]
    grid = coordinates.transpose(1, 2).flatten(0, 1)[:, :, None]  # [BK, R, 1, 2]
    values = F.grid_sample(maps.flatten(0, 1), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values.squeeze(-1).unflatten(0, (batch, count)).permute(0, 3, 1, 2)


def upsample(images: Tensor, upscale: int) -> Tensor:
    """Bilinear, the corner pixels on one another: [B, H, W, C] -> [B, H * upscale, W * upscale, C]."""
    channels_first = images.permute(0, 3, 1, 2)
    return F.interpolate(channels_first, scale_factor=upscale, mode="bilinear", align_corners=True).permute(0, 2, 3, 1)


def composite_manifolds_ref(maps: Tensor, layers: Tensor, upscale: int, min_validity: float) -> Composite:
    """maps [B, K, h, w, 4], layers [B, H, W, C, K]; see ``composite_manifolds``.

    The C channels are x and y in the maps, depth, validity and, if it is not the depth, what to sort by.
    """
    batch, _, _, channels, count = layers.shape
    if upscale > 1:
        layers = upsample(layers.flatten(3), upscale).unflatten(3, (channels, count))
    height, width = layers.shape[1:3]
    layers = layers.flatten(1, 2)  # [B, R, C, K]
    valid = layers[:, :, 3] > min_validity
    rgba = look_up(maps.to(layers.dtype).permute(0, 1, 4, 2, 3), layers[:, :, :2].transpose(2, 3))
    # Numbers of layers that do not count are not looked at, be they infinite or NaN.
    rgba = torch.where(valid[..., None], rgba, 0.0)
    depth = torch.where(valid, layers[:, :, 2], 0.0)
    result = composite(rgba, layers[:, :, -1] if channels > 4 else depth, depth)
    return Composite(*(part.unflatten(1, (height, width)) for part in result))

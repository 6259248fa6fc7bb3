"""Stage 2: what U adds keeps to what stage 1 has learned, when looked at coarsely (GRAM-HD)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_utils.device import full_precision


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2, the one of antialiased bicubic resampling."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, 0.0))


def _precise(x: Tensor) -> Tensor:
    """At least float32: half precision is no measure of small differences."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def bicubic_matrix(size: int, low_size: int, *, like: Tensor) -> Tensor:
    """[low_size, size] weights that downsample a line whose first and last pixel centres stay where they are."""
    ratio = (size - 1) / (low_size - 1)
    low = torch.arange(low_size, dtype=like.dtype, device=like.device)[:, None] * ratio
    weight = _cubic((torch.arange(size, dtype=like.dtype, device=like.device) - low) / ratio)
    return weight / weight.sum(1, keepdim=True)


def downsample_image(image: Tensor, size: int) -> Tensor:
    """Antialiased bicubic downsampling of square images [B, C, H, H] -> [B, C, size, size].

    The cameras' pixel grids include both ends at every resolution (networks.cameras), which no mode of
    ``F.interpolate`` antialiases: its grids agree at pixel edges, off by up to 3/8 of a low-resolution pixel here.
    """
    with full_precision():
        image = _precise(image)
        matrix = bicubic_matrix(image.shape[-1], size, like=image)
        return matrix @ image @ matrix.T


def downsample_maps(maps: Tensor, size: int) -> Tensor:
    """Antialiased bicubic downsampling of manifold maps [B, K, C, H, H] -> [B, K, C, size, size].

    Maps agree at pixel edges at every resolution (networks.manifold.manifolds.flat_coordinates).
    """
    low = F.interpolate(_precise(maps.flatten(0, 1)), (size, size), mode="bicubic", antialias=True, align_corners=False)
    return low.unflatten(0, maps.shape[:2])


def map_consistency_loss(high: Tensor, low: Tensor) -> Tensor:
    """Mean square difference between U's maps [B, K, 4, H, H], downsampled, and phi's [B, K, 4, h, h] (rgb, alpha)."""
    return F.mse_loss(downsample_maps(high, low.shape[-1]), _precise(low))


def image_consistency_loss(high: Tensor, low: Tensor) -> Tensor:
    """Mean square difference between images [B, 3, H, H], downsampled, and those of phi's maps [B, 3, h, h]."""
    return F.mse_loss(downsample_image(high, low.shape[-1]), _precise(low))

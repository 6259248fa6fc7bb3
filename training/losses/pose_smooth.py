"""Equation 11: D^p smooths the inverse skinning, but stays near the plain average of it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.person.pose_deformation import GRID_STRIDE, KERNEL


def average_pool(volume: Tensor) -> Tensor:
    """Mean filter of D^p's size with its reflecting borders: [B, C, S, H, W] -> the same shape.

    One axis after the other: 23 additions a cell instead of D^p's 405.
    """
    for axis, size in enumerate(KERNEL):
        kernel, padding = [1, 1, 1], [0] * 6
        kernel[axis] = size
        padding[2 * (2 - axis) : 2 * (2 - axis) + 2] = (size // 2, size // 2)  # F.pad starts from the last axis
        volume = F.avg_pool3d(F.pad(volume, padding, mode="reflect"), kernel, stride=1)
    return volume


def pose_smooth_loss(smoothed: Tensor, volume: Tensor) -> Tensor:
    """E[|D^p(T) - AvgPool(T)|^2] over cells (paper eq. 11), the squared norm over the 16 entries of a transform.

    AvgPool(T) is what D^p gives at its initialisation: the mean filter before and after the upsampling.

    Args:
        smoothed: [B, 16, S, H, W] D^p's output.
        volume: [B, 16, S/2, H/2, W/2] inverse transforms T, its input; no gradient flows into it from here.
    """
    with torch.no_grad():
        average = F.interpolate(average_pool(volume), scale_factor=GRID_STRIDE, mode="trilinear", align_corners=False)
        average = average_pool(average)
    return (smoothed - average).square().sum(1).mean()

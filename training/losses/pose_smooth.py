"""Equation 11: D^p smooths the inverse skinning, but stays near the plain average of it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.person.pose_deformation import KERNEL, along_axes, doubled, units
from torch_utils.device import full_precision


@torch.no_grad()
@full_precision()
def averaged(volume: Tensor) -> Tensor:
    """What D^p makes of [B, C, S/2, H/2, W/2] at its start: mean filters before and behind the upsampling.

    All of it is linear and the axes do not know of each other: a small matrix for every axis, [B, C, S, H, W].
    """
    return along_axes(volume, [_averages(*axis, volume) for axis in zip(volume.shape[2:], KERNEL, strict=True)])


def _averages(length: int, size: int, like: Tensor) -> Tensor:
    """The same along one axis, as a matrix [2 length, length]."""

    def smooth(signals: Tensor) -> Tensor:
        return F.avg_pool1d(F.pad(signals, (size // 2, size // 2), mode="reflect"), size, stride=1)

    return smooth(doubled(smooth(units(length, like))))[:, 0].T


def pose_smooth_loss(smoothed: Tensor, volume: Tensor) -> Tensor:
    """E[|D^p(T) - AvgPool(T)|^2] over cells (paper eq. 11), the squared norm over the entries of a transform.

    Args:
        smoothed: [B, C, S, H, W] D^p's output, of all 16 entries or those that are not constant.
        volume: [B, C, S/2, H/2, W/2] inverse transforms T, its input; no gradient flows into it from here.
    """
    return (smoothed - averaged(volume)).square().sum(1).mean()

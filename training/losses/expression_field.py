"""Equations 12 and 13: D^e bends space smoothly, and no more than it must."""

from torch import Tensor


def expression_smooth_loss(displacement: Tensor, displacement_nearby: Tensor) -> Tensor:
    """E[|D^e(x) - D^e(x + delta)|^2] over points (paper eq. 12), canonical units squared.

    D^e stands for its displacement here, not for the moved point: between moved points delta itself would remain, and a
    D^e at rest would be pushed to shrink space.

    Args:
        displacement: [B, P, 3] at points x.
        displacement_nearby: [B, P, 3] at x + delta, delta small and random.
    """
    return (displacement - displacement_nearby).square().sum(-1).mean()


def expression_minimal_loss(displacement: Tensor) -> Tensor:
    """E[|x - D^e(x)|^2] over points (paper eq. 13): displacement [B, P, 3], canonical units squared."""
    return displacement.square().sum(-1).mean()

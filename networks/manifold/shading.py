"""Radiance of crossings by phi itself, not by the flattened maps: what learns phi sees its gradients."""

import torch
from torch import Tensor

from networks.manifold.generator import ManifoldPoints
from networks.manifold.radiance import RadianceGenerator, StyledRadiance


def most_valid(valid: Tensor) -> int:
    """The most valid crossings that anybody has: valid [B, N] bool. Waits for the device."""
    return int(valid.sum(1).max())


def radiance_at(phi: RadianceGenerator, points: ManifoldPoints, styled: StyledRadiance) -> Tensor:
    """Colour and opacity [B, r, K, 4] at crossings; phi is evaluated at the valid ones alone, the others are 0.

    All people at once: who has fewer valid crossings than another is filled up by invalid ones.
    """
    rays = points.valid.shape[1]
    valid = points.valid.flatten(1) > 0  # [B, rK]
    index = valid.byte().argsort(stable=True, dim=1, descending=True)[:, : most_valid(valid)]  # valid ones first
    chosen, spread = valid.gather(1, index)[..., None], index[..., None]
    canonical = points.canonical.flatten(1, 2).gather(1, spread.expand(-1, -1, 3))
    colours = phi.colours(torch.where(chosen, canonical, 0.0), styled).to(points.depth.dtype)
    rgba = colours.new_zeros(*valid.shape, 4).scatter(1, spread.expand(-1, -1, 4), torch.where(chosen, colours, 0.0))
    return rgba.unflatten(1, (rays, -1))

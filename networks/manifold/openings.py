"""Lids and lips that have met, drawn pixel by pixel.

D^e takes faces to one with open eyes and parted lips (``canonical_face: open``). Where lids or lips have met it leads
two rays, one above the other, far apart, and a pixel that is interpolated between them shows what lies between: an
eye, teeth. Such pixels get rays of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.compositing import Composite, Frame
from networks.manifold.generator_config import UPSCALE

# Eyes and mouth of the open canonical face, from the front: x and y, least and most, canonical units.
OPENINGS = ((-0.038, 0.038, 0.003, 0.019), (-0.023, 0.023, -0.068, -0.034))
TORN = 0.6  # canonical units from a ray to the one below it, times rays a side; 0.4 where people are
MOST = 1024  # pixels of an image


def torn_pixels(canonical: Tensor, valid: Tensor, size: int) -> Tensor:
    """Pixels of images, UPSCALE times ``size`` a side, that lie between rays that D^e leads far apart.

    Args:
        canonical: [B, R, K, 3] crossings of the rays of square images of ``size``.
        valid: [B, R, K] 0 or 1.

    Returns:
        flat indices [B, P], different ones. On a GPU there are always as many, for nothing waits for their number.
    """
    places, there = (part.unflatten(1, (size, size)) for part in (canonical[..., :2], valid > 0))
    middle, apart = places[:, 1:].lerp(places[:, :-1], 0.5), places[..., 1].diff(dim=1).abs()  # [B, h - 1, w, K, .]
    x, y = middle.unbind(-1)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for left, right, low, high in OPENINGS:
        inside |= (x > left) & (x < right) & (y > low) & (y < high)
    rows = (apart * (inside & there[:, 1:] & there[:, :-1])).amax(-1)
    cells = rows[..., 1:].maximum(rows[..., :-1])  # [B, h - 1, w - 1]
    at = ray_coordinates(size, canonical.device).long().clamp(max=size - 2)
    stretch = cells[:, at[:, None], at].flatten(1)
    most = min(MOST, stretch.shape[1])
    count = most if stretch.is_cuda else min(most, int((stretch > TORN / size).sum(1).max()))
    return stretch.topk(count, dim=1).indices


def ray_coordinates(size: int, device: torch.device) -> Tensor:
    """Where an image's pixels [UPSCALE * size] lie among its ``size`` rays a side."""
    return torch.linspace(0, size - 1, UPSCALE * size, device=device)


def pixel_places(pixels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Flat indices [B, P] -> rows and columns [B, P] among the rays, fractions included."""
    at = ray_coordinates(size, pixels.device)
    return at[pixels // len(at)], at[pixels % len(at)]


def between_rays(samples: Tensor, pixels: Tensor, size: int) -> Tensor:
    """Samples along rays of square images [B, R, S, 3], interpolated at ``pixels`` [B, P] -> [B, P, S, 3]."""
    images = samples.flatten(2).transpose(1, 2).unflatten(2, (size, size))  # [B, 3 S, h, w]
    row, column = pixel_places(pixels, size)
    grid = torch.stack([column, row], -1)[:, None] * (2 / (size - 1)) - 1
    found = F.grid_sample(images, grid, align_corners=True)[:, :, 0]  # [B, 3 S, P]
    return found.transpose(1, 2).unflatten(2, (-1, 3))


def redrawn(frame: Frame, pixels: Tensor, drawn: Composite) -> Frame:
    """``frame`` with what was ``drawn`` [B, P, .] at its ``pixels`` [B, P]."""

    def put(image: Tensor, values: Tensor) -> Tensor:
        """[B, C, H, W] with values [B, P, C]."""
        index = pixels[:, None].expand(-1, image.shape[1], -1)
        return image.flatten(2).scatter(2, index, values.transpose(1, 2).to(image.dtype)).view_as(image)

    image = put(frame.image, 2 * drawn.rgb - 1)
    alpha, depth = (
        put(old[:, None], new[..., None])[:, 0] for old, new in ((frame.alpha, drawn.alpha), (frame.depth, drawn.depth))
    )
    return Frame(image, frame.image_lr, depth, alpha)

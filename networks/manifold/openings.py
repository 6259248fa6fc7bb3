"""Lids and lips that have met, drawn pixel by pixel.

D^e takes faces to one with open eyes and parted lips (``canonical_face: open``). Where lids or lips have met it leads
two rays, one above the other, far apart, and a pixel that is interpolated between them shows what lies between: an
eye, teeth. Such pixels get rays of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.compositing import Composite, Frame
from networks.manifold.generator_config import UPSCALE
from networks.person.tracking import MILLIMETRES

# Eyes and mouth of the open canonical face, from the front: x and y, least and most, canonical units.
OPENINGS = ((-0.038, 0.038, 0.003, 0.019), (-0.023, 0.023, -0.068, -0.034))
# Canonical units from a ray to the one below it, times rays a side, in each of them; 0.4 where people are.
TORN = (0.55, 0.6)
MOST = 2048  # pixels of an image
SIDE = 3.0 / MILLIMETRES  # from the middle of where D^e leads from lid to lid to where it follows one of them
TEAR = 1.0  # of the way from side to side: lids that D^e takes farther apart than that have met
ASIDE = 0.75  # times SIDE: so much of a lid, at its edge, is passed over, for D^e is not exact there


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
    share = sum(inside(middle, box) / least for box, least in zip(OPENINGS, TORN, strict=True))
    rows = (apart * share * (there[:, 1:] & there[:, :-1])).amax(-1)
    cells = F.max_pool2d(rows, (1, 4), stride=1, padding=(0, 1))  # [B, h - 1, w - 1], beyond the corners of lids
    at = ray_coordinates(size, canonical.device).long().clamp(max=size - 2)
    stretch = cells[:, at[:, None], at].flatten(1)
    most = min(MOST, stretch.shape[1])
    count = most if stretch.is_cuda else min(most, int((stretch > 1 / size).sum(1).max()))
    return stretch.topk(count, dim=1).indices


def with_tears(displace: Callable[[Tensor], Tensor], rays: Tensor) -> Tensor:
    """Displacements of samples along ``rays`` [B, R, S, 3], in neutral pose, that jump where lids have met.

    D^e is smooth: within a millimetre or two it leads from one lid to the other, by way of the eye. Rays that pass
    there follow, all along, the lid that they are nearer to. Lips are left as they are: smiles show teeth between them.

    Args:
        displace: D^e, [B, N, 3] -> [B, N, 3].
    """
    here = displace(rays.flatten(1, 2)).view_as(rays)
    near = inside(rays + here, OPENINGS[0])  # [B, R, S]
    # Of eyes alone, but on a GPU, where nothing waits for how many they are.
    some = torch.arange(rays.shape[1], device=rays.device) if rays.is_cuda else near.any(-1).any(0).nonzero()[:, 0]
    rays, near, up = rays[:, some], near[:, some], rays.new_tensor([0.0, SIDE, 0.0])
    above, below = (displace(part.flatten(1, 2)).view_as(rays) for part in (rays + up, rays - up))
    torn = near & ((above - below)[..., 1] > 2 * TEAR * SIDE)
    upper = ((2 * here[:, some] - above - below)[..., 1] * torn).sum(-1) > 0  # [B, R]
    side = torch.where(upper[..., None, None], above + ASIDE * up, below - ASIDE * up)
    return here.index_copy(1, some, torch.where(torn.any(-1)[..., None, None], side, here[:, some]))


def inside(points: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """Whether canonical points [..., 2 or more] lie in a ``box``, seen from the front."""
    (x, y), (left, right, low, high) = points[..., :2].unbind(-1), box
    return (x > left) & (x < right) & (y > low) & (y < high)


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

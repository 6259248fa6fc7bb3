"""3D Gaussian splatting in plain torch: what the compiled implementations must agree with."""

from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.device import full_precision

# Pixels a side of a tile. A Gaussian counts in all pixels of the tiles that it touches, and in those alone.
TILE = 16
NEAR = 0.2
BLUR = 0.3  # squared pixels, added to every projected covariance's diagonal
MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE = 0.99, 1 / 255, 1e-4
# The projection's slope is taken to be at most so many times that of the picture's half width or height.
STEEPEST = 1.3


class Projected(NamedTuple):
    """Gaussians as a camera sees them; pixels' centres are whole numbers."""

    means2d: Tensor  # [N, 2]
    covariances2d: Tensor  # [N, 3] xx, xy, yy, the blur included
    conics: Tensor  # [N, 3] of the inverse
    depths: Tensor  # [N]
    radii: Tensor  # [N] int32, 0 where it is not drawn
    rectangles: Tensor  # [N, 4] int32 left, top, right, bottom tile, ends exclusive


@full_precision()
def project_ref(means: Tensor, axes: Tensor, world_to_camera: Tensor, intrinsics: Tensor, size: tuple) -> Projected:
    """Steps 1 to 5 of 3DGS's forward pass; see ``splat_axes``."""
    rotation, translation = world_to_camera[:3, :3], world_to_camera[:3, 3]
    focal, principal = intrinsics[:2], intrinsics[2:]
    height, width = size
    pixels, tiles = means.new_tensor([width, height]), means.new_tensor([-(-width // TILE), -(-height // TILE)])
    places = means @ rotation.T + translation
    depths = places[:, 2]
    in_front = depths > NEAR
    depths = torch.where(in_front, depths, 1.0)  # divided by
    slopes = places[:, :2] / depths[:, None]
    means2d = focal * slopes + principal - 0.5

    steepest = STEEPEST * pixels / (2 * focal)
    tangents = slopes.clamp(-steepest, steepest)
    jacobian = means.new_zeros(len(means), 2, 3)
    jacobian[:, 0, 0], jacobian[:, 1, 1] = focal[0] / depths, focal[1] / depths
    jacobian[:, :, 2] = -focal * tangents / depths[:, None]
    spread = jacobian @ rotation @ axes  # [N, 2, 3]
    covariance = spread @ spread.mT + BLUR * torch.eye(2, dtype=means.dtype, device=means.device)
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    determinant = xx * yy - xy * xy
    drawn = in_front & (determinant != 0)
    conics = torch.stack([yy, -xy, xx], -1) / torch.where(drawn, determinant, 1.0)[:, None]

    middle = (xx + yy) / 2
    radii = (3 * (middle + (middle * middle - determinant).clamp(min=0.1).sqrt()).sqrt()).ceil().detach()[:, None]
    corner = means2d.detach()
    low = ((corner - radii) / TILE).trunc().clamp(tiles * 0, tiles)
    high = ((corner + radii + (TILE - 1)) / TILE).trunc().clamp(tiles * 0, tiles)
    drawn = drawn & (high > low).all(-1)
    rectangles = torch.where(drawn[:, None], torch.cat([low, high], -1), 0).int()
    radii = torch.where(drawn, radii[:, 0], 0).int()
    return Projected(means2d, torch.stack([xx, xy, yy], -1), conics, depths, radii, rectangles)


def list_tiles(depths: Tensor, rectangles: Tensor, columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """The Gaussians of every tile, nearest first, equally near ones by index.

    Args:
        depths: [N].
        rectangles: [N, 4] int32 left, top, right, bottom tile, ends exclusive.

    Returns:
        starts [tiles + 1] int64 and entries [M] int32: tile t of row-major order has entries starts[t] to starts[t+1].
    """
    order = torch.sort(depths, stable=True).indices
    left, top, right, bottom = rectangles[order].long().unbind(-1)
    widths, heights = (right - left).clamp(min=0), (bottom - top).clamp(min=0)
    areas = widths * heights
    entry = torch.arange(len(order), device=depths.device).repeat_interleave(areas)
    within = torch.arange(len(entry), device=depths.device) - (areas.cumsum(0) - areas)[entry]
    y = top[entry] + within.div(widths[entry], rounding_mode="floor")
    tiles, place = torch.sort(y * columns + left[entry] + within % widths[entry], stable=True)
    starts = torch.searchsorted(tiles, torch.arange(columns * rows + 1, device=depths.device))
    return starts, order[entry[place]].int()


def splat_ref(
    means: Tensor,
    axes: Tensor,
    opacities: Tensor,
    colours: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [H, W, C] over black, alpha and depth [H, W]; see ``splat_axes``."""
    height, width = size
    columns, rows = -(-width // TILE), -(-height // TILE)
    projected = project_ref(means, axes, world_to_camera, intrinsics, size)
    starts, entries = list_tiles(projected.depths.detach(), projected.rectangles, columns, rows)
    features = torch.cat([colours, torch.ones_like(opacities)[:, None], projected.depths[:, None]], -1)
    within = torch.arange(TILE, dtype=means.dtype, device=means.device)
    pixels = torch.stack(torch.meshgrid(within, within, indexing="xy"), -1).reshape(-1, 1, 2)  # [P, 1, 2] x, y
    tiles = []
    for tile, (start, end) in enumerate(zip(starts.tolist(), starts.tolist()[1:], strict=False)):
        these = entries[start:end].long()  # [K]
        corner = means.new_tensor([tile % columns * TILE, tile // columns * TILE])
        offset = projected.means2d[these] - (pixels + corner)  # [P, K, 2]
        weights = _blend(offset, projected.conics[these], opacities[these])  # [P, K]
        tiles.append(weights @ features[these])
    picture = torch.stack(tiles).reshape(rows, columns, TILE, TILE, -1)
    picture = picture.transpose(1, 2).reshape(rows * TILE, columns * TILE, -1)[:height, :width]
    return picture[..., :-2], picture[..., -2], picture[..., -1]


def _blend(offset: Tensor, conics: Tensor, opacities: Tensor) -> Tensor:
    """Step 7: how much pixels [P, K, 2] away from Gaussians, nearest first, show of each: [P, K]."""
    dx, dy = offset.unbind(-1)
    power = -0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) - conics[:, 1] * dx * dy
    alpha = (opacities * power.clamp(max=0).exp()).clamp(max=MAX_ALPHA)
    alpha = torch.where((power <= 0) & (alpha >= MIN_ALPHA), alpha, 0.0)
    after = (1 - alpha).cumprod(-1)
    alpha = torch.where(after >= MIN_TRANSMITTANCE, alpha, 0.0)  # it never rises again: all that follow are left out
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], -1)
    return alpha * before

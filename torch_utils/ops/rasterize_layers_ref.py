"""Layers of textured triangles in plain torch: what the compiled implementations must agree with."""

from typing import NamedTuple

import torch
from torch import Tensor

SLACK = 1 / 1024  # pixels that triangles reach beyond their edges, so that neighbours leave no gap
NEAREST = 1e-6  # distance from which something is in front of the camera


class Picture(NamedTuple):
    rgb: Tensor  # [3, H, W] in 0..1 over white
    alpha: Tensor  # [H, W]
    depth: Tensor  # [H, W] along the optical axis; 0 where alpha is 0


class _Triangles(NamedTuple):
    """Those of a layer that may be seen, with planes (value at their origin, growth along x and along y)."""

    origin: Tensor  # [N, 2] where planes start: x and y
    shares: Tensor  # [N, 3, 3] of the corners, at least 0 within, and SLACK beyond
    values: Tensor  # [N, 3, 3] of 1 / distance, and u and v over distance
    low: Tensor  # [N, 2] the first pixel's x and y
    pixels: Tensor  # [N, 2] how many from there on


def rasterize_layers_ref(
    positions: Tensor, uv: Tensor, triangles: Tensor, layers: Tensor, atlas: Tensor, size: tuple[int, int], least: float
) -> Picture:
    """See ``rasterize_layers``."""
    height, width = size
    rgb, depth = positions.new_zeros(3, height * width), positions.new_zeros(height * width)
    transmittance = positions.new_ones(height * width)
    ends = layers.tolist()
    for start, end in zip(ends[-2::-1], ends[:0:-1], strict=True):
        placed = _place(positions, uv, triangles[start:end].long(), size)
        pixels, (inverse, u, v) = _nearest(placed, size)
        seen = transmittance[pixels] >= least
        rgba = _look_up(atlas, torch.stack([u, v], -1) / inverse[:, None])
        share = torch.where(seen, transmittance[pixels] * rgba[:, 3], 0.0)
        rgb[:, pixels] += share * rgba[:, :3].T
        depth[pixels] += share / inverse
        transmittance[pixels] -= share
    alpha = 1 - transmittance
    depth = torch.where(alpha > 0, depth / torch.where(alpha > 0, alpha, 1.0), 0.0)
    return Picture((rgb + transmittance).view(3, height, width), *(part.view(size) for part in (alpha, depth)))


def _place(positions: Tensor, uv: Tensor, triangles: Tensor, size: tuple[int, int]) -> _Triangles:
    corners = positions[triangles]  # [N, 3, 3]
    before = corners[..., 2] > NEAREST
    is_cut = ~before.all(-1)  # what is in front of the camera may be anywhere in the picture
    whole = is_cut[:, None]
    last = corners.new_tensor([size[1] - 1, size[0] - 1])
    low = torch.where(whole, 0, corners[..., :2].amin(1) - SLACK).clamp(min=0).ceil()
    high = torch.where(whole, last, (corners[..., :2].amax(1) + SLACK).minimum(last)).floor()
    (shares, area), (shares_cut, area_cut) = _shares_on_screen(corners[..., :2]), _shares_in_space(corners)
    shares = torch.where(is_cut[:, None, None], shares_cut, shares)
    kept = before.any(-1) & (torch.where(is_cut, area_cut, area) > 0) & (high >= low).all(-1)
    corners, triangles, shares, whole = corners[kept], triangles[kept], shares[kept], whole[kept]
    one = torch.where(whole, 1, 1 / corners[..., 2])
    values = torch.cat([one[:, :, None], uv[triangles] * one[:, :, None]], -1)  # [N, corner, value]
    every = torch.where(whole, shares.sum(1), shares.new_tensor([1.0, 0.0, 0.0]))  # the sum of the shares
    steps = values[:, 1:] - values[:, :1]
    planes = values[:, 0, :, None] * every[:, None] + (steps[..., None] * shares[:, 1:, None]).sum(1)
    shares[..., 0] += SLACK * shares[..., 1:].abs().sum(-1)
    origin = torch.where(whole, 0, corners[:, 0, :2])
    return _Triangles(origin, shares, planes, low[kept].long(), (high - low + 1)[kept].long())


def _shares_on_screen(places: Tensor) -> tuple[Tensor, Tensor]:
    """Planes of the corners' shares [N, 3, 3] of corners [N, 3, 2], from the first on, and areas [N], above 0 if they
    are counter-clockwise from the front: rows go down."""
    (bx, by), (cx, cy) = (places[:, i].sub(places[:, 0]).unbind(-1) for i in (1, 2))
    area = by * cx - bx * cy
    second = torch.stack([torch.zeros_like(area), -cy / area, cx / area], -1)
    third = torch.stack([torch.zeros_like(area), by / area, -bx / area], -1)
    return torch.stack([area.new_tensor([1.0, 0.0, 0.0]) - second - third, second, third], 1), area


def _shares_in_space(corners: Tensor) -> tuple[Tensor, Tensor]:
    """The same in space, over the distance, from pixel (0, 0) on: corners need not be in front (Olano, Greer 1997)."""
    places = torch.cat([corners[..., :2] * corners[..., 2:], corners[..., 2:]], -1)
    beside = torch.linalg.cross(places.roll(-2, 1), places.roll(-1, 1))  # of the other two: x, y and what is constant
    area = (places[:, 0] * beside[:, 0]).sum(-1)
    return beside.roll(1, -1) / area[:, None, None], area


def _nearest(placed: _Triangles, size: tuple[int, int]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The pixels [P] that see a triangle, and 1 / distance, u and v over distance of the nearest [P] each."""
    areas = placed.pixels.prod(-1)
    triangle = torch.repeat_interleave(areas)  # [pairs] of a triangle and a pixel that may be in it
    place = torch.arange(len(triangle), device=areas.device) - (areas.cumsum(0) - areas)[triangle]
    across = placed.pixels[triangle, 0]
    x, y = place % across + placed.low[triangle, 0], place // across + placed.low[triangle, 1]

    def at(planes: Tensor) -> Tensor:
        dx, dy = x - placed.origin[triangle, 0], y - placed.origin[triangle, 1]
        start, along_x, along_y = planes[triangle].unbind(-1)
        return start + dy[:, None] * along_y + dx[:, None] * along_x

    values = at(placed.values)  # [pairs, 3]
    inside = (at(placed.shares) >= 0).all(-1) & (values[:, 0] > 0)
    pixel, triangle, values = (y * size[1] + x)[inside], triangle[inside], values[inside]
    nearest = values.new_zeros(size[0] * size[1]).scatter_reduce(0, pixel, values[:, 0], "amax")
    # Of triangles at the same distance the earliest.
    first = torch.full_like(nearest, len(areas), dtype=torch.int64)
    reached = values[:, 0] == nearest[pixel]
    first.scatter_reduce_(0, pixel[reached], triangle[reached], "amin")
    chosen = reached & (triangle == first[pixel])
    return pixel[chosen], values[chosen].unbind(-1)


def _look_up(atlas: Tensor, uv: Tensor) -> Tensor:
    """Bilinear fetch, border repeated: uv [P, 2] -> [P, 4] in 0..1."""
    last = uv.new_tensor([atlas.shape[1] - 1, atlas.shape[0] - 1])
    position = (uv * (last + 1) - 0.5).minimum(last).clamp(min=0)
    low = position.floor()
    (right, down), (x, y) = (position - low).unbind(-1), low.long().unbind(-1)
    x1, y1 = (x + 1).clamp(max=atlas.shape[1] - 1), (y + 1).clamp(max=atlas.shape[0] - 1)
    texels = atlas[torch.stack([y, y, y1, y1]), torch.stack([x, x1, x, x1])].to(uv.dtype)  # [4, P, 4]
    weights = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    return (weights[..., None] * texels).sum(0) / 255

"""The surface of a person of a tri-grid from all sides: where half of the light from outside is gone.

Density is known at every point, so no view is needed: opacity is accumulated along a grid's axes, from all six sides,
and a point lies as deep as from the side that it is best seen from. The grid is regular, in posed space; it is an
orthographic bundle of rays, which is what space about a posed body is deformed along.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes
from torch import Tensor
from torch.nn import functional as F

from inference.mesh_field import LEVEL, SMOOTHING, Mesh, largest_component
from networks.cameras import FRONTAL, Rays
from networks.trigrid.camera_labels import project_label
from networks.trigrid.deformation import UNIT, to_canonical, to_metres
from networks.trigrid.portrait import TriGridPerson, TriGridPortrait
from networks.trigrid.volume import CUT_AWAY, DENSITY_SHIFT, march

POINTS_AT_A_TIME = 1 << 18
# Metres along the way in that colours are composited, and samples of it: what pictures show is no single point's.
OUTSIDE, INSIDE, ALONG = 0.05, 0.1, 12
Colour = Callable[[np.ndarray], np.ndarray]


class Field(NamedTuple):
    """A posed person on the nodes of a cube in posed space; metres from the neck."""

    low: float  # of every axis, the first node
    voxel: float
    opacity: np.ndarray  # [X, Y, Z] accumulated, from the side that sees it best
    canonical: Tensor  # [X, Y, Z, 3] where each node is about the body at rest


class Head(NamedTuple):
    mesh: Mesh  # canonical units, as all meshes
    colour: Colour  # points [N, 3] of its surface, metres as written -> [N, 3] in 0..1


@torch.inference_mode()
def extract_head(
    portrait: TriGridPortrait, person: TriGridPerson, joint_eulers: Tensor, resolution: int,
    expression: Tensor | None = None,
) -> Head:  # fmt: skip
    """The closed surface of head, neck and shoulders, down to where pictures end.

    Args:
        person: one (B = 1).
        joint_eulers: [6, 3] radians.
        resolution: nodes along the box's side; even.
        expression: [64]; None: neutral.

    Raises:
        ValueError: there is no surface.
    """
    field = opacity_field(portrait, person, joint_eulers, resolution + resolution % 2, expression)
    smooth = gaussian_filter(field.opacity, SMOOTHING)
    if not smooth.min() < LEVEL < smooth.max():
        raise ValueError("nothing is opaque")
    vertices, faces, *_ = marching_cubes(smooth, LEVEL, spacing=(field.voxel,) * 3, gradient_direction="ascent")
    kept, faces = np.unique(largest_component(faces), return_inverse=True)
    metres = torch.from_numpy(vertices[kept]).float() + field.low
    canonical = to_canonical(metres).numpy()

    def colour(points: np.ndarray) -> np.ndarray:
        posed = to_metres(torch.from_numpy(points / UNIT).float())
        return colours_at(portrait, person, field, posed).numpy()

    colours = np.round(255 * colour(UNIT * canonical)).astype(np.uint8)
    return Head(Mesh(canonical, faces.reshape(-1, 3).astype(np.int32), colours), colour)


def opacity_field(
    portrait: TriGridPortrait, person: TriGridPerson, joint_eulers: Tensor, count: int, expression: Tensor | None = None
) -> Field:
    """A posed person on ``count``^3 nodes of the box."""
    config, device = portrait.config, person.ws.device
    half = config.box / 2
    axis = torch.linspace(-half, half, count, device=device)
    middle = (config.near + config.far) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    origins = torch.stack([x, y, torch.full_like(x, middle)], -1).view(1, -1, 3)
    directions = origins.new_tensor([0.0, 0.0, -1.0]).expand_as(origins)
    rotations = portrait.space.rotations_of(portrait.body, joint_eulers[None].to(device))
    expression = None if expression is None else expression[None].to(device)
    deform = portrait.deformation(rotations, Rays(origins, directions), expression=expression)
    densities, places = [], []
    for part in axis.split(max(1, POINTS_AT_A_TIME // count**2)):
        points = torch.cat([origins[:, :, None, :2].expand(-1, -1, len(part), -1),
                            part[:, None].expand(1, count * count, -1, -1)], -1)  # fmt: skip
        rest = points if deform is None else deform(points)
        density = portrait.trigrid.radiance(person.planes, rest)[0][0]
        densities.append(torch.where(within_pictures(portrait, points[0]), density, CUT_AWAY).cpu())
        places.append(rest[0].cpu())
    density = torch.cat(densities, 1).view(count, count, count).permute(1, 0, 2)  # [X, Y, Z]
    canonical = torch.cat(places, 1).view(count, count, count, 3).permute(1, 0, 2, 3)
    voxel = config.box / (count - 1)
    return Field(-half, voxel, accumulated(density, voxel).numpy(), canonical)


def within_pictures(portrait: TriGridPortrait, points: Tensor) -> Tensor:
    """Whether points [..., 3] of posed space, metres, lie above the lower edge of a level picture from the front, a
    side or behind: what is below is in no picture, and nobody has taught it to be anything."""
    yaws = points.new_tensor([0.0, 0.5, 1.0, 1.5]) * math.pi + FRONTAL
    labels = portrait.camera_label(torch.stack([torch.full_like(yaws, FRONTAL), yaws], -1))
    height = project_label(points.reshape(1, -1, 3).expand(len(labels), -1, -1), labels)[..., 1]
    return (height < 1).any(0).view(points.shape[:-1])


def accumulated(density: Tensor, voxel: float) -> Tensor:
    """Opacity [X, Y, Z] between nodes of raw density and the outside, from whichever side of six there is least."""
    depth = F.softplus(density - DENSITY_SHIFT) * voxel
    least = torch.full_like(depth, torch.inf)
    for axis in range(3):
        before = depth.cumsum(axis) - depth / 2
        behind = depth.sum(axis, keepdim=True) - before
        least = torch.minimum(least, torch.minimum(before, behind))
    return 1 - torch.exp(-least)


@torch.inference_mode()
def colours_at(portrait: TriGridPortrait, person: TriGridPerson, field: Field, points: Tensor) -> Tensor:
    """Colours [N, 3] in 0..1 at points [N, 3] of the surface, posed space, metres: what rays see that go in there, in
    the picture before super-resolution."""
    device, found = person.ws.device, []
    inwards = torch.from_numpy(np.stack(np.gradient(gaussian_filter(field.opacity, SMOOTHING)), -1)).float()
    grid = torch.cat([field.canonical, inwards], -1).permute(3, 2, 1, 0)[None]  # [1, 6, Z, Y, X]: x along the width
    steps = torch.linspace(-OUTSIDE, INSIDE, ALONG)
    for part in points.split(POINTS_AT_A_TIME // ALONG):
        direction = F.normalize(_looked_up(grid, part, field)[:, 3:], dim=-1)
        along = part[:, None] + steps[:, None] * direction[:, None]  # [n, S, 3]
        rest = _looked_up(grid, along.flatten(0, 1), field)[:, :3].view_as(along).to(device)
        density, features = portrait.trigrid.radiance(person.planes, rest[None])
        seen = march(features, density, steps.to(device).expand(density.shape))
        mean = seen.colour[0] / seen.alpha[0, :, None].clamp_min(1e-6)  # [n, C]
        rgb = portrait.trigrid.torgb(mean.T[None, :, :, None], person.ws[:, -1])[0, :, :, 0].T
        found.append((0.5 + 0.5 * rgb).clamp(0, 1).cpu())
    return torch.cat(found)


def _looked_up(grid: Tensor, points: Tensor, field: Field) -> Tensor:
    """A grid [1, C, Z, Y, X] over the field's nodes, at points [N, 3]: [N, C]."""
    place = (points - field.low) / (field.voxel * (len(field.opacity) - 1)) * 2 - 1
    found = F.grid_sample(grid, place[None, None, None], align_corners=True, padding_mode="border")
    return found[0, :, 0, 0].T

"""Vertices to a pose and to the screen in plain torch: what the compiled implementations must agree with."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDS = 8  # of the fixed point, at most
ENOUGH = 5e-5  # of what is missing before a round: the next would move a point by a fraction. Canonical units


class View(NamedTuple):
    """A pinhole camera."""

    camera: Tensor  # [12] its right, up and backward axes, then its place
    focal: float  # pixels; x right, y down, pixels' centres at whole numbers
    middle: float  # what lies straight ahead, x and y


class RayVolume(NamedTuple):
    """Numbers in the space of a view's rays, interpolated between nodes; beyond the volume those of its border."""

    values: Tensor  # [H, W, S, C]
    per_pixel: float  # nodes, down and across
    per_unit: float  # nodes, along a ray
    near: float  # how far the first of a ray is from the camera

    def at(self, points: Tensor, view: View) -> Tensor:
        """Points [N, 3] -> [N, C]."""
        screen = project(points, view)
        distance = (points - view.camera[9:]).norm(dim=-1)
        place = [self.per_pixel * screen[:, 1], self.per_pixel * screen[:, 0], self.per_unit * (distance - self.near)]
        return _interpolate(self.values, torch.stack(place, -1))


class Posed(NamedTuple):
    points: Tensor  # [V, 3]
    screen: Tensor  # [V, 3] x and y in pixels, and the distance along the optical axis


def pose_vertices_ref(
    rest: Tensor, joints: Tensor, weights: Tensor, transforms: Tensor, view: View, neutral: Tensor | None,
    volume: RayVolume | None, rounds: int, enough: float,
) -> Posed:  # fmt: skip
    """See ``pose_vertices``."""
    blended = (weights[..., None] * transforms.flatten(1)[joints.long()]).sum(1)
    posed = carry(blended, rest)
    if volume is not None and neutral is not None:
        active = torch.ones(len(rest), dtype=torch.bool, device=rest.device)
        for _ in range(rounds):
            entries = volume.at(posed, view)
            missing = torch.where(active[:, None], neutral - carry(entries, posed), 0)
            # Back through the transform's turn, which is nearly a rotation.
            posed = posed + (entries.view(-1, 4, 4)[:, :3, :3] * missing[:, :, None]).sum(1)
            active = active & (missing.norm(dim=-1) >= enough)
    return Posed(posed, project(posed, view))


def project(points: Tensor, view: View) -> Tensor:
    """Points [N, 3] -> [N, 3] x and y in pixels, and the distance along the optical axis."""
    local = (points - view.camera[9:]) @ view.camera[:9].view(3, 3).T
    axial = -local[:, 2]
    scale = view.focal / axial
    return torch.stack([view.middle + scale * local[:, 0], view.middle - scale * local[:, 1], axial], -1)


def carry(entries: Tensor, points: Tensor) -> Tensor:
    """Transforms [N, 16] of points [N, 3]."""
    rows = entries.view(-1, 4, 4)[:, :3]
    return (rows[..., :3] * points[:, None]).sum(-1) + rows[..., 3]


def _interpolate(values: Tensor, place: Tensor) -> Tensor:
    """Trilinear: values [H, W, S, C] at places [N, 3] in nodes -> [N, C]; outside the border's. As a sum of bags, which
    is quicker on a CPU than ``grid_sample`` is along three axes."""
    last = place.new_tensor(values.shape[:3]) - 1
    place = place.clamp(min=0).minimum(last)
    low = place.floor().minimum(last - 1)
    _, width, samples = values.shape[:3]
    steps = (torch.tensor([0, n], device=place.device) for n in (width * samples, samples, 1))
    corners = torch.cartesian_prod(*steps).sum(-1)  # [8]
    y, x, z = low.long().unbind(-1)
    index = ((y * width + x) * samples + z)[:, None] + corners  # [N, 8]
    beyond = place - low
    down, right, further = torch.stack([1 - beyond, beyond], -1).unbind(1)  # [N, 2] each
    weights = ((down[:, :, None] * right[:, None])[..., None] * further[:, None, None]).flatten(1)
    return F.embedding_bag(index, values.flatten(0, 2), per_sample_weights=weights, mode="sum")

"""What rays of drawn people meet, from all sides, in the space of the planes: the body at rest, metres.

A ray is kept, not points of it: where it meets the person, whence it came, what colour is there and how much of it. All
before that place is clear, what follows is opaque for a while, and where a ray meets nobody all of it is clear. So any
point of it has a target, and the ray itself can be rendered.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.cameras import FRONTAL
from networks.person.body_model import HEAD
from networks.trigrid.deformation import to_metres
from training.data.synthetic.drawing import FOV_DEGREES, camera_view
from training.data.synthetic.person import PosedPerson, SyntheticPerson
from training.data.synthetic.sampling import MAX_PITCH
from training.data.synthetic.sights import look
from training.drawn_points import drawn_identity

SIZE = 256  # pixels a side of the pictures that rays are chosen from
STEP = 2.0**-15  # of stored positions, metres, and directions
FACES, ASIDE = 2, 0.9  # pictures of the face, as the head's own camera takes them, up to so many radians aside
RAY = np.dtype([("place", "<i2", 3), ("direction", "<i2", 3), ("colour", "u1", 3), ("alpha", "u1")])


# How points are drawn along a ray, metres from what it meets: so far before and behind it, where opacity rises within
# RISE; then before it, half of them within about NEAR, and behind it as far as it counts as opaque.
EDGE, RISE, NEAR, OPAQUE = 0.01, 0.006, 0.03, 0.02
REACH, ASIDE_REACH = 0.45, 0.35  # points are drawn so far before what is met, and to both sides where nothing is
INNER_WEIGHT, OUTER = 0.5, 0.003  # of points behind a surface; colours count from so far before it on
ABOVE, TOP, WIDE = 0.335, 0.1, 0.27  # nobody is higher; the space from there on, its height, and half its sides
AIR_SHARE = 8  # beside so many rays there is one point up there


class DrawnRays(NamedTuple):
    """Of any leading shape."""

    place: Tensor  # [..., 3] what is met; of a ray that meets nobody, the place nearest to the neck
    direction: Tensor  # [..., 3] unit length, away from the camera
    colour: Tensor  # [..., 3] in 0..1, of what is met
    alpha: Tensor  # [...] in 0..1, how much of it there is


class PointTargets(NamedTuple):
    """Of points, any leading shape."""

    position: Tensor  # [..., 3] metres
    colour: Tensor  # [..., 3] in 0..1
    alpha: Tensor  # [...] in 0..1
    alpha_weight: Tensor  # [...] in 0..1
    colour_weight: Tensor  # [...] in 0..1


def draw_rays(seed: int, views: int, rays: int, index: int) -> np.ndarray:
    """``rays`` of the ``index``-th person at rest, in random order, as :data:`RAY`: of ``views`` pictures from all
    sides and :data:`FACES` of the face."""
    identity, rng = drawn_identity(seed, index), np.random.default_rng([seed, index, 1])
    person = SyntheticPerson(identity.z_id, identity.eps, identity.betas)
    pose = np.zeros((6, 3))
    posed, head = person.posed(np.zeros(64), pose), person.joint_transforms(pose)[HEAD]
    first, found = rng.uniform(0, 2 * math.pi), []
    count = math.ceil(rays / (views + FACES))
    for k in range(views + FACES):
        aside = first + 2 * math.pi * k / views if k < views else rng.uniform(-ASIDE, ASIDE)
        camera = np.array([FRONTAL + rng.uniform(-MAX_PITCH, MAX_PITCH), FRONTAL + aside])
        found.append(pack(seen(posed, camera, "portrait" if k < views else "face", head, count, rng)))
    return rng.permutation(np.concatenate(found))[:rays]


def seen(posed: PosedPerson, camera: np.ndarray, kind: str, head: np.ndarray, count: int, rng) -> DrawnRays:
    """``count`` rays of a camera (pitch, yaw)."""
    frame = head if kind == "face" else None
    sights, view = look(posed, camera, kind, frame, size=SIZE, count=count, rng=rng), camera_view(camera, kind, frame)
    tangent = sights.place * math.tan(math.radians(FOV_DEGREES) / 2)
    local = np.column_stack([tangent, np.full(count, -1.0)])
    direction = local / np.linalg.norm(local, axis=1, keepdims=True) @ view.rotation.T
    origin = to_metres(torch.from_numpy(view.origin)).numpy()
    met = np.isfinite(sights.depth)
    depth = np.where(met, sights.depth, 0.0)
    place = to_metres(torch.from_numpy(view.origin + depth[:, None] * direction)).numpy()
    nearest = origin - (direction @ origin)[:, None] * direction
    tensors = (np.where(met[:, None], place, nearest), direction, sights.colour, np.where(met, sights.alpha, 0.0))
    return DrawnRays(*(torch.from_numpy(value) for value in tensors))


def pack(rays: DrawnRays) -> np.ndarray:
    """Rays [N] as :data:`RAY`."""
    packed = np.zeros(len(rays.alpha), RAY)
    for name in ("place", "direction"):
        packed[name] = (getattr(rays, name) / STEP).round().clamp(-32767, 32767).numpy()
    for name in ("colour", "alpha"):
        packed[name] = (255 * getattr(rays, name)).round().clamp(0, 255).numpy()
    return packed


def unpack(packed: np.ndarray) -> DrawnRays:
    """The inverse of :func:`pack`, of any leading shape."""
    place, direction = (torch.from_numpy(packed[name].astype(np.float32) * STEP) for name in ("place", "direction"))
    colour, alpha = (torch.from_numpy(packed[name].astype(np.float32) / 255) for name in ("colour", "alpha"))
    return DrawnRays(place, direction, colour, alpha)


def points_along(rays: DrawnRays, random: torch.Generator) -> PointTargets:
    """Points of rays [B, N]: three of each, at the edge of what it meets, before and behind it, or anywhere where it
    meets nobody; then some above everybody's head, where no ray says anything -> [B, 3 N + N // AIR_SHARE]."""
    shape, met = rays.alpha.shape, rays.alpha > 0
    edge, choice, near, far, behind, *aside = torch.rand(8, *shape, generator=random)
    edge = EDGE * (2 * edge - 1)
    before = torch.where(choice < 0.5, -NEAR * near.clamp_min(1e-6).log(), REACH * far)
    distance = torch.stack([edge, -EDGE / 2 - before, OPAQUE * behind], 1)  # [B, 3, N]
    distance = torch.where(met[:, None], distance, ASIDE_REACH * (2 * torch.stack(aside, 1) - 1))
    position = rays.place[:, None] + distance[..., None] * rays.direction[:, None]
    solid, one = rays.alpha, torch.ones_like(rays.alpha)
    alpha = torch.stack([(0.5 + edge / RISE).clamp(0, 1) * solid, 0 * one, solid], 1)
    colour_weight = torch.stack([solid * (edge > -OUTER), 0 * one, INNER_WEIGHT * solid], 1)
    along = PointTargets(
        position.flatten(1, 2),
        rays.colour[:, None].expand(-1, 3, -1, -1).flatten(1, 2),
        alpha.flatten(1),
        torch.stack([one, one, INNER_WEIGHT * one], 1).flatten(1),
        colour_weight.flatten(1),
    )
    air = torch.rand(shape[0], shape[1] // AIR_SHARE, 3, generator=random)
    air = air * air.new_tensor([2 * WIDE, TOP, 2 * WIDE]) + air.new_tensor([-WIDE, ABOVE, -WIDE])
    nothing = air.new_zeros(air.shape[:2])
    above = PointTargets(air, torch.zeros_like(air), nothing, torch.ones_like(nothing), nothing)
    return PointTargets(*(torch.cat(pair, 1) for pair in zip(along, above, strict=True)))

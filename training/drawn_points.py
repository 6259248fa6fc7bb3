"""What phi shall be at single points: where rays of drawn people cross the manifolds, and what is known of them there.

A drawn person's ray meets its surface at a known depth. Crossings before it are clear; the surface lies between two of
them, which share it in proportion to their distance; what is close behind it is as opaque, so that the layers are
closed from other sides. Where nobody is, every crossing is clear. So alpha and colour have a target each, from the
first step on, which pictures do not give: behind opaque layers no pixel tells what is there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor
from torch.nn import functional as F

from networks.cameras import FRONTAL
from networks.manifold.generator import Generator, ManifoldPoints
from networks.person.body_model import HEAD
from networks.saved_model import unpack_model
from torch_utils.checkpoint import load_checkpoint
from training.data.synthetic.person import SyntheticPerson
from training.data.synthetic.portrait import seen_from_head
from training.data.synthetic.sampling import (
    Identity,
    sample_expression,
    sample_identity,
    sample_pose_camera,
    sample_strong,
)
from training.data.synthetic.sights import Sights, look
from training.rendering import carry_to_neutral, pose_people, view_camera
from training.sampling import NOISE_DIM, Inputs

SIZE = 256  # pixels a side of the pictures that rays are chosen from
STEP = 0.5 / 32767  # of stored positions, canonical units
AIR_SIZE, CELLS, REACH = 96, 64, 0.3  # points a side of a manifold; cells a side of space, and half of that side
FAR = 1e3  # where crossings go that are none
STRONG_SHARE = 3  # one of so many has a strong expression: closed lids, an open mouth
TURNED_SHARE, TURNED = 4, 0.8  # one of so many is seen from anywhere up to so many radians aside
BEHIND = 0.03  # so far behind a surface everything is as opaque
BEHIND_WEIGHT = 0.15  # of what no camera has seen, beside what one has
POINT = np.dtype([("position", "<i2", 3), ("colour", "u1", 3), ("alpha", "u1"), ("weights", "u1", 2)])


class Targets(NamedTuple):
    """Of crossings, any leading shape."""

    position: Tensor  # [..., 3] canonical
    colour: Tensor  # [..., 3] in 0..1
    alpha: Tensor  # [...] in 0..1
    alpha_weight: Tensor  # [...] in 0..1
    colour_weight: Tensor  # [...] in 0..1


def drawn_identity(seed: int, index: int) -> Identity:
    """The ``index``-th person that phi learns from. eps is independent of z_id, as it is when people are generated."""
    rng = np.random.default_rng([seed, index])
    return sample_identity(rng)._replace(eps=rng.standard_normal(NOISE_DIM).astype(np.float32))


def draw_points(model: str, seed: int, rays: int, points: int, index: int) -> np.ndarray:
    """``points`` of the ``index``-th person, in random order, as :data:`POINT`, from ``rays`` of one camera: the face
    camera of every other person.

    Args:
        model: file of the generator, of whom M, D^e and D^p count.
    """
    generator, identity = _load(model), drawn_identity(seed, index)
    rng = np.random.default_rng([seed, index, 1])
    expression = (sample_expression if index % STRONG_SHARE else sample_strong)(rng)
    pose = sample_pose_camera(rng)
    if index // 2 % TURNED_SHARE == 1:
        pose.camera[1] = FRONTAL + rng.uniform(-TURNED, TURNED)
    person = SyntheticPerson(identity.z_id, identity.eps, identity.betas)
    posed, head = person.posed(expression, pose.joint_eulers), person.joint_transforms(pose.joint_eulers)[HEAD]
    labels = {**identity._asdict(), **pose._asdict(), "z_exp": expression}
    labels["face_camera"] = seen_from_head(pose.camera, head)
    view, camera, frame = ("portrait", pose.camera, None) if index % 2 else ("face", labels["face_camera"], head)
    sights = look(posed, camera, view, frame, size=SIZE, count=rays, rng=rng)
    found = pack(targets_of(cross(generator, inputs_of(labels), view, sights.place), sights, rng))
    return np.random.default_rng([seed, index, 2]).choice(found, points)


@lru_cache(maxsize=1)
def _load(path: str) -> Generator:
    return unpack_model(load_checkpoint(path), path).generator.requires_grad_(False)


def inputs_of(labels: dict[str, np.ndarray]) -> Inputs:
    """The generator's, of one person."""
    rows = {name: torch.as_tensor(np.asarray(value, np.float32))[None] for name, value in labels.items()}
    rows["z_noise"] = rows.pop("eps")
    return Inputs(where=torch.zeros(1, 0), delta=torch.zeros(1, 0, 3), **rows)


@torch.no_grad()
def cross(generator: Generator, inputs: Inputs, view: str, place: np.ndarray) -> ManifoldPoints:
    """Where rays through ``place`` [N, 2] of one person's picture cross the manifolds: [1, N, K, .].

    They are carried to neutral pose between those of a picture of lowres_size^2, as a frame's pixels are.
    """
    size, body = generator.config.lowres_size, pose_people(generator, inputs)
    camera = view_camera(generator, inputs, view, body)
    neutral, _, _ = carry_to_neutral(generator, body, camera, size)
    images = neutral.flatten(2).transpose(1, 2).unflatten(2, (size, size))  # [1, 3 S, h, w]
    grid = torch.as_tensor(place * [1, -1], dtype=images.dtype)[None, None]
    chosen = F.grid_sample(images, grid, align_corners=True)[:, :, 0].transpose(1, 2).unflatten(2, (-1, 3))
    return generator.find_manifold_points(chosen, inputs.z_id, inputs.z_exp, camera.model)


def targets_of(points: ManifoldPoints, sights: Sights, rng: np.random.Generator) -> Targets:
    """Targets [N, 4] of some crossings of N rays: the two that share the surface, one before and one behind; where
    nothing is, any four.

    Args:
        points: of one person, [1, N, K, .].
        sights: what the rays see.
        rng: which others.
    """
    depth, order = torch.where(points.valid[0] > 0, points.depth[0], FAR).sort(-1)
    canonical = points.canonical[0].gather(1, order[..., None].expand(-1, -1, 3))
    surface, colour, cover = (
        torch.as_tensor(part, dtype=depth.dtype) for part in (sights.depth, sights.colour, sights.alpha)
    )
    (count, layers), one = depth.shape, torch.ones_like(cover)
    random = torch.as_tensor(rng.random((7, count)), dtype=depth.dtype)
    after = (depth < surface.clamp_max(FAR / 2)[:, None]).sum(1)  # index of the first crossing behind
    before = after - 1
    anywhere = (random[1] * before.clamp_min(1)).long().clamp_max(before - 1)
    other = torch.where(random[0] < 0.4, before - 1, anywhere)
    index = torch.stack([other, before, after, after + 1 + (random[2] > 0.6).long()], 1)  # [N, 4]
    solid = (cover > 0) & surface.isfinite()
    index = torch.where(solid[:, None], index, (random[3:] * after).T.long())
    inside = index.clamp(0, layers - 1)
    found = depth.gather(1, inside)
    there = (index >= 0) & (index < layers) & (found < FAR)
    share = torch.where(there[:, 2], (surface - found[:, 1]) / (found[:, 2] - found[:, 1]).clamp_min(1e-6), one)
    on_before = torch.where(solid, (1.5 - 2 * share).clamp(0, 1), 0 * one)
    close = (((found - surface[:, None]) < BEHIND) & solid[:, None]).to(depth.dtype)
    # A surface that the layer before it covers is no longer seen on the one behind.
    behind = close[:, 2] * (1 - (1 - BEHIND_WEIGHT) * on_before)
    alpha = torch.stack([0 * one, on_before * cover, solid * cover, cover], 1)
    weight = torch.stack([one, one, behind, BEHIND_WEIGHT * close[:, 3] * cover], 1)
    alpha_weight = there * torch.where(solid[:, None], weight, 1)
    return Targets(
        canonical.gather(1, inside[..., None].expand(-1, -1, 3)),
        colour[:, None].expand(-1, 4, -1),
        alpha,
        alpha_weight,
        alpha_weight * alpha,
    )


def pack(targets: Targets) -> np.ndarray:
    """Those with a weight, as :data:`POINT`."""
    kept = targets.alpha_weight > 0
    packed = np.zeros(int(kept.sum()), POINT)
    packed["position"] = (targets.position[kept] / STEP).round().clamp(-32767, 32767).numpy()
    for name, value in (("colour", targets.colour), ("alpha", targets.alpha)):
        packed[name] = (255 * value[kept]).round().clamp(0, 255).numpy()
    weights = torch.stack([targets.alpha_weight, targets.colour_weight], -1)
    packed["weights"] = (255 * weights[kept]).ceil().clamp(0, 255).numpy()
    return packed


def unpack(points: np.ndarray) -> Targets:
    """The inverse of :func:`pack`, of any leading shape."""
    colour, alpha, weights = (
        torch.from_numpy(points[name].astype(np.float32) / 255) for name in ("colour", "alpha", "weights")
    )
    position = torch.from_numpy(points["position"].astype(np.float32) * STEP)
    return Targets(position, colour, alpha, *weights.unbind(-1))


@torch.no_grad()
def find_air(generator: Generator, points: np.ndarray) -> Tensor:
    """Points [N, 3] on the manifolds where nobody has anything: no ray of the drawn people may have come there.

    Args:
        points: of all people [P, N], :data:`POINT`.
    """
    taken = np.zeros((CELLS,) * 3, bool)
    for row in points:
        somebody = row["position"][row["alpha"] > 0]
        taken[tuple(_cells(somebody * STEP).T)] = True
    taken = maximum_filter(taken, 3)
    canonical, valid = generator.flat_crossings(AIR_SIZE)
    found = canonical[valid > 0].cpu()
    return found[torch.from_numpy(~taken[tuple(_cells(found.numpy()).T)])]


def _cells(position: np.ndarray) -> np.ndarray:
    """Canonical points [N, 3] -> cells [N, 3] of a grid over the reach of the cameras."""
    return ((position / REACH + 1) / 2 * CELLS).astype(int).clip(0, CELLS - 1)


def with_air(targets: Targets, air: Tensor) -> Targets:
    """Targets [B, N] and, behind them, points [B, M, 3] where nothing is."""
    nothing = air.new_zeros(air.shape[:2])
    more = Targets(air, air.new_zeros(air.shape), nothing, torch.ones_like(nothing), nothing)
    return Targets(*(torch.cat(pair, 1) for pair in zip(targets, more, strict=True)))

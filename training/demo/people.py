"""The people the demo is fitted to: what each looks like on the manifolds, and pictures of it."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from networks.generator import UPSCALE, Generator
from networks.manifolds import FLAT_HALF_EXTENT
from networks.priors import LabelPriors, Latents
from torch_utils.misc import UserError
from torch_utils.worker_pool import worker_pool
from training.data.synthetic import (
    SurfaceField,
    SyntheticPerson,
    draw,
    sample_expression,
    sample_identity,
    sample_pose_camera,
)
from training.data.synthetic.sampling import Identity

# Opacity falls from 1 to 0 over this distance around the surface, canonical units (about 4 mm): finer than the
# manifolds' spacing, soft enough to fit.
EDGE = 0.0035
# What is farther from the surface, canonical units, is sampled more thinly.
NEAR = 0.015
# Boxes in canonical x and y, and the share of samples taken there: the eyes, eyes to mouth, the face, everything.
SAMPLE_BOXES = (
    (0.25, (-0.045, 0.045), (-0.004, 0.036)),
    (0.25, (-0.055, 0.055), (-0.080, 0.040)),
    (0.15, (-0.080, 0.080), (-0.115, 0.100)),
    (0.35, (-np.inf, np.inf), (-np.inf, np.inf)),
)
# The shapes of faces and bodies are drawn this much closer to the mean than in the synthetic data set: minutes of
# fitting on a CPU make eyes and lids sharp where they move by half a millimetre, not by three. What else tells people
# apart (hair, skin, brows, beard, clothes) varies as widely as there.
IDENTITY_SPREAD = 0.2


class Shot(NamedTuple):
    """One picture and what was asked for."""

    expression: Tensor  # [64]
    joint_eulers: Tensor  # [6, 3]
    camera: Tensor  # [2]
    image: Tensor  # [3, H, W] uint8


class Sitter(NamedTuple):
    """One synthetic person at a random subset of the manifolds' texels, and pictures of it."""

    latents: Latents  # [.] each
    texel: Tensor  # [P] int32 into the texels, the near ones first
    num_near: int  # of them lie near the surface
    rgb: Tensor  # [P, 3] uint8 colour of the nearest surface
    alpha: Tensor  # [P] uint8 opacity
    shell: Tensor  # [P] bool: near enough to the surface for the colour to show
    shots: tuple[Shot, ...]


def sitter_to_dict(sitter: Sitter) -> dict:
    """Plain data, for a checkpoint."""
    return {**sitter._asdict(), "latents": tuple(sitter.latents), "shots": [tuple(shot) for shot in sitter.shots]}


def sitter_from_dict(data: dict) -> Sitter:
    """The inverse of :func:`sitter_to_dict`."""
    shots = tuple(Shot(*shot) for shot in data["shots"])
    return Sitter(**{**data, "latents": Latents(*data["latents"]), "shots": shots})


class Texels(NamedTuple):
    """The manifolds on a grid as fine as the image; a texel lies where the lookup of the method would read it."""

    canonical: Tensor  # [K * H * W, 3], level by level, row 0 = lowest y
    valid: Tensor  # [K * H * W] bool


def map_texels(generator: Generator) -> Texels:
    """The texels of a generator's manifolds (M must be fitted)."""
    size = UPSCALE * generator.config.lowres_size
    with torch.no_grad():
        canonical, valid = generator.flat_crossings(size, FLAT_HALF_EXTENT * (1 - 1 / size))
    return Texels(canonical.transpose(0, 1).reshape(-1, 3).contiguous(), valid.T.reshape(-1).bool())


def opacity(distance: np.ndarray) -> np.ndarray:
    """Opacity in 0..1 at a signed distance (negative inside)."""
    return np.clip(0.5 - distance / EDGE, 0.0, 1.0)


def _shoot(person: SyntheticPerson, rng: np.random.Generator, size: int) -> Shot:
    expression, pose = sample_expression(rng), sample_pose_camera(rng)
    picture = draw(person.posed_mesh(expression, pose.joint_eulers), camera=tuple(pose.camera), size=size)
    image = np.clip(np.rint((np.asarray(picture.image) + 1) * 127.5), 0, 255).astype(np.uint8)
    labels = (torch.from_numpy(np.asarray(part, np.float32)) for part in (expression, *pose))
    return Shot(*labels, torch.from_numpy(image))


def demo_identity(rng: np.random.Generator) -> Identity:
    """Identity, body shape and appearance of a person of the demo."""
    identity = sample_identity(rng)
    return identity._replace(z_id=IDENTITY_SPREAD * identity.z_id, betas=IDENTITY_SPREAD * identity.betas)


def _candidates(canonical: np.ndarray, usable: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Texels to look at, most of them on the face."""
    x, y = canonical[usable, 0], canonical[usable, 1]
    parts = []
    for share, (x0, x1), (y0, y1) in SAMPLE_BOXES:
        inside = usable[(x > x0) & (x < x1) & (y > y0) & (y < y1)]
        if len(inside) == 0:
            raise UserError("--effort: expected enough that M lies near the body, found no texel on the face")
        parts.append(rng.choice(inside, round(share * count)))
    return np.concatenate(parts)


def make_sitter(
    seed: int, canonical: np.ndarray, usable: np.ndarray, *, num_texels: int, num_shots: int, size: int
) -> Sitter:
    """The person of a seed, looked at in about ``num_texels`` of the texels [T, 3] at the ``usable`` indices, and
    ``num_shots`` pictures of size^2."""
    rng = np.random.default_rng([seed, 1])
    identity = demo_identity(np.random.default_rng(seed))
    person = SyntheticPerson(identity.z_id, identity.eps, identity.betas)
    index = _candidates(canonical, usable, num_texels, rng)
    rgb, distance = SurfaceField(person.canonical_mesh()).query(canonical[index])
    near = np.flatnonzero(np.abs(distance) < NEAR)
    far = np.flatnonzero(np.abs(distance) >= NEAR)
    far = rng.choice(far, min(len(far), len(near)), replace=False)
    kept = np.concatenate([near, far])
    latents = Latents(*(torch.from_numpy(part) for part in (identity.z_id, identity.eps, identity.betas)))
    return Sitter(
        latents=latents,
        texel=torch.from_numpy(index[kept].astype(np.int32)),
        num_near=len(near),
        rgb=torch.from_numpy(np.rint(rgb[kept] * 255).astype(np.uint8)),
        alpha=torch.from_numpy(np.rint(opacity(distance[kept]) * 255).astype(np.uint8)),
        shell=torch.from_numpy(np.abs(distance[kept]) < NEAR),
        shots=tuple(_shoot(person, rng, size) for _ in range(num_shots)),
    )


def make_sitters(
    seeds: range, texels: Texels, *, num_texels: int, num_shots: int, size: int, workers: int, desc: str
) -> list[Sitter]:
    """People in the order of their seeds, made by ``workers`` processes; ``desc`` stands before the progress bar."""
    make = partial(
        make_sitter,
        canonical=texels.canonical.numpy(),
        usable=texels.valid.nonzero().squeeze(1).numpy(),
        num_texels=num_texels,
        num_shots=num_shots,
        size=size,
    )
    with worker_pool(make, workers) as make_all:
        return list(tqdm(make_all(seeds), total=len(seeds), desc=desc))


def synthetic_priors(count: int, seed: int) -> LabelPriors:
    """Rows to sample from at inference, drawn from the same distributions as the sitters."""
    rng = np.random.default_rng(seed)
    identities = [demo_identity(rng) for _ in range(count)]
    poses = [sample_pose_camera(rng) for _ in range(count)]
    rows = {
        "camera_pose": np.stack([np.concatenate([p.camera, p.joint_eulers.ravel()]) for p in poses]),
        "id_shape": np.stack([np.concatenate([i.z_id, i.betas]) for i in identities]),
        "expression": np.stack([sample_expression(rng) for _ in range(count)]),
    }
    return LabelPriors(**{name: torch.from_numpy(array.astype(np.float32)) for name, array in rows.items()})

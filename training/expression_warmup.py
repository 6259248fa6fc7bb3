"""D^e before anything else is trained: it imitates the morphable face (paper eq. 10), alone.

The paper does not say how D^e starts. From zero, hundreds of steps by adversarial training's Adam left it where it was
(docs/training.md), and a step of the whole generator costs about a hundred times as much as one of D^e by itself.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from networks.manifold.generator import Generator
from networks.person.tracking import MILLIMETRES
from training.losses.imitation import ImitationTarget, VertexSet
from training.regression import Regression
from training.sampling import random_generator


class FaceSampler(Protocol):
    def draw(self, count: int, *key: int) -> Any: ...


WARMUP_KEY = 0xDE  # of its draws
PEOPLE, POINTS = 64, 64  # a step: many people with few points each say more than few with many
FAR_SHARE = 8  # one point of so many lies far from the face, where nothing moves
SPREAD = 0.01  # of points around the face's vertices, canonical units (12 mm)
OPENING_SHARE = 5  # one of so many lies beside lids and lips, another one beside what they show of eyes and mouth
NEAR_OPENINGS = 0.3  # times SPREAD: of those
RIM_REACH = 0.002  # lids and lips hide what is behind them and so close to one of their vertices, seen from the front
MAPPING_RATE, SIREN_RATE, OUTPUT_RATE = 3e-3, 3e-4, 6e-4  # Adam's, at their peak


def warm_up_expression(
    generator: Generator, imitation: ImitationTarget, sampler: FaceSampler, *, steps: int, seed: int
) -> float:
    """Fit D^e to dx_ref around the faces that the data's labels describe, in place.

    The squared error is minimised, not eq. 10's distance: a distance has gradients of one length everywhere, and D^e
    starts where most points do not move.

    Args:
        generator: on any device.
        imitation: the morphable face, on the same device.
        sampler: of latents (z_id [B, 80] and z_exp [B, 64] of what it draws).
        steps: of Adam, warmed up and annealed.
        seed: of latents and points.

    Returns:
        root mean square error of the last tenth of the steps, canonical units.
    """
    d_e = generator.expression_deformation
    parts = ((MAPPING_RATE, d_e.mapping), (SIREN_RATE, d_e.layers), (OUTPUT_RATE, d_e.output))
    regression = Regression([(rate, [part.parameters()]) for rate, part in parts], steps)
    device, errors = imitation.mean.device, []
    for step in trange(steps, desc="D^e alone"):
        inputs = sampler.draw(PEOPLE, seed, WARMUP_KEY, step)
        random = random_generator(seed, WARMUP_KEY + 1, step)
        points, expected = face_points(imitation, inputs.z_id.to(device), inputs.z_exp.to(device), random)
        style = d_e.style(inputs.z_id.to(device), inputs.z_exp.to(device))
        loss = (MILLIMETRES * (d_e(points, style) - expected)).square().sum(-1).mean()
        errors.append(regression.step(loss))
    return float(np.mean(errors[-max(1, steps // 10) :])) ** 0.5 / MILLIMETRES


def face_points(
    imitation: ImitationTarget, z_id: Tensor, z_exp: Tensor, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Points [B, P, 3], and dx_ref [B, P, 3] there without a search: they lie beside a vertex of S(z_id, z_exp), which
    is then about the nearest one, or well outside of the face.

    Args:
        z_id: [B, 80].
        z_exp: [B, 64].
        random: on the CPU.
    """
    device, batch = z_id.device, len(z_id)
    far, near = POINTS // FAR_SHARE, POINTS - POINTS // FAR_SHARE

    def some(vertices: VertexSet, count: int) -> tuple[Tensor, Tensor]:
        return vertices.some(torch.randint(len(vertices), (batch, count), generator=random).to(device), z_id, z_exp)

    beside, back = some(imitation, near)
    # Most of them close to the surface, some farther away: rays are bent before they arrive.
    away = SPREAD * torch.rand(batch, near, 1, generator=random).square().to(device)
    if imitation.rims is not None and imitation.between is not None:
        count = POINTS // OPENING_SHARE
        beside[:, :count], back[:, :count] = some(imitation.rims, count)
        inside, way = some(imitation.between, count)
        seen = ~_behind(inside, imitation.rims.posed(z_id, z_exp)[0])[..., None]
        part = slice(count, 2 * count)  # what is hidden leaves its place to the skin
        beside[:, part], back[:, part] = (
            torch.where(seen, inside, beside[:, part]),
            torch.where(seen, way, back[:, part]),
        )
        away[:, : 2 * count] *= NEAR_OPENINGS
    beside = beside + away * torch.randn(batch, near, 3, generator=random).to(device)
    centre = imitation.mean.mean(0)
    radius = (imitation.mean - centre).norm(dim=-1).max() + imitation.reach
    direction = torch.nn.functional.normalize(torch.randn(batch, far, 3, generator=random), dim=-1)
    distance = 1 + 2 * torch.rand(batch, far, 1, generator=random)
    outside = centre + radius * (distance * direction).to(device)
    return torch.cat([beside, outside], 1), torch.cat([back, torch.zeros_like(outside)], 1)


def _behind(points: Tensor, rims: Tensor) -> Tensor:
    """Whether lids or lips [B, R, 3] hide points [B, P, 3] from the front -> [B, P] bool."""
    aside = (points[:, :, None, :2] - rims[:, None, :, :2]).square().sum(-1)
    return ((aside < RIM_REACH**2) & (rims[:, None, :, 2] > points[:, :, None, 2])).any(-1)

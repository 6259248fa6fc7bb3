"""D^e before anything else is trained: it imitates the morphable face (paper eq. 10), alone.

The paper does not say how D^e starts. From zero, hundreds of steps by adversarial training's Adam left it where it was
(docs/training.md), and a step of the whole generator costs about a hundred times as much as one of D^e by itself.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from networks.layers import weight_and_bias
from networks.manifold.generator import ID_DIM
from networks.person.expression_deformation import ExpressionDeformation
from networks.person.tracking import MILLIMETRES
from training.losses.imitation import ImitationTarget, VertexSet
from training.regression import Regression
from training.sampling import random_generator


class FaceSampler(Protocol):
    def draw(self, count: int, *key: int) -> Any: ...


WARMUP_KEY = 0xDE  # of its draws
PEOPLE, POINTS = 64, 96  # a step: many people with few points each say more than few with many
FAR_SHARE = 12  # one point of so many lies far from the face, where nothing moves
SPREAD = 0.01  # of points around the face's vertices, canonical units (12 mm)
OPENING_SHARE = 3  # one of so many lies beside lids and lips, another one beside what they show of eyes and mouth
MOVED_SHARE = 0.6  # so many of a set of vertices are chosen by how much an expression moves them,
ANYWHERE = 0.02  # and this
NEAR_OPENINGS = 0.02  # times SPREAD: of those, across the view from the front
COLUMN = 0.02  # rays are bent at samples so far before and behind what they meet: along the view from the front
WITHIN = 5e-4  # of what is seen between lids or lips, from their edges
CANDIDATES = 4  # times as many are drawn of what may be seen between them, for much of it is hidden
INNER_SHARE = 2  # one of so many of those beside lids and lips lies on the lips' inner side
# Upper and lower edges of eyes and mouth, from one corner to the other: landmarks; and how far inwards of these edges,
# canonical units, lids and lips meet: the edges of lips that have met are 2 mm apart.
OPENINGS = (
    ((36, 37, 38, 39), (36, 41, 40, 39), 0.0),
    ((42, 43, 44, 45), (42, 47, 46, 45), 0.0),
    ((60, 61, 62, 63, 64), (60, 67, 66, 65, 64), 1e-3),
)
RIM_REACH = 0.002  # rims hide rims that are so close to one of their vertices, seen from the front,
RIM_DEPTH = 0.001  # and so far behind it
ON_TOP = 0.5  # times the way a rim's vertex has moved: it counts as so much farther in front, a closing lid above all
MAPPING_RATE, SIREN_RATE, OUTPUT_RATE = 1.2e-3, 2.4e-4, 7e-4  # Adam's, at their peak
# Times the usual, to begin with: sines of points, for lids and lips are thin; the mapping's view of expressions, whose
# numbers are smaller than those of identities.
DETAIL, EXPRESSIVE = 2.0, 2.0
ROUNDED = 0.8  # share of the steps, the first ones, whose products may be bfloat16


def warm_up_expression(
    d_e: ExpressionDeformation, imitation: ImitationTarget, sampler: FaceSampler, *, steps: int, seed: int
) -> float:
    """Fit D^e to dx_ref around the faces that the data's labels describe, in place.

    The squared error is minimised, not eq. 10's distance: a distance has gradients of one length everywhere, and D^e
    starts where most points do not move.

    Args:
        d_e: on any device.
        imitation: the morphable face, on the same device.
        sampler: of latents (z_id [B, 80] and z_exp [B, 64] of what it draws).
        steps: of Adam, warmed up and annealed.
        seed: of latents and points.

    Returns:
        root mean square error of the last tenth of the steps, canonical units.
    """
    scale = latent_scale(imitation)
    with torch.no_grad():
        weight_and_bias(d_e.layers[0])[0].mul_(DETAIL)
    parts = ((MAPPING_RATE, d_e.mapping), (SIREN_RATE, d_e.layers), (OUTPUT_RATE, d_e.output))
    regression = Regression([(rate, [part.parameters()]) for rate, part in parts], steps)
    device, errors = imitation.mean.device, []
    for step in trange(steps, desc="D^e alone"):
        inputs = sampler.draw(PEOPLE, seed, WARMUP_KEY, step)
        random = random_generator(seed, WARMUP_KEY + 1, step)
        z_id, z_exp = inputs.z_id.to(device), inputs.z_exp.to(device)
        points, expected = face_points(imitation, z_id, z_exp, random)
        style = d_e.style(z_id * scale[:ID_DIM], z_exp * scale[ID_DIM:])
        loss = (MILLIMETRES * (d_e(points, style, bf16=step < ROUNDED * steps) - expected)).square().sum(-1).mean()
        errors.append(regression.step(loss))
    with torch.no_grad():
        weight_and_bias(d_e.mapping[0])[0].mul_(scale)
    return float(np.mean(errors[-max(1, steps // 10) :])) ** 0.5 / MILLIMETRES


def latent_scale(imitation: ImitationTarget) -> Tensor:
    """By how much D^e sees z_id and z_exp [144] enlarged while it learns: by the root of how far each number moves the
    face. Most numbers of an identity hardly do, and by them it would know faces by heart."""
    bases = torch.cat([imitation.id_basis, imitation.exp_basis], -1)
    scale = bases.square().sum(1).mean(0).sqrt().sqrt()
    scale[ID_DIM:] *= EXPRESSIVE
    return scale / scale[:ID_DIM].square().mean().sqrt()


def chosen(vertices: VertexSet, count: int, z_exp: Tensor, random: torch.Generator) -> Tensor:
    """Indices [B, count] of vertices, in any order: some anywhere, more where the expression z_exp [B, 64] moves
    something, as a share of what each of its numbers can move: brows count as much as jaws, which go farther."""
    moved, batch = round(MOVED_SHARE * count), len(z_exp)
    weight = z_exp.abs() @ vertices.moves.T + ANYWHERE
    index = torch.randint(len(vertices), (batch, count), generator=random)
    index[:, :moved] = torch.multinomial(weight.cpu(), moved, replacement=True, generator=random)
    return index[:, torch.randperm(count, generator=random)].to(z_exp.device)


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
        return vertices.some(chosen(vertices, count, z_exp, random), z_id, z_exp)

    beside, back = some(imitation.smooth, near)
    # Most of them close to the surface, some farther away: rays are bent before they arrive.
    away = SPREAD * torch.rand(batch, near, 1, generator=random).square().to(device)
    along = COLUMN * (2 * torch.rand(batch, near, generator=random).to(device) - 1)
    if imitation.rims is not None and imitation.patches is not None and imitation.between is not None:
        count, rims = POINTS // OPENING_SHARE, raised(*imitation.rims.posed(z_id, z_exp))
        lids, way = some(imitation.patches, 2 * count)
        order = hidden_by(rims, raised(lids, way)).byte().argsort(dim=1, stable=True)[:, :count, None]
        beside[:, :count], back[:, :count] = (value.gather(1, order.expand(-1, -1, 3)) for value in (lids, way))
        inside, way = some(imitation.between, CANDIDATES * count)
        landmarks, back_there = imitation.landmarks.posed(z_id, z_exp)
        inner = count // INNER_SHARE
        beside[:, :inner], back[:, :inner] = inner_lips(landmarks, back_there, inner, random)
        if imitation.landmarks.aim.any():  # a face that is open
            way = seen_between(inside + way, landmarks + back_there) - inside
        seen = within_openings(inside, landmarks)
        order = seen.byte().argsort(dim=1, descending=True, stable=True)[:, :count, None]
        inside, way = (value.gather(1, order.expand(-1, -1, 3)) for value in (inside, way))
        hidden = ~seen[..., None].gather(1, order)
        part = slice(count, 2 * count)  # what is hidden leaves its place to the rims
        beside[:, part] = torch.where(hidden, beside[:, :count], inside)
        back[:, part] = torch.where(hidden, back[:, :count], way)
        away[:, : 2 * count] *= NEAR_OPENINGS
        # In a mouth, up to the lips and before them.
        deep = (COLUMN - beside[:, part, 2]).clamp_min(COLUMN)
        along[:, part] = torch.where(along[:, part] > 0, along[:, part] * deep / COLUMN, along[:, part])
    beside = beside + away * torch.randn(batch, near, 3, generator=random).to(device)
    beside[..., 2] += along
    centre = imitation.mean.mean(0)
    radius = (imitation.mean - centre).norm(dim=-1).max() + imitation.reach
    direction = torch.nn.functional.normalize(torch.randn(batch, far, 3, generator=random), dim=-1)
    distance = 1 + 2 * torch.rand(batch, far, 1, generator=random)
    outside = centre + radius * (distance * direction).to(device)
    return torch.cat([beside, outside], 1), torch.cat([back, torch.zeros_like(outside)], 1)


def raised(points: Tensor, back: Tensor) -> Tensor:
    """Points [B, P, 3] of lids and lips, what has moved, and goes ``back``, on top: overlapping lids are no average."""
    return points + F.pad(ON_TOP * back.norm(dim=-1, keepdim=True), (2, 0))


def hidden_by(rims: Tensor, points: Tensor) -> Tensor:
    """Whether some of ``rims`` [B, R, 3] hide ``points`` [B, P, 3], both :func:`raised`, from the front -> bool."""
    aside = torch.cdist(points[..., :2], rims[..., :2])
    return ((aside < RIM_REACH) & (rims[:, None, :, 2] > points[:, :, None, 2] + RIM_DEPTH)).any(-1)


def inner_lips(landmarks: Tensor, back: Tensor, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [B, count, 3] inwards of the lips' edges, up to where they meet, of landmarks [B, 68, 3] that go ``back``;
    and the way back from there, that of the edge: D^e shall jump where lips meet, not from edge to edge."""
    (upper, lower, met), batch = OPENINGS[-1], len(landmarks)
    above, along, inwards = torch.rand(3, batch, count, generator=random).to(landmarks.device)
    along = along * (len(upper) - 1)
    first, people = along.long(), torch.arange(batch, device=along.device)[:, None]
    share = (along - first)[..., None]

    def there(values: Tensor, edge: tuple[int, ...]) -> Tensor:
        nodes = values[:, list(edge)]
        return nodes[people, first].lerp(nodes[people, first + 1], share)

    of_upper = above[..., None] < 0.5
    points, way = (torch.where(of_upper, there(part, upper), there(part, lower)) for part in (landmarks, back))
    most = ((there(landmarks, upper) - there(landmarks, lower))[..., 1] / 2).clamp(0, met)
    return points + F.pad(torch.where(of_upper, -1, 1) * (inwards * most)[..., None], (1, 1)), way


def within_openings(points: Tensor, landmarks: Tensor) -> Tensor:
    """Whether points [B, P, 3] lie between the edges of eyes or mouth of landmarks [B, 68, 3], seen from the front."""
    found = torch.zeros_like(points[..., 0], dtype=torch.bool)
    for *edges, met in OPENINGS:
        above, below = (_edge(points[..., 0], landmarks[:, list(edge)]) for edge in edges)
        found |= (points[..., 1] < above - met) & (points[..., 1] > below + met)
    return found


def seen_between(places: Tensor, landmarks: Tensor) -> Tensor:
    """Places [B, P, 3] of what is seen of eyes and mouth in the canonical face of landmarks [B, 68, 3], moved between
    its lids or lips where these would hide it: wide eyes and mouths show more than that face does."""
    y = places[..., 1]
    for *edges, met in OPENINGS:
        above, below = (_edge(places[..., 0], landmarks[:, list(edge)]) for edge in edges)
        near = (y - (above + below) / 2).abs() < above - below  # nan beside the opening
        y = torch.where(near, y.minimum(above - met - WITHIN).maximum(below + met + WITHIN), y)
    return torch.stack([places[..., 0], y, places[..., 2]], -1)


def _edge(x: Tensor, edge: Tensor) -> Tensor:
    """y at x [B, P] of an edge through points [B, N, 3], from one side to the other; nan beside it."""
    start, end = edge[:, None, :-1], edge[:, None, 1:]
    share = (x[..., None] - start[..., 0]) / (end[..., 0] - start[..., 0])
    y = torch.where((share >= 0) & (share <= 1), start[..., 1] + share * (end - start)[..., 1], torch.nan)
    return y.nan_to_num(-torch.inf).amax(-1).nan_to_num(neginf=torch.nan)

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
from training.opened_mouth import LIPS_MEET, LOWER_LIP, UPPER_LIP, between_lips
from training.regression import Regression
from training.sampling import random_generator


class FaceSampler(Protocol):
    def draw(self, count: int, *key: int) -> Any: ...


WARMUP_KEY = 0xDE  # of its draws
PEOPLE, POINTS = 64, 96  # a step: many people with few points each say more than few with many
FAR_SHARE = 12  # one point of so many lies far from the face, where nothing moves
STILL = 24  # more points a person, which expressions leave where identities have taken them, hair and neck:
STILL_WEIGHT = 3.0  # of what D^e moves there, beside its errors
STILL_REACH, BELOW = 0.11, 0.08  # canonical units outwards of heads and necks; downwards of necks
AXIS, NECK = (0.026, -0.075), 0.06  # y and z of a skull's middle, outwards is away from it; so far below, horizontally
SPREAD = 0.01  # of points around the face's vertices, canonical units (12 mm)
OPENING_SHARE = 3  # one of so many lies beside lids and lips, another one beside what they show of eyes and mouth
MOVED_SHARE = 0.6  # so many of a set of vertices are chosen by how much an expression moves them,
ANYWHERE = 0.02  # and this
NEAR_OPENINGS = 0.02  # times SPREAD: of those, across the view from the front
COLUMN = 0.02  # rays are bent at samples so far before and behind what they meet: along the view from the front
WITHIN = 5e-4  # of what is seen between lids or lips, from their edges
CANDIDATES = 4  # times as many are drawn of eyes, for much of them is hidden
INNER_SHARE = 2  # one of so many of those beside lids and lips lies on the lips' inner side
EYES = (((36, 37, 38, 39), (36, 41, 40, 39)), ((42, 43, 44, 45), (42, 47, 46, 45)))  # upper and lower lids: landmarks
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
        z_id = z_id[: PEOPLE // 2].repeat(2, 1)  # everybody twice, with two expressions
        points, expected = face_points(imitation, z_id, z_exp, random)
        style = d_e.style(z_id * scale[:ID_DIM], z_exp * scale[ID_DIM:])
        still = still_points(imitation, z_id[: PEOPLE // 2], random).repeat(2, 1, 1)
        found = d_e(torch.cat([points, still], 1), style, bf16=step < ROUNDED * steps) * MILLIMETRES
        loss = (found[:, :POINTS] - MILLIMETRES * expected).square().sum(-1).mean()
        errors.append(loss.item())
        one, other = found[:, POINTS:].split(PEOPLE // 2)
        regression.step(loss + STILL_WEIGHT * (one - other).square().sum(-1).mean())
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


def some(
    vertices: VertexSet, count: int, z_id: Tensor, z_exp: Tensor, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``count`` of :func:`chosen` vertices: where they are [B, count, 3], and their way back."""
    return vertices.some(chosen(vertices, count, z_exp, random), z_id, z_exp)


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

    beside, back = some(imitation.smooth, near, z_id, z_exp, random)
    # Most of them close to the surface, some farther away: rays are bent before they arrive.
    away = SPREAD * torch.rand(batch, near, 1, generator=random).square().to(device)
    along = COLUMN * (2 * torch.rand(batch, near, generator=random).to(device) - 1)
    if imitation.rims is not None and imitation.patches is not None:
        count = POINTS // OPENING_SHARE
        landmarks = imitation.landmarks.posed(z_id, z_exp)
        lips, seen = slice(count), slice(count, 2 * count)
        beside[:, lips], back[:, lips] = beside_openings(imitation, z_id, z_exp, landmarks, count, random)
        shown, way, visible = within_openings(imitation, z_id, z_exp, landmarks, count, random)
        # What is hidden leaves its place to the rims.
        beside[:, seen] = torch.where(visible[..., None], shown, beside[:, lips])
        back[:, seen] = torch.where(visible[..., None], way, back[:, lips])
        away[:, : 2 * count] *= NEAR_OPENINGS
        # Points in mouths have their depth already.
        along[:, seen] *= (~visible | (torch.arange(count, device=device) < count // 2)).to(along.dtype)
    beside = beside + away * torch.randn(batch, near, 3, generator=random).to(device)
    beside[..., 2] += along
    centre = imitation.mean.mean(0)
    radius = (imitation.mean - centre).norm(dim=-1).max() + imitation.reach
    direction = torch.nn.functional.normalize(torch.randn(batch, far, 3, generator=random), dim=-1)
    distance = 1 + 2 * torch.rand(batch, far, 1, generator=random)
    outside = centre + radius * (distance * direction).to(device)
    return torch.cat([beside, outside], 1), torch.cat([back, torch.zeros_like(outside)], 1)


def still_points(imitation: ImitationTarget, z_id: Tensor, random: torch.Generator) -> Tensor:
    """Points [B, STILL, 3] about heads and necks that no expression moves, as far outwards as hair reaches."""
    standing = imitation.standing
    if standing is None:  # no vertex of this face stands still, or none is known to
        return z_id.new_zeros(len(z_id), STILL, 3)
    index = torch.randint(len(standing), (len(z_id), STILL), generator=random).to(z_id.device)
    points, _ = standing.some(index, z_id, z_id.new_zeros(len(z_id), standing.exp_basis.shape[-1]))
    neck = standing.mean[index][..., 1:2] < AXIS[0] - NECK
    outwards = (points - points.new_tensor([0.0, *AXIS])) * torch.where(F.pad(neck, (1, 1)), 0, 1)
    far, down = torch.rand(2, len(z_id), STILL, 1, generator=random).to(z_id.device)
    return points + STILL_REACH * far * F.normalize(outwards, dim=-1) - F.pad(neck * BELOW * down, (1, 1))


def beside_openings(
    imitation: ImitationTarget,
    z_id: Tensor,
    z_exp: Tensor,
    landmarks: tuple[Tensor, Tensor],
    count: int,
    random: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Points [B, count, 3] on lids and lips where others do not hide them, and their way back."""
    assert imitation.rims is not None and imitation.patches is not None
    rims = raised(*imitation.rims.posed(z_id, z_exp))
    lids, way = some(imitation.patches, 2 * count, z_id, z_exp, random)
    order = hidden_by(rims, raised(lids, way)).byte().argsort(dim=1, stable=True)[:, :count, None]
    lids, way = (value.gather(1, order.expand(-1, -1, 3)) for value in (lids, way))
    inner = count // INNER_SHARE
    lids[:, :inner], way[:, :inner] = inner_lips(*landmarks, inner, random)
    return lids, way


def within_openings(
    imitation: ImitationTarget,
    z_id: Tensor,
    z_exp: Tensor,
    landmarks: tuple[Tensor, Tensor],
    count: int,
    random: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Points [B, count, 3] of what open eyes and mouths show, half of them either's; their way back; and whether they
    are seen [B, count]."""
    assert imitation.eyes is not None and imitation.bites is not None
    posed, back = landmarks
    of_eyes = count // 2
    eyes, way = some(imitation.eyes, CANDIDATES * of_eyes, z_id, z_exp, random)
    if imitation.landmarks.aim.any():  # a face that is open
        way = seen_between(eyes + way, posed + back) - eyes
    seen = between_lids(eyes, posed)
    order = seen.byte().argsort(dim=1, descending=True, stable=True)[:, :of_eyes]
    eyes, way = (value.gather(1, order[..., None].expand(-1, -1, 3)) for value in (eyes, way))
    bites = imitation.bites.posed(z_id, z_exp)
    mouth, mouth_way, is_open = between_lips(posed, back, *bites, count - of_eyes, random)
    visible = torch.cat([seen.gather(1, order), is_open], 1)
    return torch.cat([eyes, mouth], 1), torch.cat([way, mouth_way], 1), visible


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
    upper, lower, batch = UPPER_LIP, LOWER_LIP, len(landmarks)
    above, along, inwards = torch.rand(3, batch, count, generator=random).to(landmarks.device)
    along = along * (len(upper) - 1)
    first, people = along.long(), torch.arange(batch, device=along.device)[:, None]
    share = (along - first)[..., None]

    def there(values: Tensor, edge: tuple[int, ...]) -> Tensor:
        nodes = values[:, list(edge)]
        return nodes[people, first].lerp(nodes[people, first + 1], share)

    of_upper = above[..., None] < 0.5
    points, way = (torch.where(of_upper, there(part, upper), there(part, lower)) for part in (landmarks, back))
    most = ((there(landmarks, upper) - there(landmarks, lower))[..., 1] / 2).clamp(0, LIPS_MEET)
    return points + F.pad(torch.where(of_upper, -1, 1) * (inwards * most)[..., None], (1, 1)), way


def between_lids(points: Tensor, landmarks: Tensor) -> Tensor:
    """Whether points [B, P, 3] lie between the lids of landmarks [B, 68, 3], seen from the front."""
    found = torch.zeros_like(points[..., 0], dtype=torch.bool)
    for edges in EYES:
        above, below = (_edge(points[..., 0], landmarks[:, list(edge)]) for edge in edges)
        found |= (points[..., 1] < above) & (points[..., 1] > below)
    return found


def seen_between(places: Tensor, landmarks: Tensor) -> Tensor:
    """Places [B, P, 3] of what is seen of eyes in the canonical face of landmarks [B, 68, 3], moved between its lids
    where these would hide it: wide eyes show more than that face does."""
    y = places[..., 1]
    for edges in EYES:
        above, below = (_edge(places[..., 0], landmarks[:, list(edge)]) for edge in edges)
        near = (y - (above + below) / 2).abs() < above - below  # nan beside the opening
        y = torch.where(near, y.minimum(above - WITHIN).maximum(below + WITHIN), y)
    return torch.stack([places[..., 0], y, places[..., 2]], -1)


def _edge(x: Tensor, edge: Tensor) -> Tensor:
    """y at x [B, P] of an edge through points [B, N, 3], from one side to the other; nan beside it."""
    start, end = edge[:, None, :-1], edge[:, None, 1:]
    share = (x[..., None] - start[..., 0]) / (end[..., 0] - start[..., 0])
    y = torch.where((share >= 0) & (share <= 1), start[..., 1] + share * (end - start)[..., 1], torch.nan)
    return y.nan_to_num(-torch.inf).amax(-1).nan_to_num(neginf=torch.nan)

"""Where what an opened mouth shows lies in the canonical face.

A mouth that opens shows its teeth, which keep their size, and between them more and more of what is dark. Vertices do
not tell: the back of a mouth lies behind canonical teeth, so that a smooth D^e led wide mouths to teeth all over. Here
the canonical opening has a part for each, upper teeth, the dark and lower teeth, from lip to lip; and what lies deep in
a mouth, the deeper the wider it is open, comes forward to its teeth, so that one layer shows it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.data.synthetic.figure import OVERBITE

CORNERS = (60, 64)  # landmarks: the lips' inner edges from one corner to the other
UPPER_LIP, LOWER_LIP = (60, 61, 62, 63, 64), (60, 67, 66, 65, 64)
LIPS_MEET = 1e-3  # canonical units inwards of these edges: those of lips that have met are 2 mm apart
UPPER_TEETH, LOWER_TEETH = 0.40, 0.26  # shares of the canonical opening; the rest is dark
BEFORE, BEHIND = 0.035, 0.045  # canonical units from the teeth: rays are bent so far before them; tongues lie behind
FLATTENED = 0.15  # of the depth behind the teeth, in the canonical face
THINNEST = 5e-4  # canonical units: an opening that is less wide shows nothing, and parts count as so wide


class Opening(NamedTuple):
    """A mouth at some shares of the way from corner to corner."""

    x: Tensor  # [B, P]
    above: Tensor  # [B, P] y of the upper lip
    below: Tensor  # [B, P] y of the lower lip


class Bites(NamedTuple):
    """Edges of teeth, means of a few vertices."""

    upper: Tensor  # [B, 1, 3]
    lower: Tensor  # [B, 1, 3]


def between_lips(
    landmarks: Tensor, back: Tensor, bites: Tensor, bites_back: Tensor, count: int, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Points between the lips, from well before them to deep in the mouth, and where they go.

    Args:
        landmarks: [B, 68, 3] of expressive faces.
        back: [B, 68, 3] their way to the canonical face.
        bites: [B, 2 N, 3] vertices of the upper teeth's edge, then of the lower teeth's; ``bites_back``, their way.
        count: of points.
        random: on the CPU.

    Returns:
        points [B, count, 3], their way [B, count, 3], and whether the mouth is open there [B, count].
    """
    share, height, depth = torch.rand(3, len(landmarks), count, generator=random).to(landmarks.device)
    canonical = landmarks + back
    here, there = opening(landmarks, share), opening(canonical, share)
    teeth, teeth_back = edges(bites), edges(bites_back)
    y = here.below + height * (here.above - here.below)
    up = share_of_opening(y, here, teeth.upper[..., 1] + float(OVERBITE[1]), teeth.lower[..., 1])
    y_back, z_back = (teeth_back.lower[..., axis].lerp(teeth_back.upper[..., axis], up) for axis in (1, 2))
    deep = (BEFORE + BEHIND) * depth - BEFORE
    z = teeth.lower[..., 2].lerp(teeth.upper[..., 2], up) - deep
    z_back = z_back + (1 - FLATTENED) * deep.clamp_min(0)
    y_there = there.below + up * (there.above - there.below)
    middle = canonical[:, UPPER_LIP[2], 1] - canonical[:, LOWER_LIP[2], 1]
    is_open = (middle > 2 * LIPS_MEET + THINNEST)[:, None]  # else all follow the teeth, behind the lips
    way = torch.stack([there.x - here.x, torch.where(is_open, y_there - y, y_back), z_back], -1)
    return torch.stack([here.x, y, z], -1), way, here.above - here.below > THINNEST


def share_of_opening(y: Tensor, lips: Opening, upper: Tensor, lower: Tensor) -> Tensor:
    """Heights y [B, P] between lips as a share of the canonical opening, 0 at the lower lip.

    Args:
        upper, lower: [B, 1] y of the edges of teeth; upper ones hide lower ones.
    """

    def along(start: Tensor, end: Tensor) -> Tensor:
        return ((y - start) / (end - start).clamp_min(THINNEST)).clamp(0, 1)

    of_upper = 1 - UPPER_TEETH * (1 - along(upper, lips.above))
    of_lower = LOWER_TEETH * along(lips.below, lower)
    of_dark = LOWER_TEETH + (1 - UPPER_TEETH - LOWER_TEETH) * along(lower, upper)
    return torch.where(y > upper, of_upper, torch.where(y < lower, of_lower, of_dark))


def opening(landmarks: Tensor, share: Tensor) -> Opening:
    """The mouth of landmarks [B, 68, 3] at shares [B, P] of the way from corner to corner."""
    first, last = (landmarks[:, index, :1] for index in CORNERS)
    x = first.lerp(last, share)
    above, below = (height_of(x, landmarks[:, list(edge)]) for edge in (UPPER_LIP, LOWER_LIP))
    return Opening(x, above - LIPS_MEET, below + LIPS_MEET)


def height_of(x: Tensor, edge: Tensor) -> Tensor:
    """y at x [B, P] of an edge through points [B, N, 3], from one side to the other; that of its ends beside it."""
    node = torch.searchsorted(edge[..., 0].contiguous(), x.contiguous()).clamp(1, edge.shape[1] - 1)
    x0, y0, x1, y1 = (edge[..., axis].gather(1, node + step) for step in (-1, 0) for axis in (0, 1))
    return y0 + ((x - x0) / (x1 - x0).clamp_min(1e-9)).clamp(0, 1) * (y1 - y0)


def edges(bites: Tensor) -> Bites:
    """[B, 2 N, 3] -> the mean of either row."""
    return Bites(*(row.mean(1, keepdim=True) for row in bites.chunk(2, 1)))

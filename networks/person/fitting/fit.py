"""The open body and face fitted to points in pictures: bounded Gauss-Newton steps on robust least squares.

Points are linear in identity, body shape and expression once head and camera are where they are, so a step solves for
all of them at once: what belongs to a frame is eliminated from what all frames share (a Schur complement, as in bundle
adjustment), and actions stay in 0..1 (solve.py). Distances are weighed by Huber's function, so that a point that is
hidden or wrong pulls no harder than one at its edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from networks.cameras import PORTRAIT_CAMERA
from networks.person.fitting.frames import CAMERA, NUM_FRAME, SCALE, SHIFT, TURNS, linearise
from networks.person.fitting.points import BodyPoints
from networks.person.fitting.priors import priors
from networks.person.fitting.solve import bounded_step, solve_free
from networks.person.open_body.storage import NUM_ACTIONS
from networks.person.tracking import MILLIMETRES

HUBER = 2.5  # standard deviations from which on a distance counts by its length
# A detector errs on a face in the same way from frame to frame: all of them tell as much as so many that err by chance.
_VIEWS = 4.0
CHUNK = 64  # frames at once
SETTLED = 3e-3  # radians and shares: a step that changes less is the last one
_SETTLED_SHAPE = 0.05  # standard deviations, likewise
# How long a canonical unit at the orbit's centre appears in the portrait frame, -1..1; and a millimetre.
UNIT_IN_FRAME = 1 / math.tan(math.radians(PORTRAIT_CAMERA.fov_degrees) / 2) / PORTRAIT_CAMERA.radius
MM_IN_FRAME = UNIT_IN_FRAME / MILLIMETRES
_MOST_TURN, _MOST_GROWTH = 0.35, 0.3  # of a step: radians; log


class Observed(NamedTuple):
    """What was seen of N points in F frames, and how sure that is."""

    pixels: Tensor  # [F, N, 2] float64, x right, y down; anything where it was not seen
    certainty: Tensor  # [F, N] 1 / mm^2, one over the variance of each coordinate; 0 where it was not seen
    pairs: Tensor  # [M, 2] int64 points whose distance from each other is known better than where they are
    pair_certainty: Tensor  # [F, M] 1 / mm^2

    def rows(self, chosen) -> Observed:
        """Of the frames ``chosen``."""
        return self._replace(
            pixels=self.pixels[chosen], certainty=self.certainty[chosen], pair_certainty=self.pair_certainty[chosen]
        )


class Anchor(NamedTuple):
    """Where numbers of frames should stay."""

    place: Tensor  # [F, Q]
    precision: Tensor  # [Q] one over the variance about it; 0: free

    def rows(self, chosen) -> Anchor:
        """Of the frames ``chosen``."""
        return self._replace(place=self.place[chosen])


class Told(NamedTuple):
    """What is told of numbers x [F, C]: x' matrix x / 2 - x' slope."""

    matrix: Tensor  # [F, C, C]
    slope: Tensor  # [F, C]

    @classmethod
    def join(cls, parts: Sequence[Told]) -> Told:
        """Of all the frames of ``parts``."""
        return cls(*(torch.cat(values) for values in zip(*parts, strict=True)))


class Fit(NamedTuple):
    """A person in F frames; float64."""

    shape: Tensor  # [90] z_id, betas
    frames: Tensor  # [F, Q] see frames.py
    actions: Tensor  # [F, 52] 0..1
    of_frames: Told  # by pictures alone, whatever the actions
    of_actions: Told  # by pictures and priors, given the frames
    error: Tensor  # [F] root mean square distance of what was seen, by its certainty, mm


class _System(NamedTuple):
    """Normal equations of a step."""

    matrix: Tensor  # [F, C, C]
    gradient: Tensor  # [F, C]
    cross: Tensor | None  # [F, C, 90]
    shape_matrix: Tensor | None  # [90, 90]
    shape_gradient: Tensor | None  # [90]
    error: Tensor  # [F]


def neutral(count: int) -> tuple[Tensor, Tensor]:
    """Frames [F, Q] and actions [F, 52] to start from: everything at rest, nowhere in the picture yet."""
    return torch.zeros(count, NUM_FRAME, dtype=torch.float64), torch.zeros(count, NUM_ACTIONS, dtype=torch.float64)


@torch.no_grad()
def fit_person(
    points: BodyPoints, seen: Observed, frames: Tensor, actions: Tensor, *, pairs: bool = True, steps: int = 12
) -> Fit:
    """Who it is, from some frames (F <= CHUNK, say), with what each of them shows.

    Args:
        points: N of them.
        seen: in these frames.
        frames: [F, Q] to start from, similarity included (start.py).
        actions: [F, 52] to start from.
        pairs: whether pairs of landmarks count. With them the shape is that by which actions are best told; it is too
            small, for people's calm lips and lids differ more than detectors say.
        steps: at most.
    """
    shape, known = priors().shape_mean.clone(), priors()
    prior = known.shape * max(1.0, len(frames) / _VIEWS)
    told = seen if pairs else seen._replace(pair_certainty=torch.zeros_like(seen.pair_certainty))
    for _ in range(steps):
        system = _system(points, told, shape, frames, actions, shapes=True)
        least, most = _bounds(actions)
        _, free = bounded_step(system.matrix, system.gradient, least, most)
        assert system.cross is not None and system.shape_matrix is not None and system.shape_gradient is not None
        right = torch.cat([system.cross, system.gradient[..., None]], -1)
        gone = solve_free(system.matrix, right, free)  # [F, C, 91]
        reduced = system.shape_matrix + prior - torch.einsum("fck,fcl->kl", system.cross, gone[..., :-1])
        slope = system.shape_gradient + prior @ (shape - known.shape_mean)
        slope = slope - torch.einsum("fck,fc->k", system.cross, gone[..., -1])
        change = -torch.linalg.solve(reduced, slope)
        gradient = system.gradient + system.cross @ change
        step, _ = bounded_step(system.matrix, gradient, least, most)
        shape = shape + change
        frames, actions = _moved(frames, actions, step)
        if change.abs().max() < _SETTLED_SHAPE:
            break
    return fit_frames(points, seen, shape, frames, actions)


@torch.no_grad()
def fit_frames(
    points: BodyPoints,
    seen: Observed,
    shape: Tensor,
    frames: Tensor,
    actions: Tensor,
    *,
    anchor: Anchor | None = None,
    act: bool = True,
    steps: int = 8,
) -> Fit:
    """What every frame shows of a person of known shape [90]; arguments as of :func:`fit_person`.

    ``anchor``: what is known of the frames from elsewhere. Without ``act`` actions are as they are.
    """
    anchor = Anchor(torch.zeros_like(frames), frames.new_zeros(NUM_FRAME)) if anchor is None else anchor
    found = []
    for start in range(0, len(frames), CHUNK):
        rows = slice(start, start + CHUNK)
        part = seen.rows(rows), shape, frames[rows], actions[rows], anchor.rows(rows)
        found.append(_fit_chunk(points, *part, act, steps))
    of_frames, of_actions = (Told.join(parts) for parts in zip(*(part[2:4] for part in found), strict=True))
    frames, actions, error = (torch.cat([part[i] for part in found]) for i in (0, 1, 4))
    return Fit(shape, frames, actions, of_frames, of_actions, error)


def _fit_chunk(
    points: BodyPoints,
    seen: Observed,
    shape: Tensor,
    frames: Tensor,
    actions: Tensor,
    anchor: Anchor,
    act: bool,
    steps: int,
):
    pull = torch.nn.functional.pad(anchor.precision, (0, NUM_ACTIONS))
    for _ in range(steps):
        system = _system(points, seen, shape, frames, actions)
        system.matrix.diagonal(dim1=-2, dim2=-1).add_(pull)
        system.gradient[:, :NUM_FRAME] += anchor.precision * (frames - anchor.place)
        at = frames, actions
        step, free = bounded_step(system.matrix, system.gradient, *_bounds(actions, act))
        frames, actions = _moved(frames, actions, step)
        if _angles(step).abs().max() < SETTLED:
            break
    return frames, actions, _of_frames(system, free, at[0], anchor), _of_actions(system, *at, frames), system.error


def _of_frames(system: _System, free: Tensor, frames: Tensor, anchor: Anchor) -> Told:
    """What is left of a step's equations at ``frames`` without what was known of frames before."""
    known, (own, moving) = priors(), (slice(NUM_FRAME), slice(NUM_FRAME, None))
    right = torch.cat([system.matrix[:, moving, own], system.gradient[:, moving, None]], -1)
    gone = solve_free(system.matrix[:, moving, moving], right, free[:, moving])
    across = system.matrix[:, own, moving]
    matrix = system.matrix[:, own, own] - across @ gone[..., :-1] - known.frame - torch.diag(anchor.precision)
    gradient = system.gradient[:, own] - (across @ gone[..., -1:]).squeeze(-1)
    gradient = gradient - (frames - known.frame_mean) @ known.frame - anchor.precision * (frames - anchor.place)
    return Told(matrix, (matrix @ frames[..., None]).squeeze(-1) - gradient)


def _of_actions(system: _System, frames: Tensor, actions: Tensor, found: Tensor) -> Told:
    """A step's equations at ``frames`` and ``actions`` where the frames are as ``found``."""
    rows = system.matrix[:, NUM_FRAME:]
    moved = (rows[..., :NUM_FRAME] @ (found - frames)[..., None]).squeeze(-1)
    matrix = rows[..., NUM_FRAME:]
    return Told(matrix, (matrix @ actions[..., None]).squeeze(-1) - system.gradient[:, NUM_FRAME:] - moved)


def _angles(step: Tensor) -> Tensor:
    """What of a step does not depend on the picture's size."""
    return torch.cat([step[:, : SHIFT.start], step[:, SHIFT.stop :]], -1)


def _bounds(actions: Tensor, act: bool = True) -> tuple[Tensor, Tensor]:
    """Of a step: actions stay in 0..1, or as they are; the rest is free."""
    free = torch.full((len(actions), NUM_FRAME), math.inf, dtype=actions.dtype)
    return torch.cat([-free, -actions * act], -1), torch.cat([free, (1 - actions) * act], -1)


def _moved(frames: Tensor, actions: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """After a step, which is shortened as a whole where it goes farther than linear models hold."""
    turn = step[:, [*range(CAMERA.stop), *range(TURNS.start, TURNS.stop)]].abs().amax(-1)
    longest = torch.maximum(turn / _MOST_TURN, step[:, SCALE].abs() / _MOST_GROWTH).clamp(min=1)
    step = step / longest[:, None]
    return frames + step[:, :NUM_FRAME], (actions + step[:, NUM_FRAME:]).clamp(0, 1)


def _system(
    points: BodyPoints, seen: Observed, shape: Tensor, frames: Tensor, actions: Tensor, *, shapes: bool = False
) -> _System:
    """The normal equations at a state, priors of frames and actions included."""
    linear = linearise(points, shape, frames, actions, shapes=shapes)
    pixel = 1 / (frames[:, SCALE].exp() * MM_IN_FRAME)[:, None, None]  # millimetres
    miss = (linear.pixels - seen.pixels) * pixel
    miss = torch.where((seen.certainty > 0)[..., None], miss, 0.0)
    rows = torch.cat([linear.by_frame, linear.by_action], -1) * pixel[..., None]  # [F, N, 2, C]
    by_shape = linear.by_shape * pixel[..., None] if linear.by_shape is not None else None
    weight = _robust(miss, seen.certainty)
    one, other = seen.pairs.unbind(-1)
    gap, pair_rows = miss[:, one] - miss[:, other], rows[:, one] - rows[:, other]
    pair_weight = seen.pair_certainty  # as they are: a lid or lip that moves is far from where it rests
    total = _weighted(rows, None, weight) + _weighted(pair_rows, None, pair_weight)
    gradient = _weighted(rows, miss[..., None], weight).squeeze(-1)
    gradient = gradient + _weighted(pair_rows, gap[..., None], pair_weight).squeeze(-1)
    known = priors()
    total = total + torch.block_diag(known.frame, known.action)
    slopes = (frames - known.frame_mean) @ known.frame, actions @ known.action + known.action_slope
    error = ((miss**2).sum(-1) * seen.certainty).sum(-1) / seen.certainty.sum(-1).clamp(min=1e-12)
    system = _System(total, gradient + torch.cat(slopes, -1), None, None, None, error.sqrt())
    if by_shape is None:
        return system
    pair_shape = by_shape[:, one] - by_shape[:, other]
    return system._replace(
        cross=_weighted(rows, by_shape, weight) + _weighted(pair_rows, pair_shape, pair_weight),
        shape_matrix=(_weighted(by_shape, None, weight) + _weighted(pair_shape, None, pair_weight)).sum(0),
        shape_gradient=(
            _weighted(by_shape, miss[..., None], weight) + _weighted(pair_shape, gap[..., None], pair_weight)
        ).sum((0, 2)),
    )


def _robust(miss: Tensor, certainty: Tensor) -> Tensor:
    """Weights [F, N] of distances [F, N, 2] by Huber's function."""
    deviations = ((miss**2).sum(-1) * certainty).sqrt()
    return certainty * (HUBER / deviations.clamp(min=HUBER))


def _weighted(a: Tensor, b: Tensor | None, weight: Tensor) -> Tensor:
    """a' W b [F, A, B] of a [F, N, 2, A], b [F, N, 2, B] (None: a) and weights [F, N]."""
    scaled = (a * weight[..., None, None]).flatten(1, 2)
    return scaled.mT @ (a if b is None else b).flatten(1, 2)

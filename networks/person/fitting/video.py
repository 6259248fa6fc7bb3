"""A person followed through a video -> the controls that drive a portrait, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from networks.person.fitting.fit import Anchor, Fit, Observed, Told, fit_frames
from networks.person.fitting.frames import (
    ARMS,
    CAMERA,
    COLLARS,
    HEAD_TURN,
    NUM_FRAME,
    ROLL,
    SCALE,
    SHIFT,
    camera,
    joint_eulers,
    pixels_of,
)
from networks.person.fitting.measured import Landmarks, expressions, observed
from networks.person.fitting.person import Who, find_person
from networks.person.fitting.priors import priors
from networks.person.fitting.smoothing import together
from networks.person.fitting.start import first_guess
from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.storage import NUM_ACTIONS
from networks.person.tracker.follow import Track

PERSON_FRAMES = 24  # from which identity and body shape are found
# How people and cameras move: standard deviations of the change of speed and of speed (per second squared, and per
# second; radians, log of size, pixels), and how far they go. A camera and the chest before it go slowly and anywhere, a
# head turns quickly and comes back: so the two are told apart, of which pictures see the sum.
_ACCELERATION, _SPEED, _LEVEL = np.full(NUM_FRAME, 1e4), np.full(NUM_FRAME, 1e4), np.full(NUM_FRAME, np.inf)
for _part, _quick, _fast, _far in (
    (CAMERA, 1.5, 1.0, (0.25, 1.0)),
    (ROLL, 0.5, 1.0, 0.06),
    (SCALE, 0.3, 1.0, np.inf),
    (HEAD_TURN, 6.0, 3.0, (0.10, 0.10, 0.05)),
    (COLLARS, 15.0, 3.0, (0.15, 0.04) * 2),
    (ARMS, 3.0, 2.0, (0.40, 0.24, 0.20) * 2),
):
    _ACCELERATION[_part], _SPEED[_part], _LEVEL[_part] = _quick, _fast, _far
WINDOW, MARGIN = 1000, 100  # frames that are put together at once, and how far they look beyond those that count
SHOULDERS = slice(COLLARS.start, ARMS.stop)
RISES, _UP = [COLLARS.start, COLLARS.start + 2], np.array([1.0, -1.0])  # left and right collar, and which way is up
_REST = 0.33  # the share of frames whose shoulders are no higher than at rest
_RISE = 1.5  # how many times as far shoulders rise as their detector sees (tests/benchmarks/bm_from_video.py)
# How many times surer landmarks of the body are once it is known how far off they lie; seconds until half of it is.
_STEADY, _SETTLING = 6.0, 0.5
_ROUNDS = 2  # what pictures tell is linear near the course
_LIDS, _GAZE, _OTHERS = 25.0, 8.0, 10.0  # the same of actions: shares per second squared
_ACTION_SPEED = 20.0
_HELD = 1e6  # precision of what stays where smoothing has put it: a thousandth of a radian


class Performance(NamedTuple):
    """What a person does in F frames; float64."""

    shape: np.ndarray  # [90] z_id, betas
    seen: np.ndarray  # [90] the shape that lies on the pictures in ``frames``, see person.Who
    frames: np.ndarray  # [F, Q] see frames.py
    expression: np.ndarray  # [F, 64]
    error: np.ndarray  # [F] root mean square distance of landmarks, mm; nan where no face was seen

    @property
    def joint_eulers(self) -> np.ndarray:
        """[F, 6, 3] radians."""
        return joint_eulers(torch.from_numpy(self.frames)).numpy()

    @property
    def camera(self) -> np.ndarray:
        """[F, 2] pitch, yaw in radians."""
        return camera(torch.from_numpy(self.frames)).numpy()


def fit_video(track: Track, marks: Landmarks) -> Performance:
    """Fits a person to a track; in frames without a face everything goes on its way from before to after."""
    known, rate = track.found, _frame_rate(track.seconds)
    place = np.cumsum(known) - 1  # of a known frame among them
    seen = observed(track, marks).rows(torch.from_numpy(np.flatnonzero(known)))
    who, frames, starts = _who(seen, marks)
    course, actions, error = (np.full((len(known), *more), np.nan) for more in ((NUM_FRAME,), (NUM_ACTIONS,), ()))
    for rows, kept in windows(len(known)):
        if (there := known[rows]).any():
            among = torch.from_numpy(place[rows][there])
            start = seen.rows(among), who.seen, frames[among], starts[among]
            for whole, part in zip((course, actions, error), _in_motion(marks, *start, there, rate), strict=True):
                whole[rows][kept] = part[kept]
    near = ndimage.distance_transform_edt(~known) <= MARGIN  # frames to the nearest known one
    course, actions = (_crossed(values, near) for values in (course, actions))
    expression = expressions(torch.from_numpy(actions)).numpy()
    return Performance(who.shape.numpy(), who.seen.numpy(), course, expression, error)


def _in_motion(
    marks: Landmarks, seen: Observed, shape: Tensor, frames: Tensor, actions: Tensor, known: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [F, Q], actions [F, 52] and error [F] of a stretch of video, from where its ``known`` frames start.

    First every frame is fitted by itself. What pictures tell of head, shoulders and camera is then put together with
    how these move; then shoulders once more, by themselves, and the actions under the course that all this gives.
    """
    held = torch.full((NUM_FRAME,), _HELD, dtype=torch.float64)
    motion = _LEVEL, _ACCELERATION / rate**2, _SPEED / rate
    fit = fit_frames(marks.points, seen, shape, frames, actions)
    for _ in range(_ROUNDS):
        course = _together(fit.of_frames, known, *motion)
        anchor = Anchor(torch.from_numpy(course[known]), held)
        fit = fit_frames(marks.points, seen, shape, anchor.place, fit.actions, anchor=anchor)
    alone = _shoulders_alone(marks, _settled(seen, marks, fit, rate), fit)
    course[:, RISES] = _risen(_together(alone, known, *(values[SHOULDERS] for values in motion)))
    anchor = Anchor(torch.from_numpy(course[known]), held)
    fit = fit_frames(marks.points, seen, shape, anchor.place, fit.actions, anchor=anchor)
    quick, far = _action_acceleration() / rate**2, np.full(NUM_ACTIONS, np.inf)
    speed = np.full(NUM_ACTIONS, _ACTION_SPEED / rate)
    acted = _together(fit.of_actions, known, far, quick, speed, (0.0, 1.0))
    error = np.full(len(known), np.nan)
    error[known] = fit.error.numpy()
    return course, acted, error


def _settled(seen: Observed, marks: Landmarks, fit: Fit, rate: float) -> Observed:
    """What was seen, without how far landmarks of the body lie off on the whole, and so much the surer.

    In close portraits their detector guesses where shoulders are, of one person always about as wrongly; that they rise
    it sees.
    """
    body = slice(len(marks.face), None)
    model = pixels_of(marks.points, fit.shape, fit.frames, fit.actions)[:, body]
    there = seen.certainty[:, body] > 0
    off = torch.where(there[..., None], seen.pixels[:, body] - model, torch.nan).nanmedian(0).values.nan_to_num()
    seconds = there.sum(0) / rate
    share = seconds / (seconds + _SETTLING)
    pixels, certainty = seen.pixels.clone(), seen.certainty.clone()
    pixels[:, body] -= share[:, None] * off
    certainty[:, body] *= 1 + share * (_STEADY - 1)
    return seen._replace(pixels=pixels, certainty=certainty)


def _shoulders_alone(marks: Landmarks, seen: Observed, fit: Fit) -> Told:
    """What is told of SHOULDERS where all else of the frames is as in the fit."""
    held = torch.full((NUM_FRAME,), _HELD, dtype=torch.float64)
    held[SHOULDERS] = 0
    told = fit_frames(marks.points, seen, fit.shape, fit.frames, fit.actions, anchor=Anchor(fit.frames, held)).of_frames
    others = fit.frames.clone()
    others[:, SHOULDERS] = 0
    slope = told.slope - (told.matrix @ others[..., None]).squeeze(-1)
    return Told(told.matrix[:, SHOULDERS, SHOULDERS], slope[:, SHOULDERS])


def _risen(shoulders: np.ndarray) -> np.ndarray:
    """Turns of the collars [F, 2] by which shoulders are raised: from where they mostly are, and never below it."""
    raised = shoulders[:, [column - SHOULDERS.start for column in RISES]] * _UP
    return (raised - np.quantile(raised, _REST, axis=0)).clip(0) * _RISE * _UP


def _together(told: Told, known: np.ndarray, level: np.ndarray, *motion) -> np.ndarray:
    """The course of numbers [F, C] by what is told of them in ``known`` frames and by how far and how they move."""
    matrix, slope = np.zeros((len(known), *told.matrix.shape[1:])), np.zeros((len(known), told.slope.shape[1]))
    matrix[known], slope[known] = told.matrix.numpy(), told.slope.numpy()
    return together(matrix + np.diag(level**-2.0), slope, *motion)


def _crossed(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Values [F, C], in straight lines from frame to frame where they are not ``there``."""
    frames = np.arange(len(values))
    return np.stack([np.interp(frames, frames[there], column[there]) for column in values.T], 1)


def windows(count: int) -> Iterator[tuple[slice, slice]]:
    """Stretches of ``count`` frames that overlap, with the part of each that counts."""
    for start in range(0, count, WINDOW):
        stop = min(start + WINDOW, count)
        rows = slice(max(start - MARGIN, 0), min(stop + MARGIN, count))
        yield rows, slice(start - rows.start, stop - rows.start)


def fit_known(seen: Observed, marks: Landmarks, read: Callable[[Fit], Tensor] | None = None) -> Fit:
    """Fits a person to pictures that all show the face, each by itself but for who it is; nothing is smoothed.

    Size and place are those of the person's expected shape.

    Args:
        seen: in the pictures.
        marks: what a tracker's landmarks are.
        read: what a face net makes of a single picture whose person is placed so: z_id [80].
    """
    who, *start = _who(seen, marks)
    fit = fit_frames(marks.points, seen, who.seen, *start)
    if marks.shapes is None:
        return fit
    shape = who.shape if read is None else marks.shapes.read(who.fitted, read(fit))
    held = torch.full((NUM_FRAME,), _HELD, dtype=torch.float64)
    held[SCALE : SHIFT.stop] = 0
    anchor = Anchor(fit.frames, held)
    return fit_frames(marks.points, seen, shape, fit.frames, fit.actions, anchor=anchor, act=False)


def _who(seen: Observed, marks: Landmarks) -> tuple[Who, Tensor, Tensor]:
    """Who it is, and frames [F, Q] and actions [F, 52] to start from."""
    frames, actions = first_guess(marks.points, seen, priors().shape_mean)
    chosen = spread_out(frames, PERSON_FRAMES)
    return find_person(seen.rows(chosen), marks, frames[chosen], actions[chosen]), frames, actions


def spread_out(frames: Tensor, count: int) -> Tensor:
    """Indices of ``count`` frames [F, Q] that differ in the head's turn as much as they can: faces from many sides."""
    turns = frames[:, HEAD_TURN] - frames[:, [ROLL, CAMERA.start, CAMERA.start + 1]]
    chosen = [0]
    away = (turns - turns[0]).norm(dim=-1) + 1e-6 * torch.linspace(0, 1, len(turns), dtype=turns.dtype)
    while len(chosen) < min(count, len(frames)):
        chosen.append(int(away.argmax()))
        away = torch.minimum(away, (turns - turns[chosen[-1]]).norm(dim=-1))
        away[chosen] = -1
    return torch.tensor(sorted(chosen))


def _frame_rate(seconds: np.ndarray) -> float:
    return 1 / max(float(np.median(np.diff(seconds))), 1e-3) if len(seconds) > 1 else 25.0


def _action_acceleration() -> np.ndarray:
    kinds = (("eyeBlink", _LIDS), ("eyeLook", _GAZE), ("", _OTHERS))
    return np.array([next(value for start, value in kinds if name.startswith(start)) for name in ACTIONS])

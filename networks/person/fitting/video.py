"""A person followed through a video -> the controls that drive a portrait, frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.person.fitting.fit import Anchor, Fit, Observed, fit_frames, fit_person
from networks.person.fitting.frames import (
    ARMS,
    CAMERA,
    COLLARS,
    HEAD_TURN,
    NUM_FRAME,
    ROLL,
    SCALE,
    camera,
    joint_eulers,
)
from networks.person.fitting.measured import Landmarks, expressions, observed
from networks.person.fitting.priors import priors
from networks.person.fitting.smoothing import noise_of, smoothed
from networks.person.fitting.start import first_guess
from networks.person.open_body.actions import ACTIONS
from networks.person.tracker.follow import Track

PERSON_FRAMES = 24  # from which identity and body shape are found
# How fast things change their speed, per second squared: radians, log of size, shares of an action.
_ACCELERATION = np.full(NUM_FRAME, 1e4)  # pixels, for the shift
_ACCELERATION[CAMERA], _ACCELERATION[ROLL], _ACCELERATION[SCALE] = 1.5, 0.5, 0.3
_ACCELERATION[COLLARS], _ACCELERATION[ARMS], _ACCELERATION[HEAD_TURN] = 5.0, 3.0, 6.0
_ACTION_ACCELERATION = 25.0
_QUICKEST = 250.0  # lids
_SLOW = [*range(CAMERA.stop), ROLL, SCALE, *range(COLLARS.start, ARMS.stop)]
_HELD = 1e6  # precision of what stays where smoothing has put it: a thousandth of a radian


class Performance(NamedTuple):
    """What a person does in F frames; float64."""

    shape: np.ndarray  # [90] z_id, betas
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
    """Fits a person to a track; in frames without a face everything goes on its way from before to after.

    First every frame is fitted by itself. Then what changes slowly (camera, size, shoulders) is smoothed and held there
    while the rest is fitted again: head and camera are sure together, not each alone.
    """
    known, rate = track.found, _frame_rate(track.seconds)
    there = observed(track, marks).rows(torch.from_numpy(np.flatnonzero(known)))
    free = fit_known(there, marks)
    slow = torch.zeros(NUM_FRAME, dtype=torch.float64)
    slow[_SLOW] = _HELD
    course = _course(free.frames, free.precision[:, :NUM_FRAME], known, _ACCELERATION / rate**2)
    held = fit_frames(marks.points, there, free.shape, free.frames, free.actions, anchor=Anchor(course[known], slow))
    frames = _course(held.frames, held.precision[:, :NUM_FRAME], known, _ACCELERATION / rate**2)
    actions = _course(held.actions, held.precision[:, NUM_FRAME:], known, _action_acceleration() / rate**2)
    error = np.full(len(known), np.nan)
    error[known] = held.error.numpy()
    return Performance(free.shape.numpy(), frames.numpy(), expressions(actions).numpy(), error)


def fit_known(seen: Observed, marks: Landmarks) -> Fit:
    """Fits a person to pictures that all show the face, each by itself but for who it is; nothing is smoothed."""
    frames, actions = first_guess(marks.points, seen, priors().shape_mean)
    chosen = spread_out(frames, PERSON_FRAMES)
    person = fit_person(marks.points, seen.rows(chosen), frames[chosen], actions[chosen])
    return fit_frames(marks.points, seen, person.shape, frames, actions)


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
    quick = [name.startswith(("eyeBlink", "eyeLook")) for name in ACTIONS]
    return np.where(quick, _QUICKEST, _ACTION_ACCELERATION)


def _course(values: Tensor, precision: Tensor, known: np.ndarray, acceleration: np.ndarray) -> Tensor:
    """Smoothed values [F, C] of those that were found in the ``known`` frames; at least as noisy as they look."""
    full, variance = np.zeros((2, len(known), values.shape[1]))
    full[known], variance[known] = values.numpy(), 1 / precision.numpy()
    variance = np.maximum(variance, noise_of(full, known) ** 2)
    return torch.from_numpy(smoothed(full, variance, acceleration, known))

"""A person followed picture by picture while pictures come, to drive a portrait at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.person.fitting.fit import Anchor, Observed, fit_frames, fit_person
from networks.person.fitting.frames import ARMS, CAMERA, COLLARS, NUM_FRAME, ROLL, SCALE, camera, joint_eulers
from networks.person.fitting.measured import Landmarks, expressions, landmarks, observed
from networks.person.fitting.priors import priors
from networks.person.fitting.smoothing import OneEuro
from networks.person.fitting.start import first_guess
from networks.person.tracker.follow import Sighting, Track

_LEARNING = (1, 10, 30)  # pictures after which the person is found anew, from all so far
_STEPS = 2  # of a picture, from where the last one ended
_DRIFT = 0.03  # radians, log of size: how far camera, size and shoulders go from one picture to the next
_SLOW = [*range(CAMERA.stop), ROLL, SCALE, *range(COLLARS.start, ARMS.stop)]
_STILL, _EAGER = 1.5, 4.0  # see OneEuro: hertz, and hertz more for a change of 1 a second


class Pose(NamedTuple):
    """What drives a portrait; float64."""

    expression: np.ndarray  # [64]
    joint_eulers: np.ndarray  # [6, 3] radians
    camera: np.ndarray  # [2] pitch, yaw in radians


class LiveFit:
    """Fits the open body to sightings, one after the other.

    Raises:
        UserError: the table of landmarks is missing or damaged.
    """

    def __init__(self, marks: Landmarks | None = None) -> None:
        self._marks = landmarks() if marks is None else marks
        self._shape = priors().shape_mean
        self._state: tuple[Tensor, Tensor] | None = None
        self._learned_from: list[tuple[Observed, Tensor, Tensor]] = []
        self._smooth = OneEuro(_STILL, _EAGER)

    def step(self, sighting: Sighting, image_size: tuple[int, int], seconds: float) -> Pose | None:
        """The pose in the next picture, None where no face was found.

        Args:
            sighting: of the tracker.
            image_size: width, height of the picture.
            seconds: when it was taken.
        """
        track = Track(image_size, np.array([seconds]), *(np.asarray(part, np.float32)[None] for part in sighting))
        if not track.found[0]:
            self._state = None
            self._smooth.forget()
            return None
        seen = observed(track, self._marks)
        anchor, steps = None, _STEPS
        if self._state is None:
            self._state, steps = first_guess(self._marks.points, seen, self._shape), 8
        else:
            precision = torch.zeros(NUM_FRAME, dtype=torch.float64)
            precision[_SLOW] = _DRIFT**-2
            anchor = Anchor(self._state[0], precision)
        found = fit_frames(self._marks.points, seen, self._shape, *self._state, anchor=anchor, steps=steps)
        self._state = found.frames, found.actions
        self._learn(seen)
        values = torch.cat([found.frames, found.actions], -1)[0].numpy()
        smooth = torch.from_numpy(self._smooth(values, seconds))[None]
        expression = expressions(smooth[:, NUM_FRAME:])[0].numpy()
        frames = smooth[:, :NUM_FRAME]
        return Pose(expression, joint_eulers(frames)[0].numpy(), camera(frames)[0].numpy())

    def _learn(self, seen: Observed) -> None:
        """Who it is, better and better; the first pictures decide."""
        if len(self._learned_from) >= _LEARNING[-1] or self._state is None:
            return
        self._learned_from.append((seen, *self._state))
        if len(self._learned_from) in _LEARNING:
            parts, frames, actions = zip(*self._learned_from, strict=True)
            seen = seen._replace(
                pixels=torch.cat([part.pixels for part in parts]),
                certainty=torch.cat([part.certainty for part in parts]),
                pair_certainty=torch.cat([part.pair_certainty for part in parts]),
            )
            self._shape = fit_person(self._marks.points, seen, torch.cat(frames), torch.cat(actions), steps=4).shape

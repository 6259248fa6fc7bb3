"""What is known of people before a picture is looked at: how far parameters go, and which go together."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.person.fitting.frames import ARMS, CAMERA, COLLARS, HEAD_TURN, NUM_FRAME, ROLL
from networks.person.fitting.points import NUM_SHAPE
from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.storage import read_open_body

# Standard deviations, radians: of pictures whose people face the camera, more or less.
_CAMERA, _ROLL = (0.10, 0.35), 0.06
_HEAD = (0.12, 0.35, 0.20)  # tilt, turn, nod
_COLLAR, _ARM = (0.06, 0.04), (0.20, 0.12, 0.10)
_HEAD_AGAINST_CAMERA = 0.50  # people turn the head to the camera: what is left of the turn is narrower
# Of an action's amount: of those that faces make all the time, of others, and of those that hide among them.
_COMMON, _ACTION, _RARE = 1.0, 0.35, 0.2
_OFTEN = ("eyeBlink", "jawOpen", "mouthSmile", "mouthPucker", "mouthFunnel", "mouthFrown", "brow")
_SELDOM = ("mouthRoll", "mouthShrug", "jawLeft", "jawRight")
_SPARSE = 0.7  # L1: as much as a standard deviation of 1 at an amount of 0.7
_BALANCE = 0.15  # of the difference of left and right; both sides of most faces do the same
_OWN_SIDES = ("eyeLookIn", "eyeLookOut", "mouthLeft", "jawLeft")
_UNSEEN = {"tongueOut": 0.02, "cheekPuff": 0.25, "jawForward": 0.15, "mouthClose": 0.25}
_SHARPNESS = 0.02  # of identity: variance that the adults' own leave out


class Priors(NamedTuple):
    """Quadratic terms x' P x / 2 - p' x, and slopes where an amount is never negative; float64."""

    frame: Tensor  # [Q, Q] precision
    frame_mean: Tensor  # [Q]
    action: Tensor  # [52, 52]
    action_slope: Tensor  # [52]
    shape: Tensor  # [90, 90]
    shape_mean: Tensor  # [90]


@lru_cache(maxsize=1)
def priors() -> Priors:
    """The priors (made once per process)."""
    deviation = np.full(NUM_FRAME, np.inf)
    deviation[CAMERA], deviation[ROLL], deviation[HEAD_TURN] = _CAMERA, _ROLL, _HEAD
    deviation[COLLARS], deviation[ARMS] = _COLLAR * 2, _ARM * 2
    frame = np.diag(1 / deviation**2)
    turn, yaw = HEAD_TURN.start + 1, CAMERA.start + 1
    against = np.zeros(NUM_FRAME)
    against[[turn, yaw]] = 1  # a head turned to a camera at its side: -turn = yaw
    frame += np.outer(against, against) / _HEAD_AGAINST_CAMERA**2
    mean, precision = _adults()
    return Priors(
        torch.from_numpy(frame),
        torch.zeros(NUM_FRAME, dtype=torch.float64),
        torch.from_numpy(_actions()),
        torch.full((len(ACTIONS),), _SPARSE, dtype=torch.float64),
        torch.from_numpy(precision),
        torch.from_numpy(mean),
    )


def _actions() -> np.ndarray:
    deviation = np.full(len(ACTIONS), _ACTION)
    for column, name in enumerate(ACTIONS):
        deviation[column] = _COMMON if name.startswith(_OFTEN) else _RARE if name.startswith(_SELDOM) else _ACTION
    for name, spread in _UNSEEN.items():
        deviation[ACTIONS.index(name)] = spread
    precision = np.diag(1 / deviation**2)
    for left, name in enumerate(ACTIONS):
        twin = name.removesuffix("Left") + "Right"
        if name.endswith("Left") and twin in ACTIONS and not name.startswith(_OWN_SIDES):
            difference = np.zeros(len(ACTIONS))
            difference[[left, ACTIONS.index(twin)]] = 1, -1
            precision += np.outer(difference, difference) / _BALANCE**2
    for side, other in (("Left", "Right"), ("Right", "Left")):  # eyes look the same way
        difference = np.zeros(len(ACTIONS))
        names = (f"eyeLookOut{side}", f"eyeLookIn{side}", f"eyeLookIn{other}", f"eyeLookOut{other}")
        difference[[ACTIONS.index(name) for name in names]] = 1, -1, -1, 1
        precision += np.outer(difference, difference) / (2 * _BALANCE**2)
    return precision


def _adults() -> tuple[np.ndarray, np.ndarray]:
    """Mean [90] and precision [90, 90] of z_id and betas over the open body's adults."""
    people = read_open_body().people[:, :NUM_SHAPE].astype(np.float64)
    covariance = np.cov(people.T) + _SHARPNESS * np.eye(NUM_SHAPE)
    return people.mean(0), np.linalg.inv(covariance)

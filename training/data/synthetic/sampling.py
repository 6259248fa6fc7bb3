"""Plausible labels for synthetic people: expressions, head and shoulder poses with cameras, identities."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtri

from networks.cameras import FRONTAL
from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.storage import read_open_body
from training.data.synthetic.appearance import AGE, SEX, SKIN_TONE

Views = Literal["front", "all"]
MAX_PITCH = math.radians(30.0)  # of a camera that may be anywhere, to either side of the horizon
# Rows of joint_eulers (SMPL joints 12..17).
NECK, LEFT_COLLAR, RIGHT_COLLAR, HEAD, LEFT_SHOULDER, RIGHT_SHOULDER = range(6)
_MIX = 0.9  # of the one adult that a person resembles; another one makes up the variance
_COLUMN = {name: column for column, name in enumerate(ACTIONS)}
_NO_GAZE = [column for name, column in _COLUMN.items() if not name.startswith("eyeLook")]


def _without_side(action: str) -> str:
    return action.removesuffix("Left").removesuffix("Right")


_BOTH_SIDES = [[_COLUMN[other] for other in ACTIONS if _without_side(other) == _without_side(name)] for name in ACTIONS]


_COMMON = (
    ("eyeBlinkRight", "eyeBlinkLeft"), ("jawOpen",), ("mouthSmileLeft",), ("mouthPucker",), ("mouthFunnel",),
    ("browInnerUp", "browOuterUpLeft"), ("browDownLeft",), ("mouthFrownLeft",), ("eyeWideLeft",),
    ("jawOpen", "mouthSmileRight"),
)  # fmt: skip


class PoseCamera(NamedTuple):
    joint_eulers: np.ndarray  # [6, 3] float32 radians
    camera: np.ndarray  # [2] float32 (pitch, yaw) radians


class Identity(NamedTuple):
    z_id: np.ndarray  # [80] float32
    betas: np.ndarray  # [10] float32
    eps: np.ndarray  # [80] float32


@lru_cache(maxsize=1)
def _adults() -> tuple[np.ndarray, np.ndarray]:
    """The open body's adults: (z_id, betas) [N, 90], and what their appearance follows [N, 3]: age, sex and skin tone,
    each as a number that is N(0, 1) over them."""
    people = read_open_body().people.astype(np.float64)
    age, gender, african, asian = people[:, 90], people[:, 91], people[:, 96], people[:, 97]
    traits = np.stack([age, gender, african + 0.35 * asian], 1)
    ranks = traits.argsort(0, kind="stable").argsort(0, kind="stable")
    return people[:, :90], ndtri((ranks + 0.5) / len(people))


def sample_identity(rng: np.random.Generator) -> Identity:
    """Identity, body shape and appearance noise of a person.

    They go together as in adults: the shape is near to that of an adult of the open body, and the appearance's age, sex
    and skin tone follow that adult's. Every entry of eps alone stays N(0, 1).
    """
    shapes, traits = _adults()
    one, other = rng.integers(len(shapes), size=2)
    shape = _MIX * shapes[one] + math.sqrt(1 - _MIX**2) * shapes[other]
    eps = rng.standard_normal(80)
    for entry, value, share in zip((AGE, SEX, SKIN_TONE), traits[one], (0.95, 0.97, 0.85), strict=True):
        eps[entry] = share * value + math.sqrt(1 - share**2) * eps[entry]
    return Identity(shape[:80].astype(np.float32), shape[80:].astype(np.float32), eps.astype(np.float32))


def sample_expression(rng: np.random.Generator) -> np.ndarray:
    """Expression [64] float32, facial actions in 0..1: calm and smiling faces, talk, blinks, frowns, glances."""
    z = np.zeros(64)

    def act(amount: float, *names: str) -> None:
        """Add to actions; to both sides, about as much, where a name has none."""
        for name in names:
            sides = [name] if name in _COLUMN else [f"{name}Left", f"{name}Right"]
            for side in sides:
                z[_COLUMN[side]] += amount * (1.0 if len(sides) == 1 else rng.uniform(0.85, 1.15))

    chance, amount = rng.random(14), rng.random(14)
    act(0.06 * amount[0], "browInnerUp", "eyeSquint", "mouthClose")
    if chance[0] < 0.5:
        smile = 0.15 + 0.8 * amount[0]
        act(smile, "mouthSmile")
        act(0.5 * smile, "cheekSquint")
        act(0.35 * smile, "eyeSquint", "mouthDimple")
        act(0.35 * smile * amount[1], "mouthUpperUp")
        act(0.16 * smile * amount[1], "jawOpen")  # teeth show
    if chance[1] < 0.45:
        act(0.6 * amount[1] ** 1.5, "jawOpen")
        shape = ("mouthFunnel", "mouthPucker", "mouthLowerDown", "mouthStretch", "mouthUpperUp")[rng.integers(5)]
        act(0.6 * amount[2], shape)
    for index, limit, most, names in (
        (2, 0.16, 1.0, ("mouthPucker",)),
        (3, 0.30, 1.0, ("browInnerUp", "browOuterUp")),
        (4, 0.25, 1.0, ("browDown",)),
        (5, 0.12, 0.7, ("mouthFrown",)),
        (6, 0.10, 0.7, ("mouthPress",)),
        (7, 0.08, 0.6, ("noseSneer",)),
        (8, 0.04, 0.9, ("cheekPuff",)),
        (9, 0.10, 0.9, ("eyeWide",)),
        (10, 0.06, 0.8, (("jawLeft", "jawRight", "mouthLeft", "mouthRight")[rng.integers(4)],)),
        (11, 0.06, 0.7, (("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "tongueOut")[rng.integers(4)],)),
    ):
        if chance[index] < limit:
            act(most * amount[index], *names)
    if chance[12] < 0.18:
        act(amount[12] ** 0.6, "eyeBlink")
    elif chance[12] < 0.22:
        act(amount[12] ** 0.5, f"eyeBlink{('Left', 'Right')[rng.integers(2)]}")
    aside, up = np.clip(0.32 * rng.standard_normal(2), -0.9, 0.9)  # to the person's left, and upwards
    _glance(z, aside, up)
    return np.clip(z, 0.0, 1.0).astype(np.float32)


def sample_actions(rng: np.random.Generator) -> np.ndarray:
    """Expression [64] float32 of a few facial actions, any of them at any strength, and a glance."""
    z = np.zeros(64)
    for index in rng.choice(_NO_GAZE, size=rng.integers(2, 7), replace=False):
        sides = _BOTH_SIDES[index] if rng.random() < 0.75 else [index]
        z[sides] = rng.random()
    _glance(z, *rng.uniform(-0.9, 0.9, size=2))
    return z.astype(np.float32)


def sample_strong(rng: np.random.Generator) -> np.ndarray:
    """Expression [64] float32 of one or two of the actions that faces are mostly asked for, strong, every other one
    with closed or closing lids, and a glance."""
    z = np.zeros(64)
    actions = [_COMMON[index] for index in rng.choice(len(_COMMON), size=rng.integers(0, 3), replace=False)]
    for names in [*actions, *([("eyeBlinkLeft", "eyeBlinkRight")] if rng.random() < 0.5 else [])]:
        both = rng.random() < 0.85
        amount = 1 - 0.6 * rng.random() ** 2
        for name in names if both else names[:1]:
            z[_BOTH_SIDES[_COLUMN[name]] if both else [_COLUMN[name]]] = amount
    _glance(z, *np.clip(0.3 * rng.standard_normal(2), -0.9, 0.9))
    return np.clip(z, 0.0, 1.0).astype(np.float32)


def _glance(z: np.ndarray, aside: float, up: float) -> None:
    """Add a look of both eyes to the person's left by ``aside`` and upwards by ``up``."""
    towards = ("OutLeft", "InRight") if aside > 0 else ("InLeft", "OutRight")
    upright = ("UpLeft", "UpRight") if up > 0 else ("DownLeft", "DownRight")
    for amount, names in ((abs(aside), towards), (abs(up), upright)):
        for name in names:
            z[_COLUMN[f"eyeLook{name}"]] += amount


def sample_pose_camera(rng: np.random.Generator, views: Views = "front") -> PoseCamera:
    """Head and shoulder pose with the camera it was photographed from.

    ``front``: people tend to face the camera. ``all``: it is anywhere round them, up to MAX_PITCH above or below.
    The neck carries a third of the head's turn.
    """
    camera_yaw = np.clip(rng.standard_normal() * 0.17, -0.35, 0.35)
    camera_pitch = np.clip(rng.standard_normal() * 0.07, -0.15, 0.15)
    # Yaw > pi/2 puts the camera at the person's right; turning the head there is a negative rotation about y.
    turn = np.clip(rng.standard_normal() * 0.24 - 0.4 * camera_yaw, -0.5, 0.5)
    nod = np.clip(rng.standard_normal() * 0.11, -0.28, 0.28)
    tilt = np.clip(rng.standard_normal() * 0.07, -0.2, 0.2)
    eulers = np.zeros((6, 3))
    eulers[HEAD] = np.array([tilt, turn, nod]) * (2.0 / 3.0)
    eulers[NECK] = np.array([tilt, turn, nod]) / 3.0
    shrug = max(0.0, rng.standard_normal() * 0.10)  # both sides together
    sway = rng.standard_normal() * 0.03  # one up, one down
    eulers[LEFT_COLLAR, 0] = np.clip(shrug + sway, -0.1, 0.3)
    eulers[RIGHT_COLLAR, 0] = -np.clip(shrug - sway, -0.1, 0.3)
    eulers[LEFT_COLLAR:HEAD, 1] = rng.standard_normal(2) * 0.04
    eulers[LEFT_SHOULDER:, :] = rng.standard_normal((2, 3)) * 0.06
    if views == "all":
        camera_yaw, camera_pitch = rng.uniform(-math.pi, math.pi), rng.uniform(-MAX_PITCH, MAX_PITCH)
    camera = np.array([FRONTAL + camera_pitch, FRONTAL + camera_yaw])
    return PoseCamera(eulers.astype(np.float32), camera.astype(np.float32))

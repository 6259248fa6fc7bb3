"""The page's sliders: each moves some controls of a frame together, in units people think in.

The controls of a frame are a row of 84 numbers: 64 expression coefficients, 6 x 3 Euler angles, pitch and yaw.
Names and signs are those of keyframes/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from inference.keyframes import SHAPES, Kind, Motion
from networks.cameras import FRONTAL
from networks.person.controls import EVERYTHING, NECK_SHARE, Controls
from networks.person.expressions import columns_of, has_actions
from networks.person.open_body.actions import ACTIONS

_SIZES = {kind: math.prod(shape) for kind, shape in SHAPES.items()}
_ENDS = np.cumsum(list(_SIZES.values())).tolist()
# Kind -> first control and the one after the last.
SPANS: dict[Kind, tuple[int, int]] = {
    kind: (end - size, end) for (kind, size), end in zip(_SIZES.items(), _ENDS, strict=True)
}
JOINTS = ("Neck", "Left collar", "Right collar", "Head", "Left shoulder", "Right shoulder")
TILT, TURN, NOD = range(3)  # columns of a joint: Rz, Ry, Rx
DEGREE = math.pi / 180


class Slider(NamedTuple):
    """One slider: moving it by d adds ``moves[i] * d`` to control i; it stands at the sum of ``reads[i] * control i``.

    Controls count from rest. ``moves`` and ``reads`` agree: their products add up to 1.
    """

    label: str
    low: float
    high: float
    moves: Mapping[int, float]
    reads: Mapping[int, float]
    unit: str = ""
    hint: str = ""


class Group(NamedTuple):
    """A titled group of sliders; those in ``rest`` are folded away, and all of them unless ``open``.

    Where a model lacks what they move, ``disabled`` says so, and they stand still.
    """

    title: str
    sliders: list[Slider]
    rest_title: str = ""
    rest: list[Slider] = []  # never changed
    open: bool = True
    disabled: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        sliders = {name: [slider._asdict() for slider in getattr(self, name)] for name in ("sliders", "rest")}
        return {**self._asdict(), **sliders}


# Symmetric expressions in everyday words, by actions (networks/person/expressions.py) that go together.
NAMED_EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "Smile": ("mouthSmile",),
    "Mouth open": ("jawOpen",),
    "Blink": ("eyeBlink",),
    "Brows up": ("browInnerUp", "browOuterUp"),
    "Brows down": ("browDown",),
    "Pucker": ("mouthPucker",),
    "Lips rounded": ("mouthFunnel",),
    "Lips wide": ("mouthStretch",),
    "Teeth": ("mouthUpperUp", "mouthLowerDown"),
    "Frown": ("mouthFrown",),
    "Cheeks puffed": ("cheekPuff",),
    "Nose wrinkled": ("noseSneer",),
    "Eyes wide": ("eyeWide",),
    "Eyes narrow": ("eyeSquint", "cheekSquint"),
    "Look left": ("eyeLookOutLeft", "eyeLookInRight"),
    "Look right": ("eyeLookInLeft", "eyeLookOutRight"),
    "Look up": ("eyeLookUp",),
    "Look down": ("eyeLookDown",),
}
# Titles of the single actions, by how their names begin.
ACTION_GROUPS: dict[str, tuple[str, ...]] = {
    "Eyes": ("eye",),
    "Brows": ("brow",),
    "Mouth": ("mouth",),
    "Jaw": ("jaw",),
    "Cheeks and nose": ("cheek", "nose"),
    "Tongue": ("tongue",),
}


def rest_row() -> list[float]:
    """[84]: neutral expression, mean pose, the camera in front."""
    row = [0.0] * _ENDS[-1]
    start, end = SPANS["camera"]
    row[start:end] = [FRONTAL] * (end - start)
    return row


def motion_rows(motion: Motion) -> np.ndarray:
    """The frames of a motion as rows of controls [F, 84], float32."""
    parts = [motion.expression, motion.joint_eulers.reshape(motion.n_frames, -1), motion.camera]
    return np.concatenate(parts, axis=1).astype(np.float32)


def make_groups(face_model: str | None, can: Controls = EVERYTHING) -> list[Group]:
    """All sliders of the page of a checkpoint: its expressions are ``face_model``'s, its people ``can`` so much."""
    expressions = _expressions(face_model)
    if not can.expression:
        expressions = [expressions[0]._replace(open=False, disabled="This model has no expressions.")]
    shoulders = Group("Shoulders", _shoulders(), "All joints", _joints())
    if not can.shoulders:
        shoulders = shoulders._replace(open=False, rest=[], disabled="This model's shoulders stand still.")
    return [*expressions, Group("Head", _head()), shoulders, Group("Camera", _camera(180 if can.all_round else 35))]


def _expressions(face_model: str | None) -> list[Group]:
    """Facial actions where the expressions have such, coefficients alone where nobody knows their names."""
    if not has_actions(face_model):
        return [Group("Expression", _coefficients(0))]
    named = [_together(label, parts) for label, parts in NAMED_EXPRESSIONS.items()]
    groups = [Group("Expression", named, "Coefficients without a name", _coefficients(len(ACTIONS)))]
    for title, begin in ACTION_GROUPS.items():
        own = [Slider(name, 0, 1, {i: 1.0}, {i: 1.0}) for i, name in enumerate(ACTIONS) if name.startswith(begin)]
        groups.append(Group(title, own, open=False))
    return groups


def _together(label: str, parts: tuple[str, ...]) -> Slider:
    """A slider that moves some actions alike, and stands at their mean."""
    columns = [column for part in parts for column in columns_of(part)]
    hint = ", ".join(ACTIONS[column] for column in columns)
    return Slider(label, 0, 1, dict.fromkeys(columns, 1.0), dict.fromkeys(columns, 1 / len(columns)), hint=hint)


def _coefficients(first: int) -> list[Slider]:
    start, end = SPANS["expression"]
    return [Slider(str(i - start), -3, 3, {i: 1.0}, {i: 1.0}) for i in range(start + first, end)]


def _angle(joint: str, column: int) -> int:
    return SPANS["pose"][0] + 3 * JOINTS.index(joint) + column


def _degrees(label: str, low: float, high: float, moves: dict[int, float], reads: dict[int, float], hint: str = ""):
    """A slider in degrees, given what it moves and reads in radians."""
    in_radians = {i: weight * DEGREE for i, weight in moves.items()}
    in_degrees = {i: weight / DEGREE for i, weight in reads.items()}
    return Slider(label, low, high, in_radians, in_degrees, "°", hint)


def _head() -> list[Slider]:
    def slider(label: str, column: int, reach: float, hint: str) -> Slider:
        neck, head = _angle("Neck", column), _angle("Head", column)
        return _degrees(label, -reach, reach, {neck: NECK_SHARE, head: 1 - NECK_SHARE}, {neck: 1, head: 1}, hint)

    return [
        slider("Yaw", TURN, 35, "turns to the person's left"),
        slider("Pitch", NOD, 25, "bows"),
        slider("Roll", TILT, 25, "tilts to the person's right"),
    ]


def _shoulders() -> list[Slider]:
    sliders = []
    # The left collar rises with +Rz, the right one with -Rz; the shoulder turns back, so that the arm keeps hanging.
    for side, sign in (("Left", 1), ("Right", -1)):
        collar, shoulder = f"{side} collar", f"{side} shoulder"
        up = _angle(collar, TILT)
        sliders.append(_degrees(f"{side} up", -15, 30, {up: sign, _angle(shoulder, TILT): -sign}, {up: sign}))
    for side, sign in (("Left", 1), ("Right", -1)):
        ahead = _angle(f"{side} collar", TURN)
        sliders.append(_degrees(f"{side} forward", -20, 20, {ahead: -sign}, {ahead: -sign}))
    return sliders


def _joints() -> list[Slider]:
    names = {TILT: "roll", TURN: "yaw", NOD: "pitch"}
    angles = {f"{joint} {names[column]}": _angle(joint, column) for joint in JOINTS for column in names}
    return [_degrees(label, -45, 45, {i: 1}, {i: 1}) for label, i in angles.items()]


def _camera(reach: float) -> list[Slider]:
    pitch, yaw = range(*SPANS["camera"])
    return [
        _degrees("Yaw", -reach, reach, {yaw: -1}, {yaw: -1}, "looks from the person's left"),
        _degrees("Pitch", -20, 20, {pitch: -1}, {pitch: -1}, "looks from above"),
    ]

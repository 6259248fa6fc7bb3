"""Motions in which one control alone moves: the columns of figure-3 sheets and of training's snapshots.

Left and right are the person's. Expression coefficients mean what keyframes/README.md says of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FRONTAL = (torch.pi / 2, torch.pi / 2)
NECK, LEFT_COLLAR, RIGHT_COLLAR, HEAD, LEFT_SHOULDER, RIGHT_SHOULDER = range(6)  # rows of joint_eulers
ROLL, YAW, PITCH = range(3)  # its columns: R = Rz Ry Rx
NECK_SHARE = 0.4  # of a head movement; the head joint does the rest
EXPRESSIONS = {
    "smile": {1: 1.2},
    "mouth open": {0: -1.2},
    "pucker": {2: -1.2},
    "brows up": {4: 1.2},
    "blink": {32: -0.8},
}
TURN, TILT, LIFT, ORBIT = 0.3, 0.25, 0.4, 0.3  # radians
HEAD_ROWS, HEAD_COLUMNS = (0.09, 0.73), (0.18, 0.82)  # of a portrait from the front: where the head is


class Control(NamedTuple):
    """What one column asks for."""

    group: str  # which control moves
    heading: str
    expression: Tensor  # [64]
    joint_eulers: Tensor  # [6, 3] radians
    camera: Tensor  # [2] pitch, yaw in radians


def single_controls() -> list[Control]:
    """Neutral first, then expressions, head, shoulders and camera, each alone."""
    found = [_control("", "neutral")]
    for heading, coefficients in EXPRESSIONS.items():
        expression = torch.zeros(64)
        expression[list(coefficients)] = torch.tensor(list(coefficients.values()))
        found.append(_control("expression", heading, expression=expression))
    for heading, axis, angle in (
        ("left", YAW, TURN),
        ("right", YAW, -TURN),
        ("down", PITCH, TILT),
        ("tilted", ROLL, TILT),
    ):
        eulers = {(NECK, axis): NECK_SHARE * angle, (HEAD, axis): (1 - NECK_SHARE) * angle}
        found.append(_control("head", heading, eulers=eulers))
    # The left collar rises with +Rz, the right one with -Rz; the shoulder turns back, so that the arm keeps hanging.
    left = {(LEFT_COLLAR, ROLL): LIFT, (LEFT_SHOULDER, ROLL): -LIFT}
    right = {(RIGHT_COLLAR, ROLL): -LIFT, (RIGHT_SHOULDER, ROLL): LIFT}
    found += [_control("shoulders", "up", eulers=left | right), _control("shoulders", "left up", eulers=left)]
    for heading, pitch, yaw in (("left", 0.0, -ORBIT), ("right", 0.0, ORBIT), ("above", -0.6 * ORBIT, 0.0)):
        found.append(_control("camera", heading, camera=torch.tensor([pitch, yaw])))
    return found


def sheet_columns() -> list[Control]:
    """:func:`single_controls`, expressions beside another neutral one."""
    neutral, *others = single_controls()
    return [neutral, neutral._replace(group="expression"), *others]


def sheet_row(controls: Sequence[Control], portraits: Sequence[Tensor]) -> list[Tensor]:
    """The pictures [3, H, H] of a row of a sheet: expressions as close-ups."""
    return [close_up(p) if control.group == "expression" else p for control, p in zip(controls, portraits, strict=True)]


def close_up(portrait: Tensor) -> Tensor:
    """The head in a portrait [..., H, H] from the front: a square of two thirds of its side."""
    size = portrait.shape[-1]
    rows, columns = (slice(*(round(end * size) for end in ends)) for ends in (HEAD_ROWS, HEAD_COLUMNS))
    side = min(part.stop - part.start for part in (rows, columns))  # rounding
    return portrait[..., rows, columns][..., :side, :side]


def _control(
    group: str,
    heading: str,
    expression: Tensor | None = None,
    eulers: dict[tuple[int, int], float] | None = None,
    camera: Tensor | None = None,
) -> Control:
    """Given what differs from neutral: coefficients, angles by joint and axis, camera angles from the front."""
    joint_eulers = torch.zeros(6, 3)
    for place, angle in (eulers or {}).items():
        joint_eulers[place] = angle
    expression = torch.zeros(64) if expression is None else expression
    front = torch.tensor(FRONTAL)
    return Control(group, heading, expression, joint_eulers, front if camera is None else front + camera)

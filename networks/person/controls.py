"""Motions in which one control alone moves: the columns of figure-3 sheets and of training's snapshots.

Left and right are the person's.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from networks.cameras import FRONTAL
from networks.person.expressions import NUM_EXPRESSION, expression, has_actions
from torch_utils.picture_grid import labelled_grid, stacked

NECK, LEFT_COLLAR, RIGHT_COLLAR, HEAD, LEFT_SHOULDER, RIGHT_SHOULDER = range(6)  # rows of joint_eulers
ROLL, YAW, PITCH = range(3)  # its columns: R = Rz Ry Rx
NECK_SHARE = 0.4  # of a head movement; the head joint does the rest
EXPRESSIONS = {
    "smile": expression(mouthSmile=0.8),
    "mouth open": expression(jawOpen=0.6),
    "pucker": expression(mouthPucker=0.8),
    "brows up": expression(browInnerUp=0.8, browOuterUp=0.8),
    "blink": expression(eyeBlink=1.0),
}
MAX_EULER, MAX_YAW = 2 * math.pi, 8 * math.pi  # radians; larger numbers are degrees. Cameras may go round a few times
UNNAMED = 5  # expressions of a Basel face model: its first coefficients, two standard deviations
TURN, TILT, LIFT, ORBIT = 0.3, 0.25, 0.4, 0.3  # radians
HEAD_ROWS, HEAD_COLUMNS = (0.09, 0.73), (0.18, 0.82)  # of a portrait from the front: where the head is


class Control(NamedTuple):
    """What one column asks for."""

    group: str  # which control moves
    heading: str
    expression: Tensor  # [64]
    joint_eulers: Tensor  # [6, 3] radians
    camera: Tensor  # [2] pitch, yaw in radians


class Controls(NamedTuple):
    """What a model's people can do, beside turning the head before a camera."""

    expression: bool
    shoulders: bool
    all_round: bool  # cameras may stand beside and behind them


EVERYTHING = Controls(expression=True, shoulders=True, all_round=False)


def single_controls(face_model: str | None = None) -> list[Control]:
    """Neutral first, then expressions of ``face_model``, head, shoulders and camera, each alone."""
    found = [_control("", "neutral")]
    for heading, asked in _expressions(face_model).items():
        found.append(_control("expression", heading, expression=torch.from_numpy(asked).float()))
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


def _expressions(face_model: str | None) -> dict[str, np.ndarray]:
    if not has_actions(face_model):
        return {f"number {column}": 2 * np.eye(NUM_EXPRESSION)[column] for column in range(UNNAMED)}
    return EXPRESSIONS


def sheet_columns(face_model: str | None = None, can: Controls = EVERYTHING) -> list[Control]:
    """:func:`single_controls` as far as a model's people ``can``, expressions beside another neutral one."""
    neutral, *others = single_controls(face_model)
    lacking = {name for name in ("expression", "shoulders") if not getattr(can, name)}
    columns = [neutral, neutral._replace(group="expression"), *others] if can.expression else [neutral, *others]
    for heading, yaw in (("left side", -0.5), ("behind", 1.0), ("right side", 0.5)) if can.all_round else ():
        columns.append(_control("camera", heading, camera=torch.tensor([0.0, yaw * math.pi])))
    return [column for column in columns if column.group not in lacking]


def draw_sheet(
    controls: Sequence[Control], portraits: Sequence[Sequence[Tensor]], names: Sequence[str], size: int | None = None
) -> Image.Image:
    """People under one control at a time (paper fig. 3): expressions as close-ups above, everything else below.

    Args:
        controls: columns, as :func:`sheet_columns` has them.
        portraits: of every person, [3, H, H] in -1..1 for each of them.
        names: of the people, labels of rows.
        size: pixels a side of a picture below; those above are larger (default: the portraits').
    """
    size = size or portraits[0][0].shape[-1]
    above = [i for i, control in enumerate(controls) if control.group in ("", "expression")]
    below = [i for i in range(len(controls)) if i not in above]
    tables = []
    if len(above) == 1:  # no expressions
        above, below = [], [*above, *below]
    for chosen in filter(None, (above, below)):
        rows = [[_shown(controls[i], row[i]) for i in chosen] for row in portraits]
        headings = [(controls[i].group, controls[i].heading) for i in chosen]
        tables.append(labelled_grid(rows, headings, names, size * len(below) // len(chosen)))
    return stacked(tables)


def _shown(control: Control, portrait: Tensor) -> Tensor:
    return close_up(portrait) if control.group == "expression" else portrait


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
    front = torch.full((2,), FRONTAL)
    return Control(group, heading, expression, joint_eulers, front if camera is None else front + camera)

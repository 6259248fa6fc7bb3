"""Recordings of a face as ARKit's recorders write them: a CSV table of the 52 facial actions, a row a frame.

Live Link Face writes ``Timecode,BlendShapeCount,EyeBlinkLeft,...,TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,...``.
Columns go by their names, in any order and case; those that are no action, head angle or time are left aside. A row
without numbers, or with a BlendShapeCount of 0, is a moment in which no face was seen.

The head's angles are radians, R = Ry(HeadYaw) Rx(-HeadPitch) Rz(HeadRoll) with x to the person's left, y up and z out
of the face: a positive yaw turns to the person's left, a positive pitch looks up, a positive roll tilts to the person's
right.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from networks.person.expressions import NUM_EXPRESSION
from networks.person.open_body.actions import ACTIONS
from torch_utils.misc import UserError, reason, shortened

HEAD_ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll")
LIVE_LINK_RATE = 60  # frames a second, unless it was set otherwise
_COUNT, _TIMES = "blendshapecount", ("timecode", "timestamp", "time")
_RATES = (24, 25, 30, 50, 60, 120)  # frames a second of time codes
_LOWEST, _HIGHEST = -1.0, 2.0  # actions are 0..1, and a little outside where the app was calibrated
_DAY = 86400.0
_TIMECODE = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d+)?)")
_CLOCK = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d+)?)")
_NUMBER = re.compile(r"([-+]?\d{1,12}(?:\.\d*)?(?:[eE][-+]?\d{1,2})?)")


class Take(NamedTuple):
    """F frames."""

    expression: np.ndarray  # [F, 64] float64, 0..1; rows that are not known are 0
    known: np.ndarray  # [F] bool: a face was seen
    head: np.ndarray | None  # [F, 3] HeadYaw, HeadPitch, HeadRoll; None where the file has no such columns
    seconds: np.ndarray | None  # [F] from the first frame, never decreasing; None where the file has no times


def read_take(file: str | Path | BinaryIO, where: str) -> Take:
    """Reads a recording.

    Args:
        file: a CSV file, or its bytes.
        where: its name, for messages.

    Raises:
        UserError: no such table; an action or a head angle has no column, or two; a value that is no number, infinite,
            or far from 0..1, as percentages are; times out of order; no frame with a face.
    """
    header, rows = _table(file, where)
    places = _places(header, where)
    known = np.array([_has_face(row, places) for row in rows])
    if not known.any():
        raise UserError(f"{where}: expected frames with a face, found none")
    values = np.zeros((len(rows), len(ACTIONS)))
    values[known] = _numbers(rows, known, [places[name.lower()] for name in ACTIONS], header, where)
    outside = (values < _LOWEST) | (values > _HIGHEST)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        hint = " (a percentage?)" if values[row, column] > _HIGHEST else ""
        raise UserError(
            f"{where}: {ACTIONS[column]} in line {row + 2}: expected 0..1, found {values[row, column]:g}{hint}"
        )
    expression = np.pad(values.clip(0, 1), ((0, 0), (0, NUM_EXPRESSION - len(ACTIONS))))
    head = None
    if HEAD_ANGLES[0].lower() in places:
        head = np.zeros((len(rows), 3))
        head[known] = _numbers(rows, known, [places[name.lower()] for name in HEAD_ANGLES], header, where)
    times = next((places[name] for name in _TIMES if name in places), None)
    seconds = None if times is None else _seconds([row[times].strip() for row in rows], where)
    return Take(expression, known, head, seconds)


def _table(file: str | Path | BinaryIO, where: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows, each as long as the header."""
    try:
        data = Path(file).read_bytes() if isinstance(file, (str, Path)) else file.read()
        lines = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if any(row)]
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {reason(error)}") from error
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{where}: expected a CSV table of facial actions, found something else") from None
    if len(lines) < 2:
        raise UserError(f"{where}: expected a header and a row for every frame, found {len(lines)} lines")
    header, *rows = lines
    for number, row in enumerate(rows, 2):
        if len(row) > len(header):
            raise UserError(f"{where}: line {number}: expected {len(header)} columns, found {len(row)}")
    return [name.strip() for name in header], [row + [""] * (len(header) - len(row)) for row in rows]


def _places(header: list[str], where: str) -> dict[str, int]:
    """Column of every name, in lower case."""
    places: dict[str, int] = {}
    wanted = {name.lower() for name in (*ACTIONS, *HEAD_ANGLES, *_TIMES, _COUNT)}
    for column, name in enumerate(header):
        if name.lower() in places and name.lower() in wanted:
            raise UserError(f"{where}: expected one column {name}, found two")
        places[name.lower()] = column
    missing = [name for name in ACTIONS if name.lower() not in places]
    angles = [name for name in HEAD_ANGLES if name.lower() not in places]
    if len(angles) < len(HEAD_ANGLES):
        missing += angles
    if missing:
        eyes = {f"{side}eye{angle}" for side in ("left", "right") for angle in ("yaw", "pitch", "roll")}
        others = [name for name in header if name.lower() not in wanted | eyes]
        unknown = f"; not known: {', '.join(others)}" if others else ""
        raise UserError(shortened(f"{where}: expected ARKit's 52 actions, found no {', '.join(missing)}{unknown}", 300))
    return places


def _has_face(row: list[str], places: dict[str, int]) -> bool:
    if _COUNT in places and row[places[_COUNT]].strip() in ("0", "0.0"):
        return False
    return any(row[places[name.lower()]].strip() for name in ACTIONS)


def _numbers(rows: Sequence[list[str]], known: np.ndarray, columns: list[int], header: list[str], where: str):
    """[K, C] of the known rows."""
    out = np.empty((known.sum(), len(columns)))
    for place, index in enumerate(np.flatnonzero(known).tolist()):
        for i, column in enumerate(columns):
            try:
                out[place, i] = float(rows[index][column])
            except ValueError:
                out[place, i] = math.nan
            if not math.isfinite(out[place, i]):
                found = f"'{rows[index][column].strip()[:40]}'" if rows[index][column].strip() else "nothing"
                raise UserError(f"{where}: {header[column]} in line {index + 2}: expected a number, found {found}")
    return out


def _seconds(texts: list[str], where: str) -> np.ndarray:
    """Seconds [F] from the first time on: of time codes HH:MM:SS:FF, clock times HH:MM:SS.ss, or plain seconds."""
    pattern = next((p for p in (_TIMECODE, _CLOCK, _NUMBER) if p.fullmatch(texts[0])), _TIMECODE)
    found = [pattern.fullmatch(text) for text in texts]
    if None in found:
        row = found.index(None)
        raise UserError(
            f"{where}: time in line {row + 2}: expected HH:MM:SS:FF or seconds throughout, found '{texts[row][:40]}'"
        )
    parts = np.array([[float(part) for part in match.groups()] for match in found if match])
    units = [3600.0, 60.0, 1.0, 1.0 / _frame_rate(parts)] if pattern is _TIMECODE else [3600.0, 60.0, 1.0]
    seconds = parts @ units if parts.shape[1] > 1 else parts[:, 0]
    steps = np.diff(seconds)
    if pattern is not _NUMBER:
        steps = np.where(steps < -0.5 * _DAY, steps + _DAY, steps)  # over midnight
    if (steps < 0).any():
        row = int(np.argmax(steps < 0)) + 1
        raise UserError(
            f"{where}: expected times in order, found {texts[row]} in line {row + 2} after {texts[row - 1]}"
        )
    return np.concatenate([[0.0], np.cumsum(steps)])


def _frame_rate(parts: np.ndarray) -> float:
    """Frames a second of time codes [F, 4]: the least usual rate that has as many, by whole seconds."""
    second = parts[:, :3] @ [3600.0, 60.0, 1.0]
    whole = (second > second[0]) & (second < second[-1])
    least = _RATES[0] if whole.any() else LIVE_LINK_RATE
    highest = math.floor(parts[:, 3].max())
    return next((rate for rate in _RATES if rate >= least and rate > highest), highest + 1)

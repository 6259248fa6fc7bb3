"""The frames of a video in time, from the names of their files."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from torch_utils.bounds import MAX_FRAMES
from torch_utils.files import natural_key
from torch_utils.misc import UserError


class NumberedName(NamedTuple):
    """How files are named but for the number of their frame."""

    before: str
    after: str
    digits: int  # that all numbers have; 0: as few as they need

    def __call__(self, number: int) -> str:
        return f"{self.before}{number:0{self.digits or 1}d}{self.after}"


class FrameNames(NamedTuple):
    """Names in time."""

    frames: dict[int, str | None]  # by their numbers; None in a gap
    strays: list[str]  # names unlike the others, which are of no frame
    numbered: NumberedName | None  # None: names do not say which frame they are; numbers are their places

    @property
    def shown(self) -> list[str]:
        """Every frame's name; of a gap, what it would be."""
        name = self.numbered or str
        return [name(number) if found is None else found for number, found in self.frames.items()]


def order_frames(names: Iterable[str]) -> FrameNames:
    """Frames in time.

    More than half of the names are alike but for their numbers: those are the video, the others strays. If one number
    alone differs among them, it is the frame's, in steps of the numbers' greatest common divisor (a video of which
    every fifth frame was tracked has no gaps). Otherwise names are in their natural order and gaps cannot be seen.

    Raises:
        UserError: the numbers span more frames than any video has.
    """
    ordered = sorted(names, key=natural_key)
    texts = {name: tuple(re.split(r"[0-9]+", name)) for name in ordered}
    text, count = Counter(texts.values()).most_common(1)[0]
    if count * 2 <= len(ordered):
        return FrameNames(dict(enumerate(ordered)), [], None)
    video = [name for name in ordered if texts[name] == text]
    strays = [name for name in ordered if texts[name] != text]
    parts = [re.findall(r"[0-9]+", name) for name in video]
    columns = list(zip(*parts, strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(map(int, column))) > 1]
    varying = varying or [len(columns) - 1] * bool(columns)  # a single frame
    numbers = list(map(int, columns[varying[0]])) if len(varying) == 1 else []
    if len(set(numbers)) != len(video):
        return FrameNames(dict(enumerate(video)), strays, None)
    step = max(math.gcd(*(number - numbers[0] for number in numbers)), 1)
    if (numbers[-1] - numbers[0]) // step > MAX_FRAMES:
        raise UserError(f"expected numbered frames of one video, found {numbers[0]} to {numbers[-1]}")
    by_number = dict(zip(numbers, video, strict=True))
    frames = {number: by_number.get(number) for number in range(numbers[0], numbers[-1] + 1, step)}
    return FrameNames(frames, strays, _numbered(video[0], varying[0], columns[varying[0]]))


def _numbered(name: str, column: int, digits: tuple[str, ...]) -> NumberedName:
    """From one of the names, which of its numbers is the frame's, and all of those."""
    place = list(re.finditer(r"[0-9]+", name))[column]
    lengths = {len(each) for each in digits}
    return NumberedName(name[: place.start()], name[place.end() :], lengths.pop() if len(lengths) == 1 else 0)

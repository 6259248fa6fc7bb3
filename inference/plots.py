"""Plain line plots, one panel below the other, by Pillow: enough to see keyframes without another dependency."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from torch_utils.misc import atomic_path

WIDTH, HEIGHT = 1200, 170  # pixels of a panel
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 24, 22  # margins in it: numbers, names, title, seconds
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")
GREY, SHADE = "#bbbbbb", "#f0e4d0"


class Panel(NamedTuple):
    title: str
    seconds: np.ndarray  # [F]
    values: np.ndarray  # [F, C]
    names: list[str]  # [C]
    gaps: list[tuple[int, int]]  # first and last frame of what was not measured


def draw_plot(path: Path, panels: list[Panel]) -> None:
    """Writes a PNG. Raises UserError: it cannot be written."""
    image = Image.new("RGB", (WIDTH, HEIGHT * len(panels)), "white")
    pen = ImageDraw.Draw(image)
    for number, panel in enumerate(panels):
        _draw_panel(pen, panel, HEIGHT * number)
    with atomic_path(path) as temporary:
        image.save(temporary)


def _draw_panel(pen: ImageDraw.ImageDraw, panel: Panel, top: int) -> None:
    font = ImageFont.load_default(13)
    low, high = float(panel.values.min()), float(panel.values.max())
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05) * 1.05
    end = max(panel.seconds[-1], 1e-9)

    def x(seconds):
        return LEFT + seconds / end * (WIDTH - LEFT - RIGHT)

    def y(value):
        return top + TOP + (middle + half - value) / (2 * half) * (HEIGHT - TOP - BOTTOM)

    frame = (LEFT, y(middle + half), WIDTH - RIGHT, y(middle - half))
    for first, last in panel.gaps:
        sides = x(panel.seconds[max(first - 1, 0)]), x(panel.seconds[min(last + 1, len(panel.seconds) - 1)])
        pen.rectangle((sides[0], frame[1], sides[1], frame[3]), fill=SHADE)
    pen.rectangle(frame, outline=GREY)
    if abs(middle) < half:
        pen.line((LEFT, y(0), WIDTH - RIGHT, y(0)), fill=GREY)
    pen.text((LEFT, top + 5), panel.title, "black", font)
    for value in sorted({low, high}):
        pen.text((LEFT - 6, y(value)), f"{value + 0.0:.2f}".replace("-0.00", "0.00"), "black", font, anchor="rm")
    for seconds in np.linspace(0, end, 11):
        pen.text((x(seconds), frame[3] + 4), f"{seconds:.1f} s", "black", font, anchor="ma")
    for column, name in enumerate(panel.names):
        colour = COLOURS[column % len(COLOURS)]
        points = [(x(s), y(v)) for s, v in zip(panel.seconds, panel.values[:, column], strict=True)]
        pen.line(points if len(points) > 1 else [points[0], (WIDTH - RIGHT, points[0][1])], fill=colour, width=2)
        pen.text((WIDTH - RIGHT + 8, top + TOP + 15 * column), name, colour, font)

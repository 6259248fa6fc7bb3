"""`python -m training.history RUN_DIR... --out history.png`: how a model came to be, as one picture.

The folders are those of the stages in their order. Above, the distance to the data over all images, each stage with its
own (its pictures are of another size); below, snapshots of the same people from the first to the last.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from torch_utils.bounds import whole_number
from torch_utils.misc import CliParser, UserError, atomic_path
from torch_utils.picture_grid import INK, PAPER, RULE, labelled_grid
from torch_utils.pictures import read_picture
from training.config import TrainConfig, load_train_config
from training.run.log import CONFIG, find_snapshots, read_ticks
from training.run.snapshot import COLUMNS, FACE_COLUMNS, GAP

SHOWN = ("neutral", "camera left", "head right", "expression 1")  # of the columns of a snapshot
HEIGHT, LINE, BLUE = 200, 2, (37, 99, 235)  # of the curve
SHARPER = 3  # lines are drawn so many times as large


class Stage(NamedTuple):
    """One run."""

    config: TrainConfig
    images: float  # altogether; a whole number
    distances: list[tuple[float, float]]  # (images so far, distance to the data)
    snapshots: dict[int, Path]  # by images so far


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(prog="python -m training.history", description=__doc__.split(": ", 1)[1])
    parser.add_argument("run_dirs", nargs="+", type=Path, help="folders of runs (train.py --outdir), in their order")
    parser.add_argument("--snapshots", type=whole_number(1, 100), default=3, help="of every run (default: 3)")
    parser.add_argument("--people", type=whole_number(1, 64), default=2, help="of every snapshot (default: 2)")
    parser.add_argument(
        "--size", type=whole_number(16, 1024), default=96, help="pixels a side of a picture (default: 96)"
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write, .png")
    args = parser.parse_args(argv)
    if args.out.suffix.lower() != ".png":
        raise UserError(f"--out: expected a name that ends in .png, found '{args.out}'")
    page = draw_history([read_stage(folder) for folder in args.run_dirs], args.snapshots, args.people, args.size)
    with atomic_path(args.out) as temporary:
        page.save(temporary, "png")
    print(f"wrote {args.out}")


def read_stage(folder: Path) -> Stage:
    """A run from its folder; UserError where it is none, or has no snapshot."""
    ticks, files = read_ticks(folder), find_snapshots(folder)
    if not files:
        raise UserError(f"{folder}: expected snapshots (fakes000000000.png), found none")
    distances = [(tick["cur_nimg"], tick["distance"]) for tick in ticks if tick.get("distance", 0) > 0]
    return Stage(load_train_config(folder / CONFIG), ticks[-1]["cur_nimg"], distances, files)


def draw_history(stages: Sequence[Stage], snapshots: int, people: int, size: int) -> Image.Image:
    """The whole picture; ``size`` pixels a side of every portrait."""
    before = 0.0
    rows, names = [], []
    for stage in stages:
        times = sorted(stage.snapshots)
        for i in sorted({round(x) for x in np.linspace(len(times) - 1, 0, snapshots)}):
            shown = cut_snapshot(stage.snapshots[times[i]], stage.config.portrait_size, people)
            rows.append(list(itertools.chain.from_iterable(shown)))
            names.append(f"{before + times[i]:,.0f}")
        before += stage.images
    headings = [(f"person {i + 1}", name) for i in range(people) for name in (*SHOWN, "face")]
    table = labelled_grid(rows, headings, names, size)
    curve = draw_curve(stages, table.width)
    page = Image.new("RGB", (table.width, table.height + curve.height), PAPER)
    page.paste(curve, (0, 0))
    page.paste(table, (0, curve.height))
    return page


def cut_snapshot(path: Path, size: int, people: int) -> list[list[torch.Tensor]]:
    """The columns SHOWN and the neutral face of the first people: a list a person of [3, H, H] in -1..1."""
    grid = np.asarray(read_picture(path))
    columns = [*COLUMNS, *("face" for _ in FACE_COLUMNS)]  # the first of them is of the neutral face
    found = (grid.shape[0] - GAP) // (size + GAP)
    if grid.shape[1] != GAP + len(columns) * (size + GAP) or found < people:
        expected = f"{people} or more rows of {len(columns)} pictures of {size} pixels"
        raise UserError(f"{path}: expected {expected}, found {grid.shape[1]} x {grid.shape[0]} pixels")
    tiles = torch.from_numpy(grid.copy()).permute(2, 0, 1).float() / 127.5 - 1
    tiles = tiles[:, GAP:, GAP:].unfold(1, size, size + GAP).unfold(2, size, size + GAP)  # [3, rows, columns, H, H]
    chosen = [columns.index(name) for name in (*SHOWN, "face")]
    return [[tiles[:, person, column] for column in chosen] for person in range(people)]


def draw_curve(stages: Sequence[Stage], width: int) -> Image.Image:
    """Distances over images, on a logarithmic scale; a line and a heading a stage."""
    values = [value for stage in stages for _, value in stage.distances]
    if not values:
        raise UserError("expected a run with distances to the data (run.metric_images above 0), found none")
    low, high = min(values), max(values)
    text = 12
    left, right, top, bottom = 4 * text, width - 2 * text, 3 * text, HEIGHT - 2 * text
    total = sum(stage.images for stage in stages)

    def place(images: float, value: float) -> tuple[float, float]:
        up = math.log(value / low) / (math.log(high / low) or 1)
        return left + (right - left) * images / max(1, total), bottom - (bottom - top) * up

    lines = Image.new("RGB", (SHARPER * width, SHARPER * HEIGHT), PAPER)
    pen = ImageDraw.Draw(lines)

    def line(points: Sequence[tuple[float, float]], colour: tuple[int, int, int], thick: int) -> None:
        pen.line([(SHARPER * x, SHARPER * y) for x, y in points], colour, SHARPER * thick, joint="curve")

    before = 0.0
    headings = []
    for stage in stages:
        line([place(before, low), place(before, high)], RULE, 1)
        points = [place(before + images, value) for images, value in stage.distances]
        line(points, BLUE, LINE)
        last = stage.distances[-1][1] if stage.distances else math.nan
        heading = f"{stage.config.portrait_size}^2, stage {stage.config.stage}: {last:.3g} at last"
        headings.append((place(before, high)[0] + text / 2, heading))
        before += stage.images
    line([place(0, low), place(total, low)], RULE, 1)
    curve = lines.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(curve), ImageFont.load_default(text)
    for i, (x, heading) in enumerate(reversed(headings)):  # a short last stage's still fits, each on a line of its own
        x = min(x, width - text - font.getlength(heading))
        pen.text((x, top + 1.4 * text * (len(headings) - 1 - i)), heading, INK, font, anchor="ls")
    for value in (low, high):
        pen.text((left - text / 2, place(0, value)[1]), f"{value:.3g}", INK, font, anchor="rm")
    pen.text((text, text / 2), "distance to the data (logarithmic)", INK, font, anchor="lt")
    for images in (0, total):
        pen.text((place(images, low)[0], bottom + text / 3), f"{images:,}", INK, font, anchor="mt")
    pen.text(((left + right) / 2, bottom + text / 3), "images", INK, font, anchor="mt")
    return curve

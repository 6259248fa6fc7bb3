"""Figures of benchmarks over time: `--record` of every bm_*.py appends a line, and this command plots them.

    python -m tests.benchmarks.records --out benchmarks.png
    python -m tests.benchmarks.records --out benchmarks.png --only bm_training bm_viewer

A file a benchmark, tests/benchmarks/history/bm_*.jsonl, of lines with date, commit, hardware, torch, the command's
options and its figures. Figures of different hardware are different lines in the picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from torch_utils.misc import CliParser, UserError, atomic_path, run_cli
from torch_utils.picture_grid import INK, PAPER, RULE

ROOT = Path(__file__).resolve().parents[2]
HISTORY = Path(__file__).with_name("history")
KEYS = ("date", "commit", "hardware", "torch", "options", "figures")

WIDTH, HEIGHT, COLUMNS, MARGIN, TEXT = 330, 120, 4, 14, 11  # of a panel, pixels
SHARPER = 3  # lines are drawn so many times as large
COLOURS = ((37, 99, 235), (217, 119, 6), (5, 150, 105), (190, 24, 93), (109, 40, 217))  # of machines, in turn


class Series(NamedTuple):
    """A figure over time."""

    title: str  # benchmark and options
    figure: str  # its name, unit included
    points: dict[str, list[tuple[str, float]]]  # hardware -> (date, value), oldest first


def add_record(parser: argparse.ArgumentParser) -> None:
    """The option of every benchmark."""
    text = "append the figures, with date, commit and hardware, to tests/benchmarks/history/"
    parser.add_argument("--record", action="store_true", help=text)


def hardware_name(device: torch.device) -> str:
    """A GPU's name, or a CPU's with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    if known.exists():
        lines = known.read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def commit_name() -> str:
    """Of the checkout, with a + where files differ from it; "unknown" without git."""
    try:
        run = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **run).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **run).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")


def record(benchmark: str, figures: Mapping[str, float], device: torch.device | None = None) -> None:
    """Append a line to the history of a benchmark.

    Args:
        figures: by names that say their unit, "fast frame, s".
        device: what was measured (default: the CPU).
    """
    entry = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
        "commit": commit_name(),
        "hardware": hardware_name(device or torch.device("cpu")),
        "torch": torch.__version__,
        "options": " ".join(word for word in sys.argv[1:] if word != "--record"),
        "figures": {name: float(f"{value:.4g}") for name, value in figures.items()},
    }
    HISTORY.mkdir(exist_ok=True)
    path = HISTORY / f"{benchmark}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    print(f"recorded in {path}")


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Lines of a history, oldest first; UserError names a line that is none."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            assert [*entry] == [*KEYS] and all(isinstance(value, (int, float)) for value in entry["figures"].values())
        except (ValueError, AssertionError, AttributeError, TypeError):
            raise UserError(f"{path}:{number}: expected an object of {', '.join(KEYS)}, found {line[:80]}") from None
        entries.append(entry)
    return sorted(entries, key=lambda entry: entry["date"])


def collect(paths: Sequence[Path]) -> list[Series]:
    """A series for every figure of every benchmark and its options."""
    found: dict[tuple[str, str], Series] = {}
    for path in paths:
        for entry in read_entries(path):
            title = f"{path.stem} {entry['options']}".strip()
            for figure, value in entry["figures"].items():
                series = found.setdefault((title, figure), Series(title, figure, {}))
                series.points.setdefault(entry["hardware"], []).append((entry["date"], value))
    return list(found.values())


def draw(series: Sequence[Series]) -> Image.Image:
    """Small panels, a row of them for every benchmark and its options; machines have colours."""
    machines = sorted({name for one in series for name in one.points})
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(machines)}
    groups: dict[str, list[Series]] = {}
    for one in series:
        groups.setdefault(one.title, []).append(one)
    font, line = ImageFont.load_default(TEXT), round(1.6 * TEXT)
    rows = {title: -(-len(panels) // COLUMNS) for title, panels in groups.items()}
    height = 2 * MARGIN + line * len(machines) + sum(2 * line + HEIGHT * count for count in rows.values())
    page = Image.new("RGB", (2 * MARGIN + COLUMNS * WIDTH, height), PAPER)
    pen, y = ImageDraw.Draw(page), MARGIN
    for name in machines:
        pen.ellipse((MARGIN, y + 3, MARGIN + 6, y + 9), colours[name])
        pen.text((MARGIN + TEXT, y), name, INK, font)
        y += line
    for title, panels in groups.items():
        pen.line((MARGIN, y + line // 2, page.width - MARGIN, y + line // 2), RULE)
        pen.text((MARGIN, y + line), title, INK, font)
        y += 2 * line
        for i, panel in enumerate(panels):
            page.paste(draw_panel(panel, colours), (MARGIN + i % COLUMNS * WIDTH, y + i // COLUMNS * HEIGHT))
        y += rows[title] * HEIGHT
    return page


def draw_panel(series: Series, colours: Mapping[str, tuple[int, int, int]]) -> Image.Image:
    """One figure: from zero, so that heights are ratios; entries side by side in the order of their dates."""
    dates = sorted({date for points in series.points.values() for date, _ in points})
    most = max(value for points in series.points.values() for _, value in points) or 1.0
    left, right, top, bottom = 4, WIDTH - 5 * TEXT, 3 * TEXT, HEIGHT - 3 * TEXT

    def place(date: str, value: float) -> tuple[float, float]:
        share = dates.index(date) / (len(dates) - 1) if len(dates) > 1 else 0.0
        return left + 4 + share * (right - left - 8), bottom - (bottom - top) * value / most

    large = Image.new("RGB", (SHARPER * WIDTH, SHARPER * HEIGHT), PAPER)
    pen = ImageDraw.Draw(large)
    pen.line([SHARPER * x for x in (left, bottom, right, bottom)], RULE, SHARPER)
    for name, points in series.points.items():
        at = [tuple(SHARPER * x for x in place(*point)) for point in points]
        pen.line(at, colours[name], 2 * SHARPER, joint="curve")
        for x, y in at:
            pen.ellipse((x - 8, y - 8, x + 8, y + 8), colours[name])
    panel = large.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(TEXT)
    pen.text((left, 0), series.figure, INK, font)
    for name, points in series.points.items():
        x, y = place(*points[-1])
        pen.text((x + 7, y), f"{points[-1][1]:.3g}", colours[name], font, anchor="lm")
    pen.text((left, bottom + 4), dates[0][:10], INK, font)
    if len(dates) > 1:
        pen.text((right, bottom + 4), dates[-1][:10], INK, font, anchor="ra")
    return panel


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.records")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .png")
    parser.add_argument("--only", nargs="+", metavar="BENCHMARK", help="such as bm_render (default: all)")
    args = parser.parse_args()
    if args.out.suffix.lower() != ".png":
        raise UserError(f"--out: expected a name that ends in .png, found '{args.out}'")
    paths = {path.stem: path for path in sorted(HISTORY.glob("*.jsonl"))}
    unknown = [name for name in args.only or () if name not in paths]
    if unknown or not paths:
        raise UserError(f"--only: expected of {', '.join(paths) or 'no recorded benchmark'}, found {unknown}")
    page = draw(collect([paths[name] for name in args.only or paths]))
    with atomic_path(args.out) as temporary:
        page.save(temporary, "png")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    run_cli(main)

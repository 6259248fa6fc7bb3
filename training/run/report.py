"""`python -m training.report RUN_DIR`: one HTML page of a run, with everything inside.

Numbers, the control sheet of the best model (the latest where none was measured), snapshots, curves and the
configuration.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from torch_utils.bounds import whole_number
from torch_utils.misc import CliParser, UserError, atomic_path, resolve_device
from training.run.control_sheet import PSI, control_sheet
from training.run.log import CONFIG, find_snapshots, read_text, read_ticks
from training.run.state import BEST, LATEST

SNAPSHOTS = 4  # shown: the first, the last, and some between
SHEET_SIZE, MAX_PEOPLE = 128, 16  # pixels a side of a picture; rows
WIDTH, HEIGHT, MARGIN = 360, 150, 8  # of a curve, pixels
POINTS = 400  # of a curve
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1180px; padding: 0 1em; color: #222 }
h2 { margin-top: 2em; border-bottom: 1px solid #ddd } figure { margin: 0 } img { max-width: 100% }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(360px, 1fr)); gap: 14px }
.snapshots { display: grid; grid-template-columns: 1fr 1fr; gap: 14px } .snapshots img { width: 100% }
figcaption { font-size: 13px } svg { background: #fafafa; border: 1px solid #eee }
td, th { padding: 2px 12px; text-align: left } td + td { text-align: right; font-variant-numeric: tabular-nums }
pre { background: #fafafa; padding: 1em; overflow: auto }
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(prog="python -m training.report", description=__doc__, allow_abbrev=False)
    parser.add_argument("run_dir", type=Path, help="folder of a run (train.py --outdir)")
    parser.add_argument("--out", type=Path, help="file to write (default: RUN_DIR/report.html)")
    parser.add_argument(
        "--people",
        type=whole_number(0, MAX_PEOPLE),
        default=2,
        help="rows of the control sheet; 0: no sheet (default: 2)",
    )
    parser.add_argument("--device", default="auto", help="to render it on: auto, cpu, cuda or cuda:N (default: auto)")
    args = parser.parse_args(argv)
    page = make_page(args.run_dir, args.people, resolve_device(args.device))
    out = args.out or args.run_dir / "report.html"
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"wrote {out}")


def make_page(run_dir: Path, people: int, device: torch.device) -> str:
    """The page, with so many people on its control sheet.

    Raises:
        UserError: there is no run, or a file of it cannot be read.
    """
    ticks = read_ticks(run_dir)
    parts = [
        ("Metrics", "".join(metric_tables(run_dir, ticks))),
        ("Controls", sheet(run_dir, people, device)),
        ("Snapshots", f'<div class="snapshots">{"".join(snapshots(run_dir))}</div>'),
        ("Curves", f'<div class="curves">{"".join(curves(ticks))}</div>'),
        ("Configuration", f"<pre>{html.escape(read_text(run_dir / CONFIG))}</pre>"),
    ]
    title = html.escape(run_dir.resolve().name)
    last = ticks[-1]
    head = f"<h1>{title}</h1><p>step {last['step']}, {last['cur_nimg'] / 1000:.2f} kimg</p>"
    body = "".join(f"<h2>{name}</h2>{content}" for name, content in parts if "<" in content)
    start = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f"{start}{head}{body}</html>\n"


def curves(ticks: list[dict[str, float]]) -> list[str]:
    """A drawing of every number over thousands of images."""
    names = dict.fromkeys(name for tick in ticks for name in tick if name not in ("step", "cur_nimg"))
    found = []
    for name in sorted(names):
        values = [(tick["cur_nimg"] / 1000, tick[name]) for tick in ticks if isinstance(tick.get(name), int | float)]
        values = [(x, y) for x, y in values if math.isfinite(y)]
        if values:
            found.append(curve(name, values))
    return found


def curve(name: str, values: list[tuple[float, float]]) -> str:
    """One line in SVG, from its least to its greatest value, with both written beside it."""
    values = values[:: max(1, len(values) // POINTS)] + values[-1:]
    xs, ys = zip(*values, strict=True)
    (left, right), (low, high) = ((min(part), max(part)) for part in (xs, ys))
    across, up = (WIDTH - 2 * MARGIN) / ((right - left) or 1), (HEIGHT - 2 * MARGIN) / ((high - low) or 1)
    points = " ".join(f"{MARGIN + (x - left) * across:.1f},{HEIGHT - MARGIN - (y - low) * up:.1f}" for x, y in values)
    caption = f"<b>{html.escape(name)}</b> {ys[-1]:.4g} (from {low:.4g} to {high:.4g}; {left:g} to {right:g} kimg)"
    line = f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.5"/>'
    if len(values) < 3:  # one point twice is no line
        x, y = points.split()[-1].split(",")
        line += f'<circle cx="{x}" cy="{y}" r="3" fill="#2563eb"/>'
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">{line}</svg>'
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def snapshots(run_dir: Path) -> list[str]:
    """Some of the run's pictures, from the first to the last, inside the page."""
    files = list(find_snapshots(run_dir).items())
    count = min(SNAPSHOTS, len(files))
    chosen = [files[round(i * (len(files) - 1) / max(1, count - 1))] for i in range(count)]
    found = []
    for images, file in chosen:
        found.append(picture(file.read_bytes(), file.name, f"after {images / 1000:g} kimg"))
    return found


def sheet(run_dir: Path, people: int, device: torch.device) -> str:
    """The control sheet of a model of the run; nothing where none is saved or nobody is asked for."""
    path = next((run_dir / name for name in (BEST, LATEST) if (run_dir / name).is_file()), None)
    if path is None or not people:
        return ""
    png = io.BytesIO()
    control_sheet(path, people, device, SHEET_SIZE).save(png, "png")
    caption = f"Model <code>{path.name}</code>, psi {PSI}: a row a seed; in each column one control alone is moved."
    return picture(png.getvalue(), "control sheet", caption)


def picture(png: bytes, name: str, caption: str) -> str:
    """A PNG inside the page; ``caption`` is HTML."""
    data = base64.b64encode(png).decode()
    image = f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def metric_tables(run_dir: Path, ticks: list[dict[str, float]]) -> list[str]:
    """The distance during training, and what ``python -m training.metrics --out RUN_DIR/NAME.json`` wrote."""
    found = []
    measured = [tick for tick in ticks if "distance" in tick]
    if measured:
        best = min(measured, key=lambda tick: tick["distance"])
        line = f"best {best['distance']:.4g} at {best['cur_nimg'] / 1000:g} kimg, last {measured[-1]['distance']:.4g}"
        found.append(f"<p>Distance to the data during training: {line}.</p>")
    for file in sorted(run_dir.glob("*.json")):
        try:
            data = json.loads(read_text(file))
        except ValueError:
            raise UserError(f"{file}: not valid JSON") from None
        if isinstance(data, dict):
            found.append(metric_table(file.name, data))
    return found


def metric_table(name: str, data: dict[str, Any]) -> str:
    """Distances, and control beside the true drawings' numbers."""
    ceiling = data.get("ceiling", {})
    rows = [(key, value, "") for key, value in data.get("distances", {}).items()]
    rows += [(key, value, ceiling.get(key, "")) for key, value in data.get("control", {}).items()]
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{_number(value)}</td><td>{_number(drawn)}</td></tr>"
        for key, value, drawn in rows
    )
    head = "<tr><th>metric</th><th>model</th><th>true drawing</th></tr>"
    return f"<h3>{html.escape(name)}</h3><table>{head}{lines}</table>"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""

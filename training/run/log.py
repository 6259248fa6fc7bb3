"""What a run says about itself: a progress bar, a line per tick, stats.jsonl and TensorBoard."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from torch_utils.config import config_to_dict
from torch_utils.misc import UserError, atomic_path, reason

STATS, CONFIG = "stats.jsonl", "config.yaml"  # in the run folder
DETAILS = ("_camera", "_r1", "_r2", "_norm", "_smooth", "_minimal", "_consistency")  # in the files only


def save_config(config: Any, path: Path, remarks: Sequence[str] = ()) -> None:
    """The resolved configuration of this session, below ``remarks``."""
    comments = "".join(f"# {' '.join(remark.split())}\n" for remark in remarks if remark)
    with atomic_path(path) as temporary:
        temporary.write_text(comments + yaml.safe_dump(config_to_dict(config), sort_keys=False), encoding="utf-8")


class RunLog:
    """Collects losses step by step and reports their means.

    Args:
        outdir: run folder; None (all processes but the first) reports nothing.
        cur_nimg: images so far; what a killed session wrote beyond them is removed.
        total: images of the whole run.
    """

    def __init__(self, outdir: Path | None, cur_nimg: int, total: int):
        self.outdir = outdir
        self.sums: dict[str, float] = defaultdict(float)
        self.count = 0
        self.tick_start, self.tick_nimg = time.monotonic(), cur_nimg
        self.bar = tqdm(total=total, initial=cur_nimg, unit="img", disable=outdir is None, smoothing=0.05)
        self.board = None
        if outdir is not None:
            from torch.utils.tensorboard import SummaryWriter  # seconds to import; only here

            _drop_after(outdir / STATS, cur_nimg)
            try:
                self.board = SummaryWriter(str(outdir), purge_step=cur_nimg)
            except OSError as error:
                raise self._failure(error) from error

    def write(self, line: str) -> None:
        """A line above the bar."""
        if self.outdir is not None:
            tqdm.write(line)

    def add(self, values: dict[str, float], images: int) -> None:
        """Losses of one step, of so many images."""
        for name, value in values.items():
            self.sums[name] += value
        self.count += 1
        self.bar.update(images)

    def report(self, step: int, cur_nimg: int, device: torch.device, more: dict[str, float] | None = None) -> None:
        """One tick: means since the last one, and ``more``. Raises UserError where they cannot be written."""
        now = time.monotonic()
        stats = {name: value / max(1, self.count) for name, value in sorted(self.sums.items())}
        images = cur_nimg - self.tick_nimg
        if images:
            stats["images_per_second"] = images / (now - self.tick_start)
        if device.type == "cuda":
            stats["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        stats |= more or {}
        self.sums.clear()
        self.count, self.tick_start, self.tick_nimg = 0, now, cur_nimg
        if self.outdir is None or self.board is None:
            return
        try:
            with (self.outdir / STATS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "cur_nimg": cur_nimg, **stats}) + "\n")
            for name, value in stats.items():
                self.board.add_scalar(name, value, cur_nimg)
            self.board.flush()
        except OSError as error:
            raise self._failure(error) from error
        shown = (f"{name} {value:.4g}" for name, value in stats.items() if not name.endswith(DETAILS))
        tqdm.write(f"step {step}  kimg {cur_nimg / 1000:.2f}  {'  '.join(shown)}")

    def close(self) -> None:
        """Ends the bar and the event file."""
        self.bar.close()
        if self.board is not None:
            with contextlib.suppress(OSError):  # what was reported is there; a full disk has been told of
                self.board.close()

    def _failure(self, error: OSError) -> UserError:
        kept = "the last checkpoint is still there"
        return UserError(f"{self.outdir}: statistics cannot be written: {reason(error)}; {kept}")


def _drop_after(path: Path, cur_nimg: int) -> None:
    """Remove lines of a session that was killed after its last checkpoint, and a half-written last one."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["cur_nimg"] <= cur_nimg:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    with atomic_path(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def snapshot_path(folder: Path, images: int) -> Path:
    """Where a run's picture after so many images lies."""
    return folder / f"fakes{images:09d}.png"


def find_snapshots(folder: Path) -> dict[int, Path]:
    """A run's pictures by images so far, in order."""
    files = sorted(folder.glob("fakes" + 9 * "[0-9]" + ".png"))
    return {int(file.stem.removeprefix("fakes")): file for file in files}


def read_ticks(folder: Path) -> list[dict[str, float]]:
    """A run's statistics; a half-written last line is left out. Raises UserError where there are none."""
    path, ticks = folder / STATS, []
    if not path.is_file():
        raise UserError(f"{folder}: expected the folder of a training run, found no {STATS} in it")
    for line in read_text(path).splitlines():
        try:
            tick = json.loads(line)
        except ValueError:
            continue
        if isinstance(tick, dict) and {"step", "cur_nimg"} <= set(tick):
            ticks.append(tick)
    if not ticks:
        raise UserError(f"{path}: expected lines of statistics, found none")
    return ticks


def read_text(path: Path) -> str:
    """A file's text, nothing where there is no such file. Raises UserError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read: {reason(error) if isinstance(error, OSError) else 'not text'}"
        ) from None

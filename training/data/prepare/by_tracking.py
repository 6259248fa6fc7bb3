"""``prepare`` without fits: a folder of photos, or of videos, and nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

from tqdm import tqdm

from networks.person.fitting.measured import landmarks
from networks.person.tracker.follow import Tracker
from torch_utils.files import list_files
from torch_utils.misc import UserError
from torch_utils.pictures import PICTURE_SUFFIXES
from torch_utils.worker_pool import worker_pool
from training.data.prepare.models import open_models
from training.data.prepare.photo import Item, PrepareConfig
from training.data.prepare.report import Outcome, hashed_names, summary, write_report
from training.data.prepare.tracked import Preparation
from training.data.storage import DatasetWriter

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv", ".3gp", ".gif")
LARGEST = "largest"
FILL = 0.1  # of the portrait's side, by default: portraits are often framed as closely as ours
NAMES = 1_000_000  # of items in a data set


@dataclass(frozen=True)
class _Job:
    """Index of a photo or video -> (its index, its items)."""

    paths: Sequence[Path]
    preparation: Preparation
    videos: bool

    def __call__(self, index: int) -> tuple[int, list[tuple[str, Item | Outcome]]]:
        prepare = self.preparation.video if self.videos else self.preparation.photo
        return index, prepare(self.paths[index])


def run_by_tracking(args: argparse.Namespace) -> None:
    """Prepares what is not prepared yet, writes the report beside the data set and prints a summary.

    Raises:
        UserError: an option or a place is wrong, the detectors are not to be had, no picture could be used, or the disk
            is full.
    """
    options = {field.name: getattr(args, field.name) for field in fields(PrepareConfig)}
    config = PrepareConfig(**options | {"fill": FILL if args.fill is None else args.fill})
    out = Path(f"{args.out}.zip" if args.zip and Path(args.out).suffix != ".zip" else args.out)
    paths, models = _find(args), open_models()
    person = _person(args.person)
    Tracker(threads=1)  # complain once and before processes start
    job = _Job(paths, Preparation(landmarks(), models, config, person, args.every), bool(args.videos))
    each = NAMES // len(paths) if args.videos else 1  # numbers that a photo's or video's items have for themselves
    about = {"name": out.stem, "made_by": _made_by(args, paths, config)}
    with DatasetWriter(out, image_size=config.size, face_size=config.face_size, models=models.names, **about) as writer:
        before = writer.done
        if writer.finished:
            print(f"{out}: finished before with {len(before)} items; to prepare skipped photos remove it first")
            return
        begun = {index // each for index in before}
        outcomes = {index: Outcome(paths[index // each].name, "ok") for index in before}
        pending = [index for index in range(len(paths)) if args.videos or index not in begun]
        with closing(_all(job, pending, args.workers)) as results:
            for index, found in tqdm(results, total=len(pending), unit="video" if args.videos else "photo"):
                if len(found) > each:
                    name = paths[index].name
                    raise UserError(f"{name}: expected at most {each} frames, found {len(found)}: a larger --every?")
                for row, (name, result) in enumerate(found, index * each):
                    if isinstance(result, Item):
                        if row not in before:
                            writer.add(row, result.image_png, result.face_png, result.labels, result.mask_png)
                        result = Outcome(name, "ok")
                    outcomes[row] = result
        report = out.with_name(f"{out.name}.report.csv")
        write_report(report, outcomes)
        print("\n".join(summary(outcomes.values())))
        if not writer.done:
            raise UserError(f"{out}: expected pictures that can be used, found none; see {report}")
        writer.finish()
    print(f"{out}: {len(writer.done)} items; why others were left out: {report}")


def _all(job: _Job, indices: Sequence[int], workers: int) -> Generator[tuple[int, list[tuple[str, Item | Outcome]]]]:
    with worker_pool(job, workers if workers > 1 else 0) as prepare:
        yield from prepare(indices)


def _find(args: argparse.Namespace) -> list[Path]:
    """The photos or videos, sorted by name. Raises UserError: there are none, or both are asked for."""
    if bool(args.images) == bool(args.videos):
        raise UserError("expected --images or --videos, found " + ("both" if args.images else "neither"))
    flag, folder, suffixes = (
        ("--videos", args.videos, VIDEO_SUFFIXES) if args.videos else ("--images", args.images, PICTURE_SUFFIXES)
    )
    if not Path(folder).is_dir():
        raise UserError(f"{flag}: {folder}: no such folder")
    paths = sorted(list_files(folder, suffixes), key=lambda path: path.name)
    if not paths:
        raise UserError(f"{flag}: {folder}: expected files {', '.join(suffixes)}, found none")
    if len(paths) > NAMES:
        raise UserError(f"{flag}: {folder}: expected at most {NAMES} files, found {len(paths)}")
    return paths


def _person(given: str | None) -> int | None:
    """``--person``: None, -1 for the largest, or a number from the left."""
    if given is None or given == LARGEST:
        return None if given is None else -1
    if not given.isdecimal() or int(given) > 100:
        raise UserError(f"--person: expected {LARGEST} or a number from the left, 0 to 100, found '{given}'")
    return int(given)


def _made_by(args: argparse.Namespace, paths: Sequence[Path], config: PrepareConfig) -> str:
    """Everything that an item follows from, but for the contents of the files."""
    kind = f"every {args.every}-th frame of {len(paths)} videos" if args.videos else f"{len(paths)} photos"
    return (
        f"python -m training.data prepare: {kind} {hashed_names(paths)}, tracked, max_turn {config.max_turn:g}, "
        f"min_side {config.min_side:g}, fill {config.fill:g}, person {args.person or 'the only one'}"
    )

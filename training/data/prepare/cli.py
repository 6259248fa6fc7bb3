"""``python -m training.data prepare``: photos or videos -> a data set, by tracking them or by other programs' fits.

With --masks, --smpl and --face (SHHQ-HS) everything is as those say; without all three the tracker and the fit of this
project say it (by_tracking.py).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from contextlib import closing
from dataclasses import fields
from pathlib import Path

from tqdm import tqdm

from networks.person.tracking_files import SmplFits, add_fit_options, open_fits
from torch_utils.assets import FACE_FILES, SMPL_FILES
from torch_utils.bounds import MAX_FRAMES, MAX_WORKERS, whole_number
from torch_utils.files import list_files
from torch_utils.misc import UserError
from torch_utils.pictures import PICTURE_SUFFIXES
from torch_utils.worker_pool import usable_cores
from training.data.prepare.by_tracking import run_by_tracking
from training.data.prepare.models import Models, load_models
from training.data.prepare.photo import Item, PrepareConfig, Sources
from training.data.prepare.report import Outcome, hashed_names, summary, write_report
from training.data.prepare.workers import Job, prepare_all
from training.data.storage import DatasetWriter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``prepare``."""
    add = parser.add_argument
    default = PrepareConfig()
    add("--images", metavar="DIR", help="photos")
    add("--videos", metavar="DIR", help="videos instead of photos; they are tracked")
    every_help = "of a video take every N-th frame (%(default)s)"
    add("--every", type=whole_number(1, MAX_FRAMES), default=25, metavar="N", help=every_help)
    add("--masks", metavar="DIR", help="human masks or cut-outs, named as the photos and as large")
    add("--mask_invert", action="store_true", help="masks are black, or transparent, where the person is")
    add_fit_options(parser, required=False)
    add("--face", metavar="DIR", help="Deep3DFaceRecon's NAME.mat, and 5-point landmarks NAME.txt")
    add(
        "--landmarks",
        metavar="DIR",
        help="5-point landmarks, where they are elsewhere (default: --face, --face/detections)",
    )
    add("--out", required=True, metavar="PATH", help="data set to make: a folder, or a zip where it ends in .zip")
    add("--size", type=int, default=default.size, help="pixels a side of the portraits (%(default)s)")
    add("--face_size", type=int, default=default.face_size, help="pixels a side of the face crops (%(default)s)")
    add(
        "--max_turn",
        type=float,
        default=default.max_turn,
        help="skip bodies and faces turned more, degrees (%(default)s)",
    )
    add("--min_side", type=float, default=default.min_side, help="skip portraits of fewer photo pixels (%(default)s)")
    add(
        "--fill",
        type=float,
        metavar="SHARE",
        help="where a photo's edge cuts a person off, go on beyond it by at most this share of the portrait's side and "
        "keep how much was made up as the label 'filled' (0.1 where photos are tracked, else 0: they are skipped)",
    )
    add("--zip", action="store_true", help="make an uncompressed zip")
    add("--sr", metavar="CMD|FILE", help="super-resolution: a command with {in} and {out}, or a torchscript file")
    add("--device", default="cpu", help="of the torchscript file: auto, cpu, cuda, cuda:N (%(default)s)")
    workers = whole_number(0, MAX_WORKERS)
    add("--workers", type=workers, default=usable_cores(), help="processes; 0: this one (%(default)s)")
    add("--body_model", metavar="FILE", help=f"SMPL (default: {' or '.join(SMPL_FILES)}, else the open body)")
    add("--face_model", metavar="FILE", help=f"3DMM (default: {FACE_FILES[0]}, else the open face)")


def run(args: argparse.Namespace) -> None:
    """Prepares what is not prepared yet, writes the report beside the data set and prints a summary.

    Raises:
        UserError: an option or a place is wrong, no photo could be used, or the disk is full.
    """
    given = [flag for flag in ("masks", "smpl", "face") if getattr(args, flag)]
    if not given:
        run_by_tracking(args)
        return
    if len(given) < 3 or not args.images:
        found = " and ".join(f"--{flag}" for flag in given)
        raise UserError(f"expected --images with --masks, --smpl and --face, or none of these three, found {found}")
    options = {field.name: getattr(args, field.name) for field in fields(PrepareConfig)}
    config = PrepareConfig(**options | {"fill": args.fill or 0.0})
    out = Path(f"{args.out}.zip" if args.zip and Path(args.out).suffix != ".zip" else args.out)
    photos = find_photos(args)
    models = load_models(args.body_model, args.face_model)
    job = Job(photos, photo_fits(args, photos), models, config, args.sr, args.device)
    made_by = _made_by(photos, config, args, models)
    about = {"name": out.stem, "made_by": made_by}
    with DatasetWriter(out, image_size=config.size, face_size=config.face_size, models=models.names, **about) as writer:
        before = writer.done
        if writer.finished:  # its report stays, too
            print(f"{out}: finished before with {len(before)} items; to prepare skipped photos remove it first")
            return
        print(f"{len(photos)} photos, {len(before)} prepared before; {models.name}")
        if models.warning:
            print(f"warning: {models.warning}", file=sys.stderr)
        outcomes = {index: Outcome(photos[index].photo.name, "ok") for index in before}
        pending = [index for index in range(len(photos)) if index not in before]
        with closing(prepare_all(job, pending, args.workers)) as results:
            for index, result in tqdm(results, total=len(pending), unit="photo"):
                if isinstance(result, Item):
                    writer.add(index, result.image_png, result.face_png, result.labels, result.mask_png)
                    result = Outcome(photos[index].photo.name, "ok")
                outcomes[index] = result
        report = out.with_name(f"{out.name}.report.csv")
        write_report(report, outcomes)
        print("\n".join(summary(outcomes.values())))
        if not writer.done:
            raise UserError(f"{out}: expected photos that can be used, found none; see {report}")
        writer.finish()
    print(f"{out}: {len(writer.done)} items; why others were skipped: {report}")


def photo_fits(args: argparse.Namespace, photos: list[Sources]) -> SmplFits:
    """The fits of the photos. Those that are counted belong to the photos in the order of their names, as programs that
    count them sort them. Raises UserError: there are none, or it is not clear whose to take.
    """
    fits = open_fits(args)
    names = [source.photo.stem for source in photos]
    fits.name_frames(dict(enumerate(sorted(names))))
    fits.check(names)
    return fits


def find_photos(args: argparse.Namespace) -> list[Sources]:
    """The files of every photo, sorted by name. Raises UserError: a folder is missing or has no such files."""
    landmarks = [args.landmarks] if args.landmarks else [args.face, os.path.join(args.face, "detections")]
    photos = _by_stem("--images", [args.images], PICTURE_SUFFIXES)
    present = Counter(path.suffix.lower() or "no suffix" for path in list_files(args.images))
    if passed := [f"{count} {suffix}" for suffix, count in present.items() if suffix not in PICTURE_SUFFIXES]:
        print(f"--images: {args.images}: passed over: {', '.join(passed)}; photos are {', '.join(PICTURE_SUFFIXES)}")
    others = (
        _by_stem("--masks", [args.masks], PICTURE_SUFFIXES),
        _by_stem("--face", [args.face], (".mat",)),
        _by_stem("--landmarks", landmarks, (".txt",)),
    )
    found = []
    for name, paths in sorted(photos.items()):
        files = [other.get(name, []) for other in others]
        repeated = " and ".join(path.name for same in (paths, *files) if len(same) > 1 for path in same)
        mask, face, marks = (same[0] if same else None for same in files)
        found += [Sources(photo, mask, face, marks, repeated) for photo in paths]
    return found


def _by_stem(flag: str, folders: list[str], suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Files by name without suffix."""
    found: dict[str, list[Path]] = {}
    if not Path(folders[0]).is_dir():
        raise UserError(f"{flag}: {folders[0]}: no such folder")
    for folder in filter(os.path.isdir, folders):
        for path in list_files(folder, suffixes):
            found.setdefault(path.stem, []).append(path)
    if not found:
        raise UserError(f"{flag}: {folders[0]}: expected files {', '.join(suffixes)}, found none")
    return found


def _made_by(photos: list[Sources], config: PrepareConfig, args: argparse.Namespace, models: Models) -> str:
    """Everything that an item follows from, but for the contents of the photos' files."""
    names = hashed_names(source.photo for source in photos)
    return (
        f"python -m training.data prepare: {len(photos)} photos {names}, max_turn {config.max_turn:g}, min_side "
        f"{config.min_side:g}, fill {config.fill:g}, masks {'inverted' if config.mask_invert else 'as they are'}, "
        f"super-resolution {args.sr or 'none'}, person {args.person or 'the only one'}, boxes x {args.box_scale:g}, "
        f"{models.name}"
    )

"""`python -m training.data synthesize`: a data set of synthetic portraits with exact labels (training/data/synthetic).

The same seed gives the same files, whatever the number of workers and however often it was stopped and resumed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from torch_utils.misc import UserError
from torch_utils.worker_pool import usable_cores, worker_pool
from training.data.cycles.environment import HOME
from training.data.cycles.renderer import Renderer, render_portraits
from training.data.storage import DatasetWriter, open_dataset
from training.data.synthetic.portrait import Portrait, make_portrait

# Raise it whenever the same seed draws other pictures or labels: old sets are then not continued with new ones.
DRAWING = 6
_LIMITS = {
    "num": (1, 1_000_000),
    "size": (32, 2048),
    "face_size": (16, 2048),
    "workers": (0, 256),
    "samples": (1, 4096),
    "shots": (1, 1000),
    "seed": (0, 2**32),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line; see the module's docstring."""
    parser.add_argument("--out", type=Path, required=True, help="folder to make, or with --zip the .zip file")
    parser.add_argument("--num", type=int, default=5000, help="images (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of an image (default: %(default)s)")
    parser.add_argument("--face_size", type=int, help="pixels a side of a face (default: half of --size)")
    views_help = "front: people face the camera; all: it is anywhere round them, 30 degrees up or down (default: front)"
    parser.add_argument("--views", choices=("front", "all"), default="front", help=views_help)
    parser.add_argument("--shots", type=int, default=1, help="portraits of every person (default: %(default)s)")
    parser.add_argument("--maps", action="store_true", help="depth and normals of every image and face, too")
    parser.add_argument(
        "--renderer",
        choices=("drawn", "cycles"),
        default="drawn",
        help="cycles: the same people by Blender's path tracer; python -m training.data blender sets it up",
    )
    parser.add_argument("--samples", type=int, default=24, help="a pixel, of cycles (default: %(default)s)")
    parser.add_argument("--blender", type=Path, default=HOME, help="its environment (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other people (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes that draw, threads of cycles; 0: this one")
    parser.add_argument("--zip", action="store_true", help="write one uncompressed zip instead of a folder")


def run(args: argparse.Namespace) -> None:
    """Makes the data set, or goes on where an earlier run was stopped.

    Raises:
        UserError: a number out of range, a place that cannot be written to or holds another data set, a full disk, a
            worker that was killed.
    """
    path, workers, face_size = _settings(args)
    with DatasetWriter(
        path,
        image_size=args.size,
        face_size=face_size,
        name=path.stem,
        made_by=f"python -m training.data synthesize {_choices(args)}--seed {args.seed} (drawing {DRAWING})",
    ) as writer:
        missing = _missing(writer, args.num)
        with (
            _portraits(args, face_size, workers, missing) as portraits,
            tqdm(total=args.num, initial=args.num - len(missing), unit="image") as progress,
        ):
            for index, portrait in zip(missing, portraits, strict=True):
                writer.add(
                    index, portrait.image_png, portrait.face_png, portrait.labels, portrait.mask_png, portrait.maps
                )
                progress.update()
        writer.finish()
    dataset = open_dataset(path)
    print(f"{path}: {len(dataset)} portraits, {args.size}^2, faces {face_size}^2, checksum {dataset.checksum}")


@contextmanager
def _portraits(
    args: argparse.Namespace, face_size: int, workers: int, missing: list[int]
) -> Iterator[Iterator[Portrait]]:
    """The portraits of these indices, as they are made."""
    made = {"size": args.size, "face_size": face_size, "views": args.views, "shots": args.shots, "maps": args.maps}
    if args.renderer == "cycles":
        with closing(render_portraits(_renderer(args, workers), missing, seed=args.seed, **made)) as portraits:
            yield portraits
    else:
        with worker_pool(partial(make_portrait, args.seed, **made), workers) as draw_all:
            yield draw_all(missing)


def _renderer(args: argparse.Namespace, workers: int) -> Renderer:
    return Renderer(args.blender, args.samples, max(workers, 1))


def _choices(args: argparse.Namespace) -> str:
    """What is not by default, as options: portraits of other choices do not go together."""
    chosen = (("views", args.views, "front"), ("shots", args.shots, 1))
    options = [f"--{name} {value} " for name, value, usual in chosen if value != usual]
    options += ["--maps "] if args.maps else []
    options += [f"{_renderer(args, 1).made_by()} "] if args.renderer == "cycles" else []
    return "".join(options)


def _settings(args: argparse.Namespace) -> tuple[Path, int, int]:
    """(where to write, workers, face size), checked."""
    workers = usable_cores() if args.workers is None else args.workers
    face_size = args.size // 2 if args.face_size is None else args.face_size
    values = vars(args) | {"workers": workers, "face_size": face_size}
    for name, (low, high) in _LIMITS.items():
        if not low <= values[name] <= high:
            raise UserError(f"--{name}: expected {low} to {high}, found {values[name]}")
    path = args.out
    if args.zip and path.suffix.lower() != ".zip":
        path = path.with_name(path.name + ".zip")
    elif not args.zip and path.suffix.lower() == ".zip":
        raise UserError(f"--out {path}: a name that ends in .zip needs --zip")
    return path, workers, face_size


def _missing(writer: DatasetWriter, num: int) -> list[int]:
    """Indices yet to be drawn. Raises UserError where the place holds a set of another length."""
    done = writer.done
    if done - set(range(num)):
        raise UserError(f"--num {num}: {writer.path} holds {max(done) + 1} images already; choose another place")
    missing = [index for index in range(num) if index not in done]
    if missing and writer.finished:
        raise UserError(f"--num {num}: {writer.path} is finished with {len(done)} images; choose another place")
    return missing

"""`python -m inference.sheet --seeds 0-3 --out sheet.png`: people under one control at a time (paper fig. 3).

With --smoothing, the same people under head movements with and without D^p (paper fig. 6).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from inference.arguments import QUALITIES, Quality
from inference.person import Person
from inference.pipeline import DEMO, PortraitPipeline
from inference.seeds import parse_seeds
from networks.person.controls import Control, draw_sheet, sheet_columns, single_controls
from networks.saved_model import SavedModel
from torch_utils.bounds import real_number, whole_number
from torch_utils.misc import CliParser, UserError, atomic_path, resolve_device, run_cli
from torch_utils.picture_grid import labelled_grid

MAX_PEOPLE = 64  # of a sheet
SEEDS = "0-3"
SIZES = (32, 1024)
STRONG = 1.5  # times the head movements of a control sheet: 26 degrees of yaw, so that skinning is put to the test


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(
        prog="python -m inference.sheet",
        description=__doc__.split(": ", 1)[1],
    )
    parser.add_argument("--ckpt", default=str(DEMO), help="checkpoint (default: ckpts/demo.safetensors)")
    parser.add_argument("--config", help="name in configs/ or .yaml file; only for checkpoints in the released layout")
    seeds_help = f"people, a row each, e.g. 0-3,7 (default: {SEEDS}; of a file of one person: 0)"
    parser.add_argument("--seeds", nargs="+", help=seeds_help)
    parser.add_argument("--psi", type=real_number(0, 2), default=0.7, help="truncation, 0 to 1 (default: 0.7)")
    smoothing_help = "head movements with D^p and with nearest-vertex skinning alone, side by side"
    parser.add_argument("--smoothing", action="store_true", help=smoothing_help)
    parser.add_argument("--size", type=whole_number(*SIZES), help="pixels a side of a picture (default: the model's)")
    quality_help = "as in gen_video.py (default: fast)"
    parser.add_argument("--quality", choices=QUALITIES, default="fast", help=quality_help)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .png")
    args = parser.parse_args(argv)
    seeds = parse_seeds(args.seeds or [SEEDS])
    if len(seeds) > MAX_PEOPLE:
        raise UserError(f"--seeds: expected at most {MAX_PEOPLE} people on a sheet, found {len(seeds)}")
    if args.out.suffix.lower() != ".png":
        raise UserError(f"--out: expected a name that ends in .png, found '{args.out}'")
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, config=args.config, device=resolve_device(args.device))
    seeds = pipe.people(seeds, by_default=args.seeds is None)
    if args.smoothing and pipe.controls.all_round:
        raise UserError(f"--smoothing: expected a model of manifolds, found the tri-grid {args.ckpt}")
    if args.smoothing and pipe.generator.config.pose != "smoothed":
        raise UserError(
            f"--smoothing: expected a model with D^p, found pose: {pipe.generator.config.pose} in {args.ckpt}"
        )
    with atomic_path(args.out) as temporary:  # a folder that cannot be written to is refused before the work
        people = (pipe.person(seed=seed, psi=args.psi) for seed in tqdm(seeds, "people", unit="person"))
        draw = (
            smoothing_sheet
            if args.smoothing
            else functools.partial(control_sheet, sheet_columns(pipe.face_model, pipe.controls))
        )
        draw(people, [str(seed) for seed in seeds], args.size, args.quality).save(temporary)
    print(f"wrote {args.out}")


def control_sheet(
    controls: Sequence[Control], people: Iterable[Person], names: Sequence[str], size: int | None, quality: Quality
) -> Image.Image:
    """A row a person, a column for each of ``controls`` (``networks.person.controls.sheet_columns``)."""
    portraits = [[render(person, control, quality) for control in controls] for person in people]
    return draw_sheet(controls, portraits, names, size)


def smoothing_sheet(people: Iterable[Person], names: Sequence[str], size: int | None, quality: Quality) -> Image.Image:
    """A row a person; for every head movement a picture with D^p and one with inverse skinning as it is."""
    heads = [control for control in single_controls() if control.group == "head"]
    controls = [control._replace(joint_eulers=STRONG * control.joint_eulers) for control in heads]
    rows = []
    for person in people:
        pair = person, without_smoothing(person)
        rows.append([render(each, control, quality) for control in controls for each in pair])
    headings = [(f"head {control.heading}", how) for control in controls for how in ("with D^p", "nearest vertex")]
    return labelled_grid(rows, headings, names, size)


@functools.cache
def nearest_pipeline(pipe: PortraitPipeline) -> PortraitPipeline:
    """The same model with nearest-vertex skinning as it is (paper table 2, "no D^p")."""
    generator = copy.copy(pipe.generator)  # of the same weights
    generator.config = dataclasses.replace(generator.config, pose="nearest")
    return PortraitPipeline(SavedModel(generator, pipe.priors, pipe.metadata), pipe.device)


def without_smoothing(person: Person) -> Person:
    """The same person, whose manifolds do not depend on the pose, drawn by :func:`nearest_pipeline`."""
    other = copy.copy(person)
    other._pipe = nearest_pipeline(person._pipe)
    return other


def render(person: Person, control: Control, quality: Quality) -> Tensor:
    """The picture [3, H, W] in -1..1."""
    return person.render(control.expression, control.joint_eulers, control.camera.tolist(), quality).image


if __name__ == "__main__":
    run_cli(main)

"""`python -m inference.sheet --seeds 0-3 --out sheet.png`: people under one control at a time (paper fig. 3).

With --smoothing, the same people under head movements with and without D^p (paper fig. 6). With several --ckpt, the
same people by each of these models, one below the other.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from inference.arguments import QUALITIES, Quality
from inference.person import Person
from inference.pipeline import DEMO, PortraitPipeline
from inference.seeds import parse_seeds
from networks.person.controls import Control, draw_sheet, sheet_columns, single_controls
from networks.person.expressions import check_face_model
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
    ckpt_help = "checkpoint (default: ckpts/demo.safetensors); of several, everybody by each of them, below one another"
    parser.add_argument("--ckpt", nargs="+", default=[str(DEMO)], help=ckpt_help)
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
    device = resolve_device(args.device)
    pipes = [PortraitPipeline.from_checkpoint(path, config=args.config, device=device) for path in args.ckpt]
    seeds = pipes[0].people(seeds, by_default=args.seeds is None)
    check_alike(pipes, args.ckpt)
    if args.smoothing:
        check_smoothed(pipes, args.ckpt)
    names = [f"{seed} {model}".strip() for seed in seeds for model in model_names(args.ckpt)]
    with atomic_path(args.out) as temporary:  # a folder that cannot be written to is refused before the work
        people = same_people(pipes, tqdm(seeds, "people", unit="person"), args.psi)
        columns = sheet_columns(pipes[0].face_model, pipes[0].controls)
        draw = smoothing_sheet if args.smoothing else functools.partial(control_sheet, columns)
        draw(people, names, args.size, args.quality).save(temporary)
    print(f"wrote {args.out}")


def check_alike(pipes: Sequence[PortraitPipeline], paths: Sequence[str]) -> None:
    """UserError where one of several models cannot draw the first one's people, or takes other expressions."""
    if len(pipes) == 1:
        return
    for pipe, path in zip(pipes, paths, strict=True):
        if pipe.controls.all_round or pipe.one_person:
            found = "a model of one person" if pipe.one_person else "a tri-grid"
            raise UserError(f"--ckpt: expected one model, or several of anybody on manifolds, found {found}, {path}")
        check_face_model(pipe.face_model, pipes[0].face_model, path)


def check_smoothed(pipes: Sequence[PortraitPipeline], paths: Sequence[str]) -> None:
    """UserError where a model has no D^p."""
    for pipe, path in zip(pipes, paths, strict=True):
        if pipe.controls.all_round:
            raise UserError(f"--smoothing: expected a model of manifolds, found the tri-grid {path}")
        if pipe.generator.config.pose != "smoothed":
            found = f"pose: {pipe.generator.config.pose} in {path}"
            raise UserError(f"--smoothing: expected a model with D^p, found {found}")


def model_names(paths: Sequence[str]) -> list[str]:
    """Of several models, what rows call them: a run's folder, another file's name."""
    if len(paths) == 1:
        return [""]
    return [path.parent.name if path.name in ("latest", "best") else path.stem for path in map(Path, paths)]


def same_people(pipes: Sequence[PortraitPipeline], seeds: Iterable[int], psi: float) -> Iterator[Person]:
    """Every person by every model; of several, the first one's priors say who the people are."""
    for seed in seeds:
        if len(pipes) == 1:
            yield pipes[0].person(seed=seed, psi=psi)
        else:
            latents = pipes[0].sample_latents(seed)
            yield from (pipe.person(**latents._asdict(), psi=psi) for pipe in pipes)


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

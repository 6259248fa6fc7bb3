"""`python -m inference.pose_transfer photo.png --ckpt runs/p360/latest --out poses.png`: people in poses of photos.

Each photo is tracked; E_D of a tri-grid's training (--pose_reader), or the tracker itself, says how neck and head are
turned, and people are rendered so, from the photo's camera, beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import roma
import torch
from torch import Tensor

from inference.inversion.trigrid import in_frame
from inference.keyframes import save_keyframes
from inference.pipeline import PortraitPipeline
from inference.seeds import parse_seeds
from inference.trigrid import TriGridPipeline
from networks.person.body_model import euler_to_matrix
from networks.person.controls import HEAD, NECK
from networks.person.fitting.photo import TrackedPhoto, track_photo
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.pose_reader import PoseReader, unpack_pose_reader
from torch_utils.bounds import real_number
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import CliParser, UserError, atomic_path, resolve_device, run_cli
from torch_utils.picture_grid import labelled_grid
from torch_utils.pictures import read_picture

MAX_PHOTOS = 100
POSES, CAMERAS = "pose.npy", "camera.npy"

EPILOG = """\
files: --out is a picture, a row a photo: the photo as the model's camera sees it, then the people. Beside it, as
  OUT_pose.npy and OUT_camera.npy, are the poses and cameras: keyframes that gen_video.py plays.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(prog="python -m inference.pose_transfer", description=__doc__.split(": ", 1)[1], epilog=EPILOG)
    add = parser.add_argument
    add("photos", nargs="+", help="picture files, each of somebody's face")
    add("--ckpt", required=True, help="a model, of any representation")
    reader_help = "what reads poses, of a tri-grid's training (RUN/latest_pose_reader); without it the tracker does"
    add("--pose_reader", metavar="FILE", help=reader_help)
    add("--seeds", nargs="+", default=["0-2"], help="people, a column each (default: 0-2; of a file of one person: 0)")
    add("--psi", type=real_number(0, 2), default=0.7, help="truncation, 0 to 1 (default: 0.7)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add("--out", type=Path, required=True, help="picture to write, .png")
    args = parser.parse_args(argv)
    if args.out.suffix.lower() != ".png":
        raise UserError(f"--out: expected a name that ends in .png, found '{args.out}'")
    if len(args.photos) > MAX_PHOTOS:
        raise UserError(f"photos: expected at most {MAX_PHOTOS}, found {len(args.photos)}")
    seeds = parse_seeds(args.seeds)
    pictures = [read_picture(path) for path in args.photos]
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, device=resolve_device(args.device))
    seeds = pipe.people(seeds, by_default=args.seeds == ["0-2"])
    reader = load_reader(args.pose_reader, pipe, args.ckpt) if args.pose_reader else None
    with atomic_path(args.out) as temporary:  # a folder that cannot be written to is refused before the work
        people = [pipe.person(seed=seed, psi=args.psi) for seed in seeds]
        rows, poses, cameras = [], [], []
        for path, picture in zip(args.photos, pictures, strict=True):
            try:
                photo = track_photo(picture)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
            placed = in_frame(photo, pipe.portraits) if isinstance(pipe, TriGridPipeline) else photo
            eulers = photo.joint_eulers
            if reader is not None and isinstance(pipe, TriGridPipeline):
                eulers = read_pose(reader, pipe.portraits, placed)
            shown = [person.render(None, eulers, photo.camera.tolist()).image.cpu() for person in people]
            rows.append([placed.picture(pipe.image_size)[0], *shown])
            poses.append(eulers)
            cameras.append(photo.camera)
        columns = [("", "photo"), *(("", str(seed)) for seed in seeds)]
        labelled_grid(rows, columns, [Path(path).stem[:20] for path in args.photos]).save(temporary, "PNG")
    for name, values in ((POSES, poses), (CAMERAS, cameras)):
        save_keyframes(args.out.with_name(f"{args.out.stem}_{name}"), torch.stack(values).numpy())
    print(f"wrote {args.out}")


def load_reader(path: str, pipe: PortraitPipeline, ckpt: str) -> PoseReader:
    """E_D of a file. Raises UserError: it is none, or not for this model."""
    if not isinstance(pipe, TriGridPipeline):
        raise UserError(f"--pose_reader: expected none, for {ckpt} is no tri-grid")
    reader = unpack_pose_reader(load_checkpoint(path), path).to(pipe.device)
    if reader.rest_pose != pipe.portraits.config.rest_pose:
        expected = f"one of the model's rest pose, {pipe.portraits.config.rest_pose}"
        raise UserError(f"{path}: expected {expected}, found one of {reader.rest_pose}")
    return reader


@torch.no_grad()
def read_pose(reader: PoseReader, portrait: TriGridPortrait, photo: TrackedPhoto) -> Tensor:
    """joint_eulers [6, 3] of a photo in the model's frame, neck and head as E_D sees them, the rest as tracked."""
    device = portrait.body.v_template.device
    size = reader.discriminator.image_size
    image, mask = (part.to(device) for part in photo.picture(size))
    label = portrait.camera_label(photo.camera[None].to(device))
    rotations = portrait.space.rotations(reader(image[None], mask[None, None], label))
    eulers = photo.joint_eulers.clone()
    turns = rotations @ euler_to_matrix(portrait.body.mean_pose).mT  # relative to the mean pose
    found = roma.rotmat_to_euler("ZYX", turns[0]).cpu()
    eulers[[NECK, HEAD]] = found[[NECK, HEAD]]
    return eulers


if __name__ == "__main__":
    run_cli(main)

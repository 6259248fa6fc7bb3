"""`python -m training.data convert`: portraits and face crops that are prepared already, with their authors' labels.

The published SHHQ-HS has 512^2 portraits before white and aligned 256^2 face crops, and labels in rows:
camera and pose [N, 2 + 18], identity and shape [N, 80 + 10], expression [N, 64]. What its description leaves open is
asked for: which picture a row belongs to (``--names``; by default the pictures in the order of their names), which
column of the camera is the pitch (``--camera_order``), and the face camera (``--face_camera``; by default the portrait
camera as the head, turned by the pose, sees it).

``--eg3d`` takes over an archive of EG3D, PanoHead or 360PHQ instead, and ``--to_eg3d`` makes one (eg3d.py).
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from networks.person.body_model import euler_to_matrix
from networks.person.face_model import FaceModel, default_face, load_bfm
from networks.person.priors import LABEL_FILES, WIDTHS
from networks.person.tracking import seen_by_head
from torch_utils.assets import face_model_file, smpl_file
from torch_utils.bounds import real_number
from torch_utils.files import list_files
from torch_utils.misc import UserError, file_sha256
from torch_utils.pictures import PICTURE_SUFFIXES, png_bytes, read_picture
from training.data.eg3d_sets import give_away, take_over
from training.data.label_models import model_name
from training.data.prepare.masks import read_mask
from training.data.storage import DatasetWriter

ORDERS = ("pitch_yaw", "yaw_pitch")
BATCH = 1024  # rows whose face cameras are found at once


class Pictures(NamedTuple):
    image: Path
    face: Path
    mask: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line; see the module's docstring."""
    add = parser.add_argument
    add("--images", metavar="DIR", help="portraits, square, before white")
    add("--faces", metavar="DIR", help="their face crops, square, of the same names")
    add("--masks", metavar="DIR", help="their masks, of the same names and sizes; of --eg3d an archive of them")
    add("--labels", metavar="DIR", help=f"folder with {', '.join(LABEL_FILES.values())}")
    for name, file in LABEL_FILES.items():
        add(f"--{name}", metavar="FILE", help=f"[N, {WIDTHS[name]}], where it is not LABELS/{file}")
    add("--names", metavar="FILE", help="the picture of every row, one name a line (default: in the order of names)")
    add("--camera_order", choices=ORDERS, default=ORDERS[0], help="columns of the camera (default: %(default)s)")
    add("--face_camera", metavar="FILE", help="[N, 2] pitch, yaw in the head's frame (default: from camera and pose)")
    add("--eg3d", metavar="ZIP", help="pictures and dataset.json of EG3D, PanoHead or 360PHQ, instead of all these")
    yaw_help = "of --eg3d: leave out cameras farther round than so many degrees from the front (180: none)"
    add("--max_yaw", type=real_number(1, 180), default=180.0, metavar="DEGREES", help=yaw_help)
    add("--to_eg3d", metavar="SET", help="the other way: a data set of this project, as an archive --out of that kind")
    add("--out_masks", type=Path, metavar="ZIP", help="of --to_eg3d: archive of its masks")
    add("--out", required=True, type=Path, metavar="PATH", help="data set to make: a folder, or a zip by its name")
    add("--body_model", metavar="FILE", help="SMPL that the labels refer to (default: that in smpl_models/)")
    add("--face_model", metavar="FILE", help="Basel face model that they refer to (default: that in smpl_models/)")


def run(args: argparse.Namespace) -> None:
    """Writes the data set, or goes on where an earlier run was stopped.

    Raises:
        UserError: pictures and rows do not belong together, a file is not sound, or the place cannot be written to.
    """
    if args.to_eg3d or args.eg3d:
        (give_away if args.to_eg3d else take_over)(args)
        return
    for flag in ("images", "faces", "labels"):
        if getattr(args, flag) is None:
            raise UserError(f"--{flag}: expected a folder (or --eg3d ZIP, or --to_eg3d SET), found none")
    files = {name: Path(getattr(args, name) or Path(args.labels) / file) for name, file in LABEL_FILES.items()}
    arrays = {name: _array(path, WIDTHS[name]) for name, path in files.items()}
    pictures = _pictures(args)
    if counts := {name: len(array) for name, array in arrays.items() if len(array) != len(pictures)}:
        found = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise UserError(
            f"{args.labels}: expected a row for each of {len(pictures)} pictures, found {found}; arrays of another "
            "length are samples to draw from and no labels (--names FILE says which pictures the rows are of)"
        )
    body, face = smpl_file(args.body_model), face_model_file(args.face_model)
    labels = _labels(arrays, args, face)
    sizes = [_square(pictures[0].image).size[0], _square(pictures[0].face).size[0]]
    written = {
        "name": args.out.stem,
        "made_by": _made_by(pictures, files, args),
        "models": {"body": model_name(body), "face": model_name(face)},
    }
    with DatasetWriter(args.out, image_size=sizes[0], face_size=sizes[1], **written) as writer:
        if writer.finished:
            print(f"{args.out}: finished before with {len(writer.done)} items")
            return
        for index in tqdm([i for i in range(len(pictures)) if i not in writer.done], unit="image"):
            one = pictures[index]
            mask = None if one.mask is None else png_bytes(read_mask(one.mask, (sizes[0], sizes[0])))
            row = {name: array[index] for name, array in labels.items()}
            writer.add(index, _png(one.image, sizes[0]), _png(one.face, sizes[1]), row, mask)
        writer.finish()
    print(f"{args.out}: {len(pictures)} items, {pictures[0].image.name} to {pictures[-1].image.name}")


def _pictures(args: argparse.Namespace) -> list[Pictures]:
    """The pictures of every row."""
    folders = {}
    for flag in ("images", "faces", "masks"):
        folder = getattr(args, flag)
        folders[flag] = {} if folder is None else {path.stem: path for path in list_files(folder, PICTURE_SUFFIXES)}
        if folder is not None and not folders[flag]:
            raise UserError(f"--{flag}: {folder}: expected pictures, found none")
    names = sorted(folders["images"])
    if args.names is not None:
        try:
            lines = Path(args.names).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--names: {args.names}: cannot be read ({error})") from None
        names = [Path(line.strip()).stem for line in lines if line.strip()]
    needed = ["images", "faces", *(["masks"] if args.masks else [])]
    for flag in needed:
        if missing := [name for name in names if name not in folders[flag]]:
            place, count = getattr(args, flag), len(missing)
            raise UserError(
                f"--{flag}: {place}: expected a picture of '{missing[0]}', found none ({count} are missing)"
            )
    return [Pictures(folders["images"][n], folders["faces"][n], folders["masks"].get(n)) for n in names]


def _array(path: Path, width: int) -> np.ndarray:
    """[N, width] float64 of a .npy file."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of labels") from None
    except Exception as error:  # a damaged header may raise anything
        raise UserError(f"{path}: expected a .npy array of numbers, found something else ({error})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.shape[1:] != (width,):
        found = getattr(array, "shape", type(array).__name__)
        raise UserError(f"{path}: expected numbers [N, {width}], found {found}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: expected finite numbers, found NaN or infinity")
    return array.astype(np.float64)


def _labels(arrays: dict[str, np.ndarray], args: argparse.Namespace, face_file: Path | None) -> dict[str, np.ndarray]:
    """Arrays as a data set has them."""
    camera, pose = arrays["camera_pose"][:, :2], arrays["camera_pose"][:, 2:].reshape(-1, 6, 3)
    if args.camera_order == "yaw_pitch":
        camera = camera[:, ::-1].copy()
    if not ((camera[:, 0] > 0) & (camera[:, 0] < np.pi)).all():
        raise UserError(
            f"{args.labels}: cameras: expected pitch between 0 and pi, found {camera[:, 0].min():g} to "
            f"{camera[:, 0].max():g} (--camera_order?)"
        )
    z_id, betas = np.split(arrays["id_shape"], [80], axis=1)
    labels = {"camera": camera, "joint_eulers": pose, "betas": betas, "z_id": z_id, "z_exp": arrays["expression"]}
    if args.face_camera is None:
        labels["face_camera"] = _face_cameras(labels, face_file)
    else:
        labels["face_camera"] = _array(Path(args.face_camera), 2)
        if len(labels["face_camera"]) != len(camera):
            raise UserError(f"{args.face_camera}: expected {len(camera)} rows, found {len(labels['face_camera'])}")
    return labels


@torch.no_grad()
def _face_cameras(labels: dict[str, np.ndarray], face_file: Path | None) -> np.ndarray:
    """[N, 2]: the face camera that sees the face from the portrait camera's side."""
    face = FaceModel(load_bfm(face_file) if face_file else default_face()).double()
    found = []
    for start in range(0, len(labels["camera"]), BATCH):
        rows = {name: torch.from_numpy(array[start : start + BATCH]) for name, array in labels.items()}
        centre = face.landmark_points(rows["z_id"], rows["z_exp"]).mean(1)
        turns = euler_to_matrix(rows["joint_eulers"])  # [B, 6, 3, 3]
        found.append(seen_by_head(rows["camera"], turns[:, 0] @ turns[:, 3], centre).camera)
    return torch.cat(found).numpy()


def _square(path: Path) -> Image.Image:
    picture = read_picture(path)
    if picture.width != picture.height:
        raise UserError(f"{path}: expected a square picture, found {picture.width} x {picture.height}")
    return picture


def _png(path: Path, size: int) -> bytes:
    """A picture's file as it is, if it is a PNG of the right kind; else what it shows as one."""
    picture = _square(path)
    if picture.width != size:
        raise UserError(f"{path}: expected {size} x {size} pixels as the first has, found {picture.width}")
    with Image.open(path) as file:
        as_it_is = file.format == "PNG" and file.mode == "RGB" and not file.info
    return path.read_bytes() if as_it_is else png_bytes(picture)


def _made_by(pictures: list[Pictures], files: dict[str, Path], args: argparse.Namespace) -> str:
    """Everything that an item follows from, but for the contents of the pictures' files."""
    names = hashlib.sha256("\n".join(one.image.name for one in pictures).encode("utf-8", "surrogateescape")).hexdigest()
    arrays = [*files.values(), *([Path(args.face_camera)] if args.face_camera else [])]
    sums = ", ".join(f"{path.name} {file_sha256(path)[:12]}" for path in arrays)
    return f"python -m training.data convert: {len(pictures)} pictures {names[:12]}, {sums}, camera {args.camera_order}"

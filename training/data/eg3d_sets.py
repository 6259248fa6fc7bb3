"""Whole data sets from and to EG3D's kind of archives; `python -m training.data convert --eg3d` and ``--to_eg3d``."""

from __future__ import annotations

import argparse
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from networks.cameras import FACE_CAMERA
from networks.person.body_assets import default_body, load_smpl
from networks.person.body_model import HEAD, BodyModel, euler_to_matrix
from networks.person.tracking import seen_by_head
from networks.trigrid.camera_labels import project_label
from networks.trigrid.deformation import UNIT, to_metres
from torch_utils.assets import face_model_file, smpl_file
from torch_utils.misc import UserError, file_sha256
from torch_utils.pictures import WHITE, png_bytes
from training.data.eg3d import (
    JSON,
    Eg3dLabels,
    check_labels,
    house_camera,
    house_pose,
    pair_masks,
    read_labels,
    write_archives,
    yaw_histogram,
)
from training.data.label_models import model_name
from training.data.layout import CAMERA25, ROUGH_POSE, ZipTree
from training.data.storage import DatasetWriter, open_dataset

FACE_HALF = math.tan(math.radians(FACE_CAMERA.fov_degrees) / 2) * FACE_CAMERA.radius * UNIT  # metres, of a face crop
FACE_SHARE = 2  # an image's pixels a side over a face crop's


class Square(NamedTuple):
    """Where a face crop lies in its picture, in units of the picture's side from the left upper corner."""

    left: float
    top: float
    side: float


def take_over(args: argparse.Namespace) -> None:
    """``--eg3d``: writes the data set, or goes on where an earlier run was stopped.

    Raises:
        UserError: an archive is not whole, labels are no cameras, masks are missing, or the place cannot be written to.
    """
    archive = _archive("--eg3d", args.eg3d)
    labels = read_labels(archive)
    check_labels(labels, f"{archive.root}: {JSON}")
    if labels.pose is not None and args.masks is None:
        raise UserError("--masks: expected the archive of masks that 360PHQ comes with, found none")
    labels, left_out = _within(labels, args.max_yaw, archive.root)
    masks = None if args.masks is None else _archive("--masks", args.masks)
    mask_names = [None] * len(labels.names) if masks is None else pair_masks(labels, masks)
    body = smpl_file(args.body_model)
    rows, squares = house_labels(labels, body)
    size = _picture(archive.read(labels.names[0]), f"{archive.root}: {labels.names[0]}").width
    written = {
        "name": args.out.stem,
        "made_by": _made_by(archive, masks, args),
        "models": {"body": model_name(body), "face": model_name(face_model_file(args.face_model))},
        "original_names": labels.names,
    }
    with DatasetWriter(args.out, image_size=size, face_size=size // FACE_SHARE, **written) as writer:
        if writer.finished:
            print(f"{args.out}: finished before with {len(writer.done)} items")
            return
        for i in tqdm([i for i in range(len(labels.names)) if i not in writer.done], unit="image"):
            name, mask_name = labels.names[i], mask_names[i]
            data = archive.read(name)
            picture = _picture(data, f"{archive.root}: {name}", size)
            mask = None
            if masks is not None and mask_name is not None:
                mask = _mask(masks.read(mask_name), f"{masks.root}: {mask_name}", size)
            face = png_bytes(_crop(picture, squares[i], size // FACE_SHARE))
            row = {key: array[i] for key, array in rows.items()}
            writer.add(i, _as_png(data, picture, "RGB"), face, row, mask)
        writer.finish()
    print(f"{args.out}: {len(labels.names)} items{left_out}")
    print(f"cameras by degrees from the front, to the person's left: {yaw_histogram(rows['camera'])}")


def give_away(args: argparse.Namespace) -> None:
    """``--to_eg3d``: writes a data set as archives. Raises UserError: see :func:`training.data.eg3d.write_archives`."""
    for flag, path in (("--out", args.out), ("--out_masks", args.out_masks)):
        if path is not None and path.suffix.lower() != ".zip":
            raise UserError(f"{flag}: expected a name that ends in .zip, found '{path}'")
    dataset = open_dataset(args.to_eg3d)
    write_archives(dataset, args.out, args.out_masks)
    print(f"wrote {args.out}" + (f" and {args.out_masks}" if args.out_masks else "") + f": {len(dataset)} pictures")


def house_labels(labels: Eg3dLabels, body_file: Path | None) -> tuple[dict[str, np.ndarray], list[Square]]:
    """Rows of every label of a data set, and where the heads are in the pictures. People are the mean person."""
    count = len(labels.names)
    camera = house_camera(labels.camera)
    pose = np.zeros((count, 6)) if labels.pose is None else labels.pose
    eulers = house_pose(pose) if labels.pose is not None else np.zeros((count, 6, 3))
    rows = {
        "camera": camera, "joint_eulers": eulers, "betas": np.zeros((count, 10)), "z_id": np.zeros((count, 80)),
        "z_exp": np.zeros((count, 64)), CAMERA25: labels.camera,
    }  # fmt: skip
    if labels.pose is not None:
        rows[ROUGH_POSE] = pose
    turns = euler_to_matrix(torch.from_numpy(eulers))
    head = turns[:, 0] @ turns[:, 3]
    middle = torch.zeros(count, 3, dtype=torch.float64)  # what face cameras look at
    rows["face_camera"] = seen_by_head(torch.from_numpy(camera), head, middle).camera.numpy()
    arrays = load_smpl(body_file) if body_file else default_body()
    body = BodyModel(arrays, torch.zeros(1, dtype=torch.int64)).double()
    return rows, _squares(labels.camera, torch.from_numpy(eulers), body)


@torch.no_grad()
def _squares(camera: np.ndarray, eulers: torch.Tensor, body: BodyModel) -> list[Square]:
    """What a face camera on the head would frame, as far as the pictures show it."""
    labels = torch.from_numpy(camera)
    betas = torch.zeros(len(eulers), 10, dtype=torch.float64)
    middle = to_metres(body.joint_transforms(betas, eulers)[:, HEAD, :3, 3])  # [N, 3]
    pose = labels[:, :16].unflatten(-1, (4, 4))
    depth = ((middle - pose[:, :3, 3]) * pose[:, :3, 2]).sum(-1)
    half = labels[:, 16] * FACE_HALF / depth
    x, y = project_label(middle[:, None], labels)[:, 0].unbind(-1)
    return [Square(*row) for row in torch.stack([x - half, y - half, 2 * half], -1).tolist()]


def _within(labels: Eg3dLabels, max_yaw: float, where: Path) -> tuple[Eg3dLabels, str]:
    """The labels of cameras not farther round than ``max_yaw`` degrees, and words about the others."""
    yaw = house_camera(labels.camera)[:, 1]
    kept = np.degrees(np.abs(np.angle(np.exp(1j * (math.pi / 2 - yaw))))) <= max_yaw
    if not kept.any():
        raise UserError(f"{where}: expected a camera within --max_yaw {max_yaw:g} degrees of the front, found none")
    words = "" if kept.all() else f"; {(~kept).sum()} seen from more than {max_yaw:g} degrees aside were left out"
    return labels.rows(kept), words


def _archive(flag: str, path: str) -> ZipTree:
    if not Path(path).is_file():
        raise UserError(f"{flag}: {path}: expected an uncompressed zip, found no such file")
    return ZipTree(Path(path))


def _picture(data: bytes, where: str, size: int | None = None) -> Image.Image:
    """A square picture of the size of the first, RGB."""
    picture = _opened(data, where)
    if picture.width != picture.height or (size is not None and picture.width != size):
        expected = "a square picture" if size is None else f"{size} x {size} pixels as the first has"
        raise UserError(f"{where}: expected {expected}, found {picture.width} x {picture.height}")
    return picture.convert("RGB")


def _mask(data: bytes, where: str, size: int) -> bytes:
    """A mask's file as it is, if it is grey and a PNG."""
    mask = _opened(data, where)
    if mask.size != (size, size):
        raise UserError(f"{where}: expected a mask of {size} x {size} pixels, found {mask.width} x {mask.height}")
    return _as_png(data, mask.convert("L"), "L")


def _opened(data: bytes, where: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except Exception as error:  # Pillow raises many kinds
        raise UserError(f"{where}: expected a picture, found something else or half of one ({error})") from None
    return picture


def _as_png(data: bytes, picture: Image.Image, mode: str) -> bytes:
    with Image.open(io.BytesIO(data)) as file:
        as_it_is = file.format == "PNG" and file.mode == mode
    return data if as_it_is else png_bytes(picture)


def _crop(picture: Image.Image, square: Square, size: int) -> Image.Image:
    """A square of a picture, white beyond its edges."""
    side = picture.width
    box = (square.left * side, square.top * side, (square.left + square.side) * side, (square.top + square.side) * side)
    return picture.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC, fillcolor=WHITE)


def _made_by(archive: ZipTree, masks: ZipTree | None, args: argparse.Namespace) -> str:
    """Everything that an item follows from."""
    parts = [f"{file.root.name} {file_sha256(file.root)[:12]}" for file in (archive, masks) if file is not None]
    return f"python -m training.data convert --eg3d: {' and '.join(parts)}, max_yaw {args.max_yaw:g}"

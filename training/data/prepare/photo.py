"""One photo with its tracking -> one item of a data set, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA
from networks.person.body_model import HEAD
from networks.person.tracking import SmplFit, View, chest_pose, face_view, portrait_view
from networks.person.tracking_files import SmplFits, load_face_fit, load_five_points
from torch_utils.misc import UserError
from training.data.prepare.alignment import Placement, face_placement, frame_points, portrait_placement
from training.data.prepare.models import Models
from training.data.prepare.pictures import Cut, cut, enlarge, on_white, png_bytes, read_mask, read_picture, resample
from training.data.prepare.super_resolution import Upscaler

NOSE = 30  # iBUG landmark
MAX_NOSE_DISTANCE = 0.5  # between the fitted head's nose and the detected face's, in frame coordinates
MIN_FOREGROUND = 0.05  # share of the portrait
MAX_CUT_OFF = 0.02  # of the portrait's side: foreground on the photo's edge


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What the pictures look like and which photos are taken."""

    size: int = 512  # pixels a side of the portraits
    face_size: int = 256  # pixels a side of the face crops
    max_turn: float = 60.0  # degrees that chest or face may be turned away from the camera
    min_side: float = 64.0  # pixels of the photo that a portrait must be wide, at least

    def __post_init__(self) -> None:
        limits = {"size": (16, 4096), "face_size": (16, 4096), "max_turn": (1, 90), "min_side": (8, 4096)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"--{name}: expected {low} to {high}, found {value:g}")


class Sources(NamedTuple):
    """The files of one photo; None where there is none."""

    photo: Path
    mask: Path | None
    face: Path | None  # .mat
    landmarks: Path | None  # .txt
    repeated: str = ""  # files that share a name, which makes it unclear which to take


class Item(NamedTuple):
    """What the data set stores (training/data/storage.py)."""

    image_png: bytes
    face_png: bytes
    mask_png: bytes
    labels: dict[str, np.ndarray]


class Skipped(UserError):
    """A photo that cannot be used; ``kind`` is the short name of the reason, for counting."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Geometry(NamedTuple):
    """Labels and placements that follow from the tracking alone."""

    labels: dict[str, np.ndarray]
    portrait: Placement
    face: Placement


@contextmanager
def _skip(kind: str) -> Iterator[None]:
    """A UserError within skips the photo for ``kind``."""
    try:
        yield
    except Skipped:
        raise
    except UserError as error:
        raise Skipped(kind, str(error)) from None


def prepare_photo(
    sources: Sources, fits: SmplFits, models: Models, config: PrepareConfig, upscale: Upscaler | None = None
) -> Item:
    """Pictures and labels of a photo.

    Raises:
        Skipped: a file is missing or not sound, or the photo does not show what a portrait needs.
        UserError: super-resolution fails, which no photo is to blame for.
    """
    if sources.repeated:
        raise Skipped("name twice", f"expected one file of a name, found {sources.repeated}")
    for path, kind in ((sources.mask, "mask"), (sources.face, "face"), (sources.landmarks, "landmarks")):
        if path is None:
            raise Skipped(f"no {kind}", f"no {kind} file of '{sources.photo.stem}'")
    with _skip("SMPL fit"):
        fit = fits[sources.photo.stem]
    geometry = place(fit, sources, models, config)
    with _skip("photo"):
        photo = read_picture(sources.photo, "RGB")
    with _skip("mask"):
        mask = read_mask(sources.mask, photo.size)
    with _skip("outside the photo"):
        source = cut(photo, mask, [geometry.portrait, geometry.face])
    with _skip("mask"):
        _check_foreground(mask, geometry.portrait)
    if upscale is not None:
        source = enlarge(source, upscale)
    return _item(on_white(source), geometry, config)


def place(fit: SmplFit, sources: Sources, models: Models, config: PrepareConfig) -> Geometry:
    """Labels and placements, before any pixel is read. Raises Skipped."""
    pose = chest_pose(torch.from_numpy(fit.rotations)[None])
    view = portrait_view(pose.chest)
    _check_turned("body", view, config)
    portrait = portrait_placement(fit, models.body, view)
    if portrait.side < config.min_side:
        raise Skipped(
            "too small", f"the portrait is {portrait.side:.0f} pixels wide, expected {config.min_side:g} or more"
        )
    with _skip("face"):
        face = load_face_fit(sources.face)
    z_id, z_exp, angle, translation = (torch.from_numpy(array)[None] for array in face)
    marks_3d = models.face.landmark_points(z_id, z_exp)  # [1, 68, 3]
    seen = face_view(angle, translation, models.face_frame, centre=marks_3d.mean(1))
    _check_turned("face", seen, config)
    landmarks = marks_3d[0].numpy()
    with _skip("landmarks"):
        crop = face_placement(landmarks, load_five_points(sources.landmarks), seen)
    marks = portrait.frame(crop.pixels(frame_points(landmarks, seen, FACE_CAMERA)))
    head = models.body.joint_transforms(torch.from_numpy(fit.betas)[None], pose.joint_eulers)[0, HEAD].numpy()
    nose = frame_points((head[:3, :3] @ landmarks[NOSE] + head[:3, 3])[None], view, PORTRAIT_CAMERA)[0]
    if (distance := np.linalg.norm(nose - marks[NOSE])) > MAX_NOSE_DISTANCE:
        raise Skipped("face elsewhere", f"face and SMPL head lie {distance / 2:.0%} of the portrait's side apart")
    labels = {
        "camera": view.camera[0].numpy(),
        "joint_eulers": pose.joint_eulers[0].numpy(),
        "betas": fit.betas,
        "z_id": face.z_id,
        "z_exp": face.z_exp,
        "face_camera": seen.camera[0].numpy(),
        "landmarks": (marks + 1) / 2 * (config.size - 1),
    }
    return Geometry(labels, portrait, crop)


def _check_turned(what: str, view: View, config: PrepareConfig) -> None:
    """Skips a body or face that leans, is upside down or looks elsewhere."""
    pitch, yaw = view.camera[0].tolist()
    turned = np.degrees(np.arccos(np.clip(np.sin(pitch) * np.sin(yaw), -1, 1)))
    if turned > config.max_turn:
        raise Skipped(f"{what} turned away", f"the {what} is turned away by {turned:.0f} degrees")
    leans = abs(np.degrees(view.roll.item()))
    if leans > config.max_turn:
        hint = "; expected trackers' axes: x right, y down, z away" if what == "body" and leans > 150 else ""
        raise Skipped(f"{what} leans", f"the {what} leans to the side by {leans:.0f} degrees{hint}")


def _check_foreground(mask: Image.Image, portrait: Placement) -> None:
    """There is a person in the portrait, and the photo's edges do not cut it off."""
    size = 64
    small = resample(Cut(mask.convert("RGB"), mask, (0, 0), 1.0), portrait, size)[1]
    if (share := np.asarray(small, np.float64).mean() / 255) < MIN_FOREGROUND:
        raise UserError(f"expected a person in the portrait, found a mask that covers {share:.1%} of it")
    grey = np.asarray(mask)
    rows, columns = np.nonzero(grey > 127)
    edge = (rows == 0) | (columns == 0) | (rows == grey.shape[0] - 1) | (columns == grey.shape[1] - 1)
    frame = portrait.frame(np.stack([columns[edge], rows[edge]], 1))
    if (np.abs(frame) < 1).all(1).sum() > MAX_CUT_OFF * portrait.side:
        raise Skipped("cut off", "the photo's edge cuts the person off inside the portrait")


def _item(source: Cut, geometry: Geometry, config: PrepareConfig) -> Item:
    image, mask = resample(source, geometry.portrait, config.size)
    face, _ = resample(source, geometry.face, config.face_size)
    return Item(png_bytes(image), png_bytes(face), png_bytes(mask), geometry.labels)

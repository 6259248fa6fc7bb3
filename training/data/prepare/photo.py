"""One photo with its tracking -> one item of a data set, or the reason why not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA
from networks.person.body_model import HEAD
from networks.person.framing import (
    HAIR,
    Cut,
    Placement,
    cut,
    cut_off,
    end_with,
    frame_points,
    on_white,
    outside,
    resample,
)
from networks.person.tracking import SmplFit, View, chest_pose, face_view, portrait_view
from networks.person.tracking_files import SmplFits, load_face_fit, load_five_points
from torch_utils.misc import UserError
from torch_utils.pictures import picture_size, png_bytes, read_picture
from training.data.layout import FILLED
from training.data.mask_checks import FACE, mask_fault
from training.data.prepare.alignment import MAX_POSED_MISFIT, face_placement, portrait_placement
from training.data.prepare.masks import read_mask
from training.data.prepare.models import Models
from training.data.prepare.super_resolution import Upscaler, enlarge

NOSE = 30  # iBUG landmark
MAX_NOSE_DISTANCE = 0.5  # between the fitted head's nose and the detected face's, in frame coordinates
CHECKED_SIZE = 128  # pixels a side of the portrait whose mask is checked
# Half turns of the camera's axes that some programs write fits in (x right, y up, z to the viewer; or x left, y up).
OTHER_AXES = np.array([np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, -1.0, 1.0])])


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What the pictures look like and which photos are taken."""

    size: int = 512  # pixels a side of the portraits
    face_size: int = 256  # pixels a side of the face crops
    max_turn: float = 60.0  # degrees that chest or face may be turned away from the camera
    min_side: float = 64.0  # pixels of the photo that a portrait must be wide, at least
    fill: float = 0.0  # of the portrait's side that may lie beyond a photo's edge which cuts the person off
    mask_invert: bool = False  # masks are black, or transparent, where the person is

    def __post_init__(self) -> None:
        limits = {
            "size": (16, 4096),
            "face_size": (16, 4096),
            "max_turn": (1, 90),
            "min_side": (8, 4096),
            "fill": (0, 1),
        }
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
    body: np.ndarray  # [V, 2] the posed body's vertices in the portrait's frame


@contextmanager
def skip(kind: str) -> Iterator[None]:
    """A UserError within skips the photo for ``kind``."""
    try:
        yield
    except Skipped:
        raise
    except UserError as error:
        raise Skipped(kind, str(error)) from None


def _needed(sources: Sources, kind: str) -> Path:
    path = getattr(sources, kind)
    if path is None:
        raise Skipped(f"no {kind}", f"no {kind} file of '{sources.photo.stem}'")
    return path


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
    mask_file, face_file, landmark_file = (_needed(sources, kind) for kind in ("mask", "face", "landmarks"))
    with skip("photo"):
        size = picture_size(sources.photo)
    with skip("SMPL fit"):
        fit = fits.fit(sources.photo.stem, size)
    geometry = place(fit, face_file, landmark_file, models, config)
    with skip("photo"):
        photo = read_picture(sources.photo)
    with skip("mask"):
        mask = read_mask(mask_file, photo.size, invert=config.mask_invert)
    return make_item(photo, mask, geometry, config, upscale)


def make_item(
    photo: Image.Image,
    mask: Image.Image,
    geometry: Geometry,
    config: PrepareConfig,
    upscale: Upscaler | None = None,
) -> Item:
    """Pictures of a photo (RGB) with its mask (L), as they are placed. Raises Skipped; UserError: super-resolution."""
    with skip("outside the photo"):
        source = cut(photo, mask, [geometry.portrait, geometry.face])
    with skip("mask"):
        _check_mask(mask, geometry, config)
    if sides := _check_cut_off(mask, geometry, config):
        source = cut(photo, mask, [geometry.portrait, geometry.face], fill=sides)
        source = end_with(source, geometry.portrait.pixels(geometry.body), HAIR * geometry.portrait.side, photo.size)
    if upscale is not None:
        source = enlarge(source, upscale)
    return _item(on_white(source), geometry, config, outside(geometry.portrait, config.size, photo.size))


def place(fit: SmplFit, face_file: Path, landmark_file: Path, models: Models, config: PrepareConfig) -> Geometry:
    """Labels and placements, before any pixel is read. Raises Skipped."""
    pose = chest_pose(torch.from_numpy(fit.rotations)[None])
    view = portrait_view(pose.chest)
    _check_turned("body", view, config, _axes_hint(pose.chest, config))
    with skip("face"):
        face = load_face_fit(face_file)
    z_id, z_exp, angle, translation = (torch.from_numpy(array)[None] for array in face)
    marks_3d = models.face.landmark_points(z_id, z_exp)  # [1, 68, 3]
    seen = face_view(angle, translation, models.face_frame, centre=marks_3d.mean(1))
    _check_turned("face", seen, config)
    landmarks = marks_3d[0].numpy()
    with skip("landmarks"):
        points = load_five_points(landmark_file)
        crop = face_placement(landmarks, points, seen)
    betas = torch.from_numpy(fit.betas)[None]
    head = models.body.joint_transforms(betas, pose.joint_eulers)[0, HEAD].numpy()
    posed = landmarks @ head[:3, :3].T + head[:3, 3]
    if fit.camera is None:
        with skip("face elsewhere"):
            portrait = face_placement(posed, points, view, PORTRAIT_CAMERA, MAX_POSED_MISFIT)
    else:
        portrait = portrait_placement(fit, fit.camera, models.body, view)
    if portrait.side < config.min_side:
        raise Skipped(
            "too small", f"the portrait is {portrait.side:.0f} pixels wide, expected {config.min_side:g} or more"
        )
    marks = portrait.frame(crop.pixels(frame_points(landmarks, seen, FACE_CAMERA)))
    nose = frame_points(posed[NOSE][None], view, PORTRAIT_CAMERA)[0]
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
    body = frame_points(models.body.posed_vertices(betas, pose.joint_eulers)[0].numpy(), view, PORTRAIT_CAMERA)
    return Geometry(labels, portrait, crop, body)


def _check_turned(what: str, view: View, config: PrepareConfig, hint: str = "") -> None:
    """Skips a body or face that leans, is upside down or looks elsewhere."""
    turned, leans = _turn_and_lean(view)
    if turned > config.max_turn:
        raise Skipped(f"{what} turned away", f"the {what} is turned away by {turned:.0f} degrees{hint}")
    if leans > config.max_turn:
        raise Skipped(f"{what} leans", f"the {what} leans to the side by {leans:.0f} degrees{hint}")


def _turn_and_lean(view: View) -> tuple[float, float]:
    """Degrees that a body or face (B = 1) is turned away from the camera, and leans to either side."""
    pitch, yaw = view.camera[0].tolist()
    turned = np.degrees(np.arccos(np.clip(np.sin(pitch) * np.sin(yaw), -1, 1)))
    return float(turned), abs(float(np.degrees(view.roll.item())))


def _axes_hint(chest: Tensor, config: PrepareConfig) -> str:
    """What to say of a fit, chest [1, 3, 3], that would be upright and frontal in other axes than trackers'."""
    for turn in torch.from_numpy(OTHER_AXES):
        if max(_turn_and_lean(portrait_view(turn @ chest))) <= config.max_turn:
            return "; in other axes it would be upright and in front: expected the trackers' x right, y down, z away"
    return ""


def _check_mask(mask: Image.Image, geometry: Geometry, config: PrepareConfig) -> None:
    """The mask shows a person with a face. Raises UserError."""
    portrait = geometry.portrait
    small = np.asarray(resample(Cut(mask.convert("RGB"), mask, (0, 0), 1.0), portrait, CHECKED_SIZE)[1])
    landmarks = geometry.labels["landmarks"] * ((CHECKED_SIZE - 1) / (config.size - 1))
    seen = ~outside(portrait, CHECKED_SIZE, mask.size)
    if (fault := mask_fault(small, landmarks, seen)) is not None:
        inverted = mask_fault(255 - small, landmarks, seen) is None
        raise UserError(fault + ("; is it inverted? (--mask_invert)" if inverted and not config.mask_invert else ""))


def _check_cut_off(mask: Image.Image, geometry: Geometry, config: PrepareConfig) -> tuple[str, ...]:
    """The sides at which the photo's edge cuts the person off. Skips where more is missing than may be filled, or some
    of the face."""
    missing = {side: math.ceil(100 * share) for side, share in cut_off(mask, geometry.portrait).items()}  # per cent
    if not missing:
        return ()
    where = " and ".join(f"{share}% of its side beyond the {side} edge" for side, share in missing.items())
    marks = geometry.portrait.pixels(geometry.labels["landmarks"] * (2 / (config.size - 1)) - 1)[FACE]
    beyond = ((marks < -0.5) | (marks > np.array(mask.size) - 0.5)).any(1).mean()
    if beyond > 0:
        where += f", with {beyond:.0%} of the face's landmarks"
    elif max(missing.values()) > 100 * config.fill:
        where += f"; --fill {max(missing.values()) / 100:g} continues the person there"
    else:
        return tuple(missing)
    raise Skipped("cut off", f"the photo's edge cuts the person off inside the portrait: {where}")


def _item(source: Cut, geometry: Geometry, config: PrepareConfig, beyond: np.ndarray) -> Item:
    image, mask = resample(source, geometry.portrait, config.size)
    face, _ = resample(source, geometry.face, config.face_size)
    filled = (np.asarray(mask, np.float64) / 255 * beyond).mean()
    labels = geometry.labels | ({FILLED: filled} if config.fill else {})
    return Item(png_bytes(image), png_bytes(face), png_bytes(mask), labels)

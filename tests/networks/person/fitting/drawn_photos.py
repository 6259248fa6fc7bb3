"""Drawn photos, and what stands in for a tracker that knows them: no detector is needed."""

import functools
import math
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from inference.video import open_writer
from networks.person.fitting.frames import CAMERA, NUM_FRAME, SCALE, SHIFT, to_picture
from networks.person.tracker.follow import NUM_LANDMARKS, Sighting
from networks.person.tracker.landmarks import NUM_POSE
from tests.networks.person.fitting.made_tracks import made_landmarks
from training.data.synthetic import SyntheticPerson, draw, sample_expression, sample_identity, sample_pose_camera

SIZE, COUNT = 128, 2
RED = (255, 0, 0)  # of the first pixel: pretend that there are two people
# By dotted name, what stands in for the detectors, and for the table of what they find.
_PREPARE, _PHOTO = "training.data.prepare", "networks.person.fitting.photo"
WITHOUT_DETECTORS = (
    ("Tracker", ("networks.person.tracker.follow", _PHOTO, f"{_PREPARE}.by_tracking", f"{_PREPARE}.tracked")),
    ("landmarks", ("inference.from_video", _PHOTO, f"{_PREPARE}.by_tracking")),
)


class DrawnPhoto(NamedTuple):
    image: np.ndarray  # [128, 128, 3] uint8, on grey
    mask: np.ndarray  # [128, 128] uint8
    sighting: Sighting
    truth: types.SimpleNamespace  # camera, eulers, shape, expression, portrait


@functools.cache
def draw_photo(seed: int) -> DrawnPhoto:
    """A portrait as the portrait camera frames it."""
    rng = np.random.default_rng([99, seed])
    who, expression, pose = sample_identity(rng), sample_expression(rng), sample_pose_camera(rng)
    person = SyntheticPerson(who.z_id, who.eps, who.betas)
    picture = draw(person.posed(expression, pose.joint_eulers), pose.camera, SIZE)
    portrait = (picture.image.transpose(1, 2, 0) + 1) * 127.5
    image = np.rint(portrait - 100 * (1 - picture.alpha[..., None])).astype(np.uint8)
    shape = np.concatenate([who.z_id, who.betas]).astype(np.float64)
    truth = types.SimpleNamespace(
        camera=pose.camera, eulers=pose.joint_eulers, shape=shape, expression=expression, portrait=portrait
    )
    return DrawnPhoto(image, np.rint(255 * picture.alpha).astype(np.uint8), see(truth), truth)


def see(truth: types.SimpleNamespace) -> Sighting:
    """What a tracker would find in it."""
    marks, points, shape = made_landmarks(), made_landmarks().points, torch.from_numpy(truth.shape)
    frames = torch.zeros(1, NUM_FRAME, dtype=torch.float64)
    frames[0, CAMERA] = torch.from_numpy(truth.camera).double() - math.pi / 2
    frames[0, SCALE], frames[0, SHIFT] = math.log((SIZE - 1) / 2), (SIZE - 1) / 2
    canonical = points.canonical(shape, torch.from_numpy(truth.expression[None, :52]).double())
    eulers = torch.from_numpy(truth.eulers[None]).double()
    pixels = to_picture(points.pose(canonical, points.transforms(points.joints(shape), eulers)), frames)[0].numpy()
    face, body = np.zeros((NUM_LANDMARKS, 3), np.float32), np.zeros((NUM_POSE, 3), np.float32)
    face[:, :2] = pixels[: len(marks.face)].mean(0)
    face[marks.face, :2], body[marks.body, :2] = pixels[: len(marks.face)], pixels[len(marks.face) :]
    shown = np.zeros(NUM_POSE, np.float32)
    shown[marks.body] = 1
    return Sighting(face, 1.0, body, np.zeros_like(body), shown)


class KnowingTracker:
    """What stands in for networks.person.tracker.follow.Tracker: it knows the drawn photos when it sees them."""

    def __init__(self, person: int | None = None, threads: int = 2) -> None:
        self.most_faces = 0

    def forget(self) -> None:
        self.most_faces = 0

    def step(self, picture: np.ndarray | Image.Image) -> Sighting:
        pixels = np.asarray(picture, np.float32)
        self.found = None
        for seed in range(COUNT):
            photo = draw_photo(seed)
            if pixels.shape == photo.image.shape and np.abs(pixels - photo.image).mean() < 15:
                self.found = photo
        self.most_faces = 0 if self.found is None else 1 + (pixels[0, 0] == RED).all()
        if self.found is None:
            nothing = draw_photo(0).sighting
            return nothing._replace(face=nothing.face * np.nan, face_score=0.0)
        return self.found.sighting

    def mask(self, picture: np.ndarray | Image.Image) -> np.ndarray:
        assert self.found is not None
        return self.found.mask


def without_detectors() -> dict[str, object]:
    """What to put in whose place, by dotted name."""
    stand_ins = {"Tracker": KnowingTracker, "landmarks": made_landmarks}
    return {f"{module}.{name}": stand_ins[name] for name, modules in WITHOUT_DETECTORS for module in modules}


@contextmanager
def known_people() -> Iterator[None]:
    """Within the block nothing is detected: the drawn photos' landmarks are known."""
    with ExitStack() as stack:
        for name, value in without_detectors().items():
            stack.enter_context(patch(name, value))
        yield


def write_video(path: Path, frames: int = 6, gap: range = range(0)) -> None:
    """``path`` (.mp4): frames of the first drawn photo, grey ones in the ``gap``; 10 a second."""
    with open_writer(path.with_suffix(""), "mp4", 10) as writer:
        for i in range(frames):
            image = draw_photo(0).image
            writer.add(np.full_like(image, 155) if i in gap else image)


def write_folder(folder: Path) -> None:
    """All drawn photos."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(COUNT):
        Image.fromarray(draw_photo(seed).image).save(folder / f"{seed}.png")

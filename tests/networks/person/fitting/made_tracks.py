"""Tracks of drawn people without a detector: points of the open body whose places are known, seen where they are."""

import functools

import numpy as np
import torch

from networks.person.body_model import HEAD
from networks.person.fitting.frames import NUM_FRAME, SCALE, SHIFT, joint_eulers, to_picture
from networks.person.fitting.measured import Landmarks, landmarks_of
from networks.person.open_body.storage import read_open_body
from networks.person.tracker.follow import NUM_LANDMARKS, Track
from networks.person.tracker.landmarks import NUM_POSE
from networks.person.tracker.surface import NUM_BODY_POINTS, LandmarkPoints

# iBUG's 68 landmarks by MediaPipe's numbers: those that the pairs of measured.py ask for, the others anywhere.
_MEDIAPIPE = {
    33: 36, 160: 37, 158: 38, 133: 39, 153: 40, 144: 41, 362: 42, 385: 43, 387: 44, 263: 45, 373: 46, 380: 47,
    61: 48, 291: 54, 78: 60, 82: 61, 13: 62, 312: 63, 308: 64, 317: 65, 14: 66, 87: 67,
    105: 19, 107: 21, 334: 24, 336: 22,
}  # fmt: skip


@functools.cache
def made_landmarks() -> Landmarks:
    """68 landmarks, irises, and skin of the face, as a table of the tracker would have them."""
    body, rng = read_open_body(), np.random.default_rng(0)
    skin = np.flatnonzero(body.outer_skin() & (body.labels[:, 3] > 128))
    vertices = rng.choice(skin, NUM_LANDMARKS)
    others = iter(sorted(set(range(68)) - set(_MEDIAPIPE.values())))
    free = iter(i for i in range(0, NUM_LANDMARKS, 6) if i not in _MEDIAPIPE)
    for place, mark in [*_MEDIAPIPE.items(), *((next(free), mark) for mark in others)]:
        vertices[place] = body.landmarks[mark]
    pupils = np.flatnonzero((body.part == 1) & (body.eye_angle == 0))
    for first, pupil in zip((468, 473), sorted(pupils, key=lambda v: body.v_template[v, 0]), strict=True):
        vertices[first : first + 5] = pupil
    spread = np.where(np.arange(NUM_LANDMARKS) % 6, np.float32(99), np.float32(1))  # few of the others: tests are quick
    spread[[*_MEDIAPIPE, *range(468, NUM_LANDMARKS)]] = 1
    table = LandmarkPoints(
        face_vertices=np.repeat(vertices[:, None], 3, 1),
        face_weights=np.full((NUM_LANDMARKS, 3), 1 / 3, np.float32),
        face_spread=spread,
        body_joints=np.array([HEAD] * 11 + [16, 17]),
        body_turns=np.array([HEAD] * 11 + [13, 14]),
        body_offsets=np.zeros((NUM_BODY_POINTS, 3), np.float32),
        body_spread=np.full(NUM_BODY_POINTS, 5.0, np.float32),
        metadata={},
    )
    return landmarks_of(table)


def made_frames(eulers_turns: torch.Tensor, cameras: torch.Tensor, scale: float = 300.0) -> torch.Tensor:
    """Frames [F, Q] from turns [F, 13] (frames.py) and cameras [F, 2] from the front, in a picture of 1280 x 720."""
    frames = torch.zeros(len(cameras), NUM_FRAME, dtype=torch.float64)
    frames[:, :2], frames[:, 6:], frames[:, SCALE] = cameras, eulers_turns, np.log(scale)
    frames[:, SHIFT] = torch.tensor([600.0, 380.0], dtype=torch.float64)
    return frames


def made_pixels(marks: Landmarks, shape: torch.Tensor, frames: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Where the landmarks of a person are seen [F, N, 2]."""
    points = marks.points
    transforms = points.transforms(points.joints(shape), joint_eulers(frames))
    return to_picture(points.pose(points.canonical(shape, actions), transforms), frames)


def made_track(
    marks: Landmarks,
    shape: torch.Tensor,
    frames: torch.Tensor,
    actions: torch.Tensor,
    noise: float = 0.0,
    fps: float = 25,
) -> Track:
    """A track with ``noise`` pixels in every landmark."""
    pixels = made_pixels(marks, shape, frames, actions).numpy()
    pixels += noise * np.random.default_rng(1).standard_normal(pixels.shape)
    count = len(frames)
    face = np.full((count, NUM_LANDMARKS, 3), np.nan, np.float32)
    pose = np.full((count, NUM_POSE, 3), np.nan, np.float32)
    face[:, marks.face] = np.pad(pixels[:, : len(marks.face)], ((0, 0), (0, 0), (0, 1)))
    pose[:, marks.body] = np.pad(pixels[:, len(marks.face) :], ((0, 0), (0, 0), (0, 1)))
    shown = np.zeros((count, NUM_POSE), np.float32)
    shown[:, marks.body] = 1
    return Track(
        (1280, 720), np.arange(count) / fps, face, np.ones(count, np.float32), pose, np.zeros_like(pose), shown
    )

"""A sheet of pictures with joints and landmarks where the labels say they are."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from training.data.layout import FACES, IMAGES
from training.data.overlay import Overlay
from training.data.png import decode_png
from training.data.storage import Dataset

CELL = 256  # pixels a side of a picture on the sheet
MARGIN, CAPTION = 6, 14
# The person's left is blue and the right red, in the middle green, so that swapped sides are seen.
LEFT, RIGHT, MIDDLE = (40, 90, 255), (255, 50, 40), (0, 170, 60)
STORED = (255, 225, 0)
JOINT_COLOURS = (MIDDLE, LEFT, RIGHT, MIDDLE, LEFT, RIGHT)  # neck, collars, head, shoulders
BONES = ((0, 3), (0, 1), (0, 2), (1, 4), (2, 5))
_RIGHT_MARKS = {*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67}
_MIDDLE_MARKS = {8, *range(27, 31), 33, 51, 57, 62, 66}


def draw_sheet(dataset: Dataset, rows: list[int], overlay: Overlay | None) -> Image.Image:
    """Images with joints and landmarks, each beside its face crop, with the camera in degrees.

    Args:
        rows: of the data set.
        overlay: of these rows; None: the pictures as they are. Where the data set has landmarks of its own, they lie
            under the projected ones, in yellow: seen only where the two differ.

    Raises:
        UserError: a picture cannot be read.
    """
    columns = max(1, min(len(rows), round(math.sqrt(len(rows) / 1.5))))
    lines = -(-len(rows) // columns)
    width, height = 2 * CELL + 2 * MARGIN, CELL + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * width, lines * height), "white")
    for slot, row in enumerate(rows):
        left, top = slot % columns * width, slot // columns * height
        image = _enlarged(dataset, IMAGES, row, dataset.image_size)
        face = _enlarged(dataset, FACES, row, dataset.face_size)
        if overlay is not None:
            _mark(image, face, dataset, row, Overlay(*(array[slot] for array in overlay)))
        sheet.paste(image, (left, top + CAPTION))
        sheet.paste(face, (left + CELL, top + CAPTION))
        ImageDraw.Draw(sheet).text((left + 2, top + 1), _caption(dataset, row), fill="black")
    return sheet


def _mark(image: Image.Image, face: Image.Image, dataset: Dataset, row: int, overlay: Overlay) -> None:
    """Joints and landmarks of one row on its two cells."""
    _mark_joints(image, _to_cell(overlay.joints.numpy(), dataset.image_size))
    if (stored := dataset.labels.get("landmarks")) is not None:
        _mark_landmarks(image, _to_cell(stored[row], dataset.image_size), STORED)
    _mark_landmarks(image, _to_cell(overlay.landmarks.numpy(), dataset.image_size))
    _mark_landmarks(face, _to_cell(overlay.face_landmarks.numpy(), dataset.face_size))


def _caption(dataset: Dataset, row: int) -> str:
    camera, face = (np.degrees(dataset.labels[name][row]) for name in ("camera", "face_camera"))
    name = dataset.pictures.names[row].removesuffix(".png")
    return f"{name}  pitch {camera[0]:.0f} yaw {camera[1]:.0f}   face pitch {face[0]:.0f} yaw {face[1]:.0f}"


def _enlarged(dataset: Dataset, folder: str, row: int, size: int) -> Image.Image:
    name = f"{dataset.path}: {folder}/{dataset.pictures.names[row]}"
    pixels = decode_png(dataset.pictures.read(folder, row), size, name)
    return Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.BICUBIC)


def _to_cell(pixels: np.ndarray, size: int) -> np.ndarray:
    """Pixels of the picture -> of its enlargement; centres are at the integers in both."""
    return (pixels + 0.5) * (CELL / size) - 0.5


def _mark_joints(picture: Image.Image, joints: np.ndarray) -> None:
    draw = ImageDraw.Draw(picture)
    for start, end in BONES:
        draw.line([*map(float, joints[start]), *map(float, joints[end])], fill=(255, 200, 0), width=2)
    for (x, y), colour in zip(joints.tolist(), JOINT_COLOURS, strict=True):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour, outline="white")


def _mark_landmarks(picture: Image.Image, landmarks: np.ndarray, colour: tuple[int, int, int] | None = None) -> None:
    draw = ImageDraw.Draw(picture)
    for index, (x, y) in enumerate(landmarks.tolist()):
        side = MIDDLE if index in _MIDDLE_MARKS else RIGHT if index in _RIGHT_MARKS else LEFT
        draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=colour or side)

"""Small made-up data sets: random pixels on white, plausible random labels."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.storage import DatasetWriter


def make_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def make_pixels(index: int, size: int, channels: int = 3) -> np.ndarray:
    """Random uint8 pixels [size, size, 3] (or [size, size]) that only ``index`` and ``size`` decide."""
    shape = (size, size, 3) if channels == 3 else (size, size)
    return np.random.default_rng([index, size]).integers(0, 256, shape, dtype=np.uint8)


def make_mask(index: int, size: int) -> np.ndarray:
    """A mask [size, size] that shows somebody: random, but for a background above and at the sides."""
    mask = make_pixels(index, size, 1) // 2 + 128
    edge = max(size // 16, 1)
    mask[:edge] = mask[:, :edge] = mask[:, -edge:] = 0
    return mask


def make_labels(index: int, image_size: int = 16) -> dict[str, np.ndarray]:
    """Labels of an item: cameras near the front that turn more than they nod, small poses."""
    rng = np.random.default_rng([index, 7])
    labels = {
        "camera": math.pi / 2 + rng.normal(0, (0.05, 0.2)),
        "joint_eulers": rng.normal(0, 0.1, (6, 3)),
        "betas": rng.standard_normal(10),
        "z_id": rng.standard_normal(80),
        "z_exp": rng.standard_normal(64),
        "face_camera": math.pi / 2 + rng.normal(0, (0.05, 0.2)),
        "landmarks": rng.uniform(0, image_size - 1, (68, 2)),
        "eps": rng.standard_normal(5),
    }
    return {name: row.astype(np.float32) for name, row in labels.items()}


def make_maps(index: int, image_size: int, face_size: int) -> dict[str, np.ndarray]:
    """Depth and normals by layout.MAPS: random where the mask is not 0, the face's everywhere."""
    maps = {}
    for prefix, size in (("", image_size), ("face_", face_size)):
        rng = np.random.default_rng([index, size, 3])
        mask = make_mask(index, size) if not prefix else np.full((size, size), 255)
        normals = rng.normal(size=(size, size, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        maps[f"{prefix}depth"] = (rng.integers(1, 65536, mask.shape) * (mask > 0)).astype(np.uint16)
        maps[f"{prefix}normals"] = (np.rint((normals + 1) * 127.5) * (mask > 0)[..., None]).astype(np.uint8)
    return maps


def add_items(writer: DatasetWriter, indices, *, masks: bool = True, maps: bool = False) -> None:
    size = writer.settings["image_size"], writer.settings["face_size"]
    for index in indices:
        mask = make_png(make_mask(index, size[0])) if masks else None
        pictures = (make_png(make_pixels(index, s)) for s in size)
        files = {name: make_png(pixels) for name, pixels in make_maps(index, *size).items()} if maps else None
        writer.add(index, *pictures, make_labels(index, size[0]), mask, files)


def make_writer(path: Path, image_size: int = 16, face_size: int = 8, made_by: str = "a test") -> DatasetWriter:
    return DatasetWriter(path, image_size=image_size, face_size=face_size, name="tiny", made_by=made_by)


def make_dataset(
    path: Path, num: int = 5, *, masks: bool = True, maps: bool = False, image_size: int = 16, face_size: int = 8
) -> Path:
    """A finished data set of ``num`` items at ``path`` (a zip where it ends in .zip)."""
    with make_writer(path, image_size, face_size) as writer:
        add_items(writer, range(num), masks=masks, maps=maps)
        writer.finish()
    return path

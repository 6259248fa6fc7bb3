"""One item of a synthetic data set: pictures of a new person and all their labels, from a seed and a number."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from networks.person.body_model import HEAD
from training.data.layout import MAPS
from training.data.maps import depth_pixels, normal_pixels
from training.data.synthetic.drawing import Picture, camera_view, draw, project
from training.data.synthetic.person import PosedPerson, SyntheticPerson
from training.data.synthetic.sampling import Identity, Views, sample_expression, sample_identity, sample_pose_camera

# zlib and zlib-ng, which Pillow's wheels carry, make the same bytes with this strategy, and not with the default one.
_RUN_LENGTHS = 3
_SHOTS = 1 << 40  # of a person's own generator: no portrait has such a number


class Portrait(NamedTuple):
    """PNG files and a row of every label (see training/data/storage.py)."""

    image_png: bytes  # RGB, size^2, portrait camera
    face_png: bytes  # RGB, face_size^2, face camera
    mask_png: bytes  # 8-bit grey, size^2, the person's share of every pixel
    labels: dict[str, np.ndarray]
    maps: dict[str, bytes]  # by layout.MAPS; none unless asked for


@lru_cache(maxsize=2)
def _person(seed: int, number: int, shots: int) -> tuple[Identity, SyntheticPerson]:
    """The person of several shots in a row, who is made once."""
    rng = np.random.default_rng([seed, number] if shots == 1 else [seed, _SHOTS, number])
    identity = sample_identity(rng)
    return identity, SyntheticPerson(identity.z_id, identity.eps, identity.betas)


class Sitting(NamedTuple):
    """A person before the two cameras, and all labels but the landmarks, which depend on the picture's size."""

    posed: PosedPerson
    camera: np.ndarray  # [2] (pitch, yaw), radians
    face_camera: np.ndarray  # [2]
    head: np.ndarray  # [4, 4] the head's transform, which carries the face camera
    labels: dict[str, np.ndarray]

    def all_labels(self, size: int) -> dict[str, np.ndarray]:
        """Rows of every label, float32, for a portrait of ``size`` pixels."""
        landmarks, _ = project(self.posed.landmarks, camera_view(self.camera), size)
        # pixels; rounded, the last bits of float32 are the same on any machine
        labels = self.labels | {"landmarks": np.round(landmarks, 3)}
        return {name: np.asarray(row, np.float32) for name, row in labels.items()}


def sit(seed: int, index: int, views: Views = "front", shots: int = 1) -> Sitting:
    """Who is on the ``index``-th portrait of a data set, how and from where; ``shots`` in a row are of one person.

    Every portrait has a new expression, pose and camera. Everything follows from (seed, index), so that any process can
    make any item. The face is looked at from where the portrait was taken, by a camera that the head carries.
    """
    identity, person = _person(seed, index // shots, shots)
    rng = np.random.default_rng([seed, index, 1])
    expression, pose = sample_expression(rng), sample_pose_camera(rng, views)
    posed = person.posed(expression, pose.joint_eulers)
    head = person.joint_transforms(pose.joint_eulers)[HEAD]
    face_camera = seen_from_head(pose.camera, head)
    labels = {**identity._asdict(), **pose._asdict(), "z_exp": expression, "face_camera": face_camera}
    return Sitting(posed, pose.camera, face_camera, head, labels)


def make_portrait(
    seed: int, index: int, *, size: int, face_size: int, views: Views = "front", shots: int = 1, maps: bool = False
) -> Portrait:
    """The drawn portrait of a :func:`sit`; ``maps`` come with both pictures."""
    sitting = sit(seed, index, views, shots)
    picture = draw(sitting.posed, sitting.camera, size, maps=maps)
    face = draw(sitting.posed, sitting.face_camera, face_size, "face", sitting.head, maps=maps)
    return Portrait(
        encode(_to_bytes(picture.image.transpose(1, 2, 0))),
        encode(_to_bytes(face.image.transpose(1, 2, 0))),
        encode(_mask(picture)),
        sitting.all_labels(size),
        dict(zip(MAPS, (*_encode_maps(picture), *_encode_maps(face)), strict=True)) if maps else {},
    )


def seen_from_head(camera: np.ndarray, head_transform: np.ndarray) -> np.ndarray:
    """(pitch, yaw) [2], radians, of the portrait camera ``camera`` as the head sees it.

    ``head_transform`` [4, 4]: the head's rigid transform from the canonical pose. The face camera with these angles,
    carried by the head, looks at the face from the same side (method notes, section 2); the roll of the head and the
    distance are not in them, as in an aligned crop.
    """
    away = camera_view(camera).origin - head_transform[:3, 3]
    x, y, z = head_transform[:3, :3].T @ away / np.linalg.norm(away)
    return np.round([np.arccos(y), np.arctan2(z, x)], 5)


def _mask(picture: Picture) -> np.ndarray:
    """[H, W] uint8, the person's share of every pixel."""
    return np.rint(picture.alpha * 255).astype(np.uint8)


def _encode_maps(picture: Picture) -> tuple[bytes, bytes]:
    """PNG files of depth and normals; nobody is where the mask says so."""
    assert picture.maps is not None
    somebody = _mask(picture) > 0
    depth = depth_pixels(picture.maps.depth * somebody)
    return encode(depth), encode(normal_pixels(picture.maps.normals * somebody[:, :, None]))


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """[-1, 1] -> uint8."""
    return np.rint((image.astype(np.float64) + 1.0) * 127.5).astype(np.uint8)


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels, the same bytes on every machine."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_type=_RUN_LENGTHS)
    return buffer.getvalue()

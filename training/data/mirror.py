"""Mirror images of people: what every label becomes when the picture is flipped left to right.

Flipping a picture reflects the world in the plane x = 0 (x -> -x) and swaps the names of left and right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from networks.person.body_assets import BodyArrays
from networks.person.face_model import FaceArrays
from networks.trigrid.camera_labels import mirror_label, mirror_pose
from training.data.layout import CAMERA25, ROUGH_POSE

# Rows of joint_eulers: neck, left collar, right collar, head, left shoulder, right shoulder.
JOINT_MIRROR = (0, 2, 1, 3, 5, 4)
# Reflection of Rz(e0) Ry(e1) Rx(e2) in x = 0: turns about y and z change their sense, about x they do not.
EULER_SIGNS = (-1.0, -1.0, 1.0)
# The 68 iBUG landmarks: jaw, brows, bridge, nostrils, eyes, outer lips, inner lips.
LANDMARK_MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    45, 44, 43, 42, 47, 46,
    39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1),
    *range(64, 59, -1), *range(67, 64, -1),
)  # fmt: skip
# How far a mirrored basis may lie from the span of the basis, and a mirror may stretch coefficients.
MAX_RESIDUAL = 0.1
MAX_STRETCH = 1.5


class LabelMirror(NamedTuple):
    """Coefficients of the mirrored person, ``z @ matrix``; None where a model has no mirror image in itself."""

    z_id: Tensor | None  # [80, 80]
    z_exp: Tensor | None  # [64, 64]
    betas: Tensor | None  # [10, 10]

    @property
    def missing(self) -> tuple[str, ...]:
        """Labels that stay as they are because their model has no mirror."""
        return tuple(name for name, matrix in self._asdict().items() if matrix is None)

    def __call__(self, labels: Mapping[str, Tensor], image_size: int) -> dict[str, Tensor]:
        """Labels [B, ...] (shapes: layout.LABEL_SHAPES) of the flipped pictures.

        Landmarks are pixels with centres at the integers, so column x becomes image_size - 1 - x. Labels unknown here
        (such as ``eps``) stay as they are.
        """
        mirrored = dict(labels)
        for name, matrix in self._asdict().items():
            if matrix is not None and name in labels:
                mirrored[name] = labels[name] @ matrix.to(labels[name])
        for name in ("camera", "face_camera"):
            if name in labels:
                pitch, yaw = labels[name].unbind(-1)
                mirrored[name] = torch.stack([pitch, math.pi - yaw], -1)
        if "joint_eulers" in labels:
            eulers = labels["joint_eulers"]
            mirrored["joint_eulers"] = eulers[:, list(JOINT_MIRROR)] * eulers.new_tensor(EULER_SIGNS)
        for name, turned in ((CAMERA25, mirror_label), (ROUGH_POSE, mirror_pose)):
            if name in labels:
                mirrored[name] = turned(labels[name])
        if "landmarks" in labels:
            x, y = labels["landmarks"][:, list(LANDMARK_MIRROR)].unbind(-1)
            mirrored["landmarks"] = torch.stack([image_size - 1 - x, y], -1)
        return mirrored


def label_mirror(face: FaceArrays, body: BodyArrays) -> LabelMirror:
    """The mirror of the models that a data set's coefficients belong to."""
    return LabelMirror(
        z_id=basis_mirror(face.mean, face.id_basis),
        z_exp=basis_mirror(face.mean, face.exp_basis),
        betas=basis_mirror(body.v_template, body.shapedirs),
    )


def basis_mirror(mean: np.ndarray, basis: np.ndarray) -> Tensor | None:
    """Least-squares matrix [C, C] with which ``z @ matrix`` is the mirror image of the shape z.

    The mirror image of vertex v is the vertex nearest to v reflected. Where several coincide (closed lips) the one that
    moves as much as v is meant. None unless the mirrored basis lies in the span of the basis.

    Args:
        mean: [V, 3].
        basis: [V, 3, C].
    """
    mean, basis = mean.astype(np.float64), basis.astype(np.float64)
    reflect = np.array([-1.0, 1.0, 1.0])
    mobility = np.linalg.norm(basis, axis=(1, 2))[:, None]
    twin = cKDTree(np.hstack([mean, mobility])).query(np.hstack([mean * reflect, mobility]))[1]
    columns = basis.reshape(-1, basis.shape[2])
    target = (basis[twin] * reflect[:, None]).reshape(columns.shape)  # [3V, C]
    matrix = np.linalg.lstsq(columns, target, rcond=None)[0]
    unused = np.flatnonzero(~columns.any(0))
    matrix[unused, unused] = 1  # coefficients that move nothing stay
    size = np.linalg.norm(target)
    for candidate in (np.rint(matrix), matrix):  # directions of a symmetric model are swapped or turned over, no more
        error = np.linalg.norm(columns @ candidate - target)
        if size and error <= MAX_RESIDUAL * size and np.linalg.norm(candidate, 2) <= MAX_STRETCH:
            return torch.from_numpy(candidate.T.astype(np.float32))
    return None

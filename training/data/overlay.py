"""Where labels say that joints and landmarks are in the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, project, to_pixels
from networks.person.body_model import HEAD, POSED_JOINTS, BodyModel
from networks.person.face_model import FaceModel


class Overlay(NamedTuple):
    """Pixels (x right, y down, centres at the integers)."""

    joints: Tensor  # [B, 6, 2] of the image: neck, collars, head, shoulders
    landmarks: Tensor  # [B, 68, 2] of the image
    face_landmarks: Tensor  # [B, 68, 2] of the face crop


def project_labels(
    labels: Mapping[str, Tensor], body: BodyModel, face: FaceModel, *, image_size: int, face_size: int
) -> Overlay:
    """Joints and landmarks of the models, posed and projected by the labels alone (method notes, section 2).

    The body's joints 12..17 move with the pose; the landmarks of S(z_id, z_exp) (eq. 7) move with the head. The face
    camera rides on the head.

    Args:
        labels: [B, ...] (shapes: layout.LABEL_SHAPES).
        body, face: the models that the labels belong to.
        image_size, face_size: pixels a side.
    """
    transforms = body.joint_transforms(labels["betas"], labels["joint_eulers"])
    head = transforms[:, HEAD]
    joints = _move(transforms, body.canonical_joints(labels["betas"]))[:, POSED_JOINTS]
    landmarks = _move(head[:, None], face.landmark_points(labels["z_id"], labels["z_exp"]))
    return Overlay(
        to_pixels(project(joints, labels["camera"], PORTRAIT_CAMERA), image_size),
        to_pixels(project(landmarks, labels["camera"], PORTRAIT_CAMERA), image_size),
        to_pixels(project(landmarks, labels["face_camera"], FACE_CAMERA, head), face_size),
    )


def _move(transforms: Tensor, points: Tensor) -> Tensor:
    """transforms [B, N or 1, 4, 4] applied to points [B, N, 3]."""
    return (
        torch.einsum("bnij,bnj->bni", transforms[..., :3, :3].expand(-1, points.shape[1], 3, 3), points)
        + (transforms[..., :3, 3])
    )

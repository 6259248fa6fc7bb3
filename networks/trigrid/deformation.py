"""Space about a body whose neck and head turn -> space about the body at rest (3DPortraitGAN, section 3.2)."""

from __future__ import annotations

from functools import partial

import roma
import torch
from torch import Tensor, nn

from networks.person.body_model import HEAD, NECK, POSED_JOINTS, BodyModel
from networks.person.triangle_frames import faces_within, to_rest_pose
from networks.trigrid.config import TriGridConfig
from networks.trigrid.generator import Deformation


class NeckAndHead(nn.Module):
    """Poses of one body: its mean shape, arms to the sides, in metres from the neck of the body at rest.

    Args:
        body: SMPL's arrays.
        config: its box and thickness.
    """

    rest: Tensor
    faces: Tensor

    def __init__(self, body: BodyModel, config: TriGridConfig):
        super().__init__()
        self.body, self.thickness = body, config.thickness
        with torch.no_grad():
            rest = body.metric_vertices(self._rotations(body.v_template.new_zeros(1, 6)))[0]
        self.register_buffer("rest", rest, persistent=False)  # [V, 3]
        self.register_buffer("faces", faces_within(rest, body.faces, config.box / 2), persistent=False)

    @staticmethod
    def _rotations(pose: Tensor) -> Tensor:
        """Of the joints that turn [B, 6, 3, 3], for axis-angles [B, 6] of neck and head."""
        turns = roma.rotvec_to_rotmat(pose.unflatten(-1, (2, 3)))
        rotations = torch.eye(3, dtype=pose.dtype, device=pose.device).repeat(len(pose), 6, 1, 1)
        places = [joint - POSED_JOINTS.start for joint in (NECK, HEAD)]
        rotations[:, places] = turns
        return rotations

    def posed(self, pose: Tensor) -> Tensor:
        """Vertices [B, V, 3] for poses [B, 6], axis-angle of neck and head, radians."""
        return self.body.metric_vertices(self._rotations(pose))

    def forward(self, pose: Tensor) -> Deformation:
        """What :meth:`networks.trigrid.generator.TriGridGenerator.render` takes, for poses [B, 6]. Gradients flow to
        them through the vertices."""
        return partial(self._to_rest, self.posed(pose))

    def _to_rest(self, vertices: Tensor, points: Tensor) -> Tensor:
        return to_rest_pose(points, vertices, self.rest, self.faces, self.thickness)

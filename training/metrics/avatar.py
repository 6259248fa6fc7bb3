"""Gaussian avatars in the metrics of control: one person, whose body and face their files name."""

from __future__ import annotations

from typing import Any

import torch

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, pinhole
from networks.gaussian.avatar import View
from networks.gaussian.portraits import Avatar, Seen, seen
from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.person.body_model import HEAD, BodyModel
from networks.person.expressions import face_model_of
from networks.person.priors import Latents
from torch_utils.misc import UserError
from training.metrics.renderers import Rendered
from training.sampling import Inputs


class AvatarRenderer:
    """An avatar, whoever is asked for.

    Args:
        avatar: on its device. metadata: of its file. name: for messages.

    Raises:
        UserError: the file does not say whose body and face it has.
    """

    def __init__(self, avatar: Avatar, metadata: dict[str, Any], name: str):
        person = metadata.get("person")
        if not isinstance(person, dict) or "z_id" not in person or "betas" not in person:
            expected = "an avatar of a generated or drawn person of the open body, which names its face and shape"
            raise UserError(f"{name}: expected {expected}, found one that names none")
        self.avatar, self.name, self.face_model = avatar, name, face_model_of(metadata)
        z_id, betas = (torch.tensor(person[part], dtype=torch.float32)[None] for part in ("z_id", "betas"))
        self.only: Latents | None = Latents(z_id, torch.zeros(1, 80), betas)
        self.size = {"portrait": metadata["image_size"], "face": metadata["image_size"] // 2}  # as generators have it
        arrays = default_body()
        self.body = BodyModel(arrays, torch.from_numpy(head_shoulder_vertices(arrays)))

    @torch.no_grad()
    def __call__(self, inputs: Inputs, views: tuple[str, ...]) -> dict[str, Rendered]:
        rows = [inputs.part(slice(i, i + 1)) for i in range(len(inputs.z_id))]
        pictures = {view: [self._seen(row, view) for row in rows] for view in views}
        return {
            view: Rendered(*(torch.stack(part).cpu() for part in zip(*drawn, strict=True)))
            for view, drawn in pictures.items()
        }

    def _seen(self, row: Inputs, view: str) -> Seen:
        device, size = self.avatar.joints.device, self.size[view]
        expression, eulers, camera = (part[0].to(device) for part in (row.z_exp, row.joint_eulers, row.camera))
        pose = self.avatar.pose(expression, eulers)
        if view == "portrait":
            extrinsic, intrinsics = pinhole(camera, PORTRAIT_CAMERA, size)
        else:  # the face camera rides on the head
            extrinsic, intrinsics = pinhole(row.face_camera[0].to(device), FACE_CAMERA, size)
            extrinsic = extrinsic @ torch.linalg.inv(pose.transforms[HEAD])
        return seen(self.avatar, pose, View(extrinsic, intrinsics, (size, size)))

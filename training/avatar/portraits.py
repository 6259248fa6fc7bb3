"""Our own data sets as the rig: all portraits of one person, as `training.data synthesize --shots N` draws them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from networks.cameras import PORTRAIT_CAMERA, pinhole
from networks.gaussian.avatar import Pose, View, head_and_shoulder_pose
from networks.gaussian.maps import Template
from networks.person.body_assets import default_body, head_shoulder_vertices, load_smpl
from networks.person.body_model import BodyModel
from networks.person.expressions import ARKIT, BASEL
from networks.person.face_model import FaceModel, default_face, load_bfm
from networks.person.tracking import UNIT
from torch_utils.misc import UserError
from training.avatar.config import AvatarTrainConfig
from training.avatar.generated import portrait_window
from training.avatar.open_person import is_open, open_template
from training.avatar.views import Actor, Shot
from training.data.label_models import find_model, named_models
from training.data.png import decode_png
from training.data.storage import open_dataset

HELD_OUT_EVERY = 10  # pictures, where the configuration says nothing
FACE_REACH = 0.01  # canonical units from the face's surface within which a vertex moves as it does


class PortraitViews:
    """Pictures of one person of a data set; see ``training.avatar.views.Views``.

    Args:
        root: the set. person: how many other people come before this one, who has several pictures.

    Raises:
        UserError: no such set or person, no masks, fewer than two pictures to learn from.
    """

    def __init__(self, root: str | Path, person: int, config: AvatarTrainConfig, device: torch.device):
        self.data, self.device, self.config = open_dataset(root), device, config
        labels = self.data.labels
        who = np.concatenate([labels["z_id"], labels["betas"]], 1)
        _, first, inverse = np.unique(who, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)  # people in the order of their first pictures
        if person >= len(order):
            raise UserError(f"--seed {person}: expected one of the {len(order)} people in {root}")
        pictures = np.flatnonzero(inverse.ravel() == order[person]).tolist()
        every = config.capture.held_out_every or HELD_OUT_EVERY
        self.learned = [picture for i, picture in enumerate(pictures) if i % every != every - 1]
        self.others = pictures[every - 1 :: every] or self.learned[-1:]
        if len(self.learned) < 2 or not self.data.has_masks:
            found = f"{len(pictures)} pictures of person {person}"
            raise UserError(f"{root}: expected masks, and several pictures of everybody (--shots), found {found}")
        self.frames = len(self.learned)
        self.labels = {name: torch.from_numpy(labels[name]).float() for name in ("camera", "joint_eulers", "z_exp")}
        models = {kind: find_model(kind, name, root) for kind, name in named_models(self.data.manifest).items()}
        body, face = models.get("body"), models.get("face")
        arrays = default_body() if body is None else load_smpl(body)
        self.body = BodyModel(arrays, torch.from_numpy(head_shoulder_vertices(arrays)))
        self.open_face = face is None
        self.face = FaceModel(default_face() if face is None else load_bfm(face))
        self.betas, self.z_id = (torch.from_numpy(labels[n][pictures[0]]).float() for n in ("betas", "z_id"))
        self.joints = self.body.canonical_joints(self.betas[None])[0]
        self.summary = f"person {person} of {Path(root).name}, {len(pictures)} pictures"
        self.metadata: dict[str, Any] = {"source": self.summary, "face_model": ARKIT if self.open_face else BASEL}
        self.metadata["image_size"] = self.data.image_size

    @torch.no_grad()
    def actor(self, map_size: int) -> Actor:
        """The person's body; of another than the open one, it moves as the nearest vertex of the face does."""
        if self.open_face and is_open(self.body):
            template = open_template(self.body, self.betas[None], self.z_id[None])
            self.metadata["person"] = {"z_id": self.z_id.tolist(), "betas": self.betas.tolist()}
        else:
            template = self._with_nearest_face()
        window = portrait_window(self.config.distillation, map_size)
        return Actor(template, window, self.joints, self.body.parents, UNIT)

    def _with_nearest_face(self) -> Template:
        vertices = self.body.canonical_vertices(self.betas[None])[0]
        neutral = self.face(self.z_id[None], torch.zeros(1, 64))[0]
        distance, nearest = cKDTree(neutral.numpy()).query(vertices.numpy())
        near = torch.from_numpy(np.exp(-np.square(distance / FACE_REACH))).float()
        basis = near[:, None, None] * self.face.exp_basis[nearest]
        return Template(vertices, self.body.faces, self.body.lbs_weights, basis)

    def _pose(self, picture: int) -> Pose:
        face, eulers = self.labels["z_exp"][picture], self.labels["joint_eulers"][picture]
        pose = head_and_shoulder_pose(self.joints, self.body.parents, face, eulers)
        return Pose(*(part.to(self.device) for part in pose))

    def _view(self, picture: int) -> View:
        size = self.data.image_size
        extrinsic, intrinsics = pinhole(self.labels["camera"][picture], PORTRAIT_CAMERA, size)
        return View(extrinsic.to(self.device), intrinsics.to(self.device), (size, size))

    def _read(self, data: bytes, where: str, mode: str) -> Tensor:
        pixels = decode_png(data, self.data.image_size, f"{self.data.path}: {where}", mode)
        return torch.from_numpy(pixels.copy()).float().to(self.device) / 255

    def _shot(self, picture: int) -> Shot:
        alpha = self._read(self.data.read_mask(picture), f"mask {picture}", "L")
        image = self._read(self.data.read_image(picture), f"portrait {picture}", "RGB")
        colour = (image - (1 - alpha)[..., None]).clamp(min=0)  # from over white
        return Shot(colour, alpha, self._pose(picture), self._view(picture))

    def look(self, index: int) -> tuple[Pose, View]:
        picture = self.learned[index % self.frames]
        return self._pose(picture), self._view(picture)

    def shot(self, index: int) -> Shot:
        return self._shot(self.learned[index])

    def held_out(self, index: int) -> Shot:
        return self._shot(self.others[index % len(self.others)])

    def poses(self, count: int) -> list[Pose]:
        return [self._pose(picture) for picture in self.learned[:: max(1, -(-self.frames // count))]]

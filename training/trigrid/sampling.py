"""What the tri-grid generator is asked for at every step, drawn from the labels of the data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import roma
import torch
from torch import Tensor

from networks.person.face_model import NUM_IDENTITY
from networks.trigrid.camera_labels import POSE_SIZE
from networks.trigrid.deformation import TURNING
from networks.trigrid.portrait import TriGridPortrait
from training.data.layout import CAMERA25, ROUGH_POSE
from training.data.mirror import LabelMirror
from training.data.storage import Dataset
from training.sampling import random_generator
from training.trigrid.config import TriGridTrainConfig

CHAIN = 3  # oneself, the neighbour whose camera may be taken, and the one whom the neighbour may take it from
NOISE_KEY = 0x360  # of the noise on rough poses


class Inputs(NamedTuple):
    """Of a batch. Neighbours come along, so that a process or a micro-batch needs nobody else's rows."""

    z: Tensor  # [B, CHAIN, latent_dim]
    camera: Tensor  # [B, CHAIN, 25]
    takes: Tensor  # [B, 2] in 0..1: whether oneself, or the neighbour, is conditioned on the next one's camera and pose
    background: Tensor  # [B] in 0..1: whether the neighbour's background is taken
    rough_pose: Tensor  # [B, 6] axis-angle of neck and head
    z_exp: Tensor  # [B, 64] expressions, where the model has them
    turns: Tensor  # [B, CHAIN, 3] standard normal: what E_G's necks and heads turn further, but for its scale
    joint_eulers: Tensor  # [B, 6, 3] radians: collars and shoulders, where the model has them
    face_camera: Tensor  # [B, 2] (pitch, yaw) of the face camera, which rides on the head

    def part(self, rows: slice) -> Inputs:
        """Some of the rows."""
        return Inputs(*(value[rows] for value in self))

    def to(self, device: torch.device) -> Inputs:
        """The same on ``device``."""
        return Inputs(*(value.to(device, non_blocking=True) for value in self))


class MeanFaces(NamedTuple):
    """The mean face with the data's expressions: whose face a tri-grid's person has, nobody knows."""

    expressions: Tensor  # [N, 64]

    def draw(self, count: int, *key: int) -> Faces:
        """``count`` of them, by the numbers ``key``."""
        rows = torch.randint(len(self.expressions), (count,), generator=random_generator(*key))
        return Faces(torch.zeros(count, NUM_IDENTITY), self.expressions[rows])


class Faces(NamedTuple):
    z_id: Tensor  # [B, 80]
    z_exp: Tensor  # [B, 64]


class TriGridSampler:
    """Draws inputs from a data set's labels: camera, rough pose, shoulders and expression from one row; z is normal.

    Where the reader mirrors pictures, mirrored labels are drawn as often as others.

    Args:
        dataset: a sound one.
        mirror: as given to the reader; None: no mirrored labels.
        portrait: whose cameras and poses labels become.
        config: of the run.
    """

    def __init__(
        self, dataset: Dataset, mirror: LabelMirror | None, portrait: TriGridPortrait, config: TriGridTrainConfig
    ):
        self.mirror, self.latent_dim = mirror, config.generator.latent_dim
        labels = {name: torch.from_numpy(array) for name, array in dataset.labels.items()}
        mirrored = {} if mirror is None else mirror(labels, dataset.image_size)
        wanted = ("camera", "face_camera", "joint_eulers", "z_exp", CAMERA25, ROUGH_POSE)
        names = [name for name in wanted if name in labels]
        labels = {name: torch.cat([labels[name], *([mirrored[name]] if mirrored else [])]) for name in names}
        self.camera = cameras(portrait, labels)
        self.joint_eulers, self.face_camera, self.z_exp = (
            labels[name] for name in ("joint_eulers", "face_camera", "z_exp")
        )
        self.rough_pose = _rough(labelled_poses(portrait, labels), config)

    def draw(self, count: int, *key: int) -> Inputs:
        """Inputs of ``count`` pictures, on the CPU, by the numbers ``key``."""
        random = random_generator(*key)
        rows = torch.randint(len(self.camera), (count,), generator=random)
        z = torch.randn(count, self.latent_dim, generator=random)
        return Inputs(
            z=chained(z),
            camera=chained(self.camera[rows]),
            takes=torch.rand(count, 2, generator=random),
            background=torch.rand(count, generator=random),
            rough_pose=self.rough_pose[rows],
            joint_eulers=self.joint_eulers[rows],
            face_camera=self.face_camera[rows],
            z_exp=self.z_exp[rows],
            turns=chained(torch.randn(count, POSE_SIZE // 2, generator=random)),
        )


def chained(rows: Tensor) -> Tensor:
    """Rows [B, ...] with their neighbours [B, CHAIN, ...]: the row before, and the one before that."""
    return torch.stack([rows.roll(k, 0) for k in range(CHAIN)], 1)


def cameras(portrait: TriGridPortrait, labels: Mapping[str, Tensor]) -> Tensor:
    """Cameras [N, 25] of labels: as they came with the pictures, else of this house's angles."""
    if CAMERA25 in labels:
        return labels[CAMERA25].float()
    return portrait.camera_label(labels["camera"])


def labelled_poses(portrait: TriGridPortrait, labels: Mapping[str, Tensor]) -> Tensor:
    """Poses [N, 6] of labels, axis-angle of neck and head from rest: as they came, from SMPL's T-pose, else of this
    house's Euler angles."""
    space = portrait.space
    if ROUGH_POSE not in labels:
        return space.pose_of(space.rotations_of(portrait.body, labels["joint_eulers"]))
    pose = labels[ROUGH_POSE].float()
    rotations = space.rest_rotations.repeat(len(pose), 1, 1, 1)
    rotations[:, TURNING] = roma.rotvec_to_rotmat(pose.unflatten(-1, (2, 3)))
    return space.pose_of(rotations)


def _rough(pose: Tensor, config: TriGridTrainConfig) -> Tensor:
    """p0 as ``losses.rough_labels`` says."""
    losses = config.losses
    if losses.rough_labels == "withheld":
        return torch.zeros_like(pose)
    if losses.rough_labels == "labels":
        return pose
    noise = torch.randn(pose.shape, generator=random_generator(config.seed, NOISE_KEY))
    return pose + torch.deg2rad(torch.tensor(losses.rough_noise)) * noise

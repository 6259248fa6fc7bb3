"""Labels of the people whom stage 0 draws: what D^e learns from, and what generated people are drawn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.person.priors import LabelPriors
from training.data.synthetic.sampling import sample_actions, sample_expression, sample_pose_camera, sample_strong
from training.drawn_points import drawn_identity
from training.sampling import random_generator


class Faces(NamedTuple):
    z_id: Tensor  # [B, 80]
    z_exp: Tensor  # [B, 64]


class DrawnLabels:
    """Latents of the first ``count`` people of a seed, for D^e."""

    def __init__(self, seed: int, count: int):
        people = [drawn_identity(seed, index) for index in range(count)]
        rng = np.random.default_rng([seed, 3])
        self.expressions = torch.from_numpy(np.stack([sample_expression(rng) for _ in people]))
        # D^e sees them and as many that are stronger or stranger: what videos ask for.
        rare = [(sample_strong if index % 3 else sample_actions)(rng) for index in range(len(people))]
        self.practice = torch.cat([self.expressions, torch.from_numpy(np.stack(rare))])
        self.identities = torch.from_numpy(np.stack([np.concatenate([one.z_id, one.betas]) for one in people]))
        poses = [sample_pose_camera(rng) for _ in people]
        rows = [np.concatenate([pose.camera, pose.joint_eulers.ravel()]) for pose in poses]
        self.camera_pose = torch.from_numpy(np.stack(rows))

    def draw(self, count: int, *key: int) -> Faces:
        """Of ``count`` faces, by the numbers ``key``."""
        random = random_generator(*key)
        rows = [torch.randint(len(part), (count,), generator=random) for part in (self.identities, self.practice)]
        return Faces(self.identities[rows[0], :80], self.practice[rows[1]])

    def priors(self) -> LabelPriors:
        """What generated people are drawn from."""
        return LabelPriors(self.camera_pose, self.identities, self.expressions)

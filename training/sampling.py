"""What the generator is asked for at every step, drawn from the labels of the data set.

Everything random in training follows from (seed, step), for the whole batch at once; every process takes its part. So a
run does the same whatever the number of processes, and a resumed one needs no state of a random generator.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.data.mirror import LabelMirror
from training.data.storage import Dataset

NOISE_DIM = 80
# Labels, and which of three rows they come from.
LABELS = {"camera": 0, "joint_eulers": 0, "face_camera": 0, "z_id": 1, "betas": 1, "z_exp": 2}


class Inputs(NamedTuple):
    """Of the generator, and the noise of the losses that look at random points."""

    z_id: Tensor  # [B, 80]
    z_noise: Tensor  # [B, 80]
    betas: Tensor  # [B, 10]
    z_exp: Tensor  # [B, 64]
    joint_eulers: Tensor  # [B, 6, 3] radians
    camera: Tensor  # [B, 2] (pitch, yaw) of the portrait camera
    face_camera: Tensor  # [B, 2] (pitch, yaw) of the face camera, in the head's frame
    where: Tensor  # [B, P] in 0..1: which of a picture's samples eqs. 10, 12 and 13 look at
    delta: Tensor  # [B, P, 3] ~ N(0, 1), eq. 12's

    def part(self, rows: slice) -> Inputs:
        """Some of the rows."""
        return Inputs(*(value[rows] for value in self))

    def to(self, device: torch.device) -> Inputs:
        """The same on ``device``."""
        return Inputs(*(value.to(device, non_blocking=True) for value in self))


def random_generator(*numbers: int) -> torch.Generator:
    """A CPU generator seeded by whole numbers, e.g. (seed, step, purpose); other numbers, other draws."""
    sequence = np.random.SeedSequence([len(numbers), *numbers])  # which ignores zeros at the end
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]) >> 1)


class InputSampler:
    """Draws inputs from a data set's labels.

    Camera and pose come together from one row, identity and body shape from another, expression from a third (method
    notes, section 2); eps is normal. Where the reader mirrors pictures, mirrored labels are drawn as often as others.

    Args:
        dataset: a sound one.
        mirror: as given to the reader; None: no mirrored labels.
        points: P of :class:`Inputs`.
    """

    def __init__(self, dataset: Dataset, mirror: LabelMirror | None, points: int):
        self.mirror, self.points = mirror, points
        labels = {name: torch.from_numpy(array) for name, array in dataset.labels.items()}
        mirrored = {} if mirror is None else mirror(labels, dataset.image_size)
        self.labels = {name: torch.cat([labels[name], *([mirrored[name]] if mirrored else [])]) for name in LABELS}

    def draw(self, count: int, *key: int) -> Inputs:
        """Inputs of ``count`` pictures, on the CPU, by the numbers ``key``."""
        random = random_generator(*key)
        rows = torch.randint(len(self.labels["z_id"]), (3, count), generator=random)
        drawn = {name: self.labels[name][rows[row]] for name, row in LABELS.items()}
        return Inputs(
            z_noise=torch.randn(count, NOISE_DIM, generator=random),
            where=torch.rand(count, self.points, generator=random),
            delta=torch.randn(count, self.points, 3, generator=random),
            **drawn,
        )

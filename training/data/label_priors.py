"""Label priors of a data set, which checkpoints carry so that inference needs no data set."""

from __future__ import annotations

import torch
from torch import Tensor

from networks.person.priors import LabelPriors
from training.data.mirror import LabelMirror
from training.data.storage import Dataset

MAX_ROWS = 10_000  # 3.5 MB in half precision


def priors_of(
    dataset: Dataset, *, mirror: LabelMirror | None = None, max_rows: int = MAX_ROWS, seed: int = 0
) -> LabelPriors:
    """The rows that method notes section 2 asks for, from the labels of a sound data set.

    An image's camera and pose make one row; its identity and body shape one; its expression one.

    Args:
        dataset: any prepared set.
        mirror: as given to the reader: the mirrored labels join in, as they do in the pictures. None: they do not.
        max_rows: of a larger set that many images are chosen.
        seed: of that choice.
    """
    labels = {name: torch.from_numpy(array) for name, array in dataset.labels.items()}
    if mirror is not None:
        labels = {
            name: torch.cat([labels[name], mirrored]) for name, mirrored in mirror(labels, dataset.image_size).items()
        }
    count = len(labels["camera"])
    if count > max_rows:
        chosen = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:max_rows].sort().values
        labels = {name: array[chosen] for name, array in labels.items()}

    def rows(*names: str) -> Tensor:
        return torch.cat([labels[name].flatten(1) for name in names], 1).clone()

    return LabelPriors(
        camera_pose=rows("camera", "joint_eulers"),
        id_shape=rows("z_id", "betas"),
        expression=rows("z_exp"),
    )

"""What a fitted shape says of the true one, as found by ``python -m training.tracker_shapes``.

A fit is drawn to the mean person, and detectors, which have learned common faces, err on others in the same way again
and again. So people's true shapes are not where fits put them, but follow from there; and of a single picture from
what a face net reads in it as well, which errs otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.person.face_model import NUM_IDENTITY
from networks.person.fitting.points import NUM_SHAPE
from networks.person.open_body.tables import read_table, write_table

PATH = Path(__file__).parents[3] / "smpl_models" / "fitted_shapes.safetensors"
KIND, VERSION = "fitted_shapes", 2


class ShapeMap(NamedTuple):
    """What was found of somebody -> the shape [90] (z_id, betas) that is expected of them, an affine map."""

    matrix: np.ndarray  # [90, C] float32
    constant: np.ndarray  # [90] float32

    def __call__(self, *found: Tensor) -> Tensor:
        """Of what was found, C numbers in all, float64."""
        return torch.from_numpy(self.matrix).double() @ torch.cat(found) + torch.from_numpy(self.constant).double()


class ShapeMaps(NamedTuple):
    """The maps that were found of the same people."""

    fitted: ShapeMap  # of a fitted shape [90]
    read: ShapeMap  # of one fitted to a single picture, and the identity [80] that the face net reads there
    metadata: dict[str, Any]


def write_shape_maps(maps: ShapeMaps, path: Path) -> None:
    """Writes the file."""
    arrays = {
        f"{kind}_{name}": torch.from_numpy(getattr(getattr(maps, kind), name))
        for kind in ("fitted", "read")
        for name in ShapeMap._fields
    }
    write_table(path, KIND, VERSION, arrays, maps.metadata)


def read_shape_maps(path: Path = PATH) -> ShapeMaps:
    """Reads the file. Raises UserError: missing, damaged, or of another body than the open one that is here."""
    data = read_table(path, KIND, VERSION, "what fitted shapes say", "training.tracker_shapes")
    fitted, read = (
        ShapeMap(*(data[f"{kind}_{name}"].numpy() for name in ShapeMap._fields)) for kind in ("fitted", "read")
    )
    assert fitted.matrix.shape == (NUM_SHAPE, NUM_SHAPE) and read.matrix.shape == (NUM_SHAPE, NUM_SHAPE + NUM_IDENTITY)
    return ShapeMaps(fitted, read, data["metadata"])

"""What a fitted shape says of the true one, as found by ``python -m training.tracker_shapes``.

A fit is drawn to the mean person, and detectors, which have learned common faces, err on others in the same way again
and again. So people's true shapes are not where fits put them, but follow from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.person.fitting.points import NUM_SHAPE
from networks.person.open_body.tables import read_table, write_table

PATH = Path(__file__).parents[3] / "smpl_models" / "fitted_shapes.safetensors"
KIND, VERSION = "fitted_shapes", 1


class ShapeMap(NamedTuple):
    """Fitted shape -> shape, an affine map."""

    matrix: np.ndarray  # [90, 90] float32
    constant: np.ndarray  # [90] float32
    metadata: dict[str, Any]

    def __call__(self, fitted: Tensor) -> Tensor:
        """Fitted shape [90] (z_id, betas) -> the shape that is expected of who is fitted so."""
        return torch.from_numpy(self.matrix).double() @ fitted + torch.from_numpy(self.constant).double()


def write_shape_map(shapes: ShapeMap, path: Path) -> None:
    """Writes the file."""
    arrays = {name: torch.from_numpy(getattr(shapes, name)) for name in ("matrix", "constant")}
    write_table(path, KIND, VERSION, arrays, shapes.metadata)


def read_shape_map(path: Path = PATH) -> ShapeMap:
    """Reads the file. Raises UserError: missing, damaged, or of another body than the open one that is here."""
    data = read_table(path, KIND, VERSION, "what fitted shapes say", "training.tracker_shapes")
    shapes = ShapeMap(data["matrix"].numpy(), data["constant"].numpy(), data["metadata"])
    assert shapes.matrix.shape == (NUM_SHAPE, NUM_SHAPE)
    return shapes

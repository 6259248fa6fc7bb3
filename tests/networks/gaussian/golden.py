"""Golden values of Gaussian avatars; tests that read them are skipped where there are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[4] / "shared/golden/gaussian_avatar"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="needs the golden values")


def golden(name: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """The numbers of a file, floating-point ones as ``dtype``."""
    arrays = np.load(GOLDEN / f"{name}.npz")
    found = {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays if arrays[key].dtype.kind != "U"}
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in found.items()}

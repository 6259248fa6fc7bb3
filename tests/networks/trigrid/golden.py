"""Golden values of portraits from all sides, where they are at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "golden" / "portrait360"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="golden values are not part of the repository")


def read_golden(name: str) -> dict[str, torch.Tensor]:
    """Arrays of a file; floats in single precision."""
    with np.load(FOLDER / name) as data:
        arrays = {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}
    return {key: value.float() if value.is_floating_point() else value for key, value in arrays.items()}


def weights_of(golden: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The part of a golden state dict under ``prefix``."""
    start = f"state.{prefix}"
    return {name.removeprefix(start): value for name, value in golden.items() if name.startswith(start)}

"""The released code's own numbers, for the parity tests; they lie beside the repository, for its developers."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from inference.released_checkpoint import load_released
from networks.manifold.generator import Generator, GeneratorConfig
from networks.person.body_assets import BodyArrays, body_from_dict

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
requires_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="golden values (shared/golden) are not here")

MINI_CONFIG = GeneratorConfig(
    image_size=64, lowres_size=16, num_manifolds=8, manifold_dim=32, radiance_dim=32, feature_dim=8,
    sr_features=8, sr_blocks=1, sr_growth=8, sr_up_channels=(8, 4),
)  # fmt: skip


@cache
def load_golden(name: str) -> dict[str, Tensor]:
    """Arrays of golden/{name}.npz as float32 / int64 tensors."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        tensors = {key: torch.from_numpy(arrays[key].astype(_dtype(arrays[key]))) for key in arrays.files}
    return tensors


def _dtype(array: np.ndarray) -> type:
    return np.float32 if array.dtype.kind == "f" else np.int64


@cache
def golden_body() -> tuple[BodyArrays, Tensor]:
    """The made-up body of the golden values, and its head-and-shoulder vertices."""
    arrays = dict(load_golden("body"))
    index = arrays.pop("head_shoulder_index")
    arrays["kintree_table"][0, 0] = -1
    return body_from_dict({name: value.numpy() for name, value in arrays.items()}, "golden/body.npz"), index


@cache
def load_mini_generator() -> Generator:
    """The small random generator behind the golden outputs, through the importer of released weights."""
    body, index = golden_body()
    model = load_released(
        load_golden("mini_state"), MINI_CONFIG, "golden/mini_state.npz", body=body, head_shoulder_index=index
    )
    return model.generator

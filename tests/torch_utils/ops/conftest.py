"""Where a test is marked `emulated_cuda`, the ops of CPU tensors are CUDA kernels."""

import pytest

from tests.torch_utils.ops import emulated_cuda
from torch_utils import custom_ops


@pytest.fixture(autouse=True)
def _emulate(request, monkeypatch):
    if request.node.get_closest_marker("emulated_cuda"):
        if emulated_cuda.compiler() is None:
            pytest.skip("needs c++")
        monkeypatch.setattr(custom_ops, "_load", lambda device: emulated_cuda.EmulatedOps())

"""The implementations that every op's tests run on: each must give the same results and the same errors."""

import pytest
import torch

requires_cuda = [
    pytest.mark.requires_cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
# The kernels, run by the CPU: see conftest.py.
EMULATED = pytest.param("cpp", "cpu", marks=pytest.mark.emulated_cuda, id="emulated_cuda")
CUDA = pytest.param("cuda", "cuda", marks=requires_cuda, id="cuda")
COMPILED = [pytest.param("cpp", "cpu", id="cpp"), EMULATED, CUDA]
IMPLEMENTATIONS = [pytest.param("ref", "cpu", id="ref"), *COMPILED]
over_compiled = pytest.mark.parametrize("impl, device", COMPILED)
over_implementations = pytest.mark.parametrize("impl, device", IMPLEMENTATIONS)

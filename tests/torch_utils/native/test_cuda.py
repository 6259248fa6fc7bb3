"""Kernels without a toolkit: compiled by torch's own NVRTC, launched by the driver. No GPU is needed here."""

import ctypes
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.torch_utils.ops import emulated_cuda
from torch_utils import custom_ops
from torch_utils.misc import UserError
from torch_utils.native import cuda, driver, nvrtc, resources
from torch_utils.native.cache import BuildError
from torch_utils.native.driver import DriverError
from torch_utils.ops.ray_manifold import find_crossings

ROOT = Path(__file__).resolve().parents[3]
S, LEVELS = torch.tensor([[30.0, 20, 3]]), torch.tensor([23.0, 8])


def has_nvrtc() -> bool:
    try:
        return bool(nvrtc.version())
    except BuildError:
        return False


requires_nvrtc = pytest.mark.skipif(not has_nvrtc(), reason="needs NVRTC, which torch's CUDA wheels bring along")


@requires_nvrtc
def test_all_kernels_compile_without_a_toolkit():
    """For the oldest and the newest architecture; `make cuda-check` takes them all. Nothing is on the PATH."""
    # The limits are those of the lock's compiler: others place a few bytes elsewhere.
    checked = "check(('75', '120'))"
    counted = "[print(f'sm_{sm}: {len(usage(sm))} kernels in all') for sm in ('75', '120')]"
    what = checked if torch.version.cuda == "13.0" else counted
    program = f"from torch_utils.native.resources import check, usage; {what}"
    environment = {**os.environ, "PATH": "/nowhere", "CUDA_HOME": "/nowhere"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == ["sm_75: 34 kernels", "sm_120: 34 kernels"]


@requires_nvrtc
def test_a_kernel_beyond_its_limits_is_named(monkeypatch):
    log = """ptxas info    : Compiling entry function 'find_float' for 'sm_90'
ptxas info    : Function properties for find_float
ptxas         .     8 bytes stack frame, {} bytes spill stores, 12 bytes spill loads
ptxas info    : Used {} registers, used 0 barriers
"""
    for spilled, registers, message in [
        (0, 97, "find_float on sm_90: expected at most 96 registers and 0 bytes spilled, found 97 and 12"),
        (4, 40, "find_float on sm_90: expected at most 96 registers and 0 bytes spilled, found 40 and 16"),
    ]:
        compiled = nvrtc.Compiled(b"", log.format(spilled, registers))
        monkeypatch.setattr(resources, "compile_ops", lambda *_, compiled=compiled: compiled)
        assert resources.usage("90") == {"find_float": (registers, spilled + 12)}
        with pytest.raises(UserError, match=message):
            resources.check(("90",))


@requires_nvrtc
def test_an_image_is_kept_and_lists_its_kernels(fresh, monkeypatch):
    """As PTX, for cards that are newer than the compiler: text that ends with a zero, as the driver wants it."""
    for name in list(fresh):
        if name.endswith(".cu") and name != "smooth_volume.cu":
            del fresh[name]
    path = cuda.built_image("compute_90")
    image = path.read_bytes()
    assert path.name.endswith("-compute_90.cubin") and b".target sm_90" in image and image[-1] == 0
    assert cuda.kernel_names(image) == ["smoke", "smooth_volume_float"]
    machine_code = cuda.compile_ops("sm_90").image
    assert machine_code.startswith(b"\x7fELF") and cuda.kernel_names(machine_code) == ["smoke", "smooth_volume_float"]
    monkeypatch.setattr(cuda, "compile_ops", None)  # not called again
    assert cuda.built_image("compute_90") == path


@requires_nvrtc
def test_a_source_that_does_not_compile(fresh):
    fresh["smooth_volume.h"] = "__device__ int f() { return undeclared; }"
    with pytest.raises(BuildError, match=r"compiling the CUDA ops failed: smooth_volume.h\(1\): error: .*undeclared"):
        cuda.built_image("sm_90")


def test_what_is_compiled_for():
    """The GPU's own architecture; one of the same generation; PTX for a later one; nothing for an earlier one."""
    supported = [75, 80, 86, 89, 90, 100]
    for capability, expected in [
        ((7, 5), "sm_75"), ((8, 0), "sm_80"), ((8, 7), "sm_86"), ((9, 0), "sm_90"), ((10, 3), "sm_100"),
        ((12, 0), "compute_100"),
    ]:  # fmt: skip
        assert cuda.target(capability, supported) == expected
    with pytest.raises(BuildError, match="NVRTC compiles for sm_75 and newer, the GPU is sm_61"):
        cuda.target((6, 1), supported)


def test_without_nvrtc(fresh, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BuildError, match="this torch is built without CUDA"):
        nvrtc.version()
    monkeypatch.setattr(torch.version, "cuda", "99.1")
    monkeypatch.setattr(nvrtc, "_library", functools.cache(nvrtc._library.__wrapped__))
    with pytest.raises(
        BuildError, match=r"NVRTC of CUDA 99.1 not found \(libnvrtc.so.99: .*\): pip install nvidia-cuda-"
    ):
        nvrtc.version()


# ---- the launcher, on a driver that runs kernels on the CPU ---------------------------------------------------------


@pytest.fixture
def emulated(monkeypatch):
    """CudaOps on the emulated driver, as for device 0."""
    if emulated_cuda.compiler() is None:
        pytest.skip("needs c++")
    ops = emulated_cuda.EmulatedOps()
    monkeypatch.setattr(driver, "driver", lambda: driver.Driver(ops.library))
    return ops


def test_the_context_is_given_back(emulated):
    """After a launch and after a refused one; nothing is launched for no threads."""
    ones = [torch.ones(2, 1, 1, 16), torch.ones(2, 1, 1, 16)]
    result = torch.empty(1, 1, 1, 16)
    arguments = [ctypes.c_void_p(part.data_ptr()) for part in ones]
    arguments += [ctypes.c_int64(n) for n in (2, 1, 1, 2, 1, 1)] + [ctypes.c_void_p(result.data_ptr())]
    before = emulated.library.emulated_launches()
    emulated("smooth_volume_float", arguments, threads=0)
    assert emulated.library.emulated_launches() == before
    emulated("smooth_volume_float", arguments, threads=4)
    assert emulated.library.emulated_launches() == before + 1
    assert torch.equal(result, torch.full_like(result, 2))
    with pytest.raises(DriverError, match=r"^CUDA_ERROR_INVALID_VALUE \(emulated\)$"):
        emulated._module.launch("smooth_volume_float", 1, 2000, arguments, 0)
    assert emulated.library.emulated_depth() == 0


def test_errors_name_the_op_and_the_drivers_error(emulated, monkeypatch):
    monkeypatch.setattr(cuda, "BLOCK_THREADS", 2000)
    with pytest.raises(RuntimeError, match=r"^smoke on cpu: CUDA_ERROR_INVALID_VALUE \(emulated\)$"):
        emulated("smoke", [], threads=1)


def test_a_kernel_that_is_not_there(emulated):
    with pytest.raises(DriverError, match="CUDA_ERROR_NOT_FOUND"):
        driver.Module(b"", ["nothing"], 0)
    with pytest.raises(DriverError, match="CUDA_ERROR_INVALID_VALUE"):
        driver.Module(b"", ["smoke"], 7)
    assert emulated.library.emulated_depth() == 0


class Refusing(driver.Driver):
    """A driver that refuses one function: too old for what the compiler made."""

    def __init__(self, library: ctypes.CDLL, refused: str):
        super().__init__(library)
        self._functions[refused] = lambda *_: 1


@pytest.mark.parametrize("refused", ["cuModuleLoadData", "cuLaunchKernel", "cuStreamSynchronize"])
def test_a_driver_that_is_too_old_means_plain_torch(fresh, emulated, tmp_path, monkeypatch, refused):
    """Whether loading, the first kernel or its end is refused: one warning, which says so; asked for, an error."""
    (tmp_path / "image").write_bytes(b".text.smoke\0")
    monkeypatch.setattr(cuda, "built_image", lambda architecture: tmp_path / "image")
    monkeypatch.setattr(nvrtc, "supported_architectures", lambda: [90])
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(cuda.CudaOps, "_stream", lambda self: 0)
    monkeypatch.setattr(custom_ops, "CppOps", lambda: cuda.CudaOps(0))
    monkeypatch.setattr(driver, "driver", lambda: Refusing(emulated.library, refused))
    message = r"CUDA ops: the driver does not run what NVRTC 13.0 compiled for sm_90: CUDA_ERROR_INVALID_VALUE"
    with pytest.warns(UserWarning, match=message) as seen:
        assert [find_crossings(S, LEVELS).index.tolist() for _ in range(2)] == [[[0, 1]]] * 2
    assert len(seen) == 1
    with pytest.raises(BuildError, match=message):
        find_crossings(S, LEVELS, impl="cpp")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="must be loaded before a graph is recorded: call one on cuda:0"):
        cuda.CudaOps(0)


def test_without_a_driver(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(
        BuildError, match="the driver cannot be used: 'object' object has no attribute 'cuGetErrorName'"
    ):
        driver.driver.__wrapped__()

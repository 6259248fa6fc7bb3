"""The ops on a GPU: compiled by NVRTC for its architecture, kept, loaded by the driver."""

import ctypes
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from torch_utils.native import nvrtc
from torch_utils.native.cache import BuildError, digest, kept, sources
from torch_utils.native.driver import CValue, DriverError, Module

BLOCK_THREADS = 128  # as in csrc/for_each.h
# a * b + c rounds twice, as in torch, unless a source asks for one rounding.
_OPTIONS = ("--std=c++17", "--fmad=false")
_SMOKE = "smoke"
_ENTRY = re.compile(rb"\.text\.(\w+)\0|\.entry (\w+)\(")  # in machine code, in PTX


def program() -> str:
    """All ops, and a kernel that does nothing."""
    names = [name for name in sources() if name.endswith(".cu")]
    return "\n".join(f'#include "{name}"' for name in names) + f'\nextern "C" __global__ void {_SMOKE}() {{}}\n'


def target(capability: tuple[int, int], supported: Sequence[int]) -> str:
    """What to compile for: the GPU's own architecture, one whose code it runs, or PTX where it is too new for that.

    Args:
        capability: of the GPU, such as (8, 6).
        supported: by the compiler, such as 80 and 90.

    Raises:
        BuildError: the GPU is older than all of them.
    """
    own = 10 * capability[0] + capability[1]
    older = [architecture for architecture in supported if architecture <= own]
    if not older:
        raise BuildError(f"CUDA ops: NVRTC compiles for sm_{min(supported)} and newer, the GPU is sm_{own}")
    best = max(older)
    return f"sm_{best}" if best // 10 == capability[0] else f"compute_{best}"


def compile_ops(architecture: str, *options: str) -> nvrtc.Compiled:
    """All ops for ``sm_90`` (machine code) or ``compute_90`` (PTX). Raises BuildError."""
    return nvrtc.compile_program(program(), sources(), (*_OPTIONS, f"--gpu-architecture={architecture}", *options))


def built_image(architecture: str) -> Path:
    """The file of :func:`compile_ops`, compiled if it is not there yet. Raises BuildError."""

    def make(folder: Path) -> Path:
        path = folder / "ops"
        path.write_bytes(compile_ops(architecture).image)
        return path

    return kept(f"ops-{digest(nvrtc.version(), *_OPTIONS, architecture, program())}-{architecture}.cubin", make)


def kernel_names(image: bytes) -> list[str]:
    return sorted({(found[0] or found[1]).decode() for found in _ENTRY.findall(image)})


class CudaOps:
    """The compiled functions on one GPU. Threads may share it.

    Raises:
        BuildError: they cannot be compiled or loaded, or the first of them does not run.
    """

    is_cuda = True

    def __init__(self, index: int):
        self._device = torch.device("cuda", index)
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"the CUDA ops must be loaded before a graph is recorded: call one on {self._device}")
        architecture = target(torch.cuda.get_device_capability(index), nvrtc.supported_architectures())
        image = built_image(architecture).read_bytes()
        try:
            self._module = Module(image, kernel_names(image), index)
            self._module.launch(_SMOKE, 1, 1, [], self._stream())
            self._module.wait(self._stream())
        except DriverError as error:
            raise BuildError(
                f"CUDA ops: the driver does not run what NVRTC {nvrtc.version()} compiled for {architecture}: {error}"
            ) from error

    def __call__(self, name: str, arguments: Sequence[CValue], threads: int) -> None:
        """Starts a kernel of at least so many threads in torch's current stream of the device."""
        if threads == 0:
            return
        blocks, arguments = -(-threads // BLOCK_THREADS), [*arguments, ctypes.c_int64(threads)]
        try:
            self._module.launch(name, blocks, BLOCK_THREADS, arguments, self._stream())
        except DriverError as error:
            raise RuntimeError(f"{name} on {self._device}: {error}") from error

    def _stream(self) -> int:
        return torch.cuda.current_stream(self._device).cuda_stream

"""The compiled ops: built on first use, kept, and called from Python.

Sources in torch_utils/ops/csrc include no torch header, and the ops take arrays and numbers, so a build takes seconds,
one binary serves every torch version, and ctypes is all the binding there is.

    python -m torch_utils.custom_ops cuda-check     # compile the CUDA sources for every architecture; needs no GPU
"""

import ctypes
import functools
import warnings

import torch
from torch import Tensor

from torch_utils.misc import CliParser, run_cli
from torch_utils.native import resources
from torch_utils.native.cache import BuildError
from torch_utils.native.cpp import CppOps
from torch_utils.native.cuda import CudaOps

IMPLS = ("auto", "ref", "cpp", "cuda")


@functools.cache
def _load(device: torch.device) -> CppOps | CudaOps | str:
    """The compiled functions, or why there are none. Having failed, a process does not try again at every call.

    Not the exception is kept but its text: a traceback keeps the tensors of all who called.
    """
    try:
        return CppOps() if device.type == "cpu" else CudaOps(device.index)
    except BuildError as error:
        return str(error)


class Ops:
    """The compiled functions for one tensor's device.

    Raises:
        BuildError: they cannot be built or loaded.
    """

    def __init__(self, device: torch.device):
        loaded = _load(device)
        if isinstance(loaded, str):
            raise BuildError(loaded)
        self._functions = loaded
        self.is_cuda = loaded.is_cuda

    def __call__(self, name: str, *arguments: Tensor | int | float | None, threads: int) -> None:
        """Runs an op: on all of torch's CPU threads, or as a kernel in the current stream of the GPU.

        Tensors are contiguous, on the device, of the types that the op expects, and alive until it returns.

        Args:
            threads: how many of them a GPU takes.
        """
        with torch.profiler.record_function(name):
            self._functions(name, [_to_c(argument) for argument in arguments], threads)


def _to_c(value: Tensor | int | float | None) -> ctypes._SimpleCData:
    if isinstance(value, float):
        return ctypes.c_double(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    return ctypes.c_void_p(None if value is None else value.data_ptr())


def aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and beginning where a GPU may read four numbers at once: a part of a tensor may begin anywhere."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % (4 * tensor.element_size()) == 0 else tensor.clone()


def select(impl: str, device: torch.device) -> Ops | None:
    """The implementation that ``impl`` means on ``device``: compiled ops, or None for plain torch.

    ``auto`` takes the compiled one where it can be built and runs, and plain torch, with one warning, where not.

    Raises:
        ValueError: an unknown name, or one that is for another device.
        BuildError: ``cpp`` or ``cuda`` was asked for and cannot be built.
    """
    if impl not in IMPLS:
        raise ValueError(f"impl: expected one of {', '.join(IMPLS)}, found '{impl}'")
    native = {"cpu": "cpp", "cuda": "cuda"}.get(device.type)
    if impl == "ref" or (impl == "auto" and native is None):
        return None
    if impl == "auto":
        try:
            return Ops(device)
        except BuildError as error:
            _warn_once(str(error))
            return None
    if impl != native:
        raise ValueError(f"impl='{impl}' is for {'CPU' if impl == 'cpp' else 'CUDA'} tensors, found one on {device}")
    return Ops(device)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(f"{message}; plain torch is used instead, which is slower", stacklevel=4)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m torch_utils.custom_ops")
    parser.add_argument("command", choices=("cuda-check",))
    parser.parse_args()
    resources.check(resources.ARCHITECTURES)


if __name__ == "__main__":
    run_cli(main)

"""The CUDA sources, really executed without a GPU: made by a C++ compiler, started through the product's own launcher.

EMULATED_CUDA_FLAGS: more of the compiler's flags, such as ``-g -fsanitize=undefined``.
"""

import ctypes
import functools
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest.mock
from pathlib import Path

import torch

from torch_utils.native import cuda, driver
from torch_utils.native.cache import sources

HERE = Path(__file__).parent
_FLAGS = "-O1 -std=c++17 -fPIC -ffp-contract=off -fno-strict-aliasing -w -D__CUDACC__ -include emulated_cuda.h"


@functools.cache
def _library() -> tuple[ctypes.CDLL, list[str]]:
    """The driver's functions, and the kernels' names. Made anew for every process: it takes seconds."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, text in sources().items():
            (folder / name).write_text(text, encoding="utf-8")
        for name in ("emulated_cuda.h", "emulated_driver.cpp"):
            shutil.copy(HERE / name, folder)
        (folder / "ops.cu").write_text(cuda.program(), encoding="utf-8")
        flags = shlex.split(f"{_FLAGS} {os.environ.get('EMULATED_CUDA_FLAGS', '')}")
        text = _compile(folder, *flags, "-E", "-x", "c++", "ops.cu")
        names = re.findall(r"__attribute__\(\(used\)\)\s+void (\w+)\(", text)
        table = ",\n".join(f'{{"{name}", [](void** values) {{ call({name}, values); }}}}' for name in names)
        kernels = f"namespace emulated {{\nKernel kernels[] = {{\n{table}\n}};\n}}\n"
        whole = f'#include "ops.cu"\n{kernels}#include "emulated_driver.cpp"\n'
        (folder / "whole.cpp").write_text(whole, encoding="utf-8")
        _compile(folder, *flags, "-shared", "whole.cpp", "-o", "ops.so")
        return ctypes.CDLL(str(folder / "ops.so")), names


def _compile(folder: Path, *arguments: str) -> str:
    return subprocess.run([compiler(), *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "c++"))


class EmulatedOps(cuda.CudaOps):
    """As on a GPU, but that memory and streams are the CPU's."""

    def __init__(self) -> None:
        library, self.names = _library()
        self.library = library
        self._device = torch.device("cpu")
        with unittest.mock.patch.object(driver, "driver", lambda: driver.Driver(library)):
            self._module = driver.Module(b"", self.names, 0)

    def _stream(self) -> int:
        return 0

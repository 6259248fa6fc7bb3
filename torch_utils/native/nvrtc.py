"""NVRTC, CUDA's compiler as a library, which torch's CUDA wheels bring along: no toolkit, and no GPU, is needed.

Bound by ctypes: of its functions, which have kept their form since CUDA 8, ten are enough.
"""

import ctypes
import functools
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from torch_utils.native.cache import BuildError


class Compiled(NamedTuple):
    image: bytes  # what the driver loads
    log: str  # what the compiler and, if asked by its options, the assembler said


def supported_architectures() -> list[int]:
    """Compute capabilities such as 90 that there are assemblers for, ascending. Raises BuildError."""
    library = _library()
    count = ctypes.c_int()
    _check(library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    architectures = (ctypes.c_int * count.value)()
    _check(library.nvrtcGetSupportedArchs(architectures))
    return sorted(architectures)


def version() -> str:
    """Of NVRTC, such as ``13.0``. Raises BuildError."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def compile_program(text: str, headers: Mapping[str, str], options: Sequence[str]) -> Compiled:
    """Compiles for the architecture among the options: to machine code for ``sm_90``, to PTX for ``compute_90``.

    Raises:
        BuildError: there is no NVRTC, or the program does not compile: the first error.
    """
    library, program = _library(), ctypes.c_void_p()
    names, texts = _strings(headers), _strings(headers.values())
    _check(
        library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"ops.cu", len(headers), texts, names)
    )  # fmt: skip
    try:
        code = library.nvrtcCompileProgram(program, len(options), _strings(options))
        log = _read(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
        if code != 0:
            error = next((line for line in log.splitlines() if re.search(r"\berror\b", line)), _error(code))
            raise BuildError(f"compiling the CUDA ops failed: {error.strip()}; options: {' '.join(options)}")
        is_ptx = any(option.endswith(f"compute_{option.rpartition('_')[2]}") for option in options)
        kind = "PTX" if is_ptx else "CUBIN"
        size, get = (getattr(library, f"nvrtcGet{kind}{suffix}") for suffix in ("Size", ""))
        return Compiled(_read(size, get, program), log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _strings(texts) -> ctypes.Array:
    encoded = [text.encode() for text in texts]
    return (ctypes.c_char_p * len(encoded))(*encoded)


def _read(get_size, get, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(get_size(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(get(program, buffer))
    return buffer.raw


def _error(code: int) -> str:
    return _library().nvrtcGetErrorString(code).decode()


def _check(code: int) -> None:
    if code != 0:
        raise BuildError(f"compiling the CUDA ops failed: {_error(code)}")


@functools.cache
def _library() -> ctypes.CDLL:
    """That of torch's own CUDA version. Raises BuildError."""
    if torch.version.cuda is None:
        raise BuildError("CUDA ops: this torch is built without CUDA")
    tried = []
    for path in _places(torch.version.cuda):
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            tried.append(str(error))
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    package = "nvidia-cuda-nvrtc" + ("-cu12" if torch.version.cuda.startswith("12.") else "")
    raise BuildError(f"CUDA ops: NVRTC of CUDA {torch.version.cuda} not found ({tried[-1]}): pip install {package}")


def _places(cuda: str) -> list[Path | str]:
    """Where NVRTC may be: beside torch's other CUDA libraries, in torch, in conda's environment; or the system knows"""
    major = cuda.partition(".")[0]
    spec = importlib.util.find_spec("nvidia")
    packages = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    if sys.platform == "win32":
        name, pattern = f"nvrtc64_{major}0_0.dll", f"nvrtc64_{major}*_0.dll"
    else:
        name, pattern = f"libnvrtc.so.{major}", f"libnvrtc*.so.{major}*"
    folders = [root / part / "lib" for root in packages for part in (f"cu{major}", "cuda_nvrtc")]
    folders += [Path(torch.__file__).parent / "lib", Path(sys.prefix, "lib"), Path(sys.prefix, "bin")]
    exact = [folder / name for folder in folders if (folder / name).exists()]
    renamed = [path for path in folders[-3].glob(pattern) if "builtins" not in path.name]  # as auditwheel does
    return [*exact, *renamed, name]

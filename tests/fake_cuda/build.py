"""The fake runtime, built by the C++ compiler on first use and kept."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from tests.fake_cuda.stubs import driver_functions, imported, stubs
from torch_utils.misc import file_sha256

HERE = Path(__file__).parent
# All that the headers of NVIDIA's wheels want of the folder crt/, which those lack.
HOST_DEFINES = """\
#define __host__
#define __device__
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __cudart_builtin__
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __align__(n) __attribute__((aligned(n)))
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define __no_return__ __attribute__((noreturn))
#define __noinline__ __attribute__((noinline))
#define __forceinline__ inline
#define __location__(a)
"""


def missing() -> str | None:
    """Why there can be no fake runtime here, or None."""
    if torch.version.cuda is None or torch.version.hip is not None:
        return "needs a torch that is built with CUDA"
    if torch.cuda.is_available() and "FAKE_CUDA" not in os.environ:
        return "there is a GPU: it is no rehearsal any more"
    if os.uname().sysname != "Linux" or not all(map(shutil.which, ("c++", "nm"))):
        return "needs Linux, c++ and nm"
    return None if _headers() else "needs CUDA's headers, of torch's wheels or of a toolkit"


@functools.cache
def _headers() -> Path | None:
    """A folder with cuda.h and cuda_runtime_api.h of torch's CUDA version."""
    major = torch.version.cuda.partition(".")[0]
    spec = importlib.util.find_spec("nvidia")
    wheels = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
    places = [place / part / "include" for place in wheels for part in (f"cu{major}", "cuda_runtime")]
    places.append(Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "include"))
    return next((place for place in places if (place / "cuda.h").exists()), None)


def environment(**settings: str | int) -> dict[str, str]:
    """Environment variables with which a Python process finds a GPU, the fake one.

    Args:
        settings: of the runtime: ``FAKE_CUDA_DEVICES``, ``FAKE_CUDA_GIB`` (memory of each), ``FAKE_CUDA_PENDING=1``
            (events never come).
    """
    folder = built()
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH"))))
    ours = {"LD_PRELOAD": str(folder / "libfake.so"), "LD_LIBRARY_PATH": path, "FAKE_CUDA": str(folder / "libfake.so")}
    # A cache of its own: with it kernels that are made for the fake GPU stay away from those of real ones.
    ours |= {"TORCH_EXTENSIONS_DIR": str(folder / "ops"), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **ours, **{name: str(value) for name, value in settings.items()}}


def built() -> Path:
    """The folder with libfake.so and libcuda.so.1, made if it is not there yet."""
    runtime, torch_lib = (HERE / "runtime.cpp").read_text(), Path(torch.__file__).parent / "lib"
    parts = [torch.__version__, *(file_sha256(HERE / name) for name in ("runtime.cpp", "stubs.py", "build.py"))]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aniportraitgan"
    place = root / f"fake-cuda-{key}"
    if not place.exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as temporary:
            folder = Path(temporary, "fake")
            (folder / "crt").mkdir(parents=True)
            (folder / "crt/host_defines.h").write_text(HOST_DEFINES)
            names = imported(torch_lib) | driver_functions((_headers() / "cuda.h").read_text())
            (folder / "stubs.c").write_text(stubs(names, runtime, torch.backends.cudnn.version() or 0))
            _compile(folder, "-fPIC", "-c", "-x", "c", "stubs.c", "-o", "stubs.o")
            runtime_flags = ("-std=c++17", "-I.", f"-I{_headers()}", str(HERE / "runtime.cpp"), "stubs.o")
            _compile(folder, "-fPIC", "-shared", "-O1", *runtime_flags, "-o", "libfake.so", "-lpthread", "-ldl")
            (folder / "empty.c").write_text("")
            driver = (
                "-Wl,-soname,libcuda.so.1",
                "-Wl,--no-as-needed",
                "-x",
                "c",
                "empty.c",
                "-x",
                "none",
                "libfake.so",
            )
            _compile(folder, "-fPIC", "-shared", *driver, "-Wl,-rpath,$ORIGIN", "-o", "libcuda.so.1")
            try:
                folder.rename(place)
            except OSError:  # another process was faster
                assert place.exists()
    return place


def _compile(folder: Path, *arguments: str) -> None:
    subprocess.run(["c++", "-w", *arguments], cwd=folder, check=True)

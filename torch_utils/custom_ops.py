"""The compiled ops: built on first use, kept, and called from Python.

Sources in torch_utils/ops/csrc include no torch header and export plain C functions (pointers, sizes, stream), so a
build takes seconds, one binary serves every torch version, and ctypes is all the binding there is.

    python -m torch_utils.custom_ops cuda-check     # compile the CUDA sources for every architecture; needs no GPU
"""

import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.misc import CliParser, UserError, run_cli


@functools.cache
def sources() -> dict[str, str]:
    """Texts of the sources by name, read once, for digest and build alike: files may be replaced meanwhile."""
    folder = Path(__file__).parent / "ops" / "csrc"
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".h", ".cpp", ".cu"))
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


IMPLS = ("auto", "ref", "cpp", "cuda")
# Turing to Blackwell: what `cuda-check` compiles for.
CHECKED_ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")

# a * b + c rounds twice everywhere, as in torch: the implementations then agree to the bit.
_CPP_FLAGS = "-O3 -std=c++17 -fPIC -fopenmp -fvisibility=hidden -ffp-contract=off -fno-math-errno"
_CUDA_FLAGS = "-O3 -std=c++17 -fmad=false -Xcompiler -fPIC,-fvisibility=hidden"
# Instructions that torch found this CPU to have.
_CPU_FLAGS = {"AVX2": "-march=x86-64-v3", "AVX512": "-march=x86-64-v4"}

_NINJA = """\
rule compile
  command = {compiler} {flags} -c $in -o $out
rule link
  command = {compiler} {flags} -shared $in -o $out
{objects}
build ops.so: link {names}
"""


# How compilers, nvcc and linkers begin to say what is wrong.
_ERROR = re.compile(r"\b(error|fatal)\s*:|multiple definition|undefined reference")


class BuildError(UserError):
    """The ops could not be built: what was run, and the compiler's first error."""


class Toolchain(NamedTuple):
    compiler: str
    flags: str
    suffix: str  # of the sources


def cpp_toolchain() -> Toolchain:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise BuildError("C++ ops: no compiler found; expected c++ on the PATH, or its name in CXX")
    flags = _CPU_FLAGS.get(torch.backends.cpu.get_cpu_capability(), "") if platform.machine() == "x86_64" else ""
    return Toolchain(compiler, f"{_CPP_FLAGS} {flags}".strip(), ".cpp")


def cuda_toolchain(architectures: tuple[str, ...]) -> Toolchain:
    """nvcc for compute capabilities such as ``("80", "90")``, the lowest first."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    folders = [str(Path(home, "bin")) for home in homes if home] + [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    compiler = shutil.which("nvcc", path=os.pathsep.join(folders))
    if compiler is None:
        raise BuildError("CUDA ops: nvcc not found; expected the CUDA toolkit in CUDA_HOME or nvcc on the PATH")
    # No source asks which architecture it is compiled for, so they share what comes before the assembler.
    targets = f"-arch=compute_{architectures[0]} -code=" + ",".join(f"sm_{a}" for a in architectures)
    return Toolchain(compiler, f"{_CUDA_FLAGS} {targets}", ".cu")


def build(tools: Toolchain, folder: Path) -> Path:
    """Compiles all ops in ``folder`` and returns the library's path there. Raises BuildError."""
    for name, text in sources().items():  # beside build.ninja: short names, whatever characters the way to them has
        (folder / name).write_text(text, encoding="utf-8")
    ops = [Path(name).stem for name in sources() if name.endswith(tools.suffix)]
    objects = "\n".join(f"build {op}.o: compile {op}{tools.suffix}" for op in ops)
    names = " ".join(f"{op}.o" for op in ops)
    text = _NINJA.format(compiler=shlex.quote(tools.compiler), flags=tools.flags, objects=objects, names=names)
    (folder / "build.ninja").write_text(text, encoding="utf-8")
    done = subprocess.run([_ninja(), "-C", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(_first_error(done.stdout + done.stderr))
    return folder / "ops.so"


def _ninja() -> str:
    try:  # the package's own program: that of a virtual environment is not on the PATH unless it was activated
        from ninja import BIN_DIR
    except ImportError:
        BIN_DIR = ""
    found = shutil.which("ninja", path=os.pathsep.join((BIN_DIR, os.environ.get("PATH", ""))))
    if found is None:
        raise BuildError("building the ops needs ninja: pip install ninja")
    return found


def _first_error(log: str) -> str:
    """What ninja says of a failed build, in a line: ``FAILED: ...``, then the command, then what it printed."""
    lines = log.splitlines()
    failed = next((i for i, line in enumerate(lines) if line.startswith("FAILED:")), None)
    if failed is None:
        return f"building the ops failed: {log.strip() or 'ninja said nothing'}"
    command, *output = lines[failed + 1 :]
    error = next(filter(_ERROR.search, output), output[0] if output else "no message")
    return f"building the ops failed: {error.strip()}; the command was: {command}"


def digest(tools: Toolchain) -> str:
    """Of everything that a build depends on. torch's version stands for the OpenMP library that it brings along."""
    version = subprocess.run([tools.compiler, "--version"], capture_output=True, text=True).stdout
    parts = [torch.__version__, str(torch.version.cuda), platform.machine(), version, *tools, _NINJA]
    for source in sources().items():
        parts += source
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where builds are kept: TORCH_EXTENSIONS_DIR, or the user's cache folder."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "aniportraitgan"


def built_library(tools: Toolchain) -> Path:
    """The library's path, built if it is not there yet. One process builds, others wait for it. Raises BuildError."""
    path = cache_folder() / f"ops-{digest(tools)}.so"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the system, too, if this process dies
            if not path.exists():
                with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                    os.replace(build(tools, Path(folder)), path)
    except OSError as error:
        raise BuildError(f"building the ops in {path.parent} failed: {error}") from error
    return path


@functools.cache
def _load(architecture: str | None) -> ctypes.CDLL | str:
    """The library, or why there is none. A process loads it once; having failed, it does not try again at every call.

    Not the exception is kept but its text: a traceback keeps the tensors of all who called.
    """
    try:
        path = built_library(cuda_toolchain((architecture,)) if architecture else cpp_toolchain())
        library = ctypes.CDLL(str(path))
    except BuildError as error:
        return str(error)
    except OSError as error:
        return f"loading the ops failed: {error}"
    if architecture:
        library.error_string.restype = ctypes.c_char_p
    return library


class Ops:
    """The compiled functions for one tensor's device.

    Raises:
        BuildError: they cannot be built or loaded.
    """

    def __init__(self, device: torch.device):
        self.device = device
        architecture = "{}{}".format(*torch.cuda.get_device_capability(device)) if device.type == "cuda" else None
        loaded = _load(architecture)
        if isinstance(loaded, str):
            raise BuildError(loaded)
        self._library = loaded

    def __call__(self, name: str, *arguments: Tensor | int | float | None) -> None:
        """Runs an exported function, on all of torch's threads or in the current stream.

        Tensors are contiguous, on the device, of the types that the function expects, and alive until it returns.
        """
        if self.device.type == "cuda":
            place, stream = self.device.index, torch.cuda.current_stream(self.device).cuda_stream
        else:
            place, stream = torch.get_num_threads(), None
        with torch.profiler.record_function(name):
            code = getattr(self._library, name)(*map(_to_c, arguments), ctypes.c_int64(place), ctypes.c_void_p(stream))
        if code != 0:
            raise RuntimeError(f"{name} on {self.device}: {self._library.error_string(code).decode()}")


def _to_c(value: Tensor | int | float | None) -> ctypes._SimpleCData:
    if isinstance(value, float):
        return ctypes.c_double(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    return ctypes.c_void_p(None if value is None else value.data_ptr())


def select(impl: str, device: torch.device) -> Ops | None:
    """The implementation that ``impl`` means on ``device``: compiled ops, or None for plain torch.

    ``auto`` takes the compiled one where it can be built, and plain torch, with one warning, where it cannot.

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


def cuda_check() -> None:
    """Compiles the CUDA sources for every supported architecture. Raises BuildError."""
    with tempfile.TemporaryDirectory() as folder:
        build(cuda_toolchain(CHECKED_ARCHITECTURES), Path(folder))


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m torch_utils.custom_ops")
    parser.add_argument("command", choices=("cuda-check",))
    parser.parse_args()
    cuda_check()
    print("the CUDA sources compile for " + ", ".join(f"sm_{a}" for a in CHECKED_ARCHITECTURES))


if __name__ == "__main__":
    run_cli(main)

"""The ops on a CPU: compiled by the machine's C++ compiler into one library, kept, called through ctypes."""

import ctypes
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from torch_utils.native.cache import BuildError, digest, kept, sources

# a * b + c rounds twice everywhere, as in torch: the implementations then agree to the bit.
_FLAGS = "-O3 -std=c++17 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-exceptions"
# Clang's OpenMP has a library of its own, which is rarely there; torch brings GCC's.
_OPENMP, _PTHREADS = "-fopenmp", "-fopenmp-simd -pthread"
# Instructions that torch found this CPU to have.
_CPUS = {"AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
_COMPILERS = ("c++", "g++", "clang++")

_NINJA = """\
rule compile
  command = {compiler} {flags} -c $in -o $out
rule link
  command = {compiler} {flags} {link} -shared $in -o $out
{objects}
build ops.so: link {names}
"""

# ninja, asked to end (15, SIGTERM) when the thread dies that started it: it then ends its compilers, too.
_START = """\
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

# How compilers and linkers begin to say what is wrong.
_ERROR = re.compile(r"\b(error|fatal)\s*:|multiple definition|undefined reference|undefined symbol")


class Toolchain(NamedTuple):
    compiler: str  # a command
    flags: str
    link: str  # flags for linking alone
    version: str


def toolchain() -> Toolchain:
    """The machine's compiler: CXX, else c++, g++ or clang++, else that of the package ziglang. Raises BuildError."""
    if sys.platform != "linux":
        raise BuildError("C++ ops: built on Linux only")
    names = [os.environ["CXX"]] if os.environ.get("CXX") else _COMPILERS
    found = next(filter(None, map(shutil.which, names)), None)
    cpu = _CPUS.get(torch.backends.cpu.get_cpu_capability()) if platform.machine() == "x86_64" else None
    if found is None:
        if importlib.util.find_spec("ziglang") is None:
            expected = f"{names[0]} of CXX" if len(names) == 1 else "c++, g++ or clang++"
            raise BuildError(f"C++ ops: {expected} not found on the PATH; pip install ziglang brings a compiler")
        compiler = f"{shlex.quote(sys.executable)} -m ziglang c++"
        cpu_flag = f"-mcpu={cpu.replace('-', '_')}" if cpu else "-mcpu=baseline"
        flags = f"{_FLAGS} {_PTHREADS} {cpu_flag}"
    else:
        compiler = shlex.quote(found)
        flags = _FLAGS + (f" -march={cpu}" if cpu else "")
    version = subprocess.run([*shlex.split(compiler), "--version"], capture_output=True, text=True).stdout
    if found is not None:
        flags += f" {_PTHREADS if 'clang' in version else _OPENMP}"
    # The sources take nothing of C++'s library, which zig would have to build first.
    return Toolchain(compiler, flags, "-nostdlib++" if found is None else "", version)


def build(tools: Toolchain, folder: Path) -> Path:
    """Compiles all ops in ``folder`` and returns the library's path there. Raises BuildError."""
    for name, text in sources().items():  # beside build.ninja: short names, whatever characters the way to them has
        (folder / name).write_text(text, encoding="utf-8")
    ops = [Path(name).stem for name in sources() if name.endswith(".cpp")]
    objects = "\n".join(f"build {op}.o: compile {op}.cpp" for op in ops)
    names = " ".join(f"{op}.o" for op in ops)
    text = _NINJA.format(objects=objects, names=names, **tools._asdict())
    (folder / "build.ninja").write_text(text, encoding="utf-8")
    start = [sys.executable, "-I", "-S", "-c", _START, str(os.getpid())]
    with subprocess.Popen(
        [*start, _ninja(), "-C", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            log, _ = process.communicate()
        except BaseException:
            process.terminate()  # politely: ninja ends its compilers
            raise
    if process.returncode != 0:
        raise BuildError(_first_error(log))
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


def library_name(tools: Toolchain) -> str:
    """Of the library of these sources and tools. torch's version stands for the OpenMP library that it brings along."""
    return f"ops-{digest(torch.__version__, str(torch.version.cuda), platform.machine(), *tools, _NINJA)}.so"


def built_library() -> Path:
    """The library's path, built if it is not there yet. Raises BuildError."""
    tools = toolchain()
    return kept(library_name(tools), lambda folder: build(tools, folder))


class CppOps:
    """The compiled functions on a CPU. Threads may share it.

    Raises:
        BuildError: they cannot be built or loaded.
    """

    is_cuda = False

    def __init__(self) -> None:
        path = built_library()
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise BuildError(f"loading the ops failed: {error}") from error

    def __call__(self, name: str, arguments: Sequence[ctypes._SimpleCData], threads: int) -> None:
        """Runs a function on all of torch's threads; how many a GPU would take does not matter."""
        getattr(self._library, name)(*arguments, ctypes.c_int64(torch.get_num_threads()))

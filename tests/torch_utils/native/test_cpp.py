"""Building for a CPU: which compiler, what it says, and what becomes of it when nobody waits for it any more."""

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.torch_utils.native.cached import cached
from torch_utils.native import cpp
from torch_utils.native.cache import BuildError, cache_folder
from torch_utils.ops.ray_manifold import find_crossings

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = (
    "import torch; from torch_utils.ops.ray_manifold import find_crossings as f;"
    "print(f(torch.tensor([[30.0, 20, 3]]), torch.tensor([23.0, 8]), impl='cpp').index.tolist())"
)
S, LEVELS = torch.tensor([[30.0, 20, 3]]), torch.tensor([23.0, 8])


def start(**settings: str) -> subprocess.Popen:
    """A process that finds crossings."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE)


def test_two_processes_build_once_what_was_damaged(fresh, tmp_path):
    """A library that was cut ends a process that loads it, if it gets so far."""
    name = cpp.library_name(cpp.toolchain())
    cache_folder().mkdir(parents=True)
    (cache_folder() / name).write_bytes(Path(sys.executable).resolve().read_bytes()[:4096])
    running = [start() for _ in range(2)]
    assert [process.communicate(timeout=300)[0] for process in running] == [b"[[0, 1]]\n"] * 2
    assert cached(tmp_path) == [name]


def test_a_failed_build_says_what_was_run_and_the_first_error(fresh, tmp_path):
    fresh["ray_manifold.cpp"] = "int f() {\n    return undeclared;\n}\n"
    for name in list(fresh):  # quickly
        if name.endswith(".cpp") and name != "ray_manifold.cpp":
            del fresh[name]
    with pytest.raises(BuildError) as caught:
        find_crossings(S, LEVELS, impl="cpp")
    message = str(caught.value)
    assert "\n" not in message
    assert "ray_manifold.cpp:2:12: error:" in message and "undeclared" in message
    assert f"the command was: {cpp.toolchain().compiler} -O3" in message and "-c " in message
    assert cached(tmp_path) == []


def test_without_ninja(fresh, monkeypatch):
    tools = cpp.toolchain()
    monkeypatch.setattr(cpp, "toolchain", lambda: tools)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(BuildError, match="building the ops needs ninja: pip install ninja"):
        find_crossings(S, LEVELS, impl="cpp")


def test_compilers_in_order(monkeypatch):
    """CXX and nothing else, or the first of three; GCC has OpenMP, of Clang nobody knows."""
    for there, expected in [({"g++", "clang++"}, "g++"), ({"clang++"}, "clang++"), ({"c++", "g++"}, "c++")]:
        monkeypatch.setattr(shutil, "which", lambda name, there=there: f"/bin with/{name}" if name in there else None)
        for version, flag in [("g++ (Debian) 14", "-fopenmp"), ("Apple clang version 17", "-fopenmp-simd -pthread")]:
            done = subprocess.CompletedProcess([], 0, stdout=version)
            monkeypatch.setattr(subprocess, "run", lambda *_, done=done, **__: done)
            tools = cpp.toolchain()
            assert tools.compiler == f"'/bin with/{expected}'" and tools.version == version
            assert tools.flags.endswith(f" {flag}")
    monkeypatch.setenv("CXX", "mine")
    with pytest.raises(BuildError, match="mine of CXX not found on the PATH; pip install ziglang brings a compiler"):
        cpp.toolchain()


def test_without_a_compiler(monkeypatch):
    """That of the package ziglang, if it is there; else a line that says so."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    found = {"ziglang": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found[name])
    with pytest.raises(
        BuildError, match=r"c\+\+, g\+\+ or clang\+\+ not found on the PATH; pip install ziglang brings"
    ):
        cpp.toolchain()
    found["ziglang"] = "a module's spec"
    tools = cpp.toolchain()
    assert tools.compiler == f"{sys.executable} -m ziglang c++"
    assert "-pthread" in tools.flags and "-fopenmp " not in tools.flags and "-march" not in tools.flags


@pytest.mark.parametrize("name", ["win32", "darwin"])
def test_other_systems_have_plain_torch(monkeypatch, fresh, name):
    monkeypatch.setattr(sys, "platform", name)
    with pytest.warns(UserWarning, match=r"C\+\+ ops: built on Linux only; plain torch is used instead"):
        assert find_crossings(S, LEVELS).index.tolist() == [[0, 1]]


def test_threads_without_openmp(fresh, monkeypatch):
    """Other compilers have pthreads: the same results, whatever the number of rays and threads."""
    tools = cpp.toolchain()
    monkeypatch.setattr(
        cpp,
        "toolchain",
        lambda: tools._replace(flags=tools.flags.replace("-fopenmp", "-pthread").replace("-O3", "-O1")),
    )
    for name in list(fresh):
        if name.endswith(".cpp") and name != "ray_manifold.cpp":
            del fresh[name]
    random, threads = torch.Generator().manual_seed(0), torch.get_num_threads()
    try:
        for count, rays in [(1, 1000), (2, 1), (3, 129), (5, 3000)]:
            torch.set_num_threads(count)
            s = 30 * torch.rand(rays, 9, generator=random)
            ours, expected = (find_crossings(s, LEVELS, impl=impl) for impl in ("cpp", "ref"))
            assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
    finally:
        torch.set_num_threads(threads)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(platform.system() != "Linux", reason="asks /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_compilers_end_with_the_process_that_waits_for_them(tmp_path, number):
    """However it ends; what it leaves is gone after the next build."""
    compiler = tmp_path / "slow"
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\necho $$ >> {tmp_path}/started\nexec sleep 300\n')
    compiler.chmod(0o755)
    process = start(CXX=str(compiler), TORCH_EXTENSIONS_DIR=str(tmp_path / "the cache"))
    deadline = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=60)
    compilers = [int(pid) for pid in (tmp_path / "started").read_text().split()]
    while any(map(is_running, compilers)):
        assert time.monotonic() < deadline, "compilers run on"
        time.sleep(0.05)

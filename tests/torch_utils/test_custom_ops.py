"""Building the compiled ops: kept, shared between processes, and clear about what goes wrong."""

import functools
import gc
import os
import shutil
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import pytest
import torch

from torch_utils import custom_ops
from torch_utils.custom_ops import BuildError, build, built_library, cpp_toolchain, cuda_toolchain, digest
from torch_utils.ops.ray_manifold import find_crossings

ROOT = Path(__file__).resolve().parents[2]
S, LEVELS = torch.tensor([[30.0, 20, 3]]), torch.tensor([23.0, 8])


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache folder, a copy of the sources to spoil, and no library loaded so far."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "the cache"))
    sources = dict(custom_ops.sources())
    monkeypatch.setattr(custom_ops, "sources", lambda: sources)
    for name in ("_load", "_warn_once"):
        monkeypatch.setattr(custom_ops, name, functools.cache(getattr(custom_ops, name).__wrapped__))
    return sources


def cached(tmp_path):
    """Names of what is kept, without the lock's."""
    return sorted(path.name for path in (tmp_path / "the cache" / "aniportraitgan").iterdir() if path.suffix != ".lock")


def test_a_build_is_kept(fresh, tmp_path, monkeypatch):
    """Of sources that were read once: those that replace them while a program runs are the next one's."""
    assert {"for_each.h", "ray_manifold.h", "ray_manifold.cpp", "ray_manifold.cu"} <= set(fresh)
    monkeypatch.setattr(Path, "read_text", None)  # not called again
    path = built_library(cpp_toolchain())
    assert cached(tmp_path) == [path.name] and path.stat().st_size > 0
    monkeypatch.setattr(custom_ops, "build", None)  # not called again
    assert built_library(cpp_toolchain()) == path


def test_a_build_depends_on_sources_and_flags(fresh):
    tools = cpp_toolchain()
    digests = {digest(tools), digest(tools._replace(flags=tools.flags + " -g"))}
    fresh["for_each.h"] += "// changed\n"
    assert len(digests | {digest(tools)}) == 3


def test_two_processes_build_once(tmp_path):
    program = (
        "import torch; from torch_utils.ops.ray_manifold import find_crossings as f;"
        "print(f(torch.tensor([[30.0, 20, 3]]), torch.tensor([23.0, 8]), impl='cpp').index.tolist())"
    )
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path / "the cache"), "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=tmp_path, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=300)[0] for process in running] == [b"[[0, 1]]\n"] * 2
    assert len(cached(tmp_path)) == 1


def test_a_failed_build_says_what_was_run_and_the_first_error(fresh, tmp_path):
    fresh["ray_manifold.cpp"] = "int f() {\n    return undeclared;\n}\n"
    with pytest.raises(BuildError) as caught:
        find_crossings(S, LEVELS, impl="cpp")
    message = str(caught.value)
    assert "\n" not in message
    assert "ray_manifold.cpp:2:12: error:" in message and "undeclared" in message
    assert f"the command was: {cpp_toolchain().compiler} -O3" in message and "-c " in message
    assert cached(tmp_path) == []


def test_auto_falls_back_with_one_warning(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        BuildError, match=r"C\+\+ ops: no compiler found; expected c\+\+ on the PATH, or its name in CXX"
    ):
        find_crossings(S, LEVELS, impl="cpp")
    with pytest.warns(UserWarning, match="no compiler found.*; plain torch is used instead, which is slower") as seen:
        results = [find_crossings(S, LEVELS) for _ in range(3)]
    assert len(seen) == 1
    assert all(torch.equal(found.index, torch.tensor([[0, 1]])) for found in results)
    with pytest.raises(BuildError):  # asked for, it stays an error
        find_crossings(S, LEVELS, impl="cpp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_crossings(S, LEVELS, impl="ref")


def test_a_failure_keeps_no_tensors(fresh, monkeypatch):
    """Neither the first nor a later one: an exception that is kept would keep what its callers hold."""
    monkeypatch.setenv("CXX", "no-such-compiler")

    def call() -> weakref.ref:
        s = S.clone()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            find_crossings(s, LEVELS)
        return weakref.ref(s)

    seen = [call() for _ in range(3)]
    gc.collect()
    assert [tensor() for tensor in seen] == [None] * 3


def test_a_folder_that_cannot_be_written(fresh, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "file"))
    with pytest.raises(BuildError, match="building the ops in .*file/aniportraitgan failed: .*Not a directory"):
        find_crossings(S, LEVELS, impl="cpp")


def test_a_failure_is_not_tried_again(fresh, monkeypatch):
    calls = []

    def fail(tools):
        calls.append(tools)
        raise BuildError("no")

    monkeypatch.setattr(custom_ops, "built_library", fail)
    for _ in range(3):
        with pytest.raises(BuildError, match="^no$"):
            find_crossings(S, LEVELS, impl="cpp")
    assert len(calls) == 1


def test_missing_tools(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(BuildError, match="CUDA ops: nvcc not found; expected the CUDA toolkit in CUDA_HOME"):
        cuda_toolchain(("90",))
    with pytest.raises(BuildError, match="building the ops needs ninja: pip install ninja"):
        build(custom_ops.Toolchain("c++", "", ".cpp"), tmp_path)


def test_the_cuda_sources_compile():
    """For every architecture that `make cuda-check` names; needs nvcc, but no GPU."""
    try:
        cuda_toolchain(("80",))
    except BuildError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "torch_utils.custom_ops", "cuda-check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the CUDA sources compile for sm_75, sm_80, sm_86, sm_89, sm_90, sm_100, sm_120\n"

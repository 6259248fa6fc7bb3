"""Ways to run a command: in this process as ``__main__``, or as far as a test can."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import yaml
from torch.distributed.run import parse_args as parse_torchrun

from tests.fake_cuda.run import BY_NIGHT, IN_SUITE
from tests.networks.person.tracker.detectors import problem
from tests.readme.documents import ROOT, SETTING
from training.data.storage import open_dataset

SECONDS = 60  # until a test gives up


def run_here(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """What ``python ...`` runs, in this process: a script, a module, or a line of code."""
    settings = dict(word.split("=", 1) for word in words if SETTING.match(word))
    words = [word for word in words if not SETTING.match(word)]
    assert words[0] == "python"
    with surroundings(root, instead, settings):
        try:
            if words[1] == "-c":
                exec(compile(words[2], "python -c", "exec"), {"__name__": "__main__"})
            elif words[1] == "-m":
                sys.argv[:] = ["-m", *words[3:]]
                runpy.run_module(words[2], run_name="__main__", alter_sys=True)
            else:
                sys.argv[:] = words[1:]
                runpy.run_path(words[1], run_name="__main__")
        except SystemExit as end:
            assert end.code in (None, 0), f"{' '.join(words)}: exit code {end.code}"


def run_with_detectors(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """As :func:`run_here`, where the tracker's detectors are to be had; the test is skipped where not."""
    if problem():
        pytest.skip(problem())
    run_here(root, words, instead)


def run_code(root: Path, where: str, text: str) -> dict[str, object]:
    """A code fence in Python; returns its names."""
    names: dict[str, object] = {"__name__": "__main__"}
    with surroundings(root, {}, {}):
        exec(compile(text, where, "exec"), names)
    return names


@contextmanager
def surroundings(root: Path, instead: dict[str, object], settings: dict[str, str]) -> Iterator[None]:
    """The folder as the current one; and afterwards everything as it was, though a program ran in this process."""
    before, argv, threads = Path.cwd(), list(sys.argv), torch.get_num_threads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    instead = {
        "torch_utils.worker_pool.worker_pool": in_this_process,
        "training.data.synthesize.worker_pool": in_this_process,
        **instead,
    }
    with ExitStack() as stack:
        for name, value in instead.items():
            stack.enter_context(patch(name, value))
        stack.enter_context(patch.dict(os.environ, settings))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)
        os.chdir(root)
        try:
            yield
        finally:
            os.chdir(before)
            sys.argv[:] = argv
            torch.set_num_threads(threads)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def without_launcher(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """torchrun's command as torchrun reads it, in this process alone."""
    asked = parse_torchrun(words[1:])
    program = ["-m", asked.training_script] if asked.module else [asked.training_script]
    run_here(root, ["python", *program, *asked.training_script_args], instead)


def serve(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """A server that says its address first: it is asked for its page, then stopped as Ctrl-C does."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *words[1:]]
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[0]
            with urllib.request.urlopen(url, timeout=SECONDS) as response:
                assert "<html" in response.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


def make_nothing(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """What make would do: the target exists."""
    subprocess.run([program(words[0]), "-n", *words[1:]], cwd=root, check=True, capture_output=True)


def pack_data_set(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """In the folder of the synthetic set: the same set comes of it."""
    subprocess.run([program(words[0]), *words[1:]], cwd=root / "datasets/synth", check=True, capture_output=True)
    packed = open_dataset(root / "datasets/set.zip")
    assert packed.checksum == open_dataset(root / "datasets/synth").checksum


def program(name: str) -> str:
    """Where it is; the test is skipped where it is not."""
    path = shutil.which(name)
    return path or pytest.skip(f"{name} is not installed")


def files_are_there(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """Not run; the files it names are in the repository."""
    names = [word for word in words[1:] if "." in word or "/" in word]
    assert names and all((ROOT / name).exists() for name in names), names


def tests_are_there(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """Not run; the folders and files of tests are in the repository."""
    files_are_there(root, words[2:], instead)


def modules_are_there(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """Not run."""
    module = ROOT / words[words.index("-m") + 1].replace(".", "/")
    assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), words


def package_is_named(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """Not run; what is installed is a package by its name, and perhaps its version."""
    assert re.fullmatch(r"[a-z]+(==\d+(\.\d+)*)?", words[-1]), words


def scene_is_there(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """Not run; what is rehearsed is known."""
    command, *scene = words[3:]
    assert command == "renew" or (command == "run" and scene[0] in (*IN_SUITE, *BY_NIGHT))


def hooks_are_configured(root: Path, words: list[str], instead: dict[str, object]) -> None:
    """By the tools that `make lint` runs."""
    configured = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repository in configured["repos"] for hook in repository["hooks"]]
    assert all(f".venv/bin/python -m {name}" in " ".join(entries) for name in ("ruff check", "ruff format", "mypy"))


def environment_has_its_name(root: Path, words: list[str], instead: dict[str, object]) -> None:
    assert words[-1] == yaml.safe_load((ROOT / "environment.yml").read_text())["name"]


def folder_is_the_makefile_s(root: Path, words: list[str], instead: dict[str, object]) -> None:
    assert words[-1].split("/")[0] == ".venv" and "VENV ?= .venv\n" in (ROOT / "Makefile").read_text()


@contextmanager
def in_this_process(function: Callable, workers: int) -> Iterator[Callable]:
    """Stands in for torch_utils.worker_pool, which has tests of its own: starting a process takes seconds."""
    yield lambda items: map(function, items)

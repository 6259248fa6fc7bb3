"""What is installed: pip and conda get one lock, made from the ranges of one list, which names everything imported."""

import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from networks import perceptual
from tests.test_imports import ALLOWED, PROGRAMS, ROOT, imported_packages
from torch_utils.assets import OPTIONAL
from training.metrics import recognition

# Used without an import of ours: the writer behind torch.utils.tensorboard, style, types, the lock.
NOT_IMPORTED = {"tensorboard", "ruff", "mypy", "uv"}

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SYSTEMS = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
)


class Locked(NamedTuple):
    requirement: Requirement
    hashes: list[str]


@cache
def lock() -> list[Locked]:
    """Entries of requirements.lock."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    entries = [line.split("--hash=") for line in text.replace("\\\n", "").splitlines()]
    return [Locked(Requirement(name), [digest.strip() for digest in hashes]) for name, *hashes in entries]


def locked_in(environment: dict[str, str]) -> dict[str, str]:
    """Package -> version that the lock installs; at most one."""
    held = [item for item, _ in lock() if item.marker is None or item.marker.evaluate(environment)]
    versions = {canonicalize_name(item.name): str(item.specifier).removeprefix("==") for item in held}
    assert len(versions) == len(held), "a package twice in one environment"
    return versions


def ranges(name: str = "requirements.txt") -> list[Requirement]:
    """What a list asks for."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def sources() -> list[Path]:
    folders = [*ALLOWED, "tests", "keyframes"]
    return [path for name in folders for path in (ROOT / name).rglob("*.py")] + [ROOT / f"{p}.py" for p in PROGRAMS]


def test_conda_installs_what_pip_does():
    """The environment brings Python and pip; everything else comes from the one list."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == ["python=3.12", "pip", {"pip": ["-r requirements.lock"]}]


def test_requirements_are_what_is_imported():
    ours = {*ALLOWED, *PROGRAMS, "tests", "keyframes"}
    imported = set().union(*map(imported_packages, sources())) - sys.stdlib_module_names - ours
    # Python 3.10 finds no names of packages whose metadata do not list them.
    packages = {"skimage": ["scikit-image"]} | packages_distributions()
    names = {name for package in imported for name in packages.get(package, [package])}
    assert set(map(canonicalize_name, names)) == {canonicalize_name(item.name) for item in ranges()} - NOT_IMPORTED


def test_optional_packages_are_those_that_are_looked_for():
    """None of them comes with the lock; what lacks one says how to install it."""
    optional = {canonicalize_name(item.name) for item in ranges("requirements-metrics.txt")}
    assert optional == {*map(canonicalize_name, (perceptual.PACKAGE, recognition.PACKAGE)), "dlib-bin", "lpips"}
    assert not optional & {canonicalize_name(item.name) for item, _ in lock()}
    assert OPTIONAL == "pip install -r requirements-metrics.txt"


def test_every_entry_of_the_lock_has_one_version_and_hashes():
    assert len(lock()) > len(ranges())
    for requirement, hashes in lock():
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), f"{requirement}: expected one version"
        assert hashes, f"{requirement}: expected hashes"
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


def test_the_lock_names_no_place():
    """Whoever installs chooses where from."""
    assert "://" not in (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize(("python", "system"), [*product(PYTHONS, SYSTEMS)])
def test_the_lock_keeps_to_the_ranges(python, system):
    """On every Python and system. A failure: `make lock`."""
    environment = {
        **default_environment(), **system, "python_version": python, "python_full_version": f"{python}.4",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
    }  # fmt: skip
    versions = locked_in(environment)
    for wanted in ranges():
        name = canonicalize_name(wanted.name)
        assert name in versions, f"{wanted}: not in requirements.lock"
        assert wanted.specifier.contains(versions[name]), f"{wanted}: requirements.lock has {versions[name]}"


def test_the_lock_names_what_its_packages_need():
    """Of those that are installed here in the version that it names."""
    versions = locked_in(default_environment())
    seen = set()
    for name, version in versions.items():
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        if installed.version != version:
            continue
        seen.add(name)
        for needed in map(Requirement, installed.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                found = versions.get(canonicalize_name(needed.name))
                assert found and needed.specifier.contains(found), f"{name} needs {needed}; the lock has {found}"
    assert seen, "nothing that is installed is of the lock"

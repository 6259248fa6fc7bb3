"""What is installed: pip and conda get one list, and it names everything that is imported."""

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml

from tests.test_imports import ALLOWED, PROGRAMS, ROOT, imported_packages

# Used without an import of ours: the writer behind torch.utils.tensorboard, the style.
NOT_IMPORTED = {"tensorboard", "ruff"}


def normal(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub("[-_.]+", "-", name).lower()


def required() -> set[str]:
    """Names in requirements.txt."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines if line}


def sources() -> list[Path]:
    folders = [*ALLOWED, "tests", "keyframes"]
    return [path for name in folders for path in (ROOT / name).rglob("*.py")] + [ROOT / f"{p}.py" for p in PROGRAMS]


def test_conda_installs_what_pip_does():
    """The environment brings Python and pip; everything else comes from the one list."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == ["python=3.12", "pip", {"pip": ["-r requirements.txt"]}]


def test_requirements_are_what_is_imported():
    ours = {*ALLOWED, *PROGRAMS, "tests", "keyframes"}
    imported = set().union(*map(imported_packages, sources())) - sys.stdlib_module_names - ours
    packages = packages_distributions()
    names = {name for package in imported for name in packages.get(package, [package])}
    assert set(map(normal, names)) == required() - NOT_IMPORTED

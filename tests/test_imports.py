"""Imports run one way, and importing does nothing but define things."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Package -> the packages of ours it may import.
ALLOWED = {
    "torch_utils": {"torch_utils"},
    "networks": {"networks", "torch_utils"},
    "inference": {"inference", "networks", "torch_utils"},
    "training": {"training", "networks", "torch_utils"},
}
PROGRAMS = {"gen_video": "training", "train": "inference"}  # script -> the package it has no business with


def module_files():
    return [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_packages(path):
    """First names of everything that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0] if node.level == 0 else path.relative_to(ROOT).parts[0])
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_downwards_only(package):
    files = [path for path in module_files() if path.relative_to(ROOT).parts[0] == package]
    assert files
    for path in files:
        wrong = imported_packages(path) & (set(ALLOWED) | {"tests", *PROGRAMS}) - ALLOWED[package]
        assert not wrong, f"{path.relative_to(ROOT)} must not import {wrong}"


# Within `networks`: room -> the rooms it may import; "" is what all of them share.
ROOMS = {
    "manifold": {"manifold", "person", ""},
    "trigrid": {"trigrid", "person", ""},
    "gaussian": {"gaussian", "person", ""},
    "person": {"person", ""},
}
ALL_ROOMS = {"saved_model"}  # names the representations, so it sees all of them


def test_rooms_of_networks_import_downwards_only():
    for path in module_files():
        package, *rooms, name = path.relative_to(ROOT).with_suffix("").parts
        if package != "networks" or name in ALL_ROOMS:
            continue
        allowed = ROOMS.get(rooms[0] if rooms else "", {""})
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "networks":
                inner = (*node.module.split(".")[1:], *(alias.name for alias in node.names))
                room = inner[0] if inner[0] in ROOMS else ""
                assert room in allowed, f"{path.relative_to(ROOT)} must not import {node.module}"


def test_programs_keep_to_their_side():
    for name, foreign in PROGRAMS.items():
        path = ROOT / f"{name}.py"
        if path.exists():
            assert foreign not in imported_packages(path), f"{path.name} must not import {foreign}"


WATCH = """
import importlib, sys

seen = []

def watch(event, args):
    if event == "open" and isinstance(args[0], str) and args[0].startswith(ROOT):
        if not args[0].startswith(ROOT + "/.venv") and not args[0].endswith((".py", ".pyc")) and ".pyc." not in args[0]:
            seen.append(f"reads {args[0]}")
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn") and OURS[0]:
        seen.append(f"runs {args[0]} {args[1]}")

ROOT, OURS = sys.argv[1], [False]
import torch, torchvision, numpy.testing, scipy, roma, tqdm, PIL  # what these do on import is not ours to say
OURS[0] = True
sys.addaudithook(watch)
for name in sys.argv[2:]:
    seen.clear()
    importlib.import_module(name)
    for what in seen:
        print(f"{name} {what}")
print("cuda" if torch.cuda.is_initialized() else "quiet")
"""


def test_importing_reads_no_asset_runs_nothing_and_wakes_no_gpu():
    modules = [module_name(path) for path in module_files()] + ["gen_video"]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(ROOT), *modules], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "quiet\n"

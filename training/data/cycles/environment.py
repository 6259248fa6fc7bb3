"""`python -m training.data blender`: a Python environment with Blender's module and panoramas to light people with.

Blender (PyPI's ``bpy``, 370 MB, GPL-3) never enters this project's own environment: it is a program that reads scenes
from files. Panoramas are those of npm's ``@pmndrs/assets`` (CC0); without npm a made-up studio lights everybody.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from torch_utils.misc import UserError, reason

HOME = Path(".venv-blender")
# Blender's module exists for one Python each; these are what the scenes were rendered with.
BPY = {"3.13": "bpy>=5.1,<6", "3.11": "bpy>=5.0,<5.1"}
ASSETS = "@pmndrs/assets@1.7.0"
_NIGHT = ("night", "sky")  # too dark for a portrait; a cloudless noon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line; see the module's docstring."""
    parser.add_argument("--home", type=Path, default=HOME, help="folder to make (default: %(default)s)")
    parser.add_argument("--python", help="Python 3.13 or 3.11 (default: python3.13 or python3.11, whichever is there)")


def run(args: argparse.Namespace) -> None:
    """Makes the environment, or what of it is missing. Raises UserError: no such Python, pip or npm failed."""
    python, version = _find_python(args.python)
    if not environment_python(args.home).is_file():
        _output([python, "-m", "venv", str(args.home)], "venv")
    print(f"installing {BPY[version]} into {args.home} (370 MB) ...", flush=True)
    _output([str(environment_python(args.home)), "-m", "pip", "install", "--quiet", BPY[version]], "pip")
    print(f"{args.home}: {blender_version(args.home)}; {_fetch_panoramas(args.home / 'panoramas')}")


def environment_python(home: Path) -> Path:
    """The Python in an environment."""
    windows = home / "Scripts" / "python.exe"
    return windows if windows.is_file() else home / "bin" / "python"


def blender_version(home: Path) -> str:
    """``bpy 5.3.0``. Raises UserError with the command that makes the environment where it is missing."""
    python = environment_python(home)
    if not python.is_file():
        raise UserError(
            f"--renderer cycles: no Blender in {home}; make it once by 'python -m training.data blender' (370 MB)"
        )
    code = "from importlib.metadata import version; print('bpy', version('bpy'))"
    return _output([str(python), "-c", code], f"{home} has no bpy; run 'python -m training.data blender' again")


def _find_python(given: str | None) -> tuple[str, str]:
    """(a Python that Blender has a module for, its version): the given one, else what the system finds by name."""
    ask = ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    if given is not None:
        if (version := _output([given, *ask], "--python")) not in BPY:
            raise UserError(f"--python {given}: expected Python {' or '.join(BPY)}, found {version}")
        return given, version
    for version in BPY:
        name = f"python{version}"
        with suppress(UserError):  # a name of pyenv's without a Python behind it
            if shutil.which(name) is not None and _output([name, *ask], name) == version:
                return name, version
    raise UserError(f"no python{' or python'.join(BPY)} here, which Blender's module needs; name one with --python")


def _output(command: list[str], what: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"{what}: {command[0]} cannot be run: {reason(error)}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{what}: {said[-1]}")
    return done.stdout.strip()


def _fetch_panoramas(folder: Path) -> str:
    """Unpacks npm's archive of panoramas; returns what there is now."""
    if not folder.is_dir() and (npm := shutil.which("npm")) is not None:
        with tempfile.TemporaryDirectory() as temporary:
            _output([npm, "pack", "--silent", "--pack-destination", temporary, ASSETS], "npm")
            unpack_panoramas(next(Path(temporary).glob("*.tgz")), folder)
    found = len(list(folder.glob("*.exr"))) if folder.is_dir() else 0
    return f"{found} panoramas" if found else "no panoramas (no npm): a made-up studio lights people"


def unpack_panoramas(archive: Path, folder: Path) -> None:
    """The EXR files that the package's modules hold as base64."""
    temporary = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name.removesuffix(".js")
            if "/hdri/" not in member.name or not name.endswith(".exr") or name.startswith(_NIGHT):
                continue
            if (file := tar.extractfile(member)) is not None:
                found = re.search(rb"base64,([A-Za-z0-9+/=]+)", file.read())
                if found is None:
                    raise UserError(f"{archive}: {member.name}: expected a base64 picture")
                (temporary / name).write_bytes(base64.b64decode(found[1]))
    temporary.rename(folder)

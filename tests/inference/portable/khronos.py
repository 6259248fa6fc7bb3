"""What the Khronos validator says of a glTF file."""

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

GLTF_VALIDATOR = "gltf-validator@2.0.0-dev.3.10"
VALIDATE = """
const validator = require("gltf-validator");
validator.validateBytes(new Uint8Array(require("fs").readFileSync(0))).then((r) => console.log(JSON.stringify(r)));
"""
_FETCHED = tempfile.TemporaryDirectory(prefix="gltf_validator_")


def validation(glb: bytes) -> list[dict]:
    """The validator's messages; skips the test where there is no validator, and none to be fetched."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm, for Khronos' gltf-validator")
    folder = _folder()
    if folder is None:
        pytest.skip(f"npm could not fetch {GLTF_VALIDATOR}; once: npm install -g gltf-validator")
    environment = os.environ | {"NODE_PATH": str(folder)}
    done = subprocess.run(["node", "-e", VALIDATE], input=glb, capture_output=True, env=environment, check=True)
    return json.loads(done.stdout)["issues"]["messages"]


@functools.cache
def _folder() -> Path | None:
    """The folder that holds it: that of packages for everybody (npm install -g), or one fetched for these tests."""
    folder = Path(_npm("root", "-g") or ".")
    if (folder / "gltf-validator").is_dir():
        return folder
    quietly = "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"
    _npm("install", "--prefix", _FETCHED.name, *quietly, GLTF_VALIDATOR)
    folder = Path(_FETCHED.name) / "node_modules"
    return folder if (folder / "gltf-validator").is_dir() else None


def _npm(*words: str) -> str:
    try:
        done = subprocess.run([shutil.which("npm"), *words], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

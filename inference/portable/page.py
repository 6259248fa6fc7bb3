"""A page that plays an avatar: a folder of files for any web host, or to be opened from a disk.

Its own code is joined into one script, and the avatar lies there twice, as it is and as a script: a page from a disk
may read neither modules nor other files. three.js comes with the project (page/three.entry.js says how it is made).
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from inference.portable.binary import from_container
from inference.viewer.controls import SPANS, make_groups, rest_row
from networks.person.expressions import ARKIT, BASEL, coefficient_names
from networks.person.open_body.actions import ACTIONS
from torch_utils.misc import UserError, atomic_path, check_file, reason

PAGE = Path(__file__).parent / "page"
VIEWER = Path(__file__).resolve().parents[1] / "viewer" / "page"
COPIED = (PAGE / "index.html", PAGE / "style.css", PAGE / "three.min.js", PAGE / "three.LICENSE", VIEWER / "icon.svg")
# Joined in this order: each uses only those before it.
SCRIPTS = (
    *(VIEWER / name for name in ("notes.js", "keyboard.js", "sliders.js")),
    *(PAGE / name for name in ("recording.js", "motion.js", "figure.js", "stage.js", "player.js")),
)
MAX_AVATAR = 2**29  # bytes; browsers hold no longer text
FILES = ("avatar.glb", "avatar.glb.js", "player.js", *(path.name for path in COPIED))


def write_page(avatar: Path, out: Path) -> list[Path]:
    """Writes the page of a GLB file into a folder, which is made if missing. Other files there stay.

    Returns:
        The written files.

    Raises:
        UserError: no such file, or the folder cannot be written to.
    """
    data = read_avatar(avatar)
    written = {path.name: path.read_bytes() for path in COPIED}
    written["player.js"] = player_script().encode()
    written["avatar.glb.js"] = f'globalThis.AVATAR = "{base64.b64encode(data).decode()}";\n'.encode()
    written["avatar.glb"] = data
    for name, content in written.items():
        with atomic_path(out / name) as temporary:
            temporary.write_bytes(content)
    return [out / name for name in written]


def read_avatar(path: Path) -> bytes:
    """The bytes of a GLB file that has a mesh; a UserError for any other file."""
    check_file(path, "avatar", most=MAX_AVATAR)
    try:
        data = path.read_bytes()
        document, _ = from_container(data)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: expected a .glb file, found {error}") from None
    if not document.get("meshes"):
        raise UserError(f"{path}: expected a .glb file with a mesh, found none in it")
    return data


def player_script() -> str:
    """The page's code as one classic script, and what it has to know of controls."""
    config = {
        "file": "avatar.glb", "actions": len(ACTIONS), "rest": rest_row(), "spans": SPANS,
        "names": [coefficient_names(ARKIT), coefficient_names(BASEL)], "groups": [_groups(ARKIT), _groups(BASEL)],
    }  # fmt: skip
    code = "\n".join(_without_modules(path.read_text(encoding="utf-8")) for path in SCRIPTS)
    return f'globalThis.CONFIG = {json.dumps(config)};\n(() => {{\n"use strict";\n{code}}})();\n'


def _without_modules(code: str) -> str:
    return re.sub(r"^import .*\n|^export ", "", code, flags=re.MULTILINE)


def _groups(face_model: str) -> list[dict[str, Any]]:
    """The viewer's sliders as JSON has them; the camera is turned by dragging."""
    return [group.plain() for group in make_groups(face_model) if group.title != "Camera"]

"""A page that plays an avatar, a .glb file or a linear one: a folder for any web host, or to be opened from a disk.

Its own code is joined into one script, and the avatar lies there twice, as it is and as a script: a page from a disk
may read neither modules nor other files. three.js comes with the project (page/three.entry.js says how it is made).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference.portable.binary import from_container
from inference.portable.clips import Clip, shipped_clips
from inference.viewer.controls import SPANS, make_groups, rest_row
from networks.cameras import PORTRAIT_CAMERA
from networks.gaussian.linear import unpack_linear
from networks.person.expressions import ARKIT, BASEL, coefficient_names, face_model_of
from networks.person.open_body.actions import ACTIONS
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError, atomic_path, check_file, reason

PAGE = Path(__file__).parent / "page"
VIEWER = Path(__file__).resolve().parents[1] / "viewer" / "page"
COPIED = (PAGE / "index.html", PAGE / "style.css", PAGE / "three.min.js", PAGE / "three.LICENSE", VIEWER / "icon.svg")
# Joined in this order: each uses only those before it.
SCRIPTS = (
    *(VIEWER / name for name in ("notes.js", "keyboard.js", "sliders.js")),
    *(
        PAGE / name
        for name in ("recording.js", "motion.js", "figure.js", "frames.js", "splats.js", "stage.js", "player.js")
    ),
)
MAX_AVATAR = 2**29  # bytes; browsers hold no longer text


def write_page(avatar: Path, out: Path, *, linear: bool = False) -> list[Path]:
    """Writes the page of an avatar into a folder, which is made if missing. Other files there stay.

    Args:
        avatar: a .glb file, which has motions of its own; if ``linear``, a linear avatar, which gets those that ship.

    Returns:
        The written files.

    Raises:
        UserError: no such file, or the folder cannot be written to.
    """
    check_file(avatar, "avatar", most=MAX_AVATAR)
    data, clips = (read_linear if linear else read_avatar)(avatar)
    name = "avatar.safetensors" if linear else "avatar.glb"
    written = {path.name: path.read_bytes() for path in COPIED}
    written["player.js"] = player_script(name, clips).encode()
    written[f"{name}.js"] = f'globalThis.AVATAR = "{base64.b64encode(data).decode()}";\n'.encode()
    written[name] = data
    for file, content in written.items():
        with atomic_path(out / file) as temporary:
            temporary.write_bytes(content)
    return [out / file for file in written]


def read_avatar(path: Path) -> tuple[bytes, list[Clip]]:
    """The bytes of a GLB file that has a mesh, and no motions; a UserError for any other file."""
    try:
        data = path.read_bytes()
        document, _ = from_container(data)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: expected a .glb file, found {error}") from None
    if not document.get("meshes"):
        raise UserError(f"{path}: expected a .glb file with a mesh, found none in it")
    return data, []


def read_linear(path: Path) -> tuple[bytes, list[Clip]]:
    """The bytes of a linear avatar, and motions for it; a UserError for what the page cannot draw."""
    avatar, metadata = unpack_linear(load_checkpoint(path), str(path))
    if len(avatar.joints) != 24 or avatar.skinning != "exact":
        found = f"one of {len(avatar.joints)} joints, {avatar.skinning} skinning"
        raise UserError(f"{path}: expected an avatar of head and shoulders with exact skinning, found {found}")
    return path.read_bytes(), shipped_clips(face_model_of(metadata))


def player_script(file: str, clips: Sequence[Clip] = ()) -> str:
    """The page's code as one classic script, and what it has to know: its avatar's file, controls, motions."""
    portrait = {
        "radius": PORTRAIT_CAMERA.radius, "target": PORTRAIT_CAMERA.offset, "degrees": PORTRAIT_CAMERA.fov_degrees
    }  # fmt: skip
    config = {
        "file": file, "actions": len(ACTIONS), "rest": rest_row(), "spans": SPANS, "portrait": portrait,
        "names": [coefficient_names(ARKIT), coefficient_names(BASEL)], "groups": [_groups(ARKIT), _groups(BASEL)],
        "motions": [_rows(clip) for clip in clips],
    }  # fmt: skip
    code = "\n".join(_without_modules(path.read_text(encoding="utf-8")) for path in SCRIPTS)
    return f'globalThis.CONFIG = {json.dumps(config)};\n(() => {{\n"use strict";\n{code}}})();\n'


def _rows(clip: Clip) -> dict[str, Any]:
    """A motion as JSON has it: what moves, without the frame that closes the loop."""
    spans = [range(*SPANS[kind]) for kind in ("expression", "pose")]
    parts = [part if part is None else part[:-1].reshape(len(part) - 1, -1) for part in clip[2:4]]
    columns = [column for span, part in zip(spans, parts, strict=True) if part is not None for column in span]
    there = [part for part in parts if part is not None]
    rows = np.concatenate(there, 1) if there else None
    if rows is not None:
        moves = [i for i in range(len(columns)) if rows[:, i].any()]
        columns, rows = [columns[i] for i in moves], rows[:, moves].round(4).tolist()
    cameras = None if clip.camera is None else clip.camera[:-1].round(4).tolist()
    return {"name": clip.name, "fps": clip.fps, "columns": columns, "rows": rows, "cameras": cameras}


def _without_modules(code: str) -> str:
    return re.sub(r"^import .*\n|^export ", "", code, flags=re.MULTILINE)


def _groups(face_model: str) -> list[dict[str, Any]]:
    """The viewer's sliders as JSON has them; the camera is turned by dragging."""
    return [group.plain() for group in make_groups(face_model) if group.title != "Camera"]

"""A posed person of the drawn sets as a scene for Cycles: the same labels, meshes and cameras."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from training.data.cycles import fur
from training.data.cycles.body import body_meshes, linear
from training.data.cycles.exchange import Scene, Strands
from training.data.cycles.geometry import Mesh
from training.data.cycles.groom import groom
from training.data.synthetic.drawing import FOV_DEGREES, View
from training.data.synthetic.mesh import MM
from training.data.synthetic.person import PosedPerson

_FINE = 2.2  # mm between vertices of the face at 256^2


def person_scene(
    posed: PosedPerson, views: dict[str, tuple[View, int]], rng: np.random.Generator, **settings: Any
) -> Scene:
    """All there is to render.

    Args:
        posed: who.
        views: name -> (camera, pixels a side).
        rng: of strands; the same one gives the same scene.
        settings: ``seed``, ``samples``, ``threads``, ``panorama`` (a path or None) and ``maps`` of the exchange.
    """
    size = max(size for _, size in views.values())
    meshes = body_meshes(posed, _FINE * min(max(256 / size, 0.6), 2.0))
    skin, look = meshes["skin"][1], posed.shader.look
    strands: dict[str, tuple[str, Strands]] = {
        "brows": ("hair", fur.brows(skin, look, rng)),
        "lashes": ("hair", fur.lashes(posed, rng)),
    }
    for name, grow in (("beard", fur.beard), ("crop", fur.crop)):
        if (grown := grow(skin, look, rng)) is not None:
            strands[name] = ("hair", grown)
    if (head := groom(posed, skin, meshes["shirt"][1], rng)) is not None:
        strands["hair"], meshes["core"] = ("hair", head[0]), ("core", head[1])
    cameras = {
        name: {
            "size": pixels,
            "tangent": math.tan(math.radians(FOV_DEGREES) / 2),
            "rotation": view.rotation.tolist(),
            "origin": view.origin.tolist(),
        }
        for name, (view, pixels) in views.items()
    }
    shown = {name: (material, _without_own(mesh)) for name, (material, mesh) in meshes.items()}
    return Scene(shown, strands, {**settings, "mm": MM, **_light(posed), "cameras": cameras})


def _without_own(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, {name: v for name, v in mesh.values.items() if name != "own"})


def _light(posed: PosedPerson) -> dict[str, Any]:
    """The lamp of the person's appearance, and which way the sky is turned."""
    yaw, pitch, strength, warmth = posed.shader.look.light
    tint = linear(posed.shader.light.tint / posed.shader.light.tint.max())
    key = {"direction": posed.shader.light.key.tolist(), "colour": tint.tolist(), "strength": 0.4 + 1.1 * strength}
    return {"lights": [key], "sky": {"yaw": yaw, "strength": 0.9 - 0.4 * strength, "warmth": warmth}}


def panoramas(folder: Path | None) -> list[str]:
    """Names of the panoramas in a folder, sorted; none where there is no folder."""
    return sorted(path.name for path in folder.glob("*.exr")) if folder is not None and folder.is_dir() else []

"""The files of a scene: ``NAME.json`` says what there is, ``NAME.npz`` holds the arrays; no pickles.

::

    {"format": 1, "seed": 0, "samples": 16, "threads": 1, "panorama": null, "mm": 0.00085, "maps": false,
     "meshes": {"skin": "skin", ...}, "strands": {"hair": "hair", ...},      name -> material
     "lights": [{"direction": [3], "colour": [3], "strength": 1.0}],
     "sky": {"yaw": 0.0, "strength": 1.0, "warmth": 0.0},
     "cameras": {"image": {"size": 128, "tangent": 0.105, "rotation": [3][3], "origin": [3]}, ...}}

    mesh/NAME/vertices [V, 3], mesh/NAME/faces [F, 3], mesh/NAME/VALUE [V] or [V, 3]
    strands/NAME/points [S, K, 3], strands/NAME/radius [S, K], strands/NAME/colour [S, 3]

Lengths are canonical units (1.1775 m), colours linear. ``tangent`` is that of half the angle between the centres of the
outermost pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from torch_utils.misc import UserError, atomic_path
from training.data.cycles.geometry import Mesh

FORMAT = 1
_KEYS = (
    "format",
    "seed",
    "samples",
    "threads",
    "panorama",
    "mm",
    "maps",
    "meshes",
    "strands",
    "lights",
    "sky",
    "cameras",
)


class Strands(NamedTuple):
    """Curves of the same number of points."""

    points: np.ndarray  # [S, K, 3]
    radius: np.ndarray  # [S, K]
    colour: np.ndarray  # [S, 3] linear


class Scene(NamedTuple):
    """A person before cameras."""

    meshes: dict[str, tuple[str, Mesh]]  # name -> (material, mesh)
    strands: dict[str, tuple[str, Strands]]
    settings: dict[str, Any]  # the other keys of the JSON file


def write_scene(scene: Scene, path: Path) -> None:
    """Writes ``path`` with the suffixes .npz and .json, the latter last."""
    arrays: dict[str, Any] = {}
    for name, (_, mesh) in scene.meshes.items():
        arrays[f"mesh/{name}/vertices"] = mesh.vertices.astype(np.float32)
        arrays[f"mesh/{name}/faces"] = mesh.faces.astype(np.int32)
        arrays |= {f"mesh/{name}/{key}": value.astype(np.float32) for key, value in mesh.values.items()}
    for name, (_, strands) in scene.strands.items():
        arrays |= {f"strands/{name}/{key}": value.astype(np.float32) for key, value in strands._asdict().items()}
    described = {"format": FORMAT, **scene.settings}
    described["meshes"] = {name: material for name, (material, _) in scene.meshes.items()}
    described["strands"] = {name: material for name, (material, _) in scene.strands.items()}
    check_description(described, str(path))
    check_arrays(described, arrays, str(path))
    with atomic_path(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(described))


def read_scene(path: Path) -> Scene:
    """What :func:`write_scene` wrote. Raises UserError: missing, damaged or of another format."""
    try:
        described = json.loads(path.with_suffix(".json").read_text())
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and numpy raise many kinds
        raise UserError(f"{path}: not a readable scene ({error})") from None
    check_description(described, str(path))
    check_arrays(described, arrays, str(path))
    meshes, strands = {}, {}
    for name, material in described.pop("meshes").items():
        own = {key.split("/")[2]: value for key, value in arrays.items() if key.startswith(f"mesh/{name}/")}
        meshes[name] = (material, Mesh(own.pop("vertices"), own.pop("faces"), own))
    for name, material in described.pop("strands").items():
        strands[name] = (material, Strands(*(arrays[f"strands/{name}/{key}"] for key in Strands._fields)))
    del described["format"]
    return Scene(meshes, strands, described)


def check_description(described: Mapping[str, Any], where: str) -> None:
    """Raises UserError where the JSON is not of this format."""
    if described.get("format") != FORMAT:
        raise UserError(f"{where}: expected a scene of format {FORMAT}, found {described.get('format')}")
    if sorted(described) != sorted(_KEYS):
        odd = sorted(set(described) ^ set(_KEYS))
        raise UserError(f"{where}: expected the keys {', '.join(_KEYS)}; missing or unknown: {', '.join(odd)}")


def check_arrays(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raises UserError where arrays are missing, misshapen, not finite or point nowhere."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"{where}: '{name}' holds NaN or infinity")
    for name in described["meshes"]:
        vertices, faces = (arrays.get(f"mesh/{name}/{key}", np.zeros(0)) for key in ("vertices", "faces"))
        if vertices.ndim != 2 or vertices.shape[1:] != (3,) or faces.ndim != 2 or faces.shape[1:] != (3,):
            raise UserError(f"{where}: mesh '{name}': expected vertices [V, 3] and faces [F, 3]")
        if faces.size and not 0 <= faces.min() <= faces.max() < len(vertices):
            raise UserError(f"{where}: mesh '{name}': a face names a vertex that is not there")
        values = {key: value for key, value in arrays.items() if key.startswith(f"mesh/{name}/")}
        for key, value in values.items():
            if not key.endswith("/faces") and (len(value) != len(vertices) or value.shape[1:] not in ((), (3,))):
                raise UserError(f"{where}: '{key}': expected {len(vertices)} rows of 1 or 3, found {list(value.shape)}")
    for name in described["strands"]:
        points, radius, colour = (arrays.get(f"strands/{name}/{key}", np.zeros(0)) for key in Strands._fields)
        shape = points.shape
        if len(shape) != 3 or shape[2] != 3 or radius.shape != shape[:2] or colour.shape != (shape[0], 3):
            raise UserError(f"{where}: strands '{name}': expected points [S, K, 3], radius [S, K] and colour [S, 3]")

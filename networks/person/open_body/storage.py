"""The file of the open body, ``smpl_models/open_body.safetensors``: what it holds, how it is packed and read."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.parts import HAIR, LABEL_NAMES, LASH, SKIN
from torch_utils.misc import UserError, atomic_path
from torch_utils.tensor_file import read_tensor_file, write_tensor_file

PATH = Path(__file__).parents[3] / "smpl_models" / "open_body.safetensors"
VERSION = 1
NAME = f"open-{VERSION}"  # what data sets call the body and the face that their labels refer to
_STEPS = 32767  # of a signed 16-bit number
NUM_ACTIONS = len(ACTIONS)  # the first of the 64 expression directions; the others are 0 and not stored


class OpenBody(NamedTuple):
    """V vertices, by part.

    H of them, ``head_vertices``, follow identity and expression. Canonical units where it says so, else metres, T-pose.
    """

    part: np.ndarray  # [V] uint8, indices of parts.PART_NAMES
    faces: np.ndarray  # [F, 3] int64
    uv: np.ndarray  # [T, 2] float32
    face_uv: np.ndarray  # [F, 3] int64 rows of ``uv``
    twin: np.ndarray  # [V] int64 mirror images
    labels: np.ndarray  # [V, L] uint8 0..255, by parts.LABEL_NAMES
    eye_angle: np.ndarray  # [V] float32 radians from the gaze axis, on eyeballs
    v_template: np.ndarray  # [V, 3] float32
    lbs_weights: np.ndarray  # [V, 24] float32, rows sum to 1 but for their rounding to 16 bits
    shapedirs: np.ndarray  # [V, 3, 10] float32
    joint_vertices: np.ndarray  # [24, N] int64
    joint_weights: np.ndarray  # [24, N] float32
    head_vertices: np.ndarray  # [H] int64 increasing
    head_share: np.ndarray  # [H] float32, 1 on the head, falling over the neck
    head_mean: np.ndarray  # [H, 3] float32 canonical
    id_basis: np.ndarray  # [H, 3, 80] float32 canonical
    exp_basis: np.ndarray  # [H, 3, 64] float32 canonical
    landmarks: np.ndarray  # [68] int64 of V
    mirror_signs: np.ndarray  # [80 + 10] int8: a mirrored person's z_id and betas are these times the person's
    people: np.ndarray  # [P, 80 + 10 + 9] float32 drawn adults: z_id, betas, people.PHENOTYPES
    metadata: dict[str, Any]  # licence, source, versions, figures

    @property
    def body_vertices(self) -> np.ndarray:
        """Indices of the vertices of the body's mesh: all but the guide for hair."""
        return np.flatnonzero(self.part != HAIR)

    @property
    def face_vertices(self) -> np.ndarray:
        """Indices of the vertices of the morphable face: what of the head is a person and no layer."""
        return self.head_vertices[self.part[self.head_vertices] <= LASH]

    def outer_skin(self) -> np.ndarray:
        """[V] bool: skin that is seen, unlike that in the mouth and behind the eyeballs."""
        hidden = [LABEL_NAMES.index(name) for name in ("mouth_inside", "eye_socket")]
        return (self.part == SKIN) & (self.labels[:, hidden] < 128).all(1)

    def mesh(self, vertices: np.ndarray) -> np.ndarray:
        """Faces [F', 3] among ``vertices`` [V'], numbered in them."""
        place = np.full(len(self.part), -1)
        place[vertices] = np.arange(len(vertices))
        faces = place[self.faces]
        return faces[(faces >= 0).all(1)]


# Arrays kept as 16-bit numbers, with a step for each of the last axis' columns.
_STEPPED = ("lbs_weights", "shapedirs", "id_basis", "exp_basis", "people", "head_share", "eye_angle")
_INDICES = ("faces", "face_uv", "twin", "joint_vertices", "head_vertices", "landmarks")


def write_open_body(body: OpenBody, path: Path) -> None:
    """Writes the file; the same arrays give the same bytes."""
    data: dict[str, Any] = {"open_body": VERSION, "metadata": body.metadata}
    for name, value in body._asdict().items():
        if name in _STEPPED:
            value = value[..., :NUM_ACTIONS] if name == "exp_basis" else value
            flat = value.reshape(-1, value.shape[-1]) if value.ndim > 1 else value[:, None]
            step = np.abs(flat).max(0).astype(np.float64) / _STEPS
            stored = np.rint(value / np.where(step > 0, step, 1)).astype(np.int16)
            data[f"{name}_step"] = torch.from_numpy(step)
        elif name in _INDICES:
            stored = value.astype(np.int16)
        else:
            stored = value
        if name != "metadata":
            data[name] = torch.from_numpy(np.ascontiguousarray(stored))
    with atomic_path(path) as temporary:
        write_tensor_file(temporary, data)


def read_open_body(path: Path = PATH) -> OpenBody:
    """Reads the file.

    Raises:
        UserError: missing, damaged, or of another version.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; expected the open body's file (python -m networks.person.open_body build)")
    data = read_tensor_file(path)
    if data.get("open_body") != VERSION:
        found = data.get("open_body", "another file")
        raise UserError(f"{path}: expected the open body, version {VERSION}, found {found}")
    try:
        arrays = {name: _array(data, name) for name in OpenBody._fields if name != "metadata"}
    except KeyError as missing:
        raise UserError(f"{path}: expected the open body, found no array {missing}") from None
    return OpenBody(**arrays, metadata=data["metadata"])


def _array(data: dict[str, Any], name: str) -> np.ndarray:
    stored = data[name].numpy()
    if name in _STEPPED:
        value = stored * data[f"{name}_step"].numpy().astype(np.float32)
        return np.pad(value, ((0, 0), (0, 0), (0, 64 - NUM_ACTIONS))) if name == "exp_basis" else value
    return stored.astype(np.int64) if name in _INDICES else stored

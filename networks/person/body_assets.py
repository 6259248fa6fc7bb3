"""Bodies in SMPL's array layout: the open one, real SMPL files, and dictionaries of arrays.

SMPL itself may not be redistributed; `load_smpl` reads a user's own copy (see smpl_models/README.md).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse

from networks.person.open_body.parts import PARENTS
from networks.person.open_body.storage import read_open_body
from torch_utils.assets import find_asset
from torch_utils.misc import UserError
from torch_utils.safe_npz import SafeArchive
from torch_utils.safe_pickle import load_pickle

NUM_JOINTS = 24
NUM_BETAS = 10
NUM_POSE_FEATURES = 207  # R_j - I of joints 1..23
_FINE, _CELL = 4000, 0.008  # vertices of head and shoulders; metres


class BodyArrays(NamedTuple):
    """A skinned body: metres, y up, +z out of the chest, T-pose, left = +x."""

    v_template: np.ndarray  # [V, 3] float32
    shapedirs: np.ndarray  # [V, 3, 10] float32, a unit is one standard deviation
    posedirs: np.ndarray  # [V, 3, 207] float32, for R_j - I of joints 1..23, row-major; [V, 3, 0]: no correctives
    J_regressor: np.ndarray  # [24, V] float32
    lbs_weights: np.ndarray  # [V, 24] float32
    parents: np.ndarray  # [24] int64, parents[0] = -1
    faces: np.ndarray  # [F, 3] int64


def default_body() -> BodyArrays:
    """The open body (networks/person/open_body), clothed, without pose correctives; read from its file every time.

    Raises:
        UserError: the file is missing or damaged.
    """
    body = read_open_body()
    kept = body.body_vertices
    regressor = np.zeros((NUM_JOINTS, len(body.part)), np.float32)
    np.put_along_axis(regressor, body.joint_vertices, body.joint_weights, 1)
    return BodyArrays(
        v_template=body.v_template[kept],
        shapedirs=body.shapedirs[kept],
        posedirs=np.zeros((len(kept), 3, 0), np.float32),
        J_regressor=regressor[:, kept],
        lbs_weights=body.lbs_weights[kept] / body.lbs_weights[kept].sum(1, keepdims=True),
        parents=PARENTS.copy(),
        faces=body.mesh(kept),
    )


def _numbers(value: Any, what: str) -> np.ndarray:
    """Whatever holds numbers (tensor on any device, sparse or not, array, list) as a plain array; else UserError."""
    try:
        if torch.is_tensor(value):
            value = value.detach().cpu().to_dense()
            value = value.float() if value.dtype == torch.bfloat16 else value  # which NumPy does not have
        array = value.toarray() if sparse.issparse(value) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors without values
        raise UserError(f"{what} should be an array of numbers, found {type(value).__name__}") from None
    if array.dtype.kind not in "fiu":
        raise UserError(f"{what} should be an array of numbers, found {array.dtype}")
    return array


def _array(arrays: Mapping, names: tuple[str, ...], where: str) -> np.ndarray:
    """The first of `names` that `arrays` has, as a plain array."""
    for name in names:
        if name in arrays:
            return _numbers(arrays[name], f"{where}: '{name}'")
    raise UserError(f"{where}: no array '{names[0]}' (it has: {', '.join(map(str, sorted(arrays))) or 'nothing'})")


def _checked(value: np.ndarray, shape: tuple, name: str, where: str) -> np.ndarray:
    """`value` as float32 if its shape fits (None: any size) and it is finite; else UserError."""
    fits = value.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, value.shape, strict=True))
    if not fits:
        wanted = "[" + ", ".join("any" if s is None else str(s) for s in shape) + "]"
        raise UserError(f"{where}: '{name}' should have shape {wanted}, found {list(value.shape)}")
    if not np.isfinite(value).all():
        raise UserError(f"{where}: '{name}' holds NaN or infinity")
    return np.ascontiguousarray(value, dtype=np.float32)


def _parents(arrays: Mapping, where: str) -> np.ndarray:
    """[24] int64 tree, from `parents` [24] or `kintree_table` [2, 24]; the root's -1 may be 4294967295."""
    table = _array(arrays, ("parents", "kintree_table"), where)
    row = table[0] if table.ndim == 2 else table
    if row.shape != (NUM_JOINTS,):
        raise UserError(f"{where}: the joint tree should have {NUM_JOINTS} joints, found shape {list(table.shape)}")
    parents = row.astype(np.int64)
    parents[0] = -1
    if (parents[1:] < 0).any() or (parents[1:] >= np.arange(1, NUM_JOINTS)).any():
        raise UserError(f"{where}: the joint tree should list parents before children, found {parents.tolist()}")
    return parents


def body_from_dict(arrays: Mapping, where: str) -> BodyArrays:
    """Checks a mapping with SMPL's keys and gives it the layout of BodyArrays.

    Keys: v_template, weights | lbs_weights, J_regressor (may be sparse), shapedirs (the first 10 are kept), posedirs
    ([V, 3, 207], smplx's [207, 3V], or [V, 3, 0] where there are none), f | faces, kintree_table | parents. `where`
    names the source in messages.
    Raises UserError on a missing, misshapen or non-finite array.
    """
    v_template = _checked(_array(arrays, ("v_template",), where), (None, 3), "v_template", where)
    count = len(v_template)
    shapedirs = _array(arrays, ("shapedirs",), where)
    if shapedirs.ndim == 3 and shapedirs.shape[2] > NUM_BETAS:
        shapedirs = shapedirs[:, :, :NUM_BETAS]
    posedirs = _array(arrays, ("posedirs",), where)
    if posedirs.shape == (NUM_POSE_FEATURES, 3 * count):
        posedirs = posedirs.T.reshape(count, 3, NUM_POSE_FEATURES)
    width = 0 if posedirs.shape == (count, 3, 0) else NUM_POSE_FEATURES
    weights = _checked(_array(arrays, ("lbs_weights", "weights"), where), (count, NUM_JOINTS), "weights", where)
    if np.abs(weights.sum(1) - 1).max() > 1e-3:
        raise UserError(f"{where}: every row of 'weights' should sum to 1")
    faces = _array(arrays, ("f", "faces"), where)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.size == 0:
        raise UserError(f"{where}: 'f' should have shape [any, 3], found {list(faces.shape)}")
    faces = faces.astype(np.int64)
    if faces.min() < 0 or faces.max() >= count:
        raise UserError(f"{where}: 'f' should index {count} vertices, found {faces.min()}..{faces.max()}")
    return BodyArrays(
        v_template=v_template,
        shapedirs=_checked(shapedirs, (count, 3, NUM_BETAS), "shapedirs", where),
        posedirs=_checked(posedirs, (count, 3, width), "posedirs", where),
        J_regressor=_checked(_array(arrays, ("J_regressor",), where), (NUM_JOINTS, count), "J_regressor", where),
        lbs_weights=weights,
        parents=_parents(arrays, where),
        faces=faces,
    )


def check_index(index: Any, num_vertices: int, where: str) -> np.ndarray:
    """Vertex indices [V'] as int64; raises UserError naming `where` unless they are distinct and in range."""
    index = _numbers(index, f"{where}: vertex indices")
    if index.ndim != 1 or index.dtype.kind == "f" or not len(index):
        raise UserError(f"{where}: expected vertex indices [V'] (integers), found {index.dtype} {list(index.shape)}")
    if index.min() < 0 or index.max() >= num_vertices or len(np.unique(index)) != len(index):
        raise UserError(f"{where}: expected distinct vertex indices in 0..{num_vertices - 1}, found others")
    return index.astype(np.int64)


def load_smpl(path: str | Path) -> BodyArrays:
    """Reads a user's SMPL file: SMPL_NEUTRAL.pkl (either release, chumpy objects or not), or .npz with the same keys.

    Nothing from the file is executed (torch_utils/safe_pickle.py). Raises UserError with the file's name.
    """
    path = find_asset(path)
    if not path.is_file():
        raise UserError(f"{path}: no such SMPL file (see smpl_models/README.md)")
    data = SafeArchive(path) if path.suffix == ".npz" else load_pickle(path)
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: expected a dictionary of arrays, found {type(data).__name__}")
    return body_from_dict(data, str(path))


def head_shoulder_vertices(body: BodyArrays) -> np.ndarray:
    """Indices of the vertices that the portrait needs, [V'] int64 increasing, by rule for any T-posed SMPL-like body.

    Kept: whatever lies higher than 0.33 m below the neck joint and less than 0.22 m to the side of it (head, neck,
    shoulders, roots of the arms, chest and upper back), both scaled by the shoulders' width (0.173 m from the middle
    to a shoulder joint in the neutral body). For SMPL this is about half of the vertices. Of a mesh finer than SMPL's,
    one vertex of every cell of 8 mm stays: neighbours on face and eyes and in the mouth move alike.
    """
    joints = body.J_regressor.astype(np.float64) @ body.v_template
    scale = 0.5 * abs(joints[16, 0] - joints[17, 0]) / 0.173
    offset = body.v_template - joints[12]
    kept = (offset[:, 1] > -0.33 * scale) & (np.abs(offset[:, 0]) < 0.22 * scale)
    index = np.flatnonzero(kept).astype(np.int64)
    if len(index) > _FINE:
        cells = np.fix(body.v_template[index] / _CELL)  # the same on both sides
        index = index[np.sort(np.unique(cells, axis=0, return_index=True)[1])]
    return index

"""SMPL-X as avatars use it: a shaped body with 55 joints, without pose correctives (Pavlakos et al., CVPR 2019)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.gaussian.skinning import joint_transforms, point_transforms, transform_points
from torch_utils.misc import UserError
from torch_utils.safe_npz import SafeArchive

JOINTS, BETAS, EXPRESSIONS = 55, 10, 10
EXPRESSION_COLUMNS = slice(300, 300 + EXPRESSIONS)  # of the file's shape directions
LEFT_HIP, RIGHT_HIP = 1, 2
HIPS_APART = np.radians(25)


class SmplxBody(NamedTuple):
    """A person's body in T-pose with a neutral face; metres, y up."""

    vertices: Tensor  # [V, 3]
    joints: Tensor  # [55, 3]
    parents: Tensor  # [55]
    lbs_weights: Tensor  # [V, 55]
    expression_basis: Tensor  # [V, 3, 10]
    faces: Tensor  # [F, 3]

    def canonical(self) -> tuple[Tensor, Tensor, Tensor]:
        """In the canonical pose: vertices [V, 3], joints' transforms A_j [55, 4, 4], and expression directions."""
        transforms = joint_transforms(self.joints, self.parents, canonical_rotations())
        points = point_transforms(self.lbs_weights, transforms)
        return transform_points(points, self.vertices), transforms, points[:, :3, :3] @ self.expression_basis


def canonical_rotations() -> Tensor:
    """[55, 3, 3]: T-pose with the hips 25 degrees apart, so that legs share no pixels."""
    rotations = torch.eye(3).repeat(JOINTS, 1, 1)
    for hip, angle in ((LEFT_HIP, HIPS_APART), (RIGHT_HIP, -HIPS_APART)):
        c, s = float(np.cos(angle)), float(np.sin(angle))
        rotations[hip, :2, :2] = torch.tensor([[c, -s], [s, c]])
    return rotations


def load_smplx(path: str | Path, betas: np.ndarray) -> SmplxBody:
    """Of the user's SMPL-X file (SMPLX_NEUTRAL.npz), shaped by betas [10].

    Raises:
        UserError: the file is missing, damaged, or of another model.
    """
    archive = SafeArchive(path)
    shapes = {"v_template": 2, "shapedirs": 3, "J_regressor": 2, "weights": 2, "kintree_table": 2, "f": 2}
    arrays = {name: _array(archive, name, axes, path) for name, axes in shapes.items()}
    count = len(arrays["v_template"])
    if arrays["J_regressor"].shape != (JOINTS, count) or arrays["weights"].shape != (count, JOINTS):
        found = f"{len(arrays['J_regressor'])} joints of {count} vertices"
        raise UserError(f"{path}: expected SMPL-X, {JOINTS} joints of all vertices, found {found}")
    shapedirs = arrays["shapedirs"]
    if shapedirs.shape[:2] != (count, 3) or shapedirs.shape[2] < EXPRESSION_COLUMNS.stop:
        expected = f"[{count}, 3, {EXPRESSION_COLUMNS.stop} or more]"
        raise UserError(f"{path}: shapedirs: expected shape {expected}, found {list(shapedirs.shape)}")
    vertices = arrays["v_template"] + shapedirs[:, :, :BETAS] @ betas
    numbers = (vertices, arrays["J_regressor"] @ vertices, arrays["weights"], shapedirs[:, :, EXPRESSION_COLUMNS])
    vertices, joints, weights, expressions = (torch.from_numpy(value).float() for value in numbers)
    parents, faces = (torch.from_numpy(value.astype(np.int64)) for value in (arrays["kintree_table"][0], arrays["f"]))
    return SmplxBody(vertices, joints, parents, weights, expressions, faces)


def _array(archive: Mapping[str, Any], name: str, axes: int, path: str | Path) -> np.ndarray:
    if name not in archive:
        raise UserError(f"{path}: expected SMPL-X, found no array '{name}'")
    value = np.asarray(archive[name])
    if value.ndim != axes or value.dtype.kind not in "fiu":
        raise UserError(f"{path}: {name}: expected {axes} axes of numbers, found {value.dtype} {list(value.shape)}")
    value = value.astype(np.float64)
    return np.where(value >= 2**31, -1, value) if name == "kintree_table" else value  # the root's parent

"""A portable avatar: a person as layers of mesh with one texture, a skeleton and blendshapes; and its file.

Posed, a vertex is  sum_i w_i T_i (v + sum_t a_t m_t + sum_k b_k c_k):  blendshapes first and correctives, whose amounts
b follow from the blendshapes' a, in the rest pose; then linear blend skinning.
The rest pose is the canonical one with a neutral face. Joints have no rotation of their own there, so that a joint's
pose is the rotation of ``joint_eulers`` about its place (glTF's node rotation), with all that hangs on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.person.expressions import ARKIT, BASEL, coefficient_names
from torch_utils.misc import UserError, atomic_path
from torch_utils.tensor_file import read_tensor_file, write_tensor_file

VERSION = 2
INFLUENCES = 4  # joints that a vertex follows, as engines take them
# The joints of joint_eulers [6, 3] in its order, below what stays.
ROOT = "root"
POSED = ("neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder")
_WEIGHT_ERROR = 1e-4  # of the sum of a vertex's weights


@dataclass(frozen=True, kw_only=True)
class LayeredAvatar:
    """V vertices and F triangles in L layers, J joints, T blendshapes, K correctives. Canonical units: y up, +z is
    where the face looks.

    All tensors are on the CPU.

    Raises:
        ValueError: shapes, types or numbers that do not fit together.
    """

    vertices: Tensor  # [V, 3] float32
    uv: Tensor  # [V, 2] float32 in 0..1; (0, 0) is the outer corner of the atlas' first texel, v goes down its rows
    triangles: Tensor  # [F, 3] int32, counter-clockwise from the front; in the order to draw them, far to near
    layers: Tensor  # [L + 1] int32 increasing: triangles[layers[l] : layers[l + 1]] are layer l, the innermost first
    atlas: Tensor  # [H, W, 4] uint8 RGBA, sRGB, straight alpha
    joint_names: tuple[str, ...]  # [J]
    joint_parents: tuple[int, ...]  # [J] each before its children; -1: none
    joint_positions: Tensor  # [J, 3] float32 at rest, in the space of the vertices
    joints: Tensor  # [V, 4] uint8
    weights: Tensor  # [V, 4] float32, rows sum to 1
    morph_names: tuple[str, ...]  # [T] of coefficient_names: ARKit's actions, if the model's expressions are those
    morphs: Tensor  # [T, V, 3] float32 displacements at full amount
    correctives: Tensor  # [K, V, 3] float32, what several expressions at once add or take away
    correction: Tensor  # [K, 1 + T, 1 + T] float32: see corrective_amounts
    metadata: dict[str, Any]  # plain data: provenance

    def __post_init__(self):
        sizes = {"V": len(self.vertices), "J": len(self.joint_names), "T": len(self.morph_names)}
        sizes |= {"K": len(self.correctives), "1 + T": 1 + sizes["T"]}
        shapes: dict[str, tuple[torch.dtype, Sequence[str | int | None]]] = {
            "vertices": (torch.float32, ("V", 3)), "uv": (torch.float32, ("V", 2)),
            "triangles": (torch.int32, (None, 3)), "layers": (torch.int32, (None,)),
            "atlas": (torch.uint8, (None, None, 4)), "joint_positions": (torch.float32, ("J", 3)),
            "joints": (torch.uint8, ("V", INFLUENCES)), "weights": (torch.float32, ("V", INFLUENCES)),
            "morphs": (torch.float32, ("T", "V", 3)), "correctives": (torch.float32, ("K", "V", 3)),
            "correction": (torch.float32, ("K", "1 + T", "1 + T")),
        }  # fmt: skip
        for name, (dtype, wanted) in shapes.items():
            _check_tensor(name, getattr(self, name), dtype, [sizes[n] if isinstance(n, str) else n for n in wanted])
        self._check_mesh()
        self._check_skeleton()
        if len(set(self.morph_names) & set(_COLUMNS)) < len(self.morph_names):
            raise ValueError(
                f"morph_names: expected different coefficients' names, found {', '.join(self.morph_names)}"
            )

    def _check_mesh(self) -> None:
        count, ends = len(self.triangles), self.layers.tolist()
        if len(ends) < 2 or ends[0] != 0 or ends[-1] != count or sorted(ends) != ends or count == 0:
            raise ValueError(f"layers: expected increasing numbers from 0 to {count} triangles, found {ends}")
        if 0 in self.atlas.shape:
            raise ValueError("atlas: expected at least one texel, found none")
        low, high = int(self.triangles.min()), int(self.triangles.max())
        if low < 0 or high >= len(self.vertices):
            raise ValueError(f"triangles: expected vertices 0 to {len(self.vertices) - 1}, found {low} to {high}")

    def _check_skeleton(self) -> None:
        if not self.joint_names or len(self.joint_parents) != len(self.joint_names):
            expected = f"one for each of {len(self.joint_names)} joints, at least one"
            raise ValueError(f"joint_parents: expected {expected}, found {len(self.joint_parents)}")
        if not all(-1 <= parent < joint for joint, parent in enumerate(self.joint_parents)):
            raise ValueError(f"joint_parents: expected -1 or a joint before each, found {list(self.joint_parents)}")
        if len(self.joints) and int(self.joints.max()) >= len(self.joint_names):
            raise ValueError(f"joints: expected 0 to {len(self.joint_names) - 1}, found {int(self.joints.max())}")
        sums = self.weights.sum(1)
        if not (self.weights >= 0).all() or not (sums - 1).abs().le(_WEIGHT_ERROR).all():
            raise ValueError(
                f"weights: expected rows that sum to 1 and nothing below 0, found sums from {sums.min():.4g} to "
                f"{sums.max():.4g}, least {self.weights.min():.4g}"
            )

    def morph_amounts(self, expression: Tensor) -> Tensor:
        """Amounts of the blendshapes [..., T] for the coefficients of the person's model [..., 64]."""
        return expression[..., [_COLUMNS[name] for name in self.morph_names]]

    def corrective_amounts(self, amounts: Tensor) -> Tensor:
        """Amounts of the correctives [..., K] for those of the blendshapes [..., T]: quadratic forms in (1, amounts),
        from -1 to 1."""
        whole = F.pad(amounts, (1, 0), value=1.0)
        return torch.einsum("...i,kij,...j->...k", whole, self.correction, whole).clamp(-1, 1)


# Of the expression, by the names of blendshapes.
_COLUMNS = {name: i for face_model in (BASEL, ARKIT) for i, name in enumerate(coefficient_names(face_model))}


def _check_tensor(name: str, value: Tensor, dtype: torch.dtype, shape: list[int | None]) -> None:
    fits = value.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, value.shape, strict=True))
    if value.dtype != dtype or not fits:
        sizes = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: expected {dtype} [{sizes}], found {value.dtype} {list(value.shape)}")
    if value.is_floating_point() and not value.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, found NaN or infinity")


def save_avatar(path: str | Path, avatar: LayeredAvatar) -> None:
    """Writes an avatar as one safetensors file, whole or not at all; the same avatar gives the same bytes.

    Raises:
        UserError: the place cannot be written to, or the disk is full.
    """
    with atomic_path(path) as temporary:
        parts = {field.name: getattr(avatar, field.name) for field in fields(avatar)}
        write_tensor_file(temporary, {"avatar": VERSION, **parts})


def load_avatar(path: str | Path) -> LayeredAvatar:
    """The inverse of :func:`save_avatar`; runs nothing from the file.

    Raises:
        UserError: missing, damaged, no avatar, or one of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such avatar file")
    data = read_tensor_file(path)
    if data.get("avatar") != VERSION:
        raise UserError(f"{path}: expected an avatar, version {VERSION}, found {data.get('avatar', 'another file')}")
    try:
        parts = {field.name: data[field.name] for field in fields(LayeredAvatar)}
        named = {name: tuple(parts[name]) for name in ("joint_names", "joint_parents", "morph_names")}
        return LayeredAvatar(**parts | named)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged avatar ({error})") from None

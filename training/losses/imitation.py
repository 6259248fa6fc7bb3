"""Equation 10: D^e imitates the displacements of the morphable face."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from networks.person.face_model import FaceModel
from training.losses.vertex_tree import VertexTree


class ImitationReference(NamedTuple):
    displacement: Tensor  # [B, P, 3] dx_ref, canonical units
    mask: Tensor  # [B, P] bool: the point is near the face and its nearest vertex certain


class VertexSet(nn.Module):
    """Some vertices of a morphable face, and D^e's way back from where identity and expression take them.

    Args:
        face: the morphable face.
        vertex_index: [N] the vertices.
        to_mean_shape: the way leads to the mean face, not to the person's neutral one (``canonical_shape``).
    """

    mean: Tensor
    id_basis: Tensor
    exp_basis: Tensor

    def __init__(self, face: FaceModel, vertex_index: np.ndarray, *, to_mean_shape: bool = False):
        super().__init__()
        self.to_mean_shape, index = to_mean_shape, torch.as_tensor(vertex_index)
        for name in ("mean", "id_basis", "exp_basis"):
            self.register_buffer(name, getattr(face, name)[index], persistent=False)

    def __len__(self) -> int:
        return len(self.mean)

    def posed(self, z_id: Tensor, z_exp: Tensor) -> tuple[Tensor, Tensor]:
        """z_id [B, 80], z_exp [B, 64] -> all vertices [B, N, 3] and the way back from there [B, N, 3]."""
        move = torch.einsum("nck,bk->bnc", self.exp_basis, z_exp)
        shape = torch.einsum("nck,bk->bnc", self.id_basis, z_id)
        return self.mean + shape + move, -(shape + move) if self.to_mean_shape else -move

    def some(self, index: Tensor, z_id: Tensor, z_exp: Tensor) -> tuple[Tensor, Tensor]:
        """The same of chosen vertices ``index`` [B, P]: [B, P, 3] each."""
        move = torch.einsum("bpck,bk->bpc", self.exp_basis[index], z_exp)
        shape = torch.einsum("bpck,bk->bpc", self.id_basis[index], z_id)
        return self.mean[index] + shape + move, -(shape + move) if self.to_mean_shape else -move


class ImitationTarget(VertexSet):
    """dx_ref = -B_exp z_exp at the vertex nearest to x (paper eq. 10).

    D^e takes points of the expressive face back to the neutral one, so x lies in the expressive space, the vertices are
    those of S(z_id, z_exp), and the displacement has a minus. Far from every vertex nothing is imitated: there
    equations 12 and 13 hold D^e.

    Args:
        face: the morphable face.
        reach: how near to a vertex a point must lie, canonical units (0.03 is 35 mm).
        vertex_index: [N] the vertices that count; all by default. Of the open face its skin
            (:func:`networks.person.face_model.default_face_skin`): the lids close before the eyes, the lips open before
            the mouth, and a point there shall follow the skin. The Basel face has no such parts.
        openings: vertices of lids and lips, and of what is seen between them when they are open
            (:func:`networks.person.face_model.default_face_openings`), for D^e's warm-up.
        to_mean_shape: dx_ref = -(B_id z_id + B_exp z_exp), as ``canonical_shape`` says.
    """

    def __init__(
        self,
        face: FaceModel,
        *,
        reach: float = 0.03,
        vertex_index: np.ndarray | None = None,
        openings: tuple[np.ndarray, np.ndarray] | None = None,
        to_mean_shape: bool = False,
    ):
        super().__init__(
            face, np.arange(len(face.mean)) if vertex_index is None else vertex_index, to_mean_shape=to_mean_shape
        )
        self.reach = reach
        self.tree = VertexTree(self.mean.cpu().numpy())
        parts = [VertexSet(face, index, to_mean_shape=to_mean_shape) for index in openings or ()]
        self.rims: VertexSet | None = parts[0] if parts else None
        self.between: VertexSet | None = parts[1] if parts else None

    @torch.no_grad()
    def forward(self, points: Tensor, z_id: Tensor, z_exp: Tensor) -> ImitationReference:
        """Pose-neutral points [B, P, 3], z_id [B, 80], z_exp [B, 64]."""
        vertices, back = self.posed(z_id, z_exp)
        nearest = self.tree(vertices, points)
        displacement = back.gather(1, nearest.index[..., None].expand(-1, -1, 3))
        return ImitationReference(displacement, nearest.certain & (nearest.distance <= self.reach))


def imitation_loss(displacement: Tensor, reference: ImitationReference) -> Tensor:
    """E[|(D^e(x) - x) - dx_ref|] over points (paper eq. 10), canonical units; those without a reference count as 0.

    Args:
        displacement: [B, P, 3] of D^e at the points of ``reference``.
    """
    error = torch.linalg.vector_norm(displacement - reference.displacement, dim=-1)  # [B, P]
    return (error * reference.mask).mean()

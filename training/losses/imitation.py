"""Equation 10: D^e imitates the displacements of the morphable face."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from networks.person.face_model import FaceModel, FaceOpenings
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
        towards: expression [64] of the face that the way leads to, the neutral one by default (``canonical_face``).
        most: [64] of every number of an expression that has an effect; any by default.
    """

    mean: Tensor
    id_basis: Tensor
    exp_basis: Tensor
    aim: Tensor
    most: Tensor
    moves: Tensor  # [N, 64] how far each number of an expression moves each vertex, as a share of the farthest

    def __init__(
        self,
        face: FaceModel | FacePoints,
        vertex_index: np.ndarray,
        *,
        to_mean_shape: bool = False,
        towards: Tensor | None = None,
        most: Tensor | None = None,
    ):
        super().__init__()
        self.to_mean_shape, index = to_mean_shape, torch.as_tensor(vertex_index)
        for name in ("mean", "id_basis", "exp_basis"):
            self.register_buffer(name, getattr(face, name)[index], persistent=False)
        aim = torch.zeros_like(self.mean) if towards is None else self.exp_basis @ towards.to(self.exp_basis)
        self.register_buffer("aim", aim, persistent=False)  # [N, 3] from the neutral face
        most = torch.full(self.exp_basis.shape[-1:], torch.inf) if most is None else most
        self.register_buffer("most", most.to(self.mean), persistent=False)
        moves = self.exp_basis.norm(dim=1)
        self.register_buffer("moves", moves / moves.amax(0).clamp_min(1e-9), persistent=False)

    def __len__(self) -> int:
        return len(self.mean)

    def posed(self, z_id: Tensor, z_exp: Tensor) -> tuple[Tensor, Tensor]:
        """z_id [B, 80], z_exp [B, 64] -> all vertices [B, N, 3] and the way back from there [B, N, 3]."""
        move = torch.einsum("nck,bk->bnc", self.exp_basis, z_exp.minimum(self.most))
        shape = torch.einsum("nck,bk->bnc", self.id_basis, z_id)
        return self.mean + shape + move, self.aim - (shape + move if self.to_mean_shape else move)

    def some(self, index: Tensor, z_id: Tensor, z_exp: Tensor) -> tuple[Tensor, Tensor]:
        """The same of chosen vertices ``index`` [B, P]: [B, P, 3] each."""
        move = torch.einsum("bpck,bk->bpc", self.exp_basis[index], z_exp.minimum(self.most))
        shape = torch.einsum("bpck,bk->bpc", self.id_basis[index], z_id)
        return self.mean[index] + shape + move, self.aim[index] - (shape + move if self.to_mean_shape else move)


class FacePoints(NamedTuple):
    """Points that move with a morphable face."""

    mean: Tensor  # [N, 3]
    id_basis: Tensor  # [N, 3, 80]
    exp_basis: Tensor  # [N, 3, 64]


def subdivided(face: FaceModel, within: np.ndarray, beside: np.ndarray, parts: int = 5) -> FacePoints:
    """Points in the face's triangles that have all corners ``within`` some vertices and one of them ``beside`` others:
    ``parts`` (``parts`` + 1) / 2 a triangle, evenly."""
    faces = face.faces.cpu().numpy()
    corners = torch.as_tensor(faces[np.isin(faces, within).all(1) & np.isin(faces, beside).any(1)])
    i, j = np.triu_indices(parts)
    first, second = (i + 1 / 3) / parts, (j - i + 1 / 3) / parts
    shares = torch.as_tensor(np.stack([first, second, 1 - first - second], 1), dtype=face.mean.dtype)
    arrays = (face.mean, face.id_basis, face.exp_basis)
    return FacePoints(*(torch.einsum("sk,tk...->ts...", shares, array[corners]).flatten(0, 1) for array in arrays))


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
        towards: expression [64] of the canonical face, added to dx_ref as B_exp towards (``canonical_face``).
        most: [64] of every number of an expression that has an effect: lids stop where they meet.
    """

    def __init__(
        self,
        face: FaceModel,
        *,
        reach: float = 0.03,
        vertex_index: np.ndarray | None = None,
        openings: FaceOpenings | None = None,
        to_mean_shape: bool = False,
        towards: Tensor | None = None,
        most: Tensor | None = None,
    ):
        index = np.arange(len(face.mean)) if vertex_index is None else vertex_index
        super().__init__(face, index, to_mean_shape=to_mean_shape, towards=towards, most=most)
        self.reach = reach
        self.tree = VertexTree(self.mean.cpu().numpy())
        self.rims: VertexSet | None = None
        self.between: VertexSet | None = None
        self.patches: VertexSet | None = None  # of lids and lips; rows of vertices of a closed lid are 6 mm apart
        if openings is not None:
            fine = subdivided(face, np.union1d(index, openings.rims), openings.lids)
            self.patches = VertexSet(
                fine, np.arange(len(fine.mean)), to_mean_shape=to_mean_shape, towards=towards, most=most
            )
            self.rims, self.between = (
                VertexSet(face, part, to_mean_shape=to_mean_shape, towards=towards, most=most)
                for part in (openings.rims, openings.between)
            )
        still = index if openings is None else np.setdiff1d(index, openings.lids)
        self.smooth = VertexSet(
            face, still, to_mean_shape=to_mean_shape, towards=towards, most=most
        )  # all but lids and lips
        index = face.landmark_index.cpu().numpy()
        self.landmarks = VertexSet(face, index, to_mean_shape=to_mean_shape, towards=towards, most=most)

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

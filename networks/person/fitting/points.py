"""Points of the open body that a tracker can see: linear in who it is and in the expression, then skinned."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from networks.person.body_assets import default_body
from networks.person.body_model import MOVING, POSED_JOINTS, BodyModel, euler_to_matrix, moving_weights
from networks.person.open_body.storage import NUM_ACTIONS, OpenBody, read_open_body

NUM_SHAPE = 80 + 10  # z_id and betas, in this order


class PointArrays(NamedTuple):
    """What moves N points; float64, canonical units."""

    mean: Tensor  # [N, 3]
    shape_basis: Tensor  # [N, 3, 90]
    exp_basis: Tensor  # [N, 3, 52]
    skinning: Tensor  # [N, J] by body_model.MOVING

    def join(self, other: PointArrays) -> PointArrays:
        """Those of both."""
        return PointArrays(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


def open_body_model() -> BodyModel:
    """The open body in double precision, without the vertices of inverse skinning, which nobody asks for here."""
    return BodyModel(default_body(), torch.zeros(1, dtype=torch.int64)).double()


@torch.no_grad()
def surface_points(model: BodyModel, vertices: np.ndarray, weights: np.ndarray) -> PointArrays:
    """Points that are weighted sums of vertices.

    They are where the pictures of drawn people have them: identity and expression move the head's vertices, betas all
    of them, and skinning bends the neck.

    Args:
        model: the open body.
        vertices: [N, K] among the open body's V.
        weights: [N, K] that sum to 1.
    """
    asset = read_open_body()
    used, inverse = np.unique(vertices, return_inverse=True)
    place = torch.from_numpy(inverse.reshape(vertices.shape))
    share = torch.from_numpy(np.asarray(weights, np.float64))

    def summed(values: Tensor) -> Tensor:  # [U, ...] of the used vertices -> [N, ...]
        return torch.einsum("nk,nk...->n...", share, values[place])

    kept = torch.from_numpy(np.searchsorted(asset.body_vertices, used))
    shapes = model.canonical_vertices(_unit_betas())[:, kept]  # linear in betas, as the joints are
    betas = (shapes[1:] - shapes[0]).movedim(0, -1)  # [U, 3, 10]
    bases = _of_head(asset, used)
    rows = moving_weights(model.lbs_weights[kept].numpy(), model.parents.numpy())
    shape_basis = torch.cat([bases[..., :80], betas], -1)
    return PointArrays(*map(summed, (shapes[0], shape_basis, bases[..., 80:], torch.from_numpy(rows))))


@torch.no_grad()
def joint_points(model: BodyModel, joints: np.ndarray, turns: np.ndarray, offsets: np.ndarray) -> PointArrays:
    """Points near joints: [N] the joint whose place they follow, [N] the one they turn with, [N, 3] from the former."""
    found = model.canonical_joints(_unit_betas())[:, torch.from_numpy(joints)]  # [11, N, 3]
    betas = (found[1:] - found[0]).movedim(0, -1)
    shape_basis = torch.cat([betas.new_zeros(len(joints), 3, 80), betas], -1)
    own = torch.eye(len(MOVING), dtype=torch.float64)[[MOVING.index(joint) for joint in turns]]
    return PointArrays(
        found[0] + torch.from_numpy(offsets), shape_basis, betas.new_zeros(len(joints), 3, NUM_ACTIONS), own
    )


def _unit_betas() -> Tensor:
    """[11, 10]: none, then one of each."""
    return torch.cat([torch.zeros(1, 10), torch.eye(10)]).double()


class BodyPoints(nn.Module):
    """N points of the open body: linear in identity, body shape and expression, then skinned.

    Args:
        model: the open body.
        arrays: of the points.
    """

    mean: Tensor
    shape_basis: Tensor
    exp_basis: Tensor
    skinning: Tensor

    def __init__(self, model: BodyModel, arrays: PointArrays):
        super().__init__()
        self.body = model
        for name, value in arrays._asdict().items():
            self.register_buffer(name, value)

    def __len__(self) -> int:
        return len(self.mean)

    def canonical(self, shape: Tensor, actions: Tensor) -> Tensor:
        """shape [.., 90] (z_id, betas), actions [B, 52] -> [B, N, 3] in the canonical pose, canonical units."""
        moved = torch.einsum("nck,...k->...nc", self.shape_basis, shape)
        return self.mean + moved + torch.einsum("nck,bk->bnc", self.exp_basis, actions)

    def joints(self, shape: Tensor) -> Tensor:
        """Joints [24, 3] in the canonical pose for a shape [90]."""
        return self.body.canonical_joints(shape[None, 80:])[0]

    def transforms(self, joints: Tensor, joint_eulers: Tensor) -> Tensor:
        """Rigid transforms [B, J, 3, 4] of body_model.MOVING; joints [24, 3], joint_eulers [B, 6, 3].

        What BodyModel.turn_joints finds for a whole body, several times faster for the few joints that turn.
        """
        turns, places = euler_to_matrix(joint_eulers), joints[POSED_JOINTS]
        offsets = places - (turns * places[:, None]).sum(-1)  # each joint turns about itself
        local = torch.cat([turns, offsets[..., None]], -1)  # [B, 6, 3, 4]
        parents, children = local[:, :3], local[:, 3:]  # neck and collars; head and shoulders hang on them
        chained = parents[..., :3] @ children + torch.nn.functional.pad(parents[..., 3:], (3, 0))
        trunk = torch.eye(3, 4, dtype=local.dtype).expand(len(local), 1, -1, -1)
        return torch.cat([trunk, parents, chained], 1)

    def pose(self, canonical: Tensor, transforms: Tensor) -> Tensor:
        """Canonical points [B, N, 3], skinned by transforms [B, J, 3, 4]."""
        rows = torch.einsum("nj,bjrc->bnrc", self.skinning, transforms)
        return (rows[..., :3] @ canonical[..., None]).squeeze(-1) + rows[..., 3]


def _of_head(asset: OpenBody, used: np.ndarray) -> Tensor:
    """Identity and expression directions [U, 3, 80 + 52] of the vertices ``used``; 0 off the head."""
    row = np.searchsorted(asset.head_vertices, used).clip(max=len(asset.head_vertices) - 1)
    there = asset.head_vertices[row] == used
    bases = np.concatenate([asset.id_basis[row], asset.exp_basis[row, :, :NUM_ACTIONS]], -1)
    return torch.from_numpy(bases.astype(np.float64) * there[:, None, None])

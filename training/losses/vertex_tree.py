"""The vertex nearest to a point, on faces of one topology: a KD-tree built once and refitted to every shape."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

BRANCHES = 4  # children of a node: two halvings
LEAF_SIZE = 24  # vertices of a leaf at most
POINTS_PER_CHUNK = 1 << 15  # of the whole batch; each needs some 3 kB


class Nearest(NamedTuple):
    index: Tensor  # type: ignore[assignment]  # [B, P] int64 vertex; hides tuple.index
    distance: Tensor  # [B, P] to it
    certain: Tensor  # [B, P] bool: no vertex outside the searched leaves can be nearer


def _halve(vertices: np.ndarray, index: np.ndarray, times: int) -> list[np.ndarray]:
    """``index`` in 2^times parts of equal size (but for one), split at medians along the longest side."""
    if times == 0:
        return [index]
    axis = np.ptp(vertices[index], axis=0).argmax()
    order = index[np.argsort(vertices[index, axis], kind="stable")]
    middle = len(order) // 2
    return _halve(vertices, order[:middle], times - 1) + _halve(vertices, order[middle:], times - 1)


class VertexTree(nn.Module):
    """Nearest vertices of a batch of faces that all have the topology of one.

    Which vertices share a node is settled by a face at rest; only the nodes' bounding boxes follow the shape, in
    log(V) reductions. The search goes down level by level and keeps the ``beam`` nodes whose boxes are nearest: shapes
    are static, so nothing is copied to the host, and P points cost P * beam * log(V) instead of P * V.

    Args:
        vertices: [V, 3] of the face at rest.
        beam: nodes kept at a level. More are needed only far from the face, where many vertices are about as near.

    Raises:
        ValueError: fewer than 4 vertices.
    """

    leaves: Tensor

    def __init__(self, vertices: np.ndarray, beam: int = 8):
        super().__init__()
        if len(vertices) < BRANCHES:
            raise ValueError(f"vertices: expected at least {BRANCHES}, found {len(vertices)}")
        self.beam = beam
        self.levels = 1
        while len(vertices) > LEAF_SIZE * BRANCHES**self.levels:
            self.levels += 1
        parts = _halve(vertices, np.arange(len(vertices)), 2 * self.levels)
        width = max(map(len, parts))
        # Leaves with a vertex less than others hold their first one twice.
        leaves = np.stack([np.concatenate([part, part[:1]])[:width] for part in parts])
        self.register_buffer("leaves", torch.from_numpy(leaves), persistent=False)  # [4^levels, L]

    def forward(self, vertices: Tensor, points: Tensor) -> Nearest:
        """The nearest vertex of each point: vertices [B, V, 3], points [B, P, 3] of the same space; no gradients."""
        with torch.no_grad():
            leaves = vertices[:, self.leaves]  # [B, N, L, 3]
            boxes = [torch.stack([leaves.amin(2), leaves.amax(2)], 2)]  # [B, N, 2, 3], from the leaves up
            for _ in range(self.levels - 1):
                children = boxes[0].unflatten(1, (-1, BRANCHES))
                boxes.insert(0, torch.stack([children[:, :, :, 0].amin(2), children[:, :, :, 1].amax(2)], 2))
            chunk = max(1, POINTS_PER_CHUNK // len(points))
            parts = [self._search(boxes, leaves, part) for part in points.split(chunk, 1)]
            return Nearest(*(torch.cat(part, 1) for part in zip(*parts, strict=True)))

    def _search(self, boxes: list[Tensor], leaves: Tensor, points: Tensor) -> Nearest:
        rows = torch.arange(len(points), device=points.device)[:, None, None]
        target = points[:, :, None]  # [B, P, 1, 3]
        nodes = torch.arange(BRANCHES, device=points.device).expand(*points.shape[:2], -1)  # [B, P, n]
        beyond = torch.full(points.shape[:2], torch.inf, dtype=points.dtype, device=points.device)
        for level, box in enumerate(boxes):
            if level:
                nodes = (nodes[..., None] * BRANCHES + torch.arange(BRANCHES, device=points.device)).flatten(2)
            low, high = box[rows, nodes].unbind(-2)  # [B, P, n, 3]
            outside = (target - torch.minimum(torch.maximum(target, low), high)).square().sum(-1)  # [B, P, n]
            if nodes.shape[-1] > self.beam:
                outside, order = outside.topk(self.beam + 1, largest=False, sorted=True)
                beyond = torch.minimum(beyond, outside[..., -1])  # the nearest box that is given up
                nodes = nodes.gather(-1, order[..., :-1])
        squared = (target[..., None, :] - leaves[rows, nodes]).square().sum(-1).flatten(2)  # [B, P, n L]
        squared, place = squared.min(-1)
        index = self.leaves[nodes].flatten(2).gather(-1, place[..., None]).squeeze(-1)
        return Nearest(index, squared.sqrt(), squared <= beyond)

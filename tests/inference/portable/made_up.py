"""A tiny avatar that is quick to check by hand: two square layers, seven joints, three facial actions."""

import torch

from inference.portable.avatar import POSED, ROOT, LayeredAvatar

NO_CORRECTIVES = {"correctives": torch.zeros(0, 18, 3), "correction": torch.zeros(0, 4, 4)}


def make_avatar(side=3):
    """Layers of ``side``^2 vertices at z = -0.05 and 0.05 over [-0.1, 0.1]^2: the inner one opaque and red in the left
    half of the atlas, the outer one half transparent and blue in the right half."""
    along = torch.linspace(-0.1, 0.1, side)
    y, x = torch.meshgrid(along, along, indexing="ij")
    grid = torch.stack([x, y], -1).reshape(-1, 2)
    vertices = torch.cat([torch.cat([grid, torch.full_like(grid[:, :1], z)], 1) for z in (-0.05, 0.05)])
    across = (grid + 0.1) / 0.2  # 0..1
    uv = torch.cat([torch.stack([0.5 * across[:, 0] + left, 1 - across[:, 1]], -1) for left in (0.0, 0.5)])
    first = torch.arange(side * side, dtype=torch.int32).view(side, side)
    a, b, c, d = (first[:-1, :-1], first[:-1, 1:], first[1:, 1:], first[1:, :-1])  # counter-clockwise from +z
    one = torch.stack([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)], 2).reshape(-1, 3)
    atlas = torch.zeros(8, 16, 4, dtype=torch.uint8)
    atlas[:, :8] = torch.tensor([255, 0, 0, 255], dtype=torch.uint8)
    atlas[:, 8:] = torch.tensor([0, 0, 255, 128], dtype=torch.uint8)
    # Below the middle vertices follow the neck, above it the head, in the middle row both.
    height = (vertices[:, 1] / 0.1 + 1) / 2
    weights = torch.stack([1 - height, height, 0 * height, 0 * height], 1)
    joints = torch.tensor([1, 4, 0, 0], dtype=torch.uint8).repeat(len(vertices), 1)
    morphs = torch.zeros(3, len(vertices), 3)
    low = vertices[:, 1] < -0.05
    morphs[0, low] = torch.tensor([0.0, -0.02, 0.0])
    morphs[1, low & (vertices[:, 0] > 0.05)] = torch.tensor([0.01, 0.01, 0.0])
    morphs[2, vertices[:, 1] > 0.05] = torch.tensor([0.0, -0.01, 0.005])
    correction = torch.zeros(1, 4, 4)  # jaw and smile together: half of the jaw, twice as fast as their product
    correction[0, 1, 2] = 2
    return LayeredAvatar(
        vertices=vertices,
        uv=uv,
        triangles=torch.cat([one, one + side * side]),
        layers=torch.tensor([0, len(one), 2 * len(one)], dtype=torch.int32),
        atlas=atlas,
        joint_names=(ROOT, *POSED),
        joint_parents=(-1, 0, 1, 1, 1, 2, 3),
        joint_positions=torch.tensor(
            [
                [0.0, -0.2, 0.0], [0.0, -0.1, 0.0], [0.05, -0.12, 0.0], [-0.05, -0.12, 0.0], [0.0, 0.0, 0.0],
                [0.1, -0.12, 0.0], [-0.1, -0.12, 0.0],
            ]
        ),
        joints=joints,
        weights=weights,
        morph_names=("jawOpen", "mouthSmileLeft", "browInnerUp"),
        morphs=morphs,
        correctives=0.5 * morphs[:1],
        correction=correction,
        metadata={"about": "synthetic person, made up for a test", "seed": 3},
    )  # fmt: skip

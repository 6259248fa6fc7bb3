"""Inverse skinning and D^p against brute force and naive filters."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from networks.person.body_model import NECK, euler_to_matrix
from networks.person.pose_deformation import (
    KERNEL,
    PoseDeformationProcessor,
    _DepthwiseConv3d,
    apply_volume,
    inverse_lbs_volume,
    inverse_vertex_transforms,
)
from tests.networks.helpers import make_body, max_error

WEIGHTS = torch.from_numpy(make_body().lbs_weights)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make_joint_transforms(batch: int = 2) -> torch.Tensor:
    transforms = torch.eye(4).repeat(batch, 24, 1, 1)
    transforms[:, :, :3, :3] = euler_to_matrix(0.5 * torch.randn(batch, 24, 3))
    transforms[:, :, :3, 3] = torch.randn(batch, 24, 3)
    return transforms


def test_inverse_vertex_transforms_undo_the_blended_ones():
    transforms = make_joint_transforms()
    inverse = inverse_vertex_transforms(WEIGHTS, transforms)
    forward = (WEIGHTS @ transforms.flatten(2)).unflatten(-1, (4, 4))
    assert max_error(inverse @ forward, torch.eye(4).expand_as(forward)) < 1e-5


def test_a_vertex_of_one_joint_gets_that_joint_s_inverse():
    transforms = make_joint_transforms(1)
    alone = (WEIGHTS[:, NECK] == 1).nonzero()[:, 0]
    inverse = inverse_vertex_transforms(WEIGHTS[alone], transforms)
    rotation, shift = transforms[0, NECK, :3, :3], transforms[0, NECK, :3, 3]
    expected = torch.cat([rotation.T, -(rotation.T @ shift)[:, None]], 1).expand(1, len(alone), 3, 4)
    assert len(alone) == 5  # the sixth is shared with the parent
    assert max_error(inverse[:, :, :3], expected) < 1e-5


def test_volume_layout():
    """Every cell holds the 16 entries of its nearest vertex's inverse, depth before height before width."""
    vertices, transforms = torch.randn(1, 7, 3), torch.randn(1, 7, 4, 4)
    index = torch.randint(7, (2, 3, 4))
    points = vertices[0, index][None]  # [1, H, W, S, 3]
    volume = inverse_lbs_volume(points, vertices, transforms)
    assert volume.shape == (1, 16, 4, 2, 3)
    for h, w, s in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        assert torch.equal(volume[0, :, s, h, w], transforms[0, index[h, w, s]].flatten())


def naive_mean_filter(volume: torch.Tensor) -> torch.Tensor:
    """Mean over the 5 x 9 x 9 neighbourhood, mirrored at the borders, one cell at a time."""
    _, _, *size = volume.shape
    mirrored = []
    for length, kernel in zip(size, KERNEL, strict=True):
        reach = [abs(i) for i in range(-(kernel // 2), length + kernel // 2)]
        mirrored.append([i if i < length else 2 * (length - 1) - i for i in reach])
    result = torch.empty_like(volume)
    for d in range(size[0]):
        for h in range(size[1]):
            for w in range(size[2]):
                part = volume[:, :, mirrored[0][d : d + 5]][:, :, :, mirrored[1][h : h + 9]]
                result[:, :, d, h, w] = part[..., mirrored[2][w : w + 9]].mean((2, 3, 4))
    return result


def test_processor_starts_as_mean_filters():
    volume = torch.randn(1, 16, 3, 5, 6)
    upsampled = F.interpolate(naive_mean_filter(volume), scale_factor=2, mode="trilinear", align_corners=False)
    smoothed = PoseDeformationProcessor()(volume)
    assert smoothed.shape == (1, 16, 6, 10, 12)
    assert max_error(smoothed, naive_mean_filter(upsampled)) < 1e-6


def make_processor() -> PoseDeformationProcessor:
    processor = PoseDeformationProcessor()
    with torch.no_grad():
        processor.weight1.uniform_(0.1, 1)
        processor.weight2.uniform_(0.1, 1)
    return processor


def test_a_constant_volume_passes_unchanged():
    constant = torch.randn(2, 16, 1, 1, 1)
    smoothed = make_processor()(constant.expand(-1, -1, 4, 6, 5))
    assert max_error(smoothed, constant.expand(-1, -1, 8, 12, 10)) < 1e-5


def test_entries_are_smoothed_apart_and_linearly():
    processor, volume = make_processor(), torch.randn(1, 16, 3, 5, 5)
    whole = processor(volume)
    only = torch.zeros_like(volume)
    only[:, 7] = volume[:, 7]
    assert max_error(processor(only)[:, 7], whole[:, 7]) < 1e-6
    assert processor(only)[:, :7].abs().max() == 0
    assert max_error(processor(3 * volume), 3 * whole) < 1e-5


def test_processor_gradients_reach_both_filters():
    """Only the shape of a filter matters: its gradient is orthogonal to its scale."""
    processor = make_processor()
    processor(torch.randn(1, 16, 3, 5, 5)).square().mean().backward()
    for weight in (processor.weight1, processor.weight2):
        assert torch.all(weight.grad.flatten(1).abs().amax(1) > 0)
        assert (weight.grad * weight).flatten(1).sum(1).abs().max() < 1e-6


def test_apply_volume_is_the_affine_map_of_each_cell():
    transforms, points = torch.randn(2, 3, 4, 5, 4, 4), torch.randn(2, 4, 5, 3, 3)  # [B, S, H, W, ..], [B, H, W, S, 3]
    volume = transforms.flatten(-2).permute(0, 4, 1, 2, 3)
    expected = torch.einsum("bshwij,bhwsj->bhwsi", transforms[..., :3, :3], points)
    expected = expected + transforms[..., :3, 3].permute(0, 2, 3, 1, 4)
    assert max_error(apply_volume(volume, points), expected) < 1e-5


def test_apply_volume_gradients():
    volume = torch.randn(1, 16, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    points = torch.randn(1, 2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(apply_volume, (volume, points))


def test_gradients_of_the_filters():
    random = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, 6, 5, 7, dtype=torch.float64, generator=random, requires_grad=True)
    weight = torch.randn(3, 1, 3, 2, 4, dtype=torch.float64, generator=random, requires_grad=True)
    assert torch.autograd.gradcheck(_DepthwiseConv3d.apply, (volume, weight))
    expected = torch.nn.functional.conv3d(volume, weight, groups=3)
    assert torch.equal(_DepthwiseConv3d.apply(volume, weight), expected)

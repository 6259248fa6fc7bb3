"""Landmarks, expression field, pose smoothness and consistency (eq. 9, 11-13, stage 2) against closed forms."""

import pytest
import torch
from torch.nn import functional as F

from networks.person.pose_deformation import PoseDeformationProcessor
from tests.networks.helpers import max_error
from training.losses.consistency import (
    downsample_image,
    downsample_maps,
    image_consistency_loss,
    map_consistency_loss,
)
from training.losses.expression_field import expression_minimal_loss, expression_smooth_loss
from training.losses.landmarks import landmark_loss
from training.losses.pose_smooth import averaged, pose_smooth_loss

ROUNDING = 1e-12  # float64


def randn(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=random, requires_grad=True)


# ---- equation 9 ---------------------------------------------------------------------------------------------------


def test_landmark_loss_by_hand():
    """Person 0: every landmark is off by (1, 2, 2), squared 9; person 1 is right."""
    asked = torch.zeros(2, 68, 3, dtype=torch.float64)
    seen = asked.clone()
    seen[0] = torch.tensor([1.0, -2.0, 2.0])
    assert landmark_loss(asked, seen).item() == pytest.approx(68 * 9 / 2, abs=1e-9)
    assert torch.autograd.gradcheck(landmark_loss, (randn(1, 68, 3), randn(1, 68, 3, seed=1)))


# ---- equations 12 and 13 ------------------------------------------------------------------------------------------


def test_expression_field_by_hand():
    """Two people, two points: squared lengths 9, 0, 1, 2 have the mean 3."""
    field = torch.tensor([[[1.0, 2, 2], [0, 0, 0]], [[0, 1, 0], [1, 0, -1]]], dtype=torch.float64)
    assert expression_minimal_loss(field).item() == pytest.approx(3.0, abs=ROUNDING)
    assert expression_smooth_loss(field + 5, torch.full_like(field, 5.0)).item() == pytest.approx(3.0, abs=ROUNDING)
    assert expression_smooth_loss(field, field).item() == 0.0


def test_expression_field_gradients():
    assert torch.autograd.gradcheck(expression_minimal_loss, randn(2, 3, 3))
    assert torch.autograd.gradcheck(expression_smooth_loss, (randn(2, 3, 3), randn(2, 3, 3, seed=1)))


# ---- equation 11 --------------------------------------------------------------------------------------------------


def test_averages_are_those_of_a_spike():
    """A 1 far from the borders is spread over 5 x 9 x 9 cells, doubled, and spread again: nothing is lost of it."""
    spike = torch.zeros(1, 1, 9, 15, 17, dtype=torch.float64)
    spike[0, 0, 4, 7, 8] = 1
    spread = averaged(spike)
    assert spread.shape == (1, 1, 18, 30, 34)
    assert spread.sum().item() == pytest.approx(8, abs=ROUNDING)  # 8 cells for one
    assert (spread > 1e-12).sum() == (2 * 5 + 2 + 4) * (2 * 9 + 2 + 8) ** 2


def test_pose_smooth_loss_is_zero_at_the_start_and_exact_beside_it():
    volume, processor = randn(2, 16, 6, 10, 10).detach(), PoseDeformationProcessor().double()
    with torch.no_grad():
        smoothed = processor(volume)
    assert pose_smooth_loss(smoothed, volume).item() < ROUNDING
    # Off by 0.5 in each of 16 entries of every cell.
    assert pose_smooth_loss(smoothed + 0.5, volume).item() == pytest.approx(16 * 0.25, abs=1e-9)


def test_pose_smooth_gradients():
    volume = randn(1, 16, 3, 5, 5).detach()
    smoothed = randn(1, 16, 6, 10, 10, seed=1)
    assert torch.autograd.gradcheck(lambda x: pose_smooth_loss(x, volume), smoothed, fast_mode=True)
    volume.requires_grad_()
    pose_smooth_loss(smoothed, volume).backward()
    assert volume.grad is None  # a reference, not a way to please the loss


# ---- stage 2 ------------------------------------------------------------------------------------------------------


def test_images_are_downsampled_between_their_ends():
    """A ramp over the same ends comes out as the ramp wherever the kernel fits, and constants everywhere.

    Steps of 4.2 pixels sample the kernel unevenly, which costs 1e-4; a shift of half a pixel would be 1e-2.
    """
    ramp = torch.linspace(-1, 1, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    low = torch.linspace(-1, 1, 16, dtype=torch.float64)
    error = downsample_image(ramp, 16)[0, 0, 8] - low
    assert error[2:-2].abs().max() < 1e-4
    assert error.abs().max() < 0.05  # at the border the kernel is cut off: half of it is missing
    assert max_error(downsample_image(torch.full_like(ramp, 0.3), 16), torch.full((1, 1, 16, 16), 0.3)) < 1e-7
    assert max_error(downsample_image(ramp, 64), ramp) < ROUNDING  # nothing to do


def test_images_are_antialiased():
    """The finest checkerboard, which no sample of a coarser grid can hold, becomes grey."""
    checks = (-1.0) ** torch.arange(64, dtype=torch.float64)
    low = downsample_image((checks[:, None] * checks)[None, None], 16)
    assert low[..., 2:-2, 2:-2].abs().max() < 1e-3


def test_maps_are_downsampled_between_their_edges():
    """4 low texels over 16 high ones, edge to edge: the ramp's values at 1.5, 5.5, 9.5, 13.5 but for the borders."""
    ramp = torch.arange(32, dtype=torch.float64).expand(1, 2, 4, 32, 32)
    low = downsample_maps(ramp, 8)
    expected = torch.arange(8, dtype=torch.float64) * 4 + 1.5
    assert (low[0, 1, 3, 4, 2:-2] - expected[2:-2]).abs().max() < 1e-5  # torch's filter is antialiased in float32
    by_hand = F.interpolate(ramp[0], (8, 8), mode="bicubic", antialias=True)
    assert max_error(low[0], by_hand) == 0.0


def test_consistency_by_hand():
    image, maps = torch.full((2, 3, 16, 16), 0.5).double(), torch.full((1, 2, 4, 16, 16), 0.25).double()
    low_maps = torch.zeros(1, 2, 4, 4, 4).double()
    low_maps[0, 0, 0] = 0.25
    assert image_consistency_loss(image, torch.zeros(2, 3, 4, 4).double()).item() == pytest.approx(0.25, abs=1e-6)
    assert map_consistency_loss(maps, low_maps).item() == pytest.approx(0.0625 * 7 / 8, abs=1e-6)


def test_half_precision_is_compared_in_single():
    """bfloat16 pictures, even inside autocast, give the loss of the same pictures in float32."""
    image, low = torch.rand(2, 3, 64, 64).bfloat16(), torch.rand(2, 3, 16, 16).bfloat16()
    expected = [
        image_consistency_loss(image.float(), low.float()),
        map_consistency_loss(image[None].float(), low[None].float()),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        found = [image_consistency_loss(image, low), map_consistency_loss(image[None], low[None])]
    assert torch.stack(found).dtype == torch.float32 and found == expected


def test_consistency_gradients():
    low = randn(1, 1, 2, 2, seed=1)
    assert torch.autograd.gradcheck(image_consistency_loss, (randn(1, 1, 8, 8), low))
    low = low.detach()[None]
    assert torch.autograd.gradcheck(lambda high: map_consistency_loss(high, low), randn(1, 1, 1, 8, 8))

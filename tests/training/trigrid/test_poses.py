"""Poses that were found against true ones, by hand."""

import math

import pytest
import torch

from training.trigrid.poses import agreement, angles, head_rotation


def turned(yaw=0.0, pitch=0.0, *, neck=0.0) -> list[float]:
    """A share of the yaw is the neck's."""
    return [0.0, neck * yaw, 0.0, pitch, (1 - neck) * yaw, 0.0]


def test_angles_of_neck_and_head_add_up():
    pose = torch.tensor([turned(yaw=0.4, neck=0.3), turned(pitch=-0.2)])
    torch.testing.assert_close(angles(head_rotation(pose))[0], torch.tensor([0, 0.4, 0]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(angles(head_rotation(pose))[1], torch.tensor([0, 0, -0.2]).double(), atol=1e-6, rtol=0)


def test_how_a_turn_is_shared_and_a_constant_offset_do_not_count():
    yaws = torch.linspace(-0.5, 0.5, 7).tolist()
    true = torch.tensor([turned(yaw=yaw, neck=0.3) for yaw in yaws])
    found = torch.tensor([turned(yaw=yaw + 0.2, neck=0.9) for yaw in yaws])
    seen = agreement(found, true)
    assert seen.correlation["yaw"] == pytest.approx(1.0, abs=1e-6) and math.isnan(seen.correlation["roll"])
    assert seen.error == pytest.approx(0.0, abs=1e-3) and seen.portraits == 7  # degrees; float32 poses


def test_the_other_way_round_is_minus_one():
    true = torch.tensor([turned(yaw=yaw) for yaw in (-0.3, 0.0, 0.3)])
    found = torch.tensor([turned(yaw=-yaw) for yaw in (-0.3, 0.0, 0.3)])
    assert agreement(found, true).correlation["yaw"] == pytest.approx(-1.0, abs=1e-6)
    assert agreement(found, true).error == pytest.approx(math.degrees(0.6) * 2 / 3, abs=1e-3)

"""The inverse of D^e where lids and lips part."""

import torch

from inference.portable.blendshapes import FINE, _fixed_point, _halving
from inference.portable.fields import Field, Grid

SPACING, LID = 1e-3, 0.01


def torn() -> Grid:
    """What takes lids that have met at y = 0 to open ones: points above the line came from LID higher, those below it
    from LID lower; E as the inverse has it, the other way."""
    y = SPACING * torch.arange(-50, 51)
    values = torch.zeros(1, 2, 101, 2, 3)
    values[..., 1] = -LID * y.sign()[:, None]
    return Grid(values, torch.tensor([0.0, -0.05, 0.0]), SPACING)


def test_what_is_between_lids_that_have_met_comes_to_their_line():
    """Lids come down by LID; between them all comes to y = 0, but for the node over which D^e is torn."""
    y = torch.tensor([0.03, 0.015, 0.004, 0.0, -0.007, -0.02])
    points = torch.stack([torch.zeros_like(y), y, torch.zeros_like(y)], 1)
    found = _halving(torn(), points)
    expected = torch.tensor([0.02, 0.005, 0.0, 0.0, 0.0, -0.01])
    torch.testing.assert_close(points[:, 1] + found[:, 1], expected, atol=SPACING, rtol=0)
    assert (found[:, [0, 2]] == 0).all()


def test_the_fixed_point_would_not_come_to_that_line():
    """Its steps go to and fro between the lids."""
    points = torch.tensor([[0.0, 0.004, 0.0]])
    assert _fixed_point(torn(), points)[0, 1].abs() > 0.5 * LID


def test_fields_are_finer_in_openings_alone():
    """Inside a box the finer grid's values, outside the whole's, half of both half-way over what is between."""
    whole = Grid(torch.zeros(1, 2, 2, 2, 3), torch.full((3,), -1.0), 2.0)
    fine = Grid(torch.ones(1, 2, 2, 2, 3), torch.full((3,), -0.5), FINE)
    field = Field(whole, (((-0.02, 0.02, -0.02, 0.02), fine),))
    points = torch.tensor([[0.0, 0.0, 0.1], [0.1, 0.0, 0.0], [0.026, 0.0, 0.0], [0.0, -0.03, 0.0]])
    torch.testing.assert_close(field.at(points)[0, :, 0], torch.tensor([1.0, 0.0, 0.5, 0.0]))
    torch.testing.assert_close(field.map(lambda values: 3 * values).at(points)[0, :, 1], torch.tensor([3.0, 0, 1.5, 0]))

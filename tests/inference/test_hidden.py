"""What a photo does not show: behind surfaces, on far sides, and what is as on the side that is shown."""

import pytest
import torch

from inference.inversion.hidden import BEHIND, NEAR, Hidden, hidden_places, shown_places
from networks.manifold.generator import ManifoldPoints


def points(canonical: list[list[list[float]]], depth: list[list[float]], valid: list[list[float]]) -> ManifoldPoints:
    return ManifoldPoints(*(torch.tensor([part]) for part in (canonical, depth, valid)))


def test_a_photo_shows_what_lies_before_the_surface_and_a_little_more():
    """Two rays: one meets something clear, a surface, what is just below it, and what is far; the other only air."""
    depth = [1.0, 1.2, 1.2 + 0.9 * BEHIND, 1.2 + 1.1 * BEHIND, 1.1]
    places = [[0.1 * k, 0.0, 0.0] for k in range(5)]
    seen = points([places, places], [depth, depth], [[1.0, 1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    rgba = torch.zeros(1, 2, 5, 4)
    rgba[0, 0, 1:3, 3] = 1.0
    shown = shown_places(seen, rgba, seen.depth)
    assert torch.equal(shown[:, 0], torch.tensor([0.0, 0.1, 0.2, 0.0]))


def test_hidden_points_and_their_twins():
    shown = torch.tensor([[0.2, 0.3, 0.1]])
    beside = [0.2, 0.3, 0.1 + 0.9 * NEAR]  # shown
    twin = [-0.2, 0.3 + 0.9 * NEAR, 0.1]  # its mirror image is
    alone = [0.2, 0.3, 0.1 + 1.1 * NEAR]
    nowhere = [-0.2, 0.3, 0.1]  # not a crossing
    seen = points([[beside, twin, alone, nowhere]], [[1.0] * 4], [[1.0, 1.0, 1.0, 0.0]])
    places, mirrored = hidden_places(seen, shown)
    assert torch.equal(places, torch.tensor([twin, alone]))
    assert mirrored.tolist() == [True, False]
    hidden = Hidden(places, mirrored, torch.zeros(2, 4)).rows(torch.tensor([0]))
    assert torch.equal(hidden.twins(), torch.tensor([twin]) * torch.tensor([-1.0, 1.0, 1.0]))


@pytest.mark.parametrize(("colours", "error"), [(True, (4 * 0.5 + 4 * 0.75) / 8), (False, (4 * 0.5 + 0.75) / 8)])
def test_twins_are_followed_and_others_stay_as_they_were(colours, error):
    before, twins, now = (torch.full((2, 4), value) for value in (0.0, 0.25, 0.75))
    hidden = Hidden(torch.zeros(2, 3), torch.tensor([True, False]), before, colours)
    assert hidden.error(now, twins).item() == pytest.approx(error)


def test_a_photo_that_shows_nothing_hides_everything():
    everything = points([[[0.2, 0.3, 0.1]]], [[1.0]], [[1.0]])
    places, mirrored = hidden_places(everything, torch.zeros(0, 3))
    assert len(places) == 1 and not mirrored.any()

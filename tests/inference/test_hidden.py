"""What a photo does not show: behind surfaces, on far sides, and what is as on the side that is shown."""

import pytest
import torch

from inference.inversion.hidden import BEHIND, NEAR, Hidden, hidden_places, shown_places


def test_a_photo_shows_what_lies_before_the_surface_and_a_little_more():
    """Two rays: one meets something clear, a surface, what is just below it, and what is far; the other only air."""
    depth = torch.tensor([1.0, 1.2, 1.2 + 0.9 * BEHIND, 1.2 + 1.1 * BEHIND, torch.inf]).expand(2, 5)
    places = torch.tensor([[0.1 * k, 0.0, 0.0] for k in range(5)]).expand(2, 5, 3)
    shown = shown_places(places, depth, torch.tensor([1.2, torch.inf]))
    torch.testing.assert_close(shown[:, 0], torch.tensor([0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 0.3]))


def test_hidden_points_and_their_twins():
    shown = torch.tensor([[0.2, 0.3, 0.1]])
    beside = [0.2, 0.3, 0.1 + 0.9 * NEAR]  # shown
    twin = [-0.2, 0.3 + 0.9 * NEAR, 0.1]  # its mirror image is
    alone = [0.2, 0.3, 0.1 + 1.1 * NEAR]
    places, mirrored = hidden_places(torch.tensor([beside, twin, alone]), shown)
    assert torch.equal(places, torch.tensor([twin, alone]))
    assert mirrored.tolist() == [True, False]
    hidden = Hidden(places, mirrored, torch.zeros(2, 4)).rows(torch.tensor([0]))
    assert torch.equal(hidden.twins(), torch.tensor([twin]) * torch.tensor([-1.0, 1.0, 1.0]))


@pytest.mark.parametrize(("colours", "error"), [(True, (4 * 0.5 + 4 * 0.75) / 8), (False, (4 * 0.5 + 0.75) / 8)])
def test_twins_are_followed_and_others_stay_as_they_were(colours, error):
    before, twins, now = (torch.full((2, 4), value) for value in (0.0, 0.25, 0.75))
    hidden = Hidden(torch.zeros(2, 3), torch.tensor([True, False]), before, colours)
    assert hidden.error(now, twins).item() == pytest.approx(error)


def test_the_loss_asks_about_points_and_their_mirror_images():
    """Radiance that grows with x, and with steps: what has a twin is compared with the other side, whatever it was."""
    hidden = Hidden(torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([True]), torch.zeros(1, 4))
    loss = hidden.loss(lambda places: (places[:, :1] + 1).expand(-1, 4), torch.Generator())
    assert loss.item() == pytest.approx(1.0)  # 1.5 here, 0.5 there
    nothing = Hidden(torch.zeros(0, 3), torch.zeros(0, dtype=torch.bool), torch.zeros(0, 4))
    assert nothing.loss(lambda places: places, torch.Generator()).item() == 0


def test_a_photo_that_shows_nothing_hides_everything():
    places, mirrored = hidden_places(torch.tensor([[0.2, 0.3, 0.1]]), torch.zeros(0, 3))
    assert len(places) == 1 and not mirrored.any()

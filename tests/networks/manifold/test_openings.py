"""Pixels between rays that D^e leads apart: which they are, what their rays are, where they go."""

import torch

from networks.compositing import Composite, Frame
from networks.manifold.generator_config import UPSCALE
from networks.manifold.openings import (
    ASIDE,
    OPENINGS,
    SIDE,
    TEAR,
    TORN,
    between_rays,
    pixel_places,
    redrawn,
    torn_pixels,
    with_tears,
)

SIZE = 10


def make_crossings(gap: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two layers of rays 0.004 apart around the middle of the mouth, with a ``gap`` between rows 4 and 5."""
    left, right, low, high = OPENINGS[1]
    across = 0.004 * (torch.arange(SIZE) - (SIZE - 1) / 2)
    y = (low + high) / 2 - across - gap * (torch.arange(SIZE) > 4) + gap / 2
    y, x = torch.meshgrid(y, (left + right) / 2 + across, indexing="ij")
    canonical = torch.stack([x, y, torch.zeros_like(x)], -1).flatten(0, 1)
    return canonical[None, :, None].expand(2, -1, 2, -1).clone(), torch.ones(2, SIZE * SIZE, 2)


def test_pixels_between_lips_that_have_met_are_torn():
    canonical, valid = make_crossings(gap=0.1)
    pixels = torn_pixels(canonical, valid, SIZE)
    row, column = pixel_places(pixels, SIZE)
    assert ((row >= 4) & (row < 5)).all()
    # All between rows 4 and 5 where the mouth is: its box reaches 0.023 to either side, the rays 0.018.
    expected = (pixel_places(torch.arange((UPSCALE * SIZE) ** 2)[None], SIZE)[0].long() == 4).sum()
    assert pixels.shape == (2, expected) and len(pixels[0].unique()) == expected


def test_nothing_is_torn_elsewhere():
    """Not where rays are led no farther apart, nor outside of eyes and mouth, nor where a ray meets nothing."""
    canonical, valid = make_crossings(gap=0.9 * TORN[1] / SIZE - 0.004)
    assert torn_pixels(canonical, valid, SIZE).shape == (2, 0)
    canonical, valid = make_crossings(gap=0.1)
    assert torn_pixels(canonical + 0.2, valid, SIZE).shape == (2, 0)
    valid.unflatten(1, (SIZE, SIZE))[:, 5] = 0
    assert torn_pixels(canonical, valid, SIZE).shape == (2, 0)


def make_displacement(gap: float, middle: float):
    """As D^e: what lies above ``middle`` goes up by half a ``gap``, what lies below down, linearly within SIDE / 2."""

    def displace(points: torch.Tensor) -> torch.Tensor:
        share = ((points[..., 1:2] - middle) / SIDE).clamp(-0.5, 0.5)
        return torch.cat([torch.zeros_like(share), gap * share, torch.zeros_like(share)], -1)

    return displace


def test_rays_between_lids_that_have_met_follow_one_of_them():
    """All samples of a ray the same one, and farther from the middle than SIDE all stay as they are."""
    _, _, low, high = OPENINGS[0]
    gap, middle = 2 * TEAR * SIDE * 1.01, (low + high) / 2
    height = SIDE * torch.tensor([2.0, 0.3, 0.1, -0.1, -0.3, -2.0])
    rays = torch.zeros(1, 6, 2, 3)
    rays[..., 1] = middle + height[None, :, None] * torch.tensor([1.0, 1.2])
    displace = make_displacement(gap, middle)
    found = with_tears(displace, rays)[0, ..., 1]
    upper = gap / 2 + ASIDE * SIDE
    expected = torch.tensor([gap / 2, upper, upper, -upper, -upper, -gap / 2])
    torch.testing.assert_close(found, expected[:, None].expand(-1, 2))


def test_smooth_where_lids_have_not_met_and_at_lips():
    rays = torch.zeros(1, 1, 1, 3)
    for box, gap in ((0, 2 * TEAR * SIDE * 0.99), (1, 0.02)):
        middle = (OPENINGS[box][2] + OPENINGS[box][3]) / 2
        rays[..., 1] = middle + 0.1 * SIDE
        displace = make_displacement(gap, middle)
        torch.testing.assert_close(with_tears(displace, rays), displace(rays))


def test_samples_between_rays():
    """What is linear over the rays is so at pixels; the corner pixels are the corner rays."""
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    samples = torch.stack([row, column, row + 2 * column], -1).flatten(0, 1)[None, :, None].float()
    pixels = torch.tensor([[0, 5, UPSCALE * SIZE, (UPSCALE * SIZE) ** 2 - 1]])
    found = between_rays(samples, pixels, SIZE)
    step = (SIZE - 1) / (UPSCALE * SIZE - 1)
    expected = [[0, 0], [0, 5 * step], [step, 0], [SIZE - 1, SIZE - 1]]
    rows, columns = torch.tensor(expected).T
    torch.testing.assert_close(found[0, :, 0], torch.stack([rows, columns, rows + 2 * columns], -1), atol=1e-5, rtol=0)


def test_redrawn_pixels():
    frame = Frame(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 1, 1), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))
    drawn = Composite(
        torch.tensor([[[0.5, 1.0, 0.0], [1.0, 1.0, 1.0]]]), torch.tensor([[0.25, 1]]), torch.tensor([[2.0, 3]])
    )
    new = redrawn(frame, torch.tensor([[6, 15]]), drawn)
    assert new.image[0, :, 1, 2].tolist() == [0, 1, -1] and new.image[0, :, 3, 3].tolist() == [1, 1, 1]
    assert new.alpha[0, 1, 2] == 0.25 and new.depth[0, 3, 3] == 3 and new.alpha.sum() == 1.25
    assert (new.image != 0).sum() == 2 + 3 and torch.equal(new.image_lr, frame.image_lr)

"""Pixels between rays that D^e leads apart: which they are, what their rays are, where they go."""

import torch

from networks.compositing import Composite, Frame
from networks.manifold.generator_config import UPSCALE
from networks.manifold.openings import OPENINGS, TORN, between_rays, pixel_places, redrawn, torn_pixels

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
    canonical, valid = make_crossings(gap=0.9 * TORN / SIZE - 0.004)
    assert torn_pixels(canonical, valid, SIZE).shape == (2, 0)
    canonical, valid = make_crossings(gap=0.1)
    assert torn_pixels(canonical + 0.2, valid, SIZE).shape == (2, 0)
    valid.unflatten(1, (SIZE, SIZE))[:, 5] = 0
    assert torn_pixels(canonical, valid, SIZE).shape == (2, 0)


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

"""Which rays of a photo a step looks at."""

import torch

from inference.inversion.patches import FOCUS, patch, scattered


def rows_and_columns(chosen: torch.Tensor, size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    grid = chosen.view(count, count)
    return grid // size, grid % size


def test_near_patches_are_neighbours_about_the_middle():
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        rows, columns = rows_and_columns(patch(64, random, 1.0, far=False, count=8), 64, 8)
        assert (rows.diff(dim=0) == 1).all() and (columns.diff(dim=1) == 1).all()
        for middle in (rows.float().mean(), columns.float().mean()):
            assert abs(middle - 31.5) <= FOCUS * 63 + 0.5  # rounded


def test_patches_reach_from_near_to_the_whole_picture():
    random = torch.Generator().manual_seed(1)
    spans = [int(rows_and_columns(patch(65, random, 2.0, count=5), 65, 5)[0].diff(dim=0).sum(0)[0]) for _ in range(200)]
    assert min(spans) >= 8 and min(spans) < 12 and max(spans) > 55 and max(spans) <= 64


def test_a_small_picture_is_one_patch():
    assert torch.equal(patch(6, torch.Generator(), 1.5), torch.arange(36))


def test_scattered_rays_are_of_the_picture():
    chosen = scattered(8, 1000, torch.Generator().manual_seed(0))
    assert len(chosen) == 1000 and chosen.unique().tolist() == list(range(64))

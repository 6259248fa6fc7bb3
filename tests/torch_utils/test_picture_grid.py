"""Tables of pictures."""

import numpy as np
import pytest
import torch

from torch_utils.picture_grid import labelled_grid


def flat(colour: str, size: int = 20) -> torch.Tensor:
    rgb = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 3)}[colour]
    return torch.tensor(rgb, dtype=torch.float32)[:, None, None].expand(3, size, size)


def box(sheet: np.ndarray, rgb: tuple[int, int, int]) -> list[int]:
    """First and last row and column of a colour."""
    rows, columns = np.nonzero((sheet == rgb).all(-1))
    return [int(n) for n in (rows.min(), rows.max(), columns.min(), columns.max())]


def test_pictures_stand_row_by_row_under_their_headings():
    images = [[flat("white"), flat("red"), flat("green", 40)], [flat("blue"), flat("white"), flat("white")]]
    sheet = np.asarray(labelled_grid(images, [("", "a"), ("g", "b"), ("g", "c")], ["first", "second"]))
    top, bottom, left, right = box(sheet, (255, 0, 0))
    assert (bottom - top, right - left) == (19, 19)
    assert box(sheet, (0, 255, 0)) == [
        top,
        bottom,
        left + 22,
        right + 22,
    ]  # as small; same group: 2 apart
    assert box(sheet, (0, 0, 255)) == [top + 22, bottom + 22, left - 24, right - 24]  # another group: 4 apart
    assert (sheet[:, :4] == 255).all() and (sheet[:top] < 128).any()  # a margin, and headings above


def test_wrong_tables():
    with pytest.raises(ValueError, match=r"expected 2 rows of 1, found 1 rows of \[1\]"):
        labelled_grid([[flat("red")]], [("", "a")], ["x", "y"])
    with pytest.raises(ValueError, match=r"expected 1 rows of 2, found 1 rows of \[1\]"):
        labelled_grid([[flat("red")]], [("", "a"), ("", "b")], ["x"])

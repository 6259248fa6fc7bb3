"""Fakes of earlier steps: a ring of the last ones."""

import pytest
import torch

import training.trigrid.history as history
from training.trigrid.history import FakeHistory, Remembered


def people(*values: float, size: int = 4) -> Remembered:
    """Pictures of one grey each, whose camera and pose say which."""
    grey = torch.tensor(values)[:, None, None, None]
    shapes = ((3, size, size), (3, 2, 2), (1, 2, 2))
    pictures = [grey.expand(-1, *shape).clone() for shape in shapes]
    return Remembered(*pictures, *(grey.flatten(1).expand(-1, width).clone() for width in (25, 6)))


@pytest.fixture
def kept(monkeypatch):
    """Room for two steps, of which three were made."""
    monkeypatch.setattr(history, "STEPS", 2)
    ring = FakeHistory()
    for first in (0.0, 2.0, 4.0):
        ring.add(people(first, first + 1))
    return ring


def test_the_oldest_make_room(kept):
    drawn = kept.draw(64)
    assert len(kept) == 4 and set(drawn.pose[:, 0].tolist()) == {2.0, 3.0, 4.0, 5.0}
    for part in drawn:  # each with its own
        assert part.dtype == torch.float32 and torch.equal(part.flatten(1)[:, 0], drawn.pose[:, 0])


def test_it_begins_with_what_there_is():
    ring = FakeHistory()
    with pytest.raises(ValueError, match="found nobody"):
        ring.draw(1)
    ring.add(people(1.0, 2.0))
    assert len(ring) == 2 and set(ring.draw(32).pose[:, 0].tolist()) == {1.0, 2.0}


def test_it_goes_on_from_its_state(kept):
    other = FakeHistory()
    other.load_state_dict(kept.state_dict(), torch.device("cpu"))
    for ring in (kept, other):
        ring.add(people(6.0, 7.0))
        torch.manual_seed(0)
        ring.drawn = ring.draw(16)
    assert all(torch.equal(a, b) for a, b in zip(kept.drawn, other.drawn, strict=True))


def test_pictures_of_another_size_begin_it_anew(kept):
    kept.add(people(8.0, 9.0, size=8))
    assert len(kept) == 2 and kept.draw(4).image.shape == (4, 3, 8, 8)

"""The reader: every image once an epoch, disjoint ranks, resuming to the image, flips with their labels."""

import pytest
import torch

from tests.training.data.sets import make_dataset, make_labels, make_pixels
from torch_utils.misc import UserError
from training.data.mirror import LabelMirror
from training.data.reader import Batch, PortraitReader
from training.data.storage import Dataset, open_dataset

NUM = 11
MIRROR = LabelMirror(z_id=-torch.eye(80), z_exp=torch.eye(64).flip(0), betas=None)


@pytest.fixture(scope="module", params=["folder", "set.zip"])
def dataset(request, tmp_path_factory) -> Dataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("reader") / request.param, NUM))


def make_reader(dataset: Dataset, batch_size: int = 4, *, mirror=MIRROR, seed: int = 3, **options) -> PortraitReader:
    return PortraitReader(dataset, batch_size, seed=seed, mirror=mirror, **({"workers": 1} | options))


def take(reader: PortraitReader, count: int) -> list[Batch]:
    return [next(reader) for _ in range(count)]


def codes(batches: list[Batch]) -> list[tuple[int, bool]]:
    return [code for b in batches for code in zip(b.index.tolist(), b.flipped.tolist(), strict=True)]


def assert_same(ours: Batch, theirs: Batch) -> None:
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, dict):
            assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        else:
            assert torch.equal(a, b)


def test_batches_hold_the_pictures_and_labels(dataset):
    seen = set()
    for batch in take(make_reader(dataset, workers=2), 6):
        assert batch.image.shape == (4, 3, 16, 16) and batch.image.dtype == torch.uint8
        assert batch.face.shape == (4, 3, 8, 8)
        for slot, (row, flipped) in enumerate(codes([batch])):
            image, face = (torch.from_numpy(make_pixels(row, size)).permute(2, 0, 1) for size in (16, 8))
            labels = {name: torch.from_numpy(value)[None] for name, value in make_labels(row).items()}
            if flipped:
                image, face, labels = image.flip(-1), face.flip(-1), MIRROR(labels, 16)
            assert torch.equal(batch.image[slot], image) and torch.equal(batch.face[slot], face)
            for name, value in labels.items():
                assert torch.equal(batch.labels[name][slot], value[0]), name
            seen.add(flipped)
    assert seen == {False, True}


def test_every_image_once_an_epoch(dataset):
    """Epochs join without a gap: 11 images in batches of 4; and each has its own order and flips."""
    drawn = codes(take(make_reader(dataset), 11))  # four epochs of 11
    epochs = [drawn[start : start + NUM] for start in range(0, 4 * NUM, NUM)]
    for epoch in epochs:
        assert sorted(row for row, _ in epoch) == list(range(NUM))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert drawn == codes(take(make_reader(dataset, workers=2), 11))
    assert drawn != codes(take(make_reader(dataset, seed=4), 11))


def test_without_mirror_nothing_is_flipped(dataset):
    assert not any(flipped for _, flipped in codes(take(make_reader(dataset, mirror=None), 6)))


def test_ranks_share_one_sequence(dataset):
    """Three ranks with batches of 2 see what one process with batches of 6 sees, in the same order."""
    whole = take(make_reader(dataset, 6), 4)
    parts = [take(make_reader(dataset, 2, rank=rank, world_size=3), 4) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert codes([batch]) == codes([part[step] for part in parts])
    first = [code for part in parts for code in codes(part[:1])]
    assert len({row for row, _ in first}) == 6  # disjoint


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_resuming_is_exact(dataset, workers):
    """The state counts batches delivered, not those that workers have ready; any number of workers goes on."""
    reader = make_reader(dataset)
    take(reader, 5)
    state = reader.state_dict()
    assert state["position"] == 20
    expected = take(reader, 4)
    resumed = make_reader(dataset, seed=99, workers=workers)
    take(resumed, 1)  # was somewhere else before
    resumed.load_state_dict(state)
    for ours, theirs in zip(take(resumed, 4), expected, strict=True):
        assert_same(ours, theirs)
    assert resumed.state_dict() == reader.state_dict()


def test_resuming_with_other_ranks_and_batch_size(dataset):
    reader = make_reader(dataset, 6)
    take(reader, 2)
    ranks = [make_reader(dataset, 3, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(reader.state_dict())
    assert codes([next(rank) for rank in ranks]) == codes([next(reader)])


def test_other_data_is_refused(dataset, tmp_path):
    other = open_dataset(make_dataset(tmp_path / "other", 3))
    with pytest.raises(UserError, match="other: not the data set that this run was begun with"):
        make_reader(other).load_state_dict(make_reader(dataset).state_dict())


def test_a_damaged_picture_is_named(tmp_path):
    path = make_dataset(tmp_path / "a", 3)
    file = path / "faces" / "000001.png"
    file.write_bytes(file.read_bytes()[:60])
    reader = make_reader(open_dataset(path))
    with pytest.raises(UserError, match=r"a: faces/000001.png: damaged or cut short") as caught:
        take(reader, 2)
    assert "\n" not in str(caught.value)
    reader.close()


def test_a_broken_set_is_refused_at_once(tmp_path):
    path = make_dataset(tmp_path / "a", 3)
    (path / "faces" / "000001.png").unlink()
    with pytest.raises(UserError, match="faces/000001.png is missing"):
        make_reader(open_dataset(path))


def test_odd_arguments(dataset):
    for options in ({"workers": -1}, {"rank": 2, "world_size": 2}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="expected batch_size >= 1"):
            make_reader(dataset, **options)


def test_set_smaller_than_a_batch(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "a", 2))
    (batch,) = take(make_reader(dataset, 5), 1)
    rows = batch.index.tolist()
    assert sorted(rows[:2]) == sorted(rows[2:4]) == [0, 1]

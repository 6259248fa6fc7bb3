"""Priors from a data set: whole rows, mirrored rows, a capped number of rows, through a checkpoint."""

import numpy as np
import pytest
import torch

from networks.person.priors import LabelPriors
from tests.training.data.sets import make_dataset, make_labels
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from training.data.label_priors import priors_of
from training.data.mirror import LabelMirror
from training.data.storage import Dataset, open_dataset

MIRROR = LabelMirror(z_id=-torch.eye(80), z_exp=torch.eye(64).flip(0), betas=None)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("priors") / "a", 6))


def test_rows_are_those_of_the_images(dataset):
    priors = priors_of(dataset)
    for row in range(6):
        labels = make_labels(row)
        pose = np.concatenate([labels["camera"], labels["joint_eulers"].ravel()])
        np.testing.assert_array_equal(priors.camera_pose[row], pose)
        np.testing.assert_array_equal(priors.id_shape[row], np.concatenate([labels["z_id"], labels["betas"]]))
        np.testing.assert_array_equal(priors.expression[row], labels["z_exp"])


def test_mirrored_rows_join_in(dataset):
    plain, both = priors_of(dataset), priors_of(dataset, mirror=MIRROR)
    assert [len(rows) for rows in both[:3]] == [12, 12, 12]
    for rows, all_rows in zip(plain[:3], both[:3], strict=True):
        assert torch.equal(rows, all_rows[:6])
    torch.testing.assert_close(both.camera_pose[6:, 1], torch.pi - plain.camera_pose[:, 1])
    assert torch.equal(both.expression[6:], plain.expression.flip(1))


def test_rows_are_capped_together(dataset):
    """Four of six images, the same ones for all three arrays, decided by the seed."""
    whole, some = priors_of(dataset), priors_of(dataset, max_rows=4, seed=1)
    kept = [(whole.expression == row).all(1).nonzero().item() for row in some.expression]
    assert len(kept) == 4 and kept == sorted(kept)
    for rows, all_rows in zip(some[:3], whole[:3], strict=True):
        assert torch.equal(rows, all_rows[kept])
    assert torch.equal(some.expression, priors_of(dataset, max_rows=4, seed=1).expression)
    assert any(not torch.equal(some.expression, priors_of(dataset, max_rows=4, seed=s).expression) for s in range(2, 6))


def test_through_a_checkpoint(dataset, tmp_path):
    """Compactly, without the data set: 348 bytes an image."""
    priors = priors_of(dataset)
    stored = priors.to_dict(half=True)
    assert sum(rows.numel() * rows.element_size() for rows in stored.values()) == 6 * (20 + 90 + 64) * 2
    save_checkpoint(tmp_path / "a.safetensors", {"priors": stored})
    again = LabelPriors.from_dict(load_checkpoint(tmp_path / "a.safetensors")["priors"], "a.safetensors")
    for ours, theirs in zip(again[:3], priors[:3], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)  # float16 has 11 bits

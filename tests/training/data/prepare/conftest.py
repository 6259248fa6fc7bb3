"""Drawn photos and an undisturbed run, made once for the tests of the preparation."""

import shutil
from functools import cache

import pytest

from tests.training.data.prepare.photos import make_photo, write_photos
from tests.training.data.prepare.runs import SEEDS, prepare
from training.data.prepare import cli


@pytest.fixture(scope="package", autouse=True)
def models_once():
    """Making the open models takes seconds; the command's own loading is tested by the runs in processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "load_models", cache(cli.load_models))
        yield


@pytest.fixture(scope="package")
def photos():
    return {name: make_photo(seed) for name, seed in SEEDS.items()}


@pytest.fixture(scope="package")
def prepared(tmp_path_factory, photos):
    """Inputs and outputs of an undisturbed run."""
    root = tmp_path_factory.mktemp("shhq")
    write_photos(root, photos)
    report = prepare(root)
    assert [row["result"] for row in report] == ["ok"] * 3, report
    return root


@pytest.fixture
def inputs(tmp_path, prepared):
    """A copy of the inputs to spoil."""
    for folder in ("images", "masks", "face"):
        shutil.copytree(prepared / folder, tmp_path / folder)
    shutil.copy(prepared / "fits.npz", tmp_path)
    return tmp_path

"""A sound data set, and copies of it to spoil."""

import shutil
from pathlib import Path

import pytest

from tests.training.data.sets import make_dataset
from tests.training.data.spoilt import NUM


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("checks") / "sound", NUM)


@pytest.fixture
def path(sound, tmp_path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(sound, tmp_path / "set")

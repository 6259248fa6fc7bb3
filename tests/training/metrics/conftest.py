"""A data set whose pictures are compared."""

import pytest

from tests.training.tiny_run import make_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("metrics") / "set", 12)

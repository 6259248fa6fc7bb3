"""A drawn person, made once."""

import pytest

from tests.training.data.synthetic.made_up import make_person


@pytest.fixture(scope="session")
def person():
    return make_person()

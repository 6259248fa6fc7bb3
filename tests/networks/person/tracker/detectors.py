"""The tracker's detectors, for the tests that run them: skipped where they are not installed and cannot be fetched."""

import functools

import pytest

from networks.person.tracker.model_files import SHA256, Model, read_model
from torch_utils.misc import UserError


@functools.cache
def problem() -> str:
    """Why the detectors cannot run here; empty if they can."""
    try:
        for name in SHA256:
            read_model(name)
        Model("iris_landmark")
    except UserError as error:
        return str(error)
    return ""


needs_detectors = pytest.mark.skipif(bool(problem()), reason=problem())

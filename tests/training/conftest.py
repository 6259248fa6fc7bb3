"""A tiny run that went through, made once for all who look at what it left."""

import pytest
import torch

from tests.training.tiny_run import make_dataset, run


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "noise")


@pytest.fixture(scope="session")
def finished(dataset, tmp_path_factory):
    """Four steps without a stop."""
    outdir = tmp_path_factory.mktemp("finished")
    torch.set_num_threads(1)
    run(dataset, outdir, {"run": {"metric_images": 4}})
    return outdir

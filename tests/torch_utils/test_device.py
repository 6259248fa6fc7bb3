"""Single precision, whatever is allowed elsewhere, and constants."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from networks.cameras import PORTRAIT_CAMERA, cast_rays
from torch_utils.device import constant, full_precision


@pytest.fixture(autouse=True)
def precision_as_before():
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("setting", ["highest", "high", "medium"])
def test_the_setting_is_put_aside_and_comes_back(setting):
    torch.set_float32_matmul_precision(setting)
    with pytest.raises(KeyError), full_precision(), full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        raise KeyError
    assert torch.get_float32_matmul_precision() == setting


def test_the_newer_setting_comes_back():
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has the older setting only")
    matmul.fp32_precision = "tf32"
    with full_precision():
        assert matmul.fp32_precision == "ieee" and torch.get_float32_matmul_precision() == "highest"
    assert matmul.fp32_precision == "tf32"


def test_threads_that_overlap_leave_the_setting_as_it_was():
    torch.set_float32_matmul_precision("high")
    entered, left = Barrier(2, timeout=10), Barrier(2, timeout=10)

    def work(first: bool) -> str:
        with full_precision():
            entered.wait()
            if not first:
                left.wait()  # the other one has left
            found = torch.get_float32_matmul_precision()
        if first:
            left.wait()
        return found

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(work, (True, False))) == ["highest", "highest"]
    assert torch.get_float32_matmul_precision() == "high"


def test_no_autocast_inside():
    a = torch.rand(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with full_precision():
            assert (a @ a).dtype == torch.float32
        rays = cast_rays(torch.full((1, 2), 1.5), PORTRAIT_CAMERA, 4)
    assert torch.equal(rays.directions, cast_rays(torch.full((1, 2), 1.5), PORTRAIT_CAMERA, 4).directions)


def test_a_constant_is_of_its_likes_type():
    like = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(constant((1.5, -2.0, 0.1), like), torch.tensor([1.5, -2.0, 0.1], dtype=torch.float64))

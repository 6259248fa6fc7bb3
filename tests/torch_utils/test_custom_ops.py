"""Which implementation is taken, and what is said where the compiled one cannot be."""

import gc
import warnings
import weakref

import pytest
import torch

from torch_utils import custom_ops
from torch_utils.custom_ops import aligned
from torch_utils.native.cache import BuildError
from torch_utils.ops.ray_manifold import find_crossings

S, LEVELS = torch.tensor([[30.0, 20, 3]]), torch.tensor([23.0, 8])


def test_auto_falls_back_with_one_warning(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        BuildError, match=r"C\+\+ ops: no-such-compiler of CXX not found on the PATH; pip install ziglang brings"
    ):
        find_crossings(S, LEVELS, impl="cpp")
    with pytest.warns(UserWarning, match="not found.*; plain torch is used instead, which is slower") as seen:
        results = [find_crossings(S, LEVELS) for _ in range(3)]
    assert len(seen) == 1
    assert all(torch.equal(found.index, torch.tensor([[0, 1]])) for found in results)
    with pytest.raises(BuildError):  # asked for, it stays an error
        find_crossings(S, LEVELS, impl="cpp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_crossings(S, LEVELS, impl="ref")


def test_a_failure_keeps_no_tensors(fresh, monkeypatch):
    """Neither the first nor a later one: an exception that is kept would keep what its callers hold."""
    monkeypatch.setenv("CXX", "no-such-compiler")

    def call() -> weakref.ref:
        s = S.clone()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            find_crossings(s, LEVELS)
        return weakref.ref(s)

    seen = [call() for _ in range(3)]
    gc.collect()
    assert [tensor() for tensor in seen] == [None] * 3


def test_a_failure_is_not_tried_again(fresh, monkeypatch):
    calls = []

    def fail():
        calls.append(1)
        raise BuildError("no")

    monkeypatch.setattr(custom_ops, "CppOps", fail)
    for _ in range(3):
        with pytest.raises(BuildError, match="^no$"):
            find_crossings(S, LEVELS, impl="cpp")
    assert len(calls) == 1


def test_aligned():
    """As it is where it begins at a multiple of four numbers; a copy where it does not, or is not contiguous."""
    whole = torch.arange(64.0)
    assert aligned(whole[4:]).data_ptr() == whole[4:].data_ptr()
    for part in (whole[1:], whole.view(8, 8).T):
        copy = aligned(part)
        assert torch.equal(copy, part) and copy.is_contiguous() and copy.data_ptr() % 16 == 0

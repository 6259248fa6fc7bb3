"""Frames, steps and programs on a GPU that computes nothing: they run, and wait and launch no more than they did.

A scene is a process; what it asserts by itself is in scenes.py. ``python -m tests.fake_cuda renew`` writes new limits.
"""

import json

import pytest

from tests.fake_cuda.build import missing
from tests.fake_cuda.run import IN_SUITE, LIMITS, exceeded, rehearse

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"no rehearsal of CUDA: {missing()}")


@pytest.mark.parametrize("scene", IN_SUITE)
def test_rehearsal(scene):
    assert exceeded(rehearse(scene), json.loads(LIMITS.read_text())) == []


def test_more_than_the_limit_is_named():
    limits = {"a step": {"launches": 100, "waits": 1}}
    assert exceeded({"a step": {"launches": 102, "waits": 1}}, limits) == []
    assert exceeded({"a step": {"launches": 106, "waits": 2}}, limits) == [
        "a step: expected at most 100 launches, found 106",
        "a step: expected at most 1 waits, found 2",
    ]
    assert exceeded({"a frame": {"launches": 1}}, limits) == ["a frame: no limits; python -m tests.fake_cuda renew"]

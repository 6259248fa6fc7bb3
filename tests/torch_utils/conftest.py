"""A cache of builds that nobody else sees."""

import functools

import pytest

from torch_utils import custom_ops
from torch_utils.native import cache, cpp, cuda, nvrtc


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache folder, a copy of the sources to spoil, and no library loaded so far."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "the cache"))
    sources = dict(cache.sources())
    for module in (cache, cpp, cuda):
        monkeypatch.setattr(module, "sources", lambda: sources)
    for module, name in ((custom_ops, "_load"), (custom_ops, "_warn_once"), (nvrtc, "_library")):
        monkeypatch.setattr(module, name, functools.cache(getattr(module, name).__wrapped__))
    return sources

"""The array-only pickle reader: what it must read, and what it must refuse without running it."""

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from torch_utils.misc import UserError
from torch_utils.safe_pickle import load_pickle


class _Evil:
    """Pickles into a call of os.system that would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.fixture
def fake_chumpy(monkeypatch):
    """A `chumpy.ch.Ch` to write pickles with; removed again before they are read."""
    module, package = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy")

    class Ch:
        def __init__(self, x):
            self.x = x
            self._dirty = {"a": 1}

        def __getstate__(self):
            return {"x": self.x, "_dirty": self._dirty}

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module.Ch, package.ch = Ch, module
    monkeypatch.setitem(sys.modules, "chumpy", package)
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return Ch


def write(path: Path, value, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_arrays_scalars_and_containers_come_back(tmp_path, protocol):
    value = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "s": np.float64(2.5),
        "list": [1, "two", (3.0, None, True)],
        "j": sparse.csc_matrix(np.diag([1.0, 2.0])),
        "b": b"\x00\xff",
    }
    read = load_pickle(write(tmp_path / "a.pkl", value, protocol))
    np.testing.assert_array_equal(read["a"], value["a"])
    assert read["a"].dtype == np.float32
    assert read["s"] == 2.5
    assert read["list"] == [1, "two", (3.0, None, True)]
    np.testing.assert_array_equal(read["j"].toarray(), np.diag([1.0, 2.0]))
    assert read["b"] == b"\x00\xff"


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_objects_become_their_arrays(tmp_path, monkeypatch, fake_chumpy, protocol):
    path = write(tmp_path / "c.pkl", {"shapedirs": fake_chumpy(np.eye(3)), "deep": [fake_chumpy(np.ones(2))]}, protocol)
    monkeypatch.delitem(sys.modules, "chumpy")
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    read = load_pickle(path)
    np.testing.assert_array_equal(read["shapedirs"], np.eye(3))
    np.testing.assert_array_equal(read["deep"][0], np.ones(2))


def test_python2_pickle_with_old_names_is_read(tmp_path):
    """Protocol 0 as Python 2 and numpy 1.x wrote it: copy_reg, __builtin__, numpy.core, latin1 bytes."""
    text = b"(dp0\nS'v'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n"
    text += b"(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
    text += b"(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n"
    text += b"(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nb"
    text += b"I00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xc0'\np15\ntp16\nbs"
    text += b"S'c'\np17\nccopy_reg\n_reconstructor\np18\n(cchumpy.ch\nCh\np19\nc__builtin__\nobject\np20\nNtp21\nRp22\n"
    text += b"(dp23\nS'x'\np24\ng7\nsbs."
    path = tmp_path / "old.pkl"
    path.write_bytes(text)
    read = load_pickle(path)
    np.testing.assert_array_equal(read["v"], [1.0, -2.0])
    np.testing.assert_array_equal(read["c"], [1.0, -2.0])


def test_numpy_2_module_path_is_read(tmp_path):
    data = pickle.dumps({"v": np.arange(3)}, protocol=2)
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    for wanted in (old, new):
        path = tmp_path / "n.pkl"
        path.write_bytes(data.replace(new, old).replace(old, wanted))
        np.testing.assert_array_equal(load_pickle(path)["v"], [0, 1, 2])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(tmp_path, protocol):
    target = tmp_path / "touched"
    path = write(tmp_path / "evil.pkl", {"v_template": _Evil(target)}, protocol)
    with pytest.raises(UserError, match=r"evil\.pkl.*system"):
        load_pickle(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("builtins", "getattr"), ("numpy", "load"), ("numpy.f2py", "compile"), ("chumpy2", "Ch"),
     ("scipy.sparse", "load_npz"), ("torch", "load")],
)  # fmt: skip
def test_other_globals_are_refused_by_name(tmp_path, module, name):
    path = tmp_path / "g.pkl"
    path.write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(UserError, match=f"{module}.{name}"):
        load_pickle(path)


def test_classes_cannot_be_changed(tmp_path):
    """BUILD on a class would set attributes of scipy's own type."""
    path = tmp_path / "b.pkl"
    path.write_bytes(b"cscipy.sparse\ncsc_matrix\n(dS'format'\nS'x'\nsb.")
    with pytest.raises(UserError, match="refused"):
        load_pickle(path)
    assert sparse.csc_matrix((1, 1)).format == "csc"


def test_damaged_and_missing_files_are_named(tmp_path):
    whole = pickle.dumps({"v": np.zeros(1000)})
    for content in (whole[: len(whole) // 2], b"", b"<html>not a pickle</html>"):
        path = tmp_path / "cut.pkl"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cut\.pkl"):
            load_pickle(path)
    with pytest.raises(UserError, match=r"absent\.pkl"):
        load_pickle(tmp_path / "absent.pkl")

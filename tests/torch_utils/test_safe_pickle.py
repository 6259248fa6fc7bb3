"""The array-only pickle reader: what it must read, and what it must refuse without running it."""

import base64
import bz2
import gzip
import lzma
import os
import pickle
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from tests.joblib_files import joblib_bytes, joblib_dump
from torch_utils.misc import UserError
from torch_utils.safe_npz import SafeArchive
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


# ---- joblib's files -------------------------------------------------------------------------------------------------

# joblib 1.6.0: {"pose": arange(6, float32).reshape(2, 3).T, "id": 7, "who": array([{"x": arange(2)}])}, compress=3
JOBLIB_FILE = (
    "cwU8(OH0E*5XYOOrKPP{5mfLC)JsktJP556Jh%|SgPtU8($tOS#U`N^6yl-U!rYvC_KW#hbdt1CAK<W$*<^<K&u_Bo;-ga9BX*%0g|UOMeH&VyYw1"
    "DiM-wx0?K_XYZW;OWL`punl01qWiLZF@gn42kPA%Kxag0zavJmRQkms=!1hrW3$U&wt^_gCw98xkUr{oWl3H=d`l}FL)=n&_#7rekO(?B^!!!XW1$%"
    "=zj611SnJue)azRx3^!G5W<sAqD|y$O6LNK9*zI5DzLYSr^hva;2zM@OF)?Tq$&e{s2_0IEAgRtIe?LKM}qJy91;(PGLJ#Rez?6q{lT)bpctl@C8u_"
    "DH4Jor}G^d{$d%N?8GR3az?nhtkpg)JxnF6SPg~*kKSSGPRR}+HaDqGR1*nVF^bmBx&pD{uedBrj|gtr!lW9A>Wa%jnFbjGW4x<G%5z%ed{dItgdAv6"
    "%=iv^$o&bqhjim$_+3f$uTD?da8c`#jf-x"
)


def test_a_file_of_joblib_itself(tmp_path):
    path = tmp_path / "j.pkl"
    path.write_bytes(base64.b85decode(JOBLIB_FILE))
    read = load_pickle(path)
    assert read["id"] == 7 and read["pose"].dtype == np.float32
    assert read["pose"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read["who"][0]["x"].tolist() == [0, 1]


COMPRESS = {
    "plain": bytes,
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("how", COMPRESS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_joblib_come_back(tmp_path, how, protocol):
    value = {
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
        "list": [np.float32(2.5), np.arange(3), b"rle", (1, None)],
        "objects": np.array([{"x": np.arange(2)}, "a"], dtype=object),
    }
    path = tmp_path / "j.pkl"
    path.write_bytes(COMPRESS[how](joblib_bytes(value, protocol=protocol)))
    read = load_pickle(path)
    for key in ("c", "fortran", "empty"):
        assert read[key].dtype == value[key].dtype and np.array_equal(read[key], value[key])
    assert read["list"][0] == 2.5 and read["list"][1].tolist() == [0, 1, 2] and read["list"][2:] == [b"rle", (1, None)]
    assert read["objects"][0]["x"].tolist() == [0, 1] and read["objects"][1] == "a"


@pytest.mark.parametrize("compress", [False, True])
def test_code_beside_and_inside_of_joblibs_arrays_is_refused(tmp_path, compress):
    target = tmp_path / "touched"
    for value in ({"a": np.zeros(2), "b": _Evil(target)}, {"a": np.array([_Evil(target)], dtype=object)}):
        path = joblib_dump(value, tmp_path / "evil.pkl", compress=compress)
        with pytest.raises(UserError, match=r"evil\.pkl: refused, the pickle asks for .*system"):
            load_pickle(path)
    assert not target.exists()


def test_damaged_files_of_joblib_are_named(tmp_path):
    plain = joblib_bytes({"a": np.zeros(1000)})
    packed = zlib.compress(np.random.default_rng(0).bytes(1000))
    for content, message in (
        (plain[:2000], "an array is cut short"),
        (packed[:500], "compressed and cut short or damaged"),
        (gzip.compress(plain)[:60], "compressed and cut short or damaged"),
        (
            b"\x04\x22\x4d\x18rest",
            "compressed by lz4, which is not read",
        ),
        (b"ZF0x10", "written by joblib before 0.10"),
    ):
        path = tmp_path / "cut.pkl"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"cut\.pkl: .*{message}"):
            load_pickle(path)
    huge = plain.replace(b"\xe8\x03", b"\xff\xff")  # a shape that the file is too short for
    path.write_bytes(huge)
    with pytest.raises(UserError, match=r"cut\.pkl: .*an array is cut short"):
        load_pickle(path)


def test_tensors_come_back_as_arrays(tmp_path):
    path = write(tmp_path / "t.pkl", {"pose": torch.arange(6.0).reshape(2, 3).T, "ids": torch.tensor([3, 4])})
    read = load_pickle(path)
    assert read["pose"].tolist() == [[0, 3], [1, 4], [2, 5]] and read["ids"].tolist() == [3, 4]


# ---- .npz with objects ----------------------------------------------------------------------------------------------


def test_archives_hold_arrays_and_dictionaries(tmp_path):
    objects = np.array([1, "a"], dtype=object)
    np.savez(tmp_path / "a.npz", results={"cam": np.ones((1, 3))}, plain=np.arange(3), objects=objects)
    archive = SafeArchive(tmp_path / "a.npz")
    assert sorted(archive) == ["objects", "plain", "results"] and archive.get("other") is None
    assert archive["plain"].tolist() == [0, 1, 2] and archive["objects"].tolist() == [1, "a"]
    assert archive["results"]["cam"].tolist() == [[1, 1, 1]]


def test_objects_of_archives_are_read_when_asked_for_and_run_nothing(tmp_path):
    target = tmp_path / "touched"
    np.savez(tmp_path / "a.npz", evil=np.array(_Evil(target), dtype=object), good=np.arange(2))
    archive = SafeArchive(tmp_path / "a.npz")
    assert archive["good"].tolist() == [0, 1]
    with pytest.raises(UserError, match=r"a\.npz: 'evil': refused, the pickle asks for .*system"):
        archive["evil"]
    assert not target.exists()


def test_archives_that_are_none(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04rest")
    for name, message in (("bad.npz", "not a readable .npz archive"), ("no.npz", "no such file")):
        with pytest.raises(UserError, match=message):
            SafeArchive(tmp_path / name)

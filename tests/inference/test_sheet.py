"""Sheets of people under one control at a time."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from inference.pipeline import PortraitPipeline
from inference.sheet import check_alike, main, model_names, nearest_pipeline, same_people, without_smoothing
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from tests.networks.helpers import make_generator, make_priors_dict
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError


@pytest.fixture(scope="module")
def model():
    return SavedModel(make_generator(), LabelPriors.from_dict(make_priors_dict(), "test"), {})


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(path, pack_model(model))
    return path


@pytest.mark.parametrize(("more", "columns", "added"), [([], 9, 48 + 61 + 4), (["--smoothing"], 8, 48 + 2)])
def test_a_row_a_person(checkpoint, tmp_path, more, columns, added):
    for seeds in ("0", "0,4"):
        main(["--ckpt", str(checkpoint), "--seeds", seeds, "--out", str(tmp_path / f"{seeds}.png"),
              "--size", "48", "--quality", "exact", "--device", "cpu", *more])  # fmt: skip
    one, two = (Image.open(tmp_path / f"{seeds}.png").size for seeds in ("0", "0,4"))
    assert one[0] == two[0] and columns * 48 < one[0] < columns * 54 + 60
    assert two[1] - one[1] == added  # one row more, of a sheet's two parts
    assert np.asarray(Image.open(tmp_path / "0.png")).min() < 100  # something is written or drawn


def test_several_models_draw_the_same_people(model, checkpoint, tmp_path):
    strangers = PortraitPipeline(SavedModel(make_generator(), None, {}))  # another seed's people are others there
    pipes = [PortraitPipeline(model), strangers]
    for first, second in zip(*[same_people(pipes, (0, 3), 0.7)] * 2, strict=True):
        assert all(map(torch.equal, first.latents, second.latents))
    assert model_names(["runs/one/latest", "b.safetensors"]) == ["one", "b"] and model_names(["b.safetensors"]) == [""]
    options = ["--seeds", "0", "--size", "48", "--quality", "exact", "--device", "cpu"]
    for paths in (1, 2):
        main(["--ckpt", *paths * [str(checkpoint)], *options, "--out", str(tmp_path / f"{paths}.png")])
    one, two = (Image.open(tmp_path / f"{paths}.png").size for paths in (1, 2))
    assert two[1] - one[1] == 48 + 61 + 4  # one row more, of a sheet's two parts


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"one_person": True}, "found a model of one person, b"),
        ({"controls": SimpleNamespace(all_round=True)}, "found a tri-grid, b"),
        ({"face_model": "another"}, "b: expected a checkpoint of the face model ours, found one of another"),
    ],
)
def test_several_models_are_alike(other, message):
    ours = {"one_person": False, "controls": SimpleNamespace(all_round=False), "face_model": "ours"}
    pipes = [SimpleNamespace(**ours), SimpleNamespace(**{**ours, **other})]
    check_alike(pipes[1:], "b")  # alone it may be anything
    with pytest.raises(UserError, match=message):
        check_alike(pipes, ["a", "b"])


def test_without_smoothing_is_the_model_with_nearest_vertices(model):
    pipe = PortraitPipeline(model)
    person = pipe.person(seed=0)
    other = without_smoothing(person)
    assert other.manifolds is person.manifolds
    plain = nearest_pipeline(pipe).generator
    assert (plain.config.pose, pipe.generator.config.pose) == ("nearest", "smoothed")
    points = torch.randn(1, 4, 4, 6, 3) * 0.05
    betas, eulers = torch.zeros(1, 10), 0.2 * torch.ones(1, 6, 3)
    full = plain.inverse_skinning(points, plain.body(betas, eulers))
    assert full.shape == (1, 12, 6, 4, 4)  # every sample, not every second one
    half = pipe.generator.inverse_skinning(points, pipe.generator.body(betas, eulers))
    assert torch.equal(full[:, :, ::2, ::2, ::2], half)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a.jpg"], "--out: expected a name that ends in .png, found 'a.jpg'"),
        (["--out", "a.png", "--seeds", "3-1"], "--seeds: expected whole numbers and rising ranges"),
        (["--out", "a.png", "--seeds", "0-99"], "--seeds: expected at most 64 people on a sheet, found 100"),
        (["--out", "a.png", "--psi", "nan"], "--psi: expected a number from 0 to 2, found nan"),
        (["--out", "a.png", "--size", "9"], "--size: expected a whole number from 32 to 1024, found 9"),
    ],
)
def test_bad_input(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(arguments)
    assert not list(tmp_path.iterdir())

"""The numbers that features give, and the command that prints them."""

import json
import os
from dataclasses import replace

import pytest
import torch

from networks.saved_model import SavedModel, pack_model
from tests.networks.helpers import TINY_CONFIG, make_generator
from tests.training.metrics.made_up import CPU, Painter, config, pixel_detector, save
from tests.training.tiny_run import ALONE, make_sampler
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError, run_cli
from training.metrics import __main__ as command
from training.metrics import renderers
from training.metrics.__main__ import choose_metrics, main
from training.metrics.control import CONTROL_METRICS
from training.metrics.detectors import load_detector
from training.metrics.evaluation import EvaluationConfig, compare, doubts, evaluate
from training.metrics.features import cached_features
from training.metrics.pictures import DatasetPictures, FolderPictures
from training.metrics.renderers import DrawingRenderer, GeneratorRenderer, draw_inputs, face_model_of_labels
from training.metrics.reports import finite
from training.rendering import build_maps, render_maps
from training.sampling import InputSampler


@pytest.fixture(scope="module")
def detector():
    return load_detector("random", CPU)


def test_a_set_against_itself_is_at_distance_zero(dataset, detector, tmp_path):
    source = DatasetPictures(dataset, {"full": 16}, 12)
    found = compare(source, source, detector, config(metrics=("fid",)), ALONE, cache=tmp_path)
    assert found["FD-random/full"] == pytest.approx(0, abs=1e-5)  # sqrt of rounding in covariances of order 1


def test_numbers_do_not_depend_on_the_batch_size_and_repeat(dataset, detector, tmp_path):
    first = evaluate(Painter(), dataset, detector, config(), ALONE, cache=tmp_path / "a")
    other = evaluate(Painter(), dataset, detector, config(batch_size=7), ALONE, cache=tmp_path / "b")
    assert list(first) == ["FD-random/full", "KD-random/full", "FD-random/face", "KD-random/face"]
    assert other == pytest.approx(first, rel=1e-4)  # rounding in the detector's convolutions
    assert evaluate(Painter(), dataset, detector, config(), ALONE, cache=tmp_path / "a") == first


def test_inputs_depend_on_their_number_alone(dataset):
    sampler = InputSampler(dataset, None, 0)
    whole, part = draw_inputs(sampler, range(0, 300), 3), draw_inputs(sampler, range(250, 260), 3)
    assert torch.equal(part.z_noise, whole.z_noise[250:260]) and torch.equal(part.camera, whole.camera[250:260])


def _process(rank, port, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    from torch_utils.distributed import world

    torch.set_num_threads(1)
    with world("cpu") as processes:
        source = FolderPictures(folder)
        found = compare(
            source, FolderPictures(folder.parent / "b"), pixel_detector(), config(batch_size=3), processes,
            cache=folder.parent / "cache",
        )  # fmt: skip
        (folder.parent / f"{rank}.json").write_text(json.dumps(found))


def test_two_processes_find_what_one_finds(tmp_path):
    a, b = save(tmp_path / "a", [8] * 11), save(tmp_path / "b", [8] * 7, start=1)
    alone = compare(FolderPictures(a), FolderPictures(b), pixel_detector(), config(), ALONE, cache=tmp_path / "alone")
    torch.multiprocessing.spawn(_process, (29500 + os.getpid() % 1000, a), nprocs=2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(alone, rel=1e-9)


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_nan_pictures_are_named(dataset, detector, tmp_path):
    class Nan(Painter):
        def __call__(self, inputs, views):
            drawn = Painter.__call__(self, inputs, views)
            return {name: view._replace(image=view.image * torch.nan) for name, view in drawn.items()}

    with pytest.raises(UserError, match="painter: full picture 0: expected finite numbers, found NaN or infinity"):
        evaluate(Nan(), dataset, detector, config(), ALONE, cache=tmp_path)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, None),
        ({"face": "embedded"}, "embedded"),
        ({"face": "open-1"}, "arkit"),
        ({"face": "BFM.mat 0123"}, "basel"),
    ],
)
def test_whose_expressions_a_data_set_has(dataset, monkeypatch, named, expected):
    monkeypatch.setattr(dataset, "manifest", dataset.manifest | {"models": named})
    assert face_model_of_labels(dataset) == expected


@pytest.fixture(scope="module")
def place(dataset, tmp_path_factory):
    """Folders of pictures, one of other pictures and one whose cached features are said to be of those, and models."""
    folder = tmp_path_factory.mktemp("bad")
    save(folder / "a", [8] * 6)
    save(folder / "b", [8] * 6, start=1)
    save(folder / "mixed", [8, 8, 9])
    (folder / "empty").mkdir()
    source = FolderPictures(folder / "b")
    cached_features(source, load_detector("random", CPU), folder / "cache", ALONE, batch_size=4)
    (note,) = (folder / "cache").glob("*/features.json")
    note.write_text(note.read_text().replace(source.checksum, FolderPictures(folder / "a").checksum))
    (folder / "data").symlink_to(dataset.path)
    generator = make_generator()
    save_checkpoint(folder / "large.safetensors", pack_model(SavedModel(generator, None, {})))
    next(generator.radiance.parameters()).data.fill_(torch.nan)
    save_checkpoint(folder / "nan.safetensors", pack_model(SavedModel(generator, None, {})))
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--fakes a --data b --kid_subset 7", "--kid_subset: expected at most 6, the number of images, found 7"),
        (
            "--fakes empty --data b",
            "empty: expected pictures (.png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff), found none",
        ),
        ("--fakes mixed --data a --kid_subset 2", "mixed/002.png: expected 8 x 8 pixels, as 000.png has, found 9 x 9"),
        ("--fakes a --data b", "features.json: damaged, or cached features of something else (pictures: expected "),
        (
            "--ckpt large.safetensors --data data",
            "expected at least 40 pixels, as the model has, found full pictures of 16",
        ),
        (
            "--ckpt nan.safetensors --data data",
            "nan.safetensors: weights do not fit Generator: 1 not finite: radiance.mapping.0.weight",
        ),
        (
            "--ckpt nan.safetensors --data data --metrics kid,pose --control_num 1",
            "--control_num: expected a whole number from 2 to",
        ),
        ("--ckpt nan.safetensors --data data --metrics pose --seed -1", "--seed: expected a whole number from 0 to"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(place, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(place)
    settings = "--regions full --detector random --num 6 --kid_subset 4 --device cpu --cache cache --out out.json"
    with pytest.raises(SystemExit) as end:
        run_cli(lambda: main([*settings.split(), *words.split()]))
    errors = capsys.readouterr().err.rpartition("\r")[2]  # what stays of it: not the progress
    assert end.value.code == 2 and errors.startswith("error: ") and errors.count("\n") == 1, errors
    assert expected in errors and not (place / "out.json").exists()


def test_unknown_metrics_and_regions():
    with pytest.raises(UserError, match="--metrics: expected some of fid, kid, found 'ssim'"):
        EvaluationConfig(metrics=("ssim",))
    with pytest.raises(UserError, match="--regions: expected some of full, face, found 'torso'"):
        EvaluationConfig(regions=("torso",))


def test_metrics_of_the_command():
    assert choose_metrics("kid,fid,pose") == (("fid", "kid"), ("pose",))
    usual = tuple(name for name in CONTROL_METRICS if name != "recognition")  # which needs optional packages
    assert choose_metrics("control") == ((), usual)
    assert choose_metrics("recognition,control")[1] == CONTROL_METRICS
    with pytest.raises(UserError, match="--metrics: expected recon, or some of fid, kid, control, .*, found 'ssim'"):
        choose_metrics("fid,ssim")


def test_command_on_folders(tmp_path, capsys):
    a, b = save(tmp_path / "a", [8] * 6), save(tmp_path / "b", [8] * 6, start=1)
    out = tmp_path / "out.json"
    main(
        f"--fakes {b} --data {a} --regions full --detector random --num 6 --kid_subset 4 --device cpu "
        f"--cache {tmp_path / 'cache'} --out {out}".split()
    )
    (printed, warned), report = capsys.readouterr(), json.loads(out.read_text())
    written = report["distances"]
    assert list(written) == ["FD-random/full", "KD-random/full"] and written["FD-random/full"] > 0
    assert report["doubts"][0].startswith("FD-random of 6 images means nothing by itself: expected more than its ")
    assert report["doubts"][1].startswith("KD-random of 6 images is rough: expected 1000 or more")
    assert all(f"warning: {doubt}\n" in warned for doubt in report["doubts"])
    assert f"FD-random/full {written['FD-random/full']:40.4f}" in printed


def test_control_is_printed_beside_the_true_drawings(dataset, tmp_path, monkeypatch, capsys):
    """With the drawings in the model's place, both columns are the same."""
    monkeypatch.setattr(command, "load_renderer", lambda *_: DrawingRenderer({"portrait": 16, "face": 16}))
    monkeypatch.setattr(command, "is_synthetic", lambda _: True)
    out = tmp_path / "out.json"
    main(f"--ckpt any --data {dataset.path} --metrics pose --control_num 2 --device cpu --out {out}".split())
    found = json.loads(out.read_text())
    assert found["control"] == found["ceiling"] and 0 < found["control"]["pose/face_camera_degrees"] < 90
    assert "drawing" in capsys.readouterr().out


def test_several_models_are_measured_in_one_run(dataset, tmp_path, monkeypatch, capsys):
    """By the same draws and pictures, at the smallest size: a model that only makes larger pictures is no other one."""

    class Larger(Painter):
        name, size = "larger", {"portrait": 32, "face": 16}

    models = {"painter": Painter(), "larger": Larger()}
    monkeypatch.setattr(command, "load_renderer", lambda path, _: models[path])
    monkeypatch.setattr(command, "is_synthetic", lambda _: False)
    monkeypatch.setattr(command, "measure_control", lambda model, *_: {"pose/x": float(model.size["face"])})
    monkeypatch.setattr(Painter, "face_model", None, raising=False)
    out = tmp_path / "out.json"
    main(
        f"--ckpt painter larger --data {dataset.path} --metrics fid,pose --num 8 --detector random --device cpu "
        f"--cache {tmp_path} --out {out}".split()
    )
    found, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert list(found["others"]) == ["larger"]
    assert found["others"]["larger"]["distances"] == pytest.approx(found["distances"], rel=1e-4)
    assert found["control"] == {"pose/x": 8} and found["others"]["larger"]["control"] == {"pose/x": 16}
    assert "model 2: larger" in printed and "model 1" in printed


def test_people_are_built_once_for_pictures_that_follow(monkeypatch):
    """And anew for others: every picture is that of a renderer that has seen nobody before."""
    generator = make_generator()
    sampler, built = make_sampler(4, 0), []
    monkeypatch.setattr(renderers, "build_maps", lambda *given: built.append(1) or build_maps(*given))
    renderer = GeneratorRenderer(generator, 2, "tiny")
    inputs = draw_inputs(sampler, range(2), 0)
    for row, count in ((0, 1), (0, 1), (1, 2), (0, 3)):
        one = inputs.part(slice(row, row + 1))
        found = renderer(one, ("portrait",))["portrait"].image
        assert len(built) == count
        assert torch.equal(found, GeneratorRenderer(generator, 2, "tiny")(one, ("portrait",))["portrait"].image)
        built.pop()


def test_models_whose_lids_close_are_measured_on_the_frames_of_videos(monkeypatch):
    generator = make_generator(replace(TINY_CONFIG, canonical_face="open"))
    size, torn = 4 * generator.config.lowres_size, torch.arange(40, 60)[None]
    monkeypatch.setattr("networks.manifold.generator.torn_pixels", lambda *_: torn)
    renderer, one = GeneratorRenderer(generator, 2, "tiny"), draw_inputs(make_sampler(2, 0), range(1), 0)
    with torch.no_grad():
        found = renderer(one, ("portrait", "face"))
        maps = renderer._maps(one)
        frame = generator.render(maps, one.z_id, one.z_exp, one.betas, one.joint_eulers, one.camera)
        learned = {view: render_maps(generator, maps, one, view) for view in found}
    for name in ("image", "alpha", "depth"):
        assert torch.equal(getattr(found["portrait"], name), getattr(frame, name))
    differs = (found["portrait"].image - learned["portrait"].image).abs().amax(1).flatten(1) > 1e-4  # not by rounding
    assert differs.shape[1] == size * size and set(differs.nonzero()[:, 1].tolist()) <= set(torn[0].tolist())
    assert differs.any()
    assert found["face"].image.shape == learned["face"].image.shape
    # The same places, half as dense: the corners are the frame's own.
    assert torch.allclose(found["face"].image[..., -1, -1], learned["face"].image[..., -1, -1], atol=1e-6)


def test_enough_images_are_not_doubted():
    """Inception's 2048 features need more images than that; KID's usual subset has 1000."""
    inception = pixel_detector()._replace(width=2048)
    assert doubts(EvaluationConfig(), inception, 2049) == []
    assert [doubt[:3] for doubt in doubts(EvaluationConfig(), inception, 2048)] == ["FD "]
    assert [doubt[:3] for doubt in doubts(EvaluationConfig(), inception, 999)] == ["FD ", "KD "]
    assert doubts(EvaluationConfig(metrics=("kid",)), inception, 1000) == []


def test_what_could_not_be_measured_is_null():
    assert finite({"a": {"b": float("nan"), "c": 1.5}, "d": 2}) == {"a": {"b": None, "c": 1.5}, "d": 2}

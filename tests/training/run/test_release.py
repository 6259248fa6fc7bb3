"""A trained model as one file, and the picture of its training: what they say, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from inference.pipeline import PortraitPipeline
from networks.saved_model import unpack_model
from tests.training.tiny_run import ALONE, make_config, make_dataset
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError
from torch_utils.picture_grid import PAPER
from training.manifold_recipe import MANIFOLDS
from training.run import history, release
from training.run.history import BLUE, Stage, cut_snapshot, draw_curve
from training.training_loop import training_loop

HALF = 2**-11  # relative rounding of float16


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of a step, the second from the first one's model."""
    root = tmp_path_factory.mktemp("runs")
    data = make_dataset(root / "data")
    changes = {"run": {"total_kimg": 0.004, "metric_images": 4, "snapshot_people": 2}}
    for name in ("first", "second"):
        command = f"python train.py --config configs/{name}.yaml"
        training_loop(make_config(changes), data, root / name, ALONE, MANIFOLDS, command=command)
        changes |= {"init_from": str(root / "first/latest")}
    return root


def test_a_released_model_is_the_run_s_and_says_how_it_was_made(runs, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    release.main([str(runs / "first"), str(runs / "second"), "--out", str(out), "--what", "a test"])
    assert f"wrote {out} (" in capsys.readouterr().out
    # The body, which stays in single precision, is 0.4 of this tiny model.
    assert out.stat().st_size < 0.75 * (runs / "second/latest").stat().st_size
    found, kept = (unpack_model(load_checkpoint(path), "") for path in (out, runs / "second/latest"))
    for (name, value), full in zip(
        found.generator.state_dict().items(), kept.generator.state_dict().values(), strict=True
    ):
        assert torch.allclose(value, full, rtol=HALF, atol=1e-7), name  # subnormal below 6e-5: steps of 6e-8
    about = found.metadata
    assert (about["what"], about["model"], [run["name"] for run in about["runs"]]) == (
        "a test",
        "latest",
        ["first", "second"],
    )
    command, data = about["runs"][1]["made_by"]
    assert command == "python train.py --config configs/second.yaml"
    assert data.startswith("data: 8 portraits of 16^2, faces 16^2, made by tests, seed 0, checksum ")
    assert [tick["cur_nimg"] for tick in about["runs"][0]["log"]] == [0, 4]
    assert "distance" in about["runs"][0]["log"][0] and "stage: 1\n" in about["runs"][0]["config"]
    assert (about["training"]["stage"], about["cur_nimg"]) == (1, 4)  # what training.metrics and training.ablation read
    PortraitPipeline.from_checkpoint(out).person(seed=0)


def test_runs_that_do_not_follow_each_other_are_refused(runs, tmp_path):
    for folders, complaint in (
        ([runs / "second", runs / "first"], "first: expected a run that began from a model in .*second, found"),
        ([runs / "first", runs / "data"], "data: expected the folder of a training run, found no stats.jsonl"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=complaint):
            release.main([*map(str, folders), "--out", str(tmp_path / "model.safetensors")])
    assert not list(tmp_path.iterdir())


def test_a_history_shows_snapshots_as_they_were(runs, tmp_path):
    out = tmp_path / "history.png"
    history.main([str(runs / "first"), str(runs / "second"), "--out", str(out), "--size", "16", "--snapshots", "2"])
    page = np.asarray(Image.open(out))
    snapshot = np.asarray(Image.open(runs / "second/fakes000000004.png"))
    tile = snapshot[2 + 18 : 36, 2 + 18 : 36]  # the second person under the camera from the left
    shown = cut_snapshot(runs / "second/fakes000000004.png", 16, 2)
    assert np.array_equal((shown[1][1].permute(1, 2, 0).numpy() + 1) * 127.5, tile)
    places = np.lib.stride_tricks.sliding_window_view(page, (16, 16, 3)).reshape(-1, 16 * 16 * 3)
    assert (places == tile.reshape(-1)).all(1).sum() == 1


def test_a_curve_goes_through_its_values():
    config = make_config()
    stages = [Stage(config, 100, [(0, 100.0), (100, 1.0)], {}), Stage(config, 100, [(50, 10.0), (100, 10.0)], {})]
    curve = np.asarray(draw_curve(stages, 400)).astype(int)
    left, right, top, bottom = 48, 376, 36, 176
    near_blue = np.abs(curve - BLUE).sum(-1) < 90
    middle = (top + bottom) / 2  # 10 is half way between 1 and 100
    for column, row in (((left * 3 + right) / 4, middle), ((left + 7 * right) / 8, middle)):
        rows = near_blue[:, round(column)].nonzero()[0]
        assert rows.size and abs(rows.mean() - row) < 1.5
    assert tuple(curve[5, 395]) == PAPER
    with pytest.raises(UserError, match="expected a run with distances"):
        draw_curve([Stage(config, 100, [], {})], 400)


def test_pictures_that_are_no_snapshot_are_refused(tmp_path):
    path = tmp_path / "fakes000000000.png"
    Image.new("RGB", (100, 38)).save(path)
    with pytest.raises(UserError, match=r"expected 2 or more rows of 11 pictures of 16 pixels, found 100 x 38"):
        cut_snapshot(path, 16, 2)
    path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="fakes000000000.png: damaged, cut short or no picture"):
        cut_snapshot(path, 16, 2)
    with pytest.raises(UserError, match=r"expected a name that ends in .png"):
        history.main([str(tmp_path), "--out", "history.jpg"])

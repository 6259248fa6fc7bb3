"""The loop: what a run leaves, stops and resuming, gradients in parts, numbers that are not finite."""

import json
import math
import os
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

import training.manifold_recipe
from inference.pipeline import PortraitPipeline
from networks.person.expressions import DEFAULT_FACE
from tests.training.tiny_run import (
    ALONE,
    RELATIVISTIC,
    ROOT,
    gradients,
    leaves,
    make_config,
    process_gradients,
    run,
    states_differ,
)
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import load_yaml, merge
from torch_utils.misc import UserError
from training.config import TrainConfig
from training.manifold_recipe import begin, check_data, train_step
from training.phases import accumulate_generator, make_fakes
from training.run.state import STATE
from training.training_loop import check_finite


def test_a_run_leaves_what_is_promised(finished):
    lines = [json.loads(line) for line in (finished / "stats.jsonl").read_text().splitlines()]
    assert [line["cur_nimg"] for line in lines] == [0, 4, 8, 12, 16]
    wanted = {"G/whole", "G/face", "G/torso", "D/whole_r1", "D/face_camera", "imitation", "pose_smooth"}
    assert wanted | {"expression_smooth", "expression_minimal", "images_per_second"} <= lines[1].keys()
    assert {line["cur_nimg"] for line in lines if "distance" in line} == {0, 8, 16}
    names = {path.name for path in finished.iterdir()}
    assert {STATE, "latest", "best", "fakes000000000.png", "fakes000000008.png", "fakes000000016.png"} <= names
    assert any(name.startswith("events.out") for name in names)
    assert not [name for name in names if "partial" in name]


def test_stopping_and_resuming_changes_nothing(dataset, finished, tmp_path):
    run(dataset, tmp_path, {"run": {"total_kimg": 0.008}})
    assert states_differ(finished, tmp_path)  # the comparison can tell
    run(dataset, tmp_path, {"run": {"workers": 2}})
    assert states_differ(finished, tmp_path) == []


def test_the_kept_model_renders(finished):
    pipeline = PortraitPipeline.from_checkpoint(finished / "latest")
    frame = pipeline.person(seed=0).render()
    assert frame.image.shape == (3, 64, 64) and frame.image.isfinite().all()
    assert pipeline.priors.camera_pose.shape == (8, 20)
    assert pipeline.metadata["cur_nimg"] == 16 and pipeline.face_model == DEFAULT_FACE


def assert_close(first, second):
    """Gradients that differ by rounding alone."""
    compared = 0
    for a, b in zip(first, second, strict=True):
        assert (a is None or not a.any()) == (b is None or not b.any())
        if a is not None and b is not None:
            assert (a - b).abs().max() <= 1e-5 * a.abs().max()
            compared += 1
    assert compared > 50


@pytest.fixture(scope="module")
def whole_batch():
    return gradients()


@pytest.fixture(scope="module")
def whole_batch_of_pairs():
    return gradients(RELATIVISTIC)


@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch": 1},
        {"micro_batch": 3},
        {"rays_per_chunk": 100, "micro_batch": 2},
        {"micro_batch": 1, "d_micro_batch": 3},
    ],
    ids=str,
)
def test_micro_batches_and_chunks_do_not_change_the_gradient(whole_batch, changes):
    assert_close(whole_batch, gradients({"run": changes}))


def test_micro_batches_keep_pairs_together(whole_batch, whole_batch_of_pairs):
    run = {"micro_batch": 1, "d_micro_batch": 3}
    assert_close(whole_batch_of_pairs, gradients({**RELATIVISTIC, "run": run}))
    with pytest.raises(AssertionError):  # the comparison can tell
        assert_close(whole_batch, whole_batch_of_pairs)


def test_two_processes_compute_what_one_does_with_twice_the_batch(whole_batch, whole_batch_of_pairs, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out, runs = tmp_path / "gradients.pt", [{}, RELATIVISTIC]
    multiprocessing.spawn(process_gradients, (port, str(out), runs), nprocs=2)
    for expected, found in zip((whole_batch, whole_batch_of_pairs), torch.load(out, weights_only=True), strict=True):
        assert_close(expected, found)


def test_discriminators_warm_up_alone(dataset):
    """On the pictures that G's own step would have made, while no weight of G moves."""
    config = make_config({"discriminator_warmup": 1})
    task, state = begin(config, dataset, ALONE)
    generator, discriminators = state.networks.generator, state.networks.discriminators
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    learned = [value.clone() for value in discriminators.parameters()]
    inputs = task.sampler.draw(4, 0)
    _, expected = accumulate_generator(state.networks, config, inputs, task.autocast)
    generator.zero_grad()
    fakes = make_fakes(generator, replace(config, run=replace(config.run, micro_batch=3)), inputs, task.autocast)
    for name, picture in expected.items():
        torch.testing.assert_close(fakes[name], picture, rtol=0, atol=1e-5)  # other batches, other sums
    assert not any(name.startswith("G/") for name in train_step(task, state))
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in state.g_ema.state_dict().items())
    assert not any(map(torch.equal, discriminators.parameters(), learned))
    assert train_step(task, state)["G/gradient_norm"] > 0
    assert not torch.equal(generator.radiance.to_rgb[0].weight, before["radiance.to_rgb.0.weight"])
    state.reader.close()


def test_relativistic_steps(dataset):
    """Both sides learn from pairs; penalties on both of a pair, at every second step."""
    changes = merge(RELATIVISTIC, {"discriminators": {"r1_interval": 2}})
    task, state = begin(make_config(changes), dataset, ALONE)
    first, second = (train_step(task, state) for _ in range(2))
    state.reader.close()
    for name in ("whole", "face", "torso"):
        # Scores of untrained discriminators are near 0, where a pair's loss is ln 2 of either side.
        assert first[f"D/{name}"] == pytest.approx(math.log(2), abs=0.3)
        assert first[f"G/{name}"] == pytest.approx(math.log(2), abs=0.3)
        assert first[f"D/{name}_r1"] > 0 and first[f"D/{name}_r2"] > 0
    assert not any(name.endswith(("_r1", "_r2")) for name in second)


def test_sigterm_finishes_the_step_and_saves(dataset, tmp_path, monkeypatch):
    plain, steps = training.manifold_recipe.train_step, []

    def step(task, state):
        steps.append(state.step)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(task, state)

    monkeypatch.setattr(training.manifold_recipe, "train_step", step)
    before = signal.getsignal(signal.SIGTERM)
    run(dataset, tmp_path, {"run": {"snapshot_kimg": 1.0}})
    assert steps == [0, 1, 2]
    assert load_checkpoint(tmp_path / STATE)["counters"]["step"] == 3
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_loss_that_is_not_finite_stops_the_run_by_name(dataset, tmp_path, monkeypatch):
    plain, calls = training.phases.imitation_loss, []

    def poisoned(*args):
        calls.append(1)
        return plain(*args) * (float("nan") if len(calls) > 4 else 1.0)  # two views a step: the third step

    monkeypatch.setattr(training.phases, "imitation_loss", poisoned)
    with pytest.raises(UserError, match=r"step 3 .*imitation is nan.*G/gradient_norm is nan.*state") as caught:
        run(dataset, tmp_path)
    assert "D/" not in str(caught.value).partition("G/gradient_norm")[0]
    state = load_checkpoint(tmp_path / STATE)
    assert state["counters"]["step"] == 2
    assert all(v.isfinite().all() for v in leaves(state).values() if torch.is_tensor(v))


def test_check_finite_names_infinities():
    check_finite({"a": 1.0}, 3, Path("runs/x"))
    with pytest.raises(UserError, match="step 3 went wrong: b is inf"):
        check_finite({"a": 1.0, "b": float("inf")}, 3, Path("runs/x"))


@pytest.mark.parametrize("resuming", [False, True])
def test_a_detector_that_is_not_there_ends_a_run_at_once(dataset, finished, tmp_path, monkeypatch, resuming):
    if resuming:
        shutil.copy(finished / STATE, tmp_path / STATE)
    monkeypatch.setattr(training.manifold_recipe, "begin", lambda *_, **__: pytest.fail("must not get here"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="no Inception weights there"):
        run(dataset, tmp_path, {"run": {"metric_detector": "inception", "metric_images": 4, "total_kimg": 0.02}})


def test_sizes_are_checked(dataset):
    changes = {"stage": 2, "init_from": "x", "generator": {"superresolution": True}}
    with pytest.raises(UserError, match="images: expected at least 64 pixels a side, found 16"):
        check_data(make_config(changes), dataset, ALONE)
    with pytest.raises(UserError, match="--batch_size: expected a multiple"):
        check_data(make_config(), dataset, ALONE._replace(size=3))


def overlay(path: Path) -> TrainConfig:
    """The tiny run with what an ablation or baseline changes."""
    changes = {key: value for key, value in load_yaml(path).items() if key != "base"}
    return make_config(changes)


PARTS = [*sorted((ROOT / "configs/ablations").glob("*.yaml")), ROOT / "configs/baselines/gram_hd.yaml"]


PARTS.append(ROOT / "configs/baselines/anifacegan.yaml")


@pytest.mark.parametrize("path", PARTS, ids=[path.stem for path in PARTS])
def test_ablations_and_baselines_train(path, dataset):
    config = overlay(path)
    task, state = begin(config, dataset, ALONE)
    losses = train_step(task, state)
    state.reader.close()
    assert {name.partition("/")[2] for name in losses if name.startswith("D/") and name.count("_") == 0} == set(
        config.discriminators.active
    )
    assert ("pose_smooth" in losses) == (config.generator.pose == "smoothed")
    assert ("imitation" in losses) == config.generator.expression
    check_finite(losses, 0, Path())

"""The loop and the faults it survives: stops, kills, full disks, numbers that are not finite, changed settings."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch import multiprocessing

import training.training_loop
from inference.pipeline import PortraitPipeline
from networks.discriminators import Discriminator, DiscriminatorConfig
from networks.person.expressions import DEFAULT_FACE
from tests.training.tiny_run import ALONE, CONFIG, gradients, make_config, make_dataset, process_gradients, run
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import load_yaml, merge
from torch_utils.misc import UserError
from training.config import TrainConfig, load_train_config
from training.models import build_discriminators, grow
from training.run.state import PREVIOUS, STATE, is_begun
from training.training_loop import LOCK, begin, check_data, check_finite, describe, train_step

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "noise")


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """Four steps without a stop."""
    outdir = tmp_path_factory.mktemp("finished")
    torch.set_num_threads(1)
    run(dataset, outdir, {"run": {"metric_images": 4}})
    return outdir


def leaves(data, name=""):
    """Every tensor and number of a state, by its place."""
    if isinstance(data, dict):
        return {k: v for key, value in data.items() for k, v in leaves(value, f"{name}/{key}").items()}
    if isinstance(data, list | tuple):
        return leaves(dict(enumerate(data)), name)
    return {name: data}


def states_differ(first: Path, second: Path) -> list[str]:
    """Places in which two runs' states are not bit for bit the same; time and what may differ by design left out."""
    a, b = (leaves(load_checkpoint(path / STATE)) for path in (first, second))
    names = [
        n for n in {**a, **b} if not n.startswith("/config/run") and n not in ("/counters/seconds", "/counters/best")
    ]
    return [n for n in names if not (torch.equal(a[n], b[n]) if torch.is_tensor(a[n]) else a[n] == b[n])]


def spoil(path: Path) -> None:
    """Change one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


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


def test_two_processes_compute_what_one_does_with_twice_the_batch(whole_batch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(process_gradients, (port, str(tmp_path / "gradients.pt")), nprocs=2)
    assert_close(whole_batch, torch.load(tmp_path / "gradients.pt", weights_only=True))


def test_sigterm_finishes_the_step_and_saves(dataset, tmp_path, monkeypatch):
    plain, steps = training.training_loop.train_step, []

    def step(task, state):
        steps.append(state.step)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(task, state)

    monkeypatch.setattr(training.training_loop, "train_step", step)
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


def test_a_full_disk_leaves_the_checkpoint_before(dataset, finished, tmp_path):
    for name in (STATE, "latest", "stats.jsonl"):
        shutil.copy(finished / name, tmp_path / name)
    before = (tmp_path / STATE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit is an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(UserError, match="state.safetensors: cannot be written: .*the one before it is still there"):
            run(dataset, tmp_path, {"run": {"total_kimg": 0.02}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / STATE).read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_another_configuration_or_data_set_is_refused_unless_told(dataset, finished, tmp_path):
    shutil.copy(finished / STATE, tmp_path / STATE)
    with pytest.raises(UserError, match=r"begun otherwise \(optim.g_lr: 0.001 -> 0.002\); --allow_change"):
        run(dataset, tmp_path, {"optim": {"g_lr": 2e-3}})
    other = make_dataset(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="data set with checksum"):
        run(other, tmp_path)
    assert not (tmp_path / "config.yaml").exists()
    config = make_config({"optim": {"g_lr": 2e-3}, "run": {"total_kimg": 0.02}})
    training.training_loop.training_loop(config, other, tmp_path, ALONE, allow_change=True)
    state = load_checkpoint(tmp_path / STATE)
    assert state["counters"]["step"] == 5
    assert load_train_config(tmp_path / "config.yaml") == config  # of the latest session, and none that was refused
    assert state["g_opt"]["param_groups"][0]["lr"] == 2e-3


def test_a_damaged_state_is_an_error_of_one_line(dataset, finished, tmp_path):
    (tmp_path / STATE).write_bytes((finished / STATE).read_bytes()[:5000])
    with pytest.raises(UserError, match="state.safetensors: truncated or damaged[^\n]*$"):
        run(dataset, tmp_path)
    assert (tmp_path / STATE).exists()


def test_a_run_goes_back_to_the_last_good_state(dataset, finished, tmp_path, capsys):
    """One byte of the newest state is another; the end is that of a run without it."""
    run(dataset, tmp_path, {"run": {"total_kimg": 0.012}})
    assert [load_checkpoint(tmp_path / name)["counters"]["step"] for name in (STATE, PREVIOUS)] == [3, 2]
    spoil(tmp_path / STATE)
    capsys.readouterr()
    run(dataset, tmp_path, {"run": {"total_kimg": 0.012, "snapshot_kimg": 1.0}})
    assert f"{STATE}: truncated or damaged" in (said := capsys.readouterr().out)
    assert f"; going on from {PREVIOUS} at 8 images" in said
    # The damaged one has not taken the good one's place.
    assert [load_checkpoint(tmp_path / name)["counters"]["step"] for name in (STATE, PREVIOUS)] == [3, 2]
    run(dataset, tmp_path)
    assert states_differ(finished, tmp_path) == []


def test_a_kill_between_the_two_states(dataset, finished, tmp_path, capsys):
    """When the old one has got its new name and the new one has not."""
    run(dataset, tmp_path, {"run": {"total_kimg": 0.008}})
    (tmp_path / STATE).rename(tmp_path / PREVIOUS)
    run(dataset, tmp_path)
    assert f"{STATE}: missing, for a session was killed as it saved; going on from" in capsys.readouterr().out
    assert states_differ(finished, tmp_path) == []


def test_a_run_whose_states_are_all_damaged_is_refused(dataset, tmp_path):
    run(dataset, tmp_path, {"run": {"total_kimg": 0.004}})
    for name in (STATE, PREVIOUS):
        spoil(tmp_path / name)
    with pytest.raises(UserError, match=f"{STATE}: [^\n]*damaged[^\n]*{PREVIOUS}: [^\n]*damaged[^\n]*$"):
        run(dataset, tmp_path)


def test_a_run_of_before_the_format_goes_on(dataset, finished, tmp_path):
    run(dataset, tmp_path, {"run": {"total_kimg": 0.008}})
    torch.save({**load_checkpoint(tmp_path / STATE), "version": 1}, tmp_path / "state.pt")
    (tmp_path / STATE).unlink()
    (tmp_path / PREVIOUS).unlink()
    run(dataset, tmp_path)
    assert states_differ(finished, tmp_path) == []


def test_processes_that_found_different_states_are_told(dataset, finished, tmp_path, monkeypatch):
    shutil.copy(finished / STATE, tmp_path / STATE)
    monkeypatch.setattr(training.run.state, "mean_over_processes", lambda values: values.clamp(max=1) * 0.5 + 0.5)
    with pytest.raises(UserError, match="expected the same state on all processes, found others beside step 4"):
        run(dataset, tmp_path)


def test_two_trainings_in_one_folder(dataset, finished, config_file, tmp_path):
    """The second is told by whom; when the first is dead, however it died, the folder is free."""
    other = "import time; from pathlib import Path; from torch_utils.locks import hold\n"
    other += f"with hold(Path({str(tmp_path / LOCK)!r}), 'x', 'y'): print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", other], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        arguments = [sys.executable, *command(dataset, tmp_path, config_file)]
        second = subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        first.kill()
    expected = f"error: --outdir {tmp_path}: process {first.pid} on {socket.gethostname()} is training there; "
    assert (second.returncode, second.stderr) == (2, f"{expected}wait for it, or choose another place\n")
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    run(dataset, tmp_path, {"run": {"total_kimg": 0.004}})
    assert load_checkpoint(tmp_path / STATE)["counters"]["step"] == 1 and not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("resuming", [False, True])
def test_a_detector_that_is_not_there_ends_a_run_at_once(dataset, finished, tmp_path, monkeypatch, resuming):
    if resuming:
        shutil.copy(finished / STATE, tmp_path / STATE)
    monkeypatch.setattr(training.training_loop, "begin", lambda *_, **__: pytest.fail("must not get here"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="no Inception weights there"):
        run(dataset, tmp_path, {"run": {"metric_detector": "inception", "metric_images": 4, "total_kimg": 0.02}})


@pytest.mark.parametrize(("rampup", "share"), [(0.05, "3e-08"), (1.0, None), (0.0, None)])
def test_a_running_mean_that_forgets_what_it_began_with_is_said(dataset, finished, rampup, share):
    """At 0.05 ten steps keep 1/21, 2/22, ... 10/30 of it: 10! 20! / 30! = 3.3e-8."""
    config = make_config({"init_from": str(finished / "latest"), "optim": {"ema_rampup": rampup}})
    state = begin(config, dataset, ALONE)[1]
    state.reader.close()
    said = [line for line in describe(config, state) if line.startswith("warning: ")]
    latest, expected = finished / "latest", "expected ema_rampup 1, or 0 for the whole ema_decay"
    wanted = [f"warning: the running mean forgets {latest} at once ({share} of it after 10 steps): {expected}"]
    assert said == (wanted if share else [])


def test_sizes_are_checked(dataset):
    changes = {"stage": 2, "init_from": "x", "generator": {"superresolution": True}}
    with pytest.raises(UserError, match="images: expected at least 64 pixels a side, found 16"):
        check_data(make_config(changes), dataset, ALONE)
    with pytest.raises(UserError, match="--batch_size: expected a multiple"):
        check_data(make_config(), dataset, ALONE._replace(size=3))


def test_a_run_folder_that_some_machines_do_not_see_is_refused(tmp_path, monkeypatch):
    assert not is_begun(tmp_path, ALONE)
    (tmp_path / STATE).touch()
    assert is_begun(tmp_path, ALONE)
    monkeypatch.setattr(training.run.state, "mean_over_processes", lambda values: values / 2)
    with pytest.raises(UserError, match="expected a folder that all machines share, found a state on 50%"):
        is_begun(tmp_path, ALONE)


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


def command(dataset, outdir, config, *more) -> list[str]:
    return ["train.py", "--config", str(config), "--data", str(dataset.path), "--outdir", str(outdir), *more]


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def test_kill_9_loses_nothing_that_was_saved(dataset, finished, config_file, tmp_path):
    arguments = [sys.executable, *command(dataset, tmp_path, config_file)]
    process = subprocess.Popen(arguments, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "latest").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert states_differ(finished, tmp_path) == []
    assert (tmp_path / "config.yaml").exists()


def test_sigterm_to_the_whole_group_as_schedulers_send_it(dataset, config_file, tmp_path):
    arguments = [sys.executable, *command(dataset, tmp_path, config_file, "--total_kimg", "100")]
    process = subprocess.Popen(arguments, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, start_new_session=True)
    while not (tmp_path / "stats.jsonl").exists() or '"step": 1' not in (tmp_path / "stats.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr.decode()
    assert load_checkpoint(tmp_path / STATE)["counters"]["step"] >= 1


def test_both_stages_on_two_processes(config_file, tmp_path):
    data = make_dataset(tmp_path / "data", size=64)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    second = tmp_path / "stage2.yaml"
    changes = {"stage": 2, "init_from": str(tmp_path / "s1/latest"), "generator": {"superresolution": True}}
    changes["losses"] = {"map_consistency": 1.0, "image_consistency": 1.0}
    changes["run"] = {"total_kimg": 0.008, "manifolds_per_chunk": 3}
    second.write_text(yaml.safe_dump(merge(CONFIG, changes)))
    first = command(data, tmp_path / "s1", config_file, "--total_kimg", "0.008")
    for arguments in (first, command(data, tmp_path / "s2", second)):
        done = subprocess.run(
            [*torchrun, *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    stats = json.loads((tmp_path / "s2/stats.jsonl").read_text().splitlines()[-1])
    assert {"G/whole", "map_consistency", "image_consistency", "D/torso_r1"} <= stats.keys()
    one, two = (PortraitPipeline.from_checkpoint(tmp_path / stage / "latest").generator for stage in ("s1", "s2"))
    assert two.config.superresolution and not one.config.superresolution
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        trained = name.startswith("superresolution") and a.is_floating_point()
        assert torch.equal(a, b) != trained or name == "mean_superresolution", name  # U alone has moved


def test_a_run_goes_on_at_twice_the_size(dataset, tmp_path):
    """From the averaged generator and the grown discriminators; once begun it needs neither file."""
    small, large = tmp_path / "small", tmp_path / "large"
    wide = {"discriminators": {"channel_base": 96}, "run": {"total_kimg": 0.004}}
    run(dataset, small, wide)
    before = load_checkpoint(small / STATE)
    changes = merge(wide, {"init_from": str(small / "latest"), "grow_from": str(small / STATE)})
    changes = merge(changes, {"generator": {"lowres_size": 32, "image_size": 128}})
    data = make_dataset(tmp_path / "data", size=32)
    state = begin(make_config(changes), data, ALONE)[1]
    state.reader.close()
    kept = PortraitPipeline.from_checkpoint(small / "latest").generator.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in state.networks.generator.state_dict().items())
    for name, discriminator in state.networks.discriminators.items():
        assert torch.equal(discriminator.output.weight, before["discriminators"][f"{name}.output.weight"])
        assert torch.equal(
            discriminator.blocks[1].conv1.weight, before["discriminators"][f"{name}.blocks.0.conv1.weight"]
        )
    run(data, large, changes)
    shutil.rmtree(small)
    run(data, large, merge(changes, {"run": {"total_kimg": 0.008}}))
    assert load_checkpoint(large / STATE)["counters"]["step"] == 2


@pytest.mark.parametrize(
    ("file", "changes", "complaint"),
    [
        ("latest", {}, r"latest: expected the state of a training run \(state.safetensors\), found no"),
        (STATE, {"discriminators": {"channel_base": 128}}, "whole: weights do not fit Discriminator"),
        (STATE, {"generator": {"lowres_size": 32, "image_size": 128}}, "whole: expected 3 to 3 channels"),
    ],
)
def test_discriminators_that_cannot_grow_so(finished, file, changes, complaint):
    settings = {"init_from": str(finished / "latest"), "grow_from": str(finished / file)}
    with pytest.raises(UserError, match=complaint):
        build_discriminators(make_config(merge(settings, changes)))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("whole", "whole: expected 2 blocks or fewer, found one of 3"), ("face", "face: .*, found no such discriminator")],
)
def test_discriminators_never_shrink(name, complaint):
    weights = Discriminator(DiscriminatorConfig(width=16, height=16, max_channels=4)).state_dict(prefix="whole.")
    with pytest.raises(UserError, match=f"state.safetensors: discriminators.{complaint}"):
        grow(weights, name, DiscriminatorConfig(width=8, height=8, max_channels=4), STATE)


def test_dry_run_writes_nothing(dataset, config_file, tmp_path):
    arguments = [sys.executable, *command(dataset, tmp_path / "run", config_file, "--dry_run", "--batch_size", "2")]
    done = subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for words in ("batch_size: 2", "parameters trained of", "memory estimate:", "manifolds cover", "G/face_camera"):
        assert words in done.stdout
    assert not (tmp_path / "run").exists()

"""A run's state, and what it survives: full disks, kills, damage, changed settings, machines that see other files."""

import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

import training.training_loop
from tests.training.tiny_run import ALONE, make_config, make_dataset, run, states_differ
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError
from training.config import load_train_config
from training.manifold_recipe import MANIFOLDS
from training.run.state import PREVIOUS, STATE, is_begun


def spoil(path: Path) -> None:
    """Change one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


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
    training.training_loop.training_loop(config, other, tmp_path, ALONE, MANIFOLDS, allow_change=True)
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


def test_a_run_folder_that_some_machines_do_not_see_is_refused(tmp_path, monkeypatch):
    assert not is_begun(tmp_path, ALONE)
    (tmp_path / STATE).touch()
    assert is_begun(tmp_path, ALONE)
    monkeypatch.setattr(training.run.state, "mean_over_processes", lambda values: values / 2)
    with pytest.raises(UserError, match="expected a folder that all machines share, found a state on 50%"):
        is_begun(tmp_path, ALONE)

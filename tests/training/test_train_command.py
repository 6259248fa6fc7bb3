"""train.py as a program: killed, told to stop, twice in one folder, on two processes, as a dry run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
import yaml

from inference.pipeline import PortraitPipeline
from tests.training.tiny_run import CONFIG, ENVIRONMENT, ROOT, make_dataset, run, states_differ
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import merge
from training.run.state import STATE
from training.training_loop import LOCK


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


def test_dry_run_writes_nothing(dataset, config_file, tmp_path):
    arguments = [sys.executable, *command(dataset, tmp_path / "run", config_file, "--dry_run", "--batch_size", "2")]
    done = subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for words in ("batch_size: 2", "parameters trained of", "memory estimate:", "manifolds cover", "G/face_camera"):
        assert words in done.stdout
    assert not (tmp_path / "run").exists()

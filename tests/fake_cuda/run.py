"""Runs scenes and compares what they found with the stored limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.fake_cuda.build import environment

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Path(__file__).with_name("limits.json")
IN_SUITE = ("frames", "plain_frames", "layers", "stage1", "stage2", "runs", "faults")
# Beside them, in `make cuda-rehearsal`: scene -> how it is started, and settings of the runtime.
BY_NIGHT = {
    "all_presets": ((), {}),
    "programs": ((), {}),
    "processes": (("-m", "torch.distributed.run", "--nproc_per_node=2"), {}),
    "pinned_copies_last": ((), {"FAKE_CUDA_PENDING": 1}),
}
SLACK = 1.05  # of launches: other torch versions split some operators otherwise (2.10: 113 for 109). Waits have none
Found = dict[str, dict[str, int]]


class SceneFailed(AssertionError):
    """With what the process printed."""


def rehearse(scene: str, *, seconds: int = 600) -> Found:
    """What a scene counts; raises SceneFailed where it fails."""
    launcher, settings = BY_NIGHT.get(scene, ((), {}))
    command = [sys.executable, *launcher, "-m", "tests.fake_cuda.scenes", scene]
    variables = environment(FAKE_CUDA_DEVICES=2, **settings)
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        raise SceneFailed(f"{scene}: exit code {done.returncode}\n{done.stderr[-6000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def exceeded(found: Found, limits: Found) -> list[str]:
    """What is more than its limit, a line each."""
    lines = []
    for title, counts in found.items():
        if title not in limits:
            lines.append(f"{title}: no limits; python -m tests.fake_cuda renew")
            continue
        for name, value in counts.items():
            most = limits[title][name] * (1.0 if name == "waits" else SLACK)
            if value > most:
                lines.append(f"{title}: expected at most {limits[title][name]} {name}, found {value}")
    return lines


def nightly() -> None:
    """All scenes, against the limits; raises SceneFailed or AssertionError."""
    for scene in (*IN_SUITE, *BY_NIGHT):
        assert exceeded(found := rehearse(scene), json.loads(LIMITS.read_text())) == [], found
        print(f"{scene}: as expected", flush=True)


def renew() -> None:
    """Writes what all scenes count now as the limits."""
    found: Found = {}
    for scene in IN_SUITE:
        found |= rehearse(scene)
    LIMITS.write_text(json.dumps(found, indent=1) + "\n")

"""Runs scenes and compares what they found with the stored limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.fake_cuda.build import environment

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Path(__file__).with_name("limits.json")
IN_SUITE = ("frames", "plain_frames", "stage1", "stage2", "runs", "faults")
SLACK = 1.02  # of launches: torch's versions split some operators otherwise. Waits have none
Found = dict[str, dict[str, int]]


class SceneFailed(AssertionError):
    """With what the process printed."""


def rehearse(scene: str, *, seconds: int = 600) -> Found:
    """What a scene counts; raises SceneFailed where it fails."""
    command = [sys.executable, "-m", "tests.fake_cuda.scenes", scene]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(FAKE_CUDA_DEVICES=2), capture_output=True, text=True, timeout=seconds
    )
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


def renew() -> None:
    """Writes what all scenes count now as the limits."""
    found: Found = {}
    for scene in IN_SUITE:
        found |= rehearse(scene)
    LIMITS.write_text(json.dumps(found, indent=1) + "\n")

"""A run small enough for tests: 16^2 pictures of noise with plausible labels, networks of a few thousand weights."""

import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import config_from_dict, merge
from torch_utils.distributed import World, average_gradients, world
from training.config import TrainConfig
from training.data.storage import Dataset, DatasetWriter, open_dataset
from training.data.synthetic import sample_expression, sample_identity, sample_pose_camera
from training.manifold_recipe import MANIFOLDS
from training.models import build_networks
from training.phases import accumulate_discriminators, accumulate_generator, camera_of
from training.run.state import STATE
from training.sampling import Inputs, InputSampler
from training.training_loop import training_loop

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
SIZE = 16
CONFIG = {
    "stage": 1,
    "mirror": False,
    "manifold_init": "spheres",
    "generator": {
        "image_size": 4 * SIZE, "lowres_size": SIZE, "num_samples": 8, "num_fine_samples": 8, "num_manifolds": 4,
        "manifold_dim": 16, "mapping_dim": 16, "radiance_dim": 16, "feature_dim": 2, "expression_dim": 16,
        "sr_features": 4, "sr_blocks": 1, "sr_growth": 2, "sr_up_channels": [4, 4], "superresolution": False,
    },
    "discriminators": {
        "whole": {"weight": 0.1, "r1_gamma": 1.0}, "face": {"weight": 1.0, "r1_gamma": 1.0},
        "torso": {"weight": 0.5, "r1_gamma": 1.0},
        "channel_base": 64, "max_channels": 8,
    },
    "losses": {
        "imitation": 10.0, "pose_smooth": 1.0, "expression_smooth": 10.0, "expression_minimal": 10.0, "points": 16,
    },
    "optim": {"batch_size": 4, "g_lr": 1e-3, "d_lr": 1e-3, "ema_decays": [0.9]},
    "run": {
        "total_kimg": 0.016, "workers": 1, "tick_kimg": 0.004, "snapshot_kimg": 0.008, "snapshot_people": 1,
        "metric_images": 0, "precision": "fp32",
    },
}  # fmt: skip


def make_config(changes: dict[str, Any] | None = None) -> TrainConfig:
    """CONFIG with changes, section by section."""
    return config_from_dict(TrainConfig, merge(CONFIG, changes or {}), "tiny run")


def make_labels(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Labels of one image."""
    identity, pose = sample_identity(rng), sample_pose_camera(rng)
    face_camera = pose.camera + np.float32(0.1) * rng.standard_normal(2).astype(np.float32)
    return {
        "camera": pose.camera, "joint_eulers": pose.joint_eulers, "betas": identity.betas, "z_id": identity.z_id,
        "z_exp": sample_expression(rng), "face_camera": face_camera,
    }  # fmt: skip


def make_sampler(rows: int, points: int, *, seed: int = 3) -> InputSampler:
    """Of a data set that has labels and no pictures."""
    rng = np.random.default_rng(seed)
    labels = [make_labels(rng) for _ in range(rows)]
    stacked = {name: np.stack([row[name] for row in labels]) for name in labels[0]}
    return InputSampler(SimpleNamespace(labels=stacked, image_size=SIZE), None, points)


def make_dataset(path: Path, count: int = 8, *, size: int = SIZE, seed: int = 0) -> Dataset:
    """Pictures of noise."""
    rng = np.random.default_rng(seed)

    def png() -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "png")
        return buffer.getvalue()

    with DatasetWriter(path, image_size=size, face_size=size, name="noise", made_by=f"tests, seed {seed}") as writer:
        for index in range(count):
            writer.add(index, png(), png(), make_labels(rng))
        writer.finish()
    return open_dataset(path)


# Pairs of a real and a generated picture, penalties on both (R3GAN).
RELATIVISTIC = {
    "losses": {"adversarial": "relativistic"},
    "discriminators": {name: {"r2_gamma": 0.5} for name in ("whole", "face", "torso")},
}
ALONE = World(0, 1, torch.device("cpu"))


def run(dataset: Dataset, outdir: Path, changes: dict[str, Any] | None = None) -> None:
    """Train the tiny run (further)."""
    training_loop(make_config(changes), dataset, outdir, ALONE, MANIFOLDS)


def gradients(changes: dict[str, Any] | None = None, rows: slice = slice(None)) -> list[torch.Tensor | None]:
    """All gradients of a step over some rows of a batch, means over the processes.

    In double precision: single precision is no measure, for the nearest of two vertices may change with its rounding.
    """
    config = make_config(changes)
    networks = build_networks(config)
    for part in (networks.generator, networks.discriminators, networks.imitation):
        part.double()
    inputs = Inputs(*(value.double() for value in make_sampler(6, config.losses.points).draw(4, 0))).part(rows)
    noise = torch.Generator().manual_seed(0)
    sizes = {name: config.picture_size(name) for name in config.discriminators.active}
    reals = {
        name: torch.rand(4, 3, height, width, generator=noise, dtype=torch.float64)[rows] * 2 - 1
        for name, (width, height) in sizes.items()
    }
    off = torch.autocast("cpu", enabled=False)
    _, fakes = accumulate_generator(networks, config, inputs, off, reals)
    cameras = {name: (inputs.camera, camera_of(name, inputs)) for name in reals}
    accumulate_discriminators(networks, config, reals, fakes, cameras, 0, off)
    parameters = [*networks.generator.parameters(), *networks.discriminators.parameters()]
    average_gradients(parameters)
    return [parameter.grad for parameter in parameters]


def process_gradients(rank: int, port: int, out: str, runs: list[dict[str, Any]]) -> None:
    """One of two processes, with half of the batch; the first one writes its gradients of all ``runs`` to ``out``."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with world("cpu") as processes:
        found = [gradients(changes, slice(2 * rank, 2 * rank + 2)) for changes in runs]
        if processes.is_main:
            torch.save(found, out)


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

"""A tri-grid run small enough for tests: 32^2 pictures of noise with plausible labels and masks."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.training.tiny_run import ALONE, make_labels
from torch_utils.config import config_from_dict, merge
from training.data.storage import Dataset, DatasetWriter, open_dataset
from training.training_loop import training_loop
from training.trigrid.config import TriGridTrainConfig
from training.trigrid.models import TriGridNetworks, build_networks
from training.trigrid.phases import Clock, Reals
from training.trigrid.recipe import TRIGRID
from training.trigrid.sampling import Inputs, TriGridSampler

SIZE = 32
CONFIG = {
    "stage": 1,
    "mirror": False,
    "generator": {
        "representation": "trigrid", "image_size": SIZE, "raw_size": 10, "latent_dim": 8, "style_dim": 8,
        "plane_size": 8, "plane_features": 4, "plane_depth": 2, "channel_base": 32, "max_channels": 8,
        "colour_features": 4, "superresolution_input": 16, "superresolution_channels": [4, 4], "background_size": 8,
        "samples": 10, "importance_samples": 4, "near": 1.8, "far": 2.7, "rest_pose": "mean", "orbit": "portrait",
    },
    "discriminator": {"channel_base": 64, "max_channels": 8, "pose_widths": [8], "history": 4, "r1_interval": 2},
    "schedules": {"blur": {"first": 0.0, "last": 0.0}, "swap": {"first": 0.5, "last": 0.5}},
    "optim": {"batch_size": 4, "ema_kimg": 0.01},
    "run": {
        "total_kimg": 0.016, "workers": 1, "tick_kimg": 0.004, "snapshot_kimg": 0.008, "snapshot_people": 1,
        "metric_images": 0, "precision": "fp32",
    },
}  # fmt: skip


def make_config(changes: dict[str, Any] | None = None) -> TriGridTrainConfig:
    """CONFIG with changes, section by section."""
    return config_from_dict(TriGridTrainConfig, merge(CONFIG, changes or {}), "tiny run")


def make_dataset(path: Path, count: int = 8, *, size: int = SIZE, masks: bool = True) -> Dataset:
    """Pictures of noise."""
    rng = np.random.default_rng(0)

    def png(*channels: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (size, size, *channels), dtype=np.uint8)).save(buffer, "png")
        return buffer.getvalue()

    with DatasetWriter(path, image_size=size, face_size=size, name="noise", made_by="tests") as writer:
        for index in range(count):
            writer.add(index, png(3), png(3), make_labels(rng), *([png()] if masks else []))
        writer.finish()
    return open_dataset(path)


def run(dataset: Dataset, outdir: Path, changes: dict[str, Any] | None = None) -> None:
    """Train the tiny run (further)."""
    training_loop(make_config(changes), dataset, outdir, ALONE, recipe=TRIGRID)


def make_step(dataset: Dataset, changes: dict[str, Any] | None = None, count: int = 4):
    """What a step works with: configuration, networks, inputs, reals, clock."""
    config = make_config(changes)
    networks: TriGridNetworks = build_networks(config)
    inputs: Inputs = TriGridSampler(dataset, None, networks.generator, config).draw(count, 0)
    noise = torch.Generator().manual_seed(0)
    reals = Reals(
        torch.rand(count, 3, SIZE, SIZE, generator=noise) * 2 - 1,
        torch.rand(count, 1, SIZE, SIZE, generator=noise),
        inputs.camera[:, 0].flip(0),
        torch.rand(count, 3, SIZE // 2, SIZE // 2, generator=noise) * 2 - 1,
        inputs.face_camera.flip(0),
    )
    return config, networks, inputs, reals, Clock.at(config, 10**9)

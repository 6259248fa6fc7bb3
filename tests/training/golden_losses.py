"""Losses of the first steps of both stages, kept: arithmetic that changes by accident shows.

    python -m tests.training.golden_losses      # keeps new ones, after a change that is meant to change them

The tiny run of the other tests, with every loss; stage 2 begins with the generator that stage 1 begins with.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from networks.saved_model import SavedModel, pack_model
from tests.training.tiny_run import make_config, make_dataset
from torch_utils.checkpoint import save_checkpoint
from torch_utils.config import merge
from torch_utils.distributed import World
from torch_utils.misc import atomic_path
from training.manifold_recipe import begin, train_step
from training.models import build_networks

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "tests" / "assets" / "losses"
STEPS = 20
# Adam makes steps of one size even of gradients that are mere rounding, as D^p's at first: with small steps for G the
# losses of two processors stay together.
COMMON = {
    "face_recon": str(ROOT / "ckpts" / "face_recon_synth.safetensors"), "losses": {"landmarks": 1.0},
    "optim": {"g_lr": 1e-5, "d_lr": 1e-4},
}  # fmt: skip
STAGES: dict[str, dict[str, Any]] = {
    "stage1": merge(COMMON, {"losses": {"opacity": 1.0}}),
    "stage2": merge(COMMON, {
        "stage": 2, "generator": {"superresolution": True},
        "losses": {
            "imitation": 0.0, "pose_smooth": 0.0, "expression_smooth": 0.0, "expression_minimal": 0.0,
            "map_consistency": 1.0, "image_consistency": 1.0,
        },
    }),
}  # fmt: skip
Losses = dict[str, list[float]]  # by name, a number a step


def train(folder: Path, device: torch.device) -> dict[str, Losses]:
    """The losses and gradient norms of both stages, one after the other; files go to ``folder``."""
    dataset = make_dataset(folder / "noise", size=make_config().generator.image_size)
    first = folder / "first"
    save_checkpoint(first, pack_model(SavedModel(build_networks(make_config()).generator, None, {})))
    found: dict[str, Losses] = {}
    for name, changes in STAGES.items():
        begun_from = {"init_from": str(first)} if name == "stage2" else {}
        task, state = begin(make_config(merge(changes, begun_from)), dataset, World(0, 1, device))
        found[name] = {}
        for _ in range(STEPS):
            for loss, value in train_step(task, state).items():
                found[name].setdefault(loss, []).append(value)
        state.reader.close()
    return found


def main() -> None:
    """Command line; see the module's docstring."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = train(Path(folder), torch.device("cpu"))
    KEPT.mkdir(parents=True, exist_ok=True)
    for name, losses in found.items():
        kept = {loss: [float(f"{value:.6g}") for value in values] for loss, values in losses.items()}
        with atomic_path(KEPT / f"{name}.json") as temporary:
            lines = ",\n".join(f" {json.dumps(loss)}: {json.dumps(values)}" for loss, values in kept.items())
            temporary.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
        print(f"kept {KEPT / name}.json, {len(losses)} numbers a step")


if __name__ == "__main__":
    sys.exit(main())

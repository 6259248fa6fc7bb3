"""What a run would be: the resolved configuration, sizes, an estimate of memory, and one step as a trial."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import torch
import yaml

from torch_utils.config import config_to_dict
from torch_utils.distributed import World
from torch_utils.ops.point_network import cpu_is_compiled
from training.data.storage import Dataset
from training.evaluation import metric_features
from training.recipe import Recipe
from training.training_loop import check_finite

GIB = 2**30


def dry_run(config: Any, dataset: Dataset, world: World, recipe: Recipe) -> None:
    """Print it all, write nothing. Raises UserError as training would."""
    if world.is_main:
        metric_features(config, world.device)
    task, state = recipe.begin(recipe.trial(config), dataset, world)
    local = config.optim.batch_size // world.size
    batch = min(config.run.micro_batch or local, local)
    of_generator, of_discriminators = (
        sum(p.numel() for p in part.parameters()) for part in (state.networks.generator, state.networks.discriminators)
    )
    compiled = world.device.type == "cpu" and cpu_is_compiled()
    memory = recipe.estimate(
        config, local, bf16=task.bf16, parameters=(of_generator, of_discriminators), compiled=compiled
    )
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "CPU"

    def show(*lines: str) -> None:
        if world.is_main:
            print(*lines, sep="\n", flush=True)

    # Before the step, which may ask for more memory than there is.
    show(
        yaml.safe_dump(config_to_dict(config), sort_keys=False),
        f"data: {dataset.path}, {len(dataset)} images, checksum {dataset.checksum[:12]}",
        *recipe.describe(config, state),
        f"{world.size} process(es) on {device}, {local} images each a step, {batch} at a time",
        f"memory estimate: {memory.total / GIB:.2f} GiB (weights and moments {memory.weights / GIB:.2f}, "
        f"G's step {memory.generator / GIB:.2f}, D's step {memory.discriminators / GIB:.2f})",
    )
    recipe.check_memory(config, world)
    start = time.perf_counter()
    losses = recipe.train_step(task, state)
    seconds = time.perf_counter() - start
    state.reader.close()
    check_finite(losses, 0, dataset.path)
    show(
        f"one step: {seconds:.2f} s, peak {_peak(world.device) / GIB:.2f} GiB, losses:",
        *(f"  {name:24s} {value:.5g}" for name, value in losses.items()),
    )


def _peak(device: torch.device) -> float:
    """Bytes: of the allocator on a GPU, of the whole process on a CPU; nan where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return math.nan
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""What bm_against starts in a checkout, this one or another: a step for every line that it reads, figures for each.

It uses nothing but what checkouts since 0ab95b4 have.
"""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable


def step_of(config_name: str, data: str, *overrides: str) -> Callable[[], dict[str, float]]:
    import torch

    from torch_utils.distributed import World
    from torch_utils.host_memory import keep_freed_memory
    from training.config import load_train_config
    from training.data.storage import open_dataset

    try:
        from training.manifold_recipe import begin, train_step
    except ModuleNotFoundError:  # an older checkout
        from training.training_loop import begin, train_step

    keep_freed_memory()
    config = load_train_config(config_name, None, list(overrides))
    task, state = begin(config, open_dataset(data), World(0, 1, torch.device("cpu")))
    return lambda: train_step(task, state)


def person() -> Callable[[], dict[str, float]]:
    import torch

    from tests.benchmarks.bm_render import random_pipeline

    pipeline = random_pipeline(torch.device("cpu"))

    def build() -> dict[str, float]:
        pipeline.person(seed=0)
        return {}

    return build


def portraits() -> Callable[[], dict[str, float]]:
    from training.data.synthetic.portrait import make_portrait

    def draw() -> dict[str, float]:
        for index in range(8):
            make_portrait(0, index, size=128, face_size=64)
        return {}

    return draw


def main() -> None:
    kind, *arguments = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        turn = {"step": step_of, "person": person, "portraits": portraits}[kind](*arguments)
    for _ in sys.stdin:
        start = time.process_time()
        losses = turn()
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"seconds": seconds, "peak": peak, **losses}), flush=True)


if __name__ == "__main__":
    main()

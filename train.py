"""Train the generator: `python train.py --config configs/synth_stage1.yaml --outdir runs/s1 --data datasets/synth`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from torch_utils.config import find_config, load_layered
from torch_utils.distributed import world
from torch_utils.misc import CliParser, UserError, one_line, run_cli
from training.config import load_train_config, representation_of
from training.data.storage import open_dataset
from training.manifold_recipe import MANIFOLDS
from training.recipe import Recipe
from training.run.dry_run import dry_run
from training.training_loop import training_loop
from training.trigrid.recipe import TRIGRID

NO_MEMORY = "can't allocate memory"  # torch, of a CPU
CONFIGS = Path(__file__).resolve().parent / "configs"

EPILOG = """\
any key of the configuration can be set behind the options: --optim.g_lr 1e-4, or without its section --batch_size 8.
several GPUs: torchrun --nproc_per_node=8 train.py ...; several machines: torchrun with --nnodes and --rdzv_endpoint.
going on: the same command continues a run where its last checkpoint was written. A run that was begun with another
  configuration or data set is refused unless --allow_change is given; keys of the section `run` may always change.
files in --outdir: config.yaml, state.safetensors (everything to go on with), latest and best (the generator with
  averaged weights: gen_video.py --ckpt OUTDIR/latest), fakes*.png, stats.jsonl, TensorBoard events.
exit code: 0 trained to the end, or stopped by SIGTERM after saving; 2 bad input or a loss that is not finite (one line
  says what); 130 after Ctrl-C, which saves as well.
"""


def make_parser() -> CliParser:
    parser = CliParser(
        prog="train.py",
        description="Train a generator of portraits, by manifolds or by tri-grids (stages by configuration).",
        epilog=EPILOG,
    )
    parser.add_argument("--config", required=True, help="name in configs/, e.g. synth_stage1, or a YAML file")
    parser.add_argument("--data", required=True, help="data set: a folder or zip of python -m training.data")
    parser.add_argument("--outdir", required=True, help="run folder, made if missing")
    parser.add_argument("--preset", help="memory settings for GPUs: a name in configs/presets, e.g. 1x24gb, or a file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--dry_run", action="store_true", help="show configuration, sizes and memory, and try one step")
    parser.add_argument("--allow_change", action="store_true", help="go on though configuration or data have changed")
    return parser


def command_line(argv: Sequence[str], processes: int) -> str:
    """What was typed, or on one machine would have the same effect."""
    launcher = ["python"] if processes == 1 else ["torchrun", f"--nproc_per_node={processes}"]
    return shlex.join([*launcher, "train.py", *argv])


def recipe_of(path: Path) -> Recipe:
    """Of the representation that a configuration names (``generator.representation``; by default, manifolds)."""
    recipes: dict[str, Recipe] = {"manifolds": MANIFOLDS, "trigrid": TRIGRID}
    return recipes[representation_of(load_layered(path), str(path), recipes)]


def main(argv: Sequence[str] | None = None) -> None:
    args, rest = make_parser().parse_known_args(argv)
    preset = None if args.preset is None else find_config(args.preset, CONFIGS / "presets", "--preset")
    path = find_config(args.config, CONFIGS, "--config")
    recipe = recipe_of(path)
    config: Any = load_train_config(path, preset, rest, recipe.config_class)
    dataset = open_dataset(args.data)
    with world(args.device) as processes:
        try:
            if args.dry_run:
                dry_run(config, dataset, processes, recipe)
            else:
                command = command_line(sys.argv[1:] if argv is None else argv, processes.size)
                outdir, change = Path(args.outdir), args.allow_change
                training_loop(config, dataset, outdir, processes, recipe, command=command, allow_change=change)
        except (MemoryError, RuntimeError) as error:
            found = one_line(str(error)).partition(". ")[0]
            if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and NO_MEMORY not in found:
                raise
            expected = "expected a step that fits the memory, by --preset or a smaller --micro_batch"
            raise UserError(f"{args.config}: {expected}, found: {found or 'MemoryError'}") from error


if __name__ == "__main__":
    run_cli(main)
    sys.exit(0)

"""Train the generator: `python train.py --config configs/synth_stage1.yaml --outdir runs/s1 --data datasets/synth`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from torch_utils.config import config_to_dict
from torch_utils.distributed import World, world
from torch_utils.misc import CliParser, UserError, atomic_path, run_cli
from training.config import TrainConfig, load_train_config
from training.data.storage import Dataset, open_dataset
from training.dry_run import dry_run
from training.run_state import STATE
from training.training_loop import training_loop

PRESETS = Path(__file__).resolve().parent / "configs" / "presets"

EPILOG = """\
any key of the configuration can be set behind the options: --optim.g_lr 1e-4, or without its section --batch_size 8.
several GPUs: torchrun --nproc_per_node=8 train.py ...; several machines: torchrun with --nnodes and --rdzv_endpoint.
going on: the same command continues a run where its last checkpoint was written. A run that was begun with another
  configuration or data set is refused unless --allow_change is given; keys of the section `run` may always change.
files in --outdir: config.yaml, state.pt (everything to go on with), latest and best (the generator with averaged
  weights: gen_video.py --ckpt OUTDIR/latest), fakes*.png, stats.jsonl, TensorBoard events.
exit code: 0 trained to the end, or stopped by SIGTERM after saving; 2 bad input or a loss that is not finite (one line
  says what); 130 after Ctrl-C, which saves as well.
"""


def make_parser() -> CliParser:
    parser = CliParser(
        prog="train.py",
        description="Train AniPortraitGAN, stage 1 or 2.",
        epilog=EPILOG,
    )
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/synth_stage1.yaml")
    parser.add_argument("--data", required=True, help="data set: a folder or zip of python -m training.data")
    parser.add_argument("--outdir", required=True, help="run folder, made if missing")
    parser.add_argument("--preset", help="memory settings for GPUs: a name in configs/presets, e.g. 1x24gb, or a file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--dry_run", action="store_true", help="show configuration, sizes and memory, and try one step")
    parser.add_argument("--allow_change", action="store_true", help="go on though configuration or data have changed")
    return parser


def find_preset(name: str | None) -> Path | None:
    """A file, or a name in configs/presets."""
    if name is None or Path(name).suffix == ".yaml":
        return None if name is None else Path(name)
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise UserError(f"--preset: expected one of {known}, or a .yaml file, found '{name}'")
    return path


def main(argv: Sequence[str] | None = None) -> None:
    args, rest = make_parser().parse_known_args(argv)
    config = load_train_config(args.config, find_preset(args.preset), rest)
    dataset = open_dataset(args.data)
    with world(args.device) as processes:
        if args.dry_run:
            dry_run(config, dataset, processes)
        else:
            train(config, dataset, Path(args.outdir), processes, allow_change=args.allow_change)


def train(config: TrainConfig, dataset: Dataset, outdir: Path, processes: World, *, allow_change: bool) -> None:
    """Note the resolved configuration in the run folder, and train."""
    if processes.is_main and (allow_change or not (outdir / STATE).exists()):
        with atomic_path(outdir / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(config_to_dict(config), sort_keys=False), encoding="utf-8")
    training_loop(config, dataset, outdir, processes, allow_change=allow_change)


if __name__ == "__main__":
    run_cli(main)
    sys.exit(0)

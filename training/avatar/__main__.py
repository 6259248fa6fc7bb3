"""Train a Gaussian avatar: `python -m training.avatar --from CKPT --seed 3 --config avatar_tiny --outdir runs/a`."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from torch_utils.config import config_from_dict, find_config, load_layered, merge, parse_overrides
from torch_utils.misc import CliParser, resolve_device, run_cli
from training.avatar.actors import add_actor, open_views
from training.avatar.config import AvatarTrainConfig
from training.avatar.loop import train_avatar

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EPILOG = """\
any key of the configuration can be set behind the options: --optim.steps 2000 --avatar.nets static.
going on: the same command continues a run where its last state was written.
files in --outdir: config.yaml, state.safetensors (everything to go on with), latest (the avatar), fakes*.png (held-out
  pictures, the truth above), stats.jsonl, TensorBoard events.
exit code: 0 trained to the end, or stopped by SIGTERM after saving; 2 bad input; 130 after Ctrl-C, which saves as well.
"""


def make_parser() -> CliParser:
    parser = CliParser(prog="python -m training.avatar", description="Train a Gaussian avatar.", epilog=EPILOG)
    add_actor(parser)
    parser.add_argument("--config", required=True, help="name in configs/, e.g. avatar_tiny, or a YAML file")
    parser.add_argument("--outdir", required=True, help="run folder, made if missing")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--allow_change", action="store_true", help="go on though configuration or views have changed")
    return parser


def load_avatar_config(name: str, overrides: Sequence[str] = ()) -> AvatarTrainConfig:
    """A configuration by name or path, with keys of the command line. Raises UserError."""
    path = find_config(name, CONFIGS, "--config")
    data = merge(load_layered(path), {})
    for key, value in parse_overrides(overrides).items():
        data = merge(data, {key: value})
    return config_from_dict(AvatarTrainConfig, data, str(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    args, rest = make_parser().parse_known_args(argv)
    config, device = load_avatar_config(args.config, rest), resolve_device(args.device)
    views = open_views(args, config, device)
    command = shlex.join(["python", "-m", "training.avatar", *(sys.argv[1:] if argv is None else argv)])
    train_avatar(config, views, Path(args.outdir), device, command=command, allow_change=args.allow_change)


if __name__ == "__main__":
    run_cli(main)

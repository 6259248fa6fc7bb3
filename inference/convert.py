"""`python -m inference.convert FILE OUT.safetensors`: a file of another layout in our present format.

It takes what the authors released (see inference.released_checkpoint; --labels gives it people to draw from), snapshots
of 3DPortraitGAN (see inference.released_portrait360), and models, states of runs and face reconstruction nets that
earlier versions of this project wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from inference.released_checkpoint import load_config, load_labels, load_released, released_state
from inference.released_portrait360 import is_snapshot, load_portrait360
from networks.person.priors import LABEL_FILES
from networks.saved_model import pack_model
from torch_utils.checkpoint import check_format, load_raw, save_checkpoint
from torch_utils.misc import CliParser, UserError, run_cli
from torch_utils.tensor_file import FORMAT

RELEASED_CONFIG = "SSHQ512_inf"


def make_parser() -> CliParser:
    parser = CliParser(prog="python -m inference.convert", description=__doc__.split(": ", 1)[1])
    parser.add_argument(
        "input", help="file in the released layout, snapshot of 3DPortraitGAN (.pkl), or file of this project"
    )
    parser.add_argument("output", help="file to write, e.g. ckpts/sshq512.safetensors")
    released = parser.add_argument_group("released layout only")
    released.add_argument("--config", help=f"sizes of the model: a name in configs/ or a file ({RELEASED_CONFIG})")
    released.add_argument("--labels", help=f"folder with {', '.join(LABEL_FILES.values())}, to sample from")
    released.add_argument("--head_shoulder_index", help=".npy with vertex indices; chosen by rule when absent")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    if is_snapshot(args.input):
        if given := _given(args):
            raise UserError(f"--{given}: {args.input} is a snapshot of 3DPortraitGAN; all it needs is inside")
        _from_snapshot(args.input, Path(args.output))
        return
    data = load_raw(args.input)
    if data.get("format") != FORMAT and released_state(data) is not None:
        data = _from_released(data, args)
    else:
        check_format(data, args.input)
        if given := _given(args):
            raise UserError(f"--{given}: {args.input} is not in the released layout; all it needs is inside")
    save_checkpoint(args.output, data)
    print(f"wrote {args.output}")


def _from_snapshot(path: str, output: Path) -> None:
    """Writes the generator, and E_D beside it."""
    found = load_portrait360(path)
    save_checkpoint(output, pack_model(found.model))
    print(f"wrote {output}")
    if found.pose_reader is not None:
        beside = output.with_name(f"{output.stem}_pose_reader{output.suffix}")
        save_checkpoint(beside, found.pose_reader)
        print(f"wrote {beside}: E_D, which inference.pose_transfer takes")


def _given(args: argparse.Namespace) -> str | None:
    """The first option of the released layout that is given."""
    return next((name for name in ("config", "labels", "head_shoulder_index") if getattr(args, name)), None)


def _from_released(data: dict, args: argparse.Namespace) -> dict:
    priors = load_labels(args.labels) if args.labels else None
    config = load_config(args.config or RELEASED_CONFIG)
    index = args.head_shoulder_index
    return pack_model(load_released(data, config, args.input, head_shoulder_index=index, priors=priors))


if __name__ == "__main__":
    run_cli(main)

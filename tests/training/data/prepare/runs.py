"""The command run on drawn photos, and what it wrote."""

import argparse
import csv
from pathlib import Path

from torch_utils.misc import CliParser
from training.data.prepare import cli

ROOT = Path(__file__).resolve().parents[4]
SEEDS = {"p0": 2, "p1": 3, "p2": 1}
SIZE, FACE_SIZE = 256, 128
OPTIONS = ["--size", str(SIZE), "--face_size", str(FACE_SIZE)]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = CliParser(prog="prepare")
    cli.add_arguments(parser)
    return parser.parse_args(argv)


def prepare(root: Path, *options: str, report: str = "out.report.csv") -> list[dict[str, str]]:
    """Runs the command on the files under ``root`` in this process; returns the report's rows."""
    words = ["--images", "images", "--masks", "masks", "--smpl", "fits.npz", "--face", "face", "--out", "out"]
    argv = [str(root / word) if i % 2 else word for i, word in enumerate(words)]
    cli.run(parse([*argv, *OPTIONS, "--workers", "0", *options]))
    return read_report(root / report)


def read_report(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

"""This checkout against another one: a training step, a person of the released size, or drawn portraits, by turns.

    git worktree add ../before 0ab95b4
    python -m tests.benchmarks.bm_against ../before --config configs/demo_stage1_64.yaml --data datasets/synth64
    python -m tests.benchmarks.bm_against ../before --person
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_against ../before --portraits --turns 10

Two processes, one of each checkout, do their steps by turns: what else runs on the machine disturbs both alike. Seconds
are of the processor (user and system). Options of train.py go to both runs, those behind --ours to this checkout alone:
``--ours --precision fp32``. Losses are those of the same steps from the same weights and draws.
"""

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, run_cli

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("checkout_worker.py")
Turn = dict[str, float]  # seconds, peak (GiB) and losses


class Side:
    """A process of a checkout, which does a step whenever it is asked to."""

    def __init__(self, checkout: Path, arguments: list[str]):
        self.checkout = checkout
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, str(WORKER), *arguments]
        self._process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def turn(self) -> Turn:
        """One more step. Raises UserError where the process has ended; it has said why."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise UserError(f"{self.checkout}: expected a step, but the process ended ({self._process.wait()})")
        return json.loads(line)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def both(checkouts: dict[str, Path], arguments: dict[str, list[str]]) -> Iterator[dict[str, Side]]:
    sides: dict[str, Side] = {}
    try:
        for name, checkout in checkouts.items():
            sides[name] = Side(checkout, arguments[name])
        yield sides
    finally:
        for side in sides.values():
            side.close()


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_against")
    parser.add_argument("checkout", help="folder of the other checkout")
    parser.add_argument("--person", action="store_true", help="a person instead of a training step")
    parser.add_argument("--portraits", action="store_true", help="8 synthetic portraits of 128^2 instead of that")
    parser.add_argument("--config", help="of the run")
    parser.add_argument("--data", help="data set")
    parser.add_argument("--turns", type=int, default=4, help="of each, behind the first (default: %(default)s)")
    parser.add_argument("--ours", default="", metavar="OPTIONS", help="more options of train.py for this checkout")
    add_record(parser)
    args, overrides = parser.parse_known_args()
    check_args(args)
    if args.person or args.portraits:
        common = ["person" if args.person else "portraits"]
    else:
        common = ["step", args.config, str(Path(args.data).resolve()), *overrides]
    checkouts = {"before": Path(args.checkout).resolve(), "now": ROOT}
    arguments = {"before": common, "now": common + shlex.split(args.ours)}
    with both(checkouts, arguments) as sides:
        first = {name: side.turn() for name, side in sides.items()}
        turns = {name: [] for name in sides}
        for _ in range(args.turns):
            for name, side in sides.items():
                turns[name].append(side.turn())
    report(args, first, turns)


def check_args(args: argparse.Namespace) -> None:
    if args.turns < 1:
        raise UserError(f"--turns: expected a positive number, found {args.turns}")
    if args.person + args.portraits + bool(args.config and args.data) != 1:
        raise UserError("expected --person, --portraits, or --config and --data")
    if not (Path(args.checkout) / "train.py").is_file():
        raise UserError(f"{args.checkout}: expected a checkout of this repository, found no train.py")


def report(args: argparse.Namespace, first: dict[str, Turn], turns: dict[str, list[Turn]]) -> None:
    seconds = {name: [turn["seconds"] for turn in side] for name, side in turns.items()}
    for name, values in seconds.items():
        peak = turns[name][-1]["peak"]
        print(f"{name:7s} least {min(values):.3f} s, median {statistics.median(values):.3f} s, peak {peak:.2f} GiB")
    least, median = (choose(seconds["before"]) / choose(seconds["now"]) for choose in (min, statistics.median))
    print(f"before / now: {least:.2f} by the least, {median:.2f} by the median of {args.turns} turns")
    for name in sorted(first["before"].keys() & first["now"].keys() - {"seconds", "peak"}):
        values = [first[side][name] for side in ("before", "now")]
        print(f"{name:28s} {values[0]:.6g} {values[1]:.6g}")
    if args.record:
        peaks = {f"{name}, peak, GiB": side[-1]["peak"] for name, side in turns.items()}
        figures = {f"{name}, s": min(values) for name, values in seconds.items()}
        record("bm_against", {**figures, **peaks, "before / now, x": least})


if __name__ == "__main__":
    run_cli(main)

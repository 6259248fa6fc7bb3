"""See the package's text."""

import argparse
import subprocess
import sys

from tests.fake_cuda.build import environment, missing
from tests.fake_cuda.run import nightly, renew


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_cuda")
    parser.add_argument("command", choices=("run", "renew", "nightly", "python"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="of run: a scene, --lines; of python: its arguments")
    args = parser.parse_args()
    if why := missing():
        sys.exit(f"no rehearsal of CUDA: {why}")
    if args.command in ("renew", "nightly"):
        {"renew": renew, "nightly": nightly}[args.command]()
        return
    start = ["-m", "tests.fake_cuda.scenes"] if args.command == "run" else []
    sys.exit(subprocess.run([sys.executable, *start, *args.rest], env=environment(FAKE_CUDA_DEVICES=2)).returncode)


main()

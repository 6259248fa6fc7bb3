"""Synthetic portraits a second: new people, drawn, labelled and encoded.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_synthesize              # 128^2; to meet: 10 a second on 2 cores
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_synthesize --size 512

One process draws, with one thread as the workers of the command do. What ``--workers 2`` reaches follows from
processor time, which other programs disturb less than time on the clock. Starting a worker is printed by itself.
"""

import resource
import statistics
import time

from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, run_cli
from training.data.synthetic.portrait import make_portrait

GOAL = 10.0  # images a second at 128^2 on 2 cores


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_synthesize")
    parser.add_argument("--size", type=int, default=128, help="pixels a side; faces have half of it")
    parser.add_argument("--num", type=int, default=40, help="images to take the median of")
    add_record(parser)
    args = parser.parse_args()
    if args.num < 1 or args.size < 32:
        raise UserError(f"expected --num of at least 1 and --size of at least 32, found {args.num} and {args.size}")

    make_portrait(0, 0, size=args.size, face_size=args.size // 2)
    print(f"a worker's start, first image included: {time.process_time():.1f} s of processor time")
    seconds, sizes = [], []
    for index in range(args.num):
        start = time.process_time()
        portrait = make_portrait(0, index, size=args.size, face_size=args.size // 2)
        seconds.append(time.process_time() - start)
        sizes.append(len(portrait.image_png) + len(portrait.face_png) + len(portrait.mask_png))
    median = statistics.median(seconds)
    print(f"an image of {args.size}^2 with its face and mask: {1e3 * median:.0f} ms of processor time (median),")
    print(f"    {1 / median:.1f} a second on one core, {2 / median:.1f} on two (goal at 128^2: {GOAL:.0f} on two)")
    print(f"    {statistics.mean(sizes) / 1024:.0f} KiB an image; peak memory {peak_memory():.2f} GiB")
    if args.record:
        record("bm_synthesize", {"an image, ms of processor time": 1e3 * median, "peak memory, GiB": peak_memory()})


def peak_memory() -> float:
    """GiB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    run_cli(main)

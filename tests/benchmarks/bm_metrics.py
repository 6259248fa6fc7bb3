"""What measuring costs beside rendering.

    python -m tests.benchmarks.bm_metrics                                     # distances of 5,000 cached features
    python -m tests.benchmarks.bm_metrics --ckpt runs/tiny/latest --data datasets/synth_tiny --detector attributes

To meet: FID of 5,000 features of 2048 numbers under 10 s; evaluation beyond rendering under 15 %; memory flat in the
number of images. Seconds are of the processor (user and system) on a CPU, which other programs disturb less.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.records import add_record, record
from torch_utils.distributed import World
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from training.data.storage import open_dataset
from training.metrics.detectors import load_detector
from training.metrics.distances import feature_statistics, frechet_distance, kernel_distance
from training.metrics.features import extract_features
from training.metrics.pictures import RenderedPictures
from training.metrics.renderers import load_renderer
from training.sampling import InputSampler


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_metrics")
    parser.add_argument("--num", type=int, default=5000, help="cached features (default: %(default)s)")
    parser.add_argument("--ckpt", help="model to time the evaluation of")
    parser.add_argument("--data", help="data set for its labels")
    parser.add_argument("--detector", default="attributes", help="(default: %(default)s)")
    parser.add_argument("--images", type=int, default=16, help="pictures to render (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add_record(parser)
    args = parser.parse_args()
    if args.num < 1000 or args.images < 2:
        raise UserError(f"expected --num >= 1000 and --images >= 2, found {args.num} and {args.images}")
    device = resolve_device(args.device)
    figures = time_distances(args.num)
    if args.ckpt and args.data:
        figures |= time_evaluation(args.ckpt, args.data, args.detector, args.images, device)
    if args.record:
        record("bm_metrics", figures, device)


def time_distances(count: int) -> dict[str, float]:
    """From features in files to FID and KID."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.npy" for name in "ab"]
        for seed, path in enumerate(paths):
            rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, 2048))
            for i in range(0, count, 500):
                rows[i : i + 500] = np.random.default_rng([seed, i]).standard_normal(rows[i : i + 500].shape)
        real, fake = (np.load(path, mmap_mode="r") for path in paths)
        start = time.process_time()
        frechet_distance(feature_statistics(real), feature_statistics(fake))
        fid = time.process_time() - start
        print(f"FID of {count} features: {fid:.1f} s of processor time (goal: 10 for 5,000)")
        start = time.process_time()
        kernel_distance(real, fake)
        kid = time.process_time() - start
        print(f"KID, 100 subsets of 1000: {kid:.1f} s; peak memory {peak_memory():.2f} GiB")
    return {"FID, s of processor time": fid, "KID, s of processor time": kid, "peak memory, GiB": peak_memory()}


def time_evaluation(ckpt: str, data: str, name: str, count: int, device: torch.device) -> dict[str, float]:
    """Rendering alone, and with the detector and files."""
    renderer, detector = load_renderer(ckpt, device), load_detector(name, device)
    pictures = RenderedPictures(renderer, InputSampler(open_dataset(data), None, 0), ("full", "face"), count, 0)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    pictures.read(range(2))
    start = clock()
    pictures.read(range(count))
    rendering = clock() - start
    with tempfile.TemporaryDirectory() as folder:
        start = clock()
        extract_features(pictures, detector, Path(folder), World(0, 1, device), batch_size=16)
        whole = clock() - start
    print(f"{count} people rendered: {rendering:.2f} s; with features {whole:.2f} s, "
          f"{100 * (whole / rendering - 1):.0f} % more (goal: 15)")  # fmt: skip
    return {"evaluation beyond rendering, %": 100 * (whole / rendering - 1)}


def peak_memory() -> float:
    """GiB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    run_cli(main)

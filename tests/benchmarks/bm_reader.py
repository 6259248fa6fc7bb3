"""Images a second that the reader delivers from PNG, and memory while it does.

    python -m tests.benchmarks.bm_reader                          # a made-up set of 128^2 images and 64^2 faces
    python -m tests.benchmarks.bm_reader --data datasets/synth    # any set

An image comes with its face: two files decoded. Bounds: 300 images a second with 2 workers on 2 cores, and resident
memory flat over 20,000 reads.
"""

import io
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from networks.person.body_assets import default_body
from networks.person.face_model import default_face
from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, run_cli
from training.data.mirror import label_mirror
from training.data.reader import PortraitReader
from training.data.storage import DatasetWriter, open_dataset

MADE_UP = 1000


def picture(rng: np.random.Generator, size: int) -> bytes:
    """A PNG about as large as a drawn portrait's: smooth colours in the middle, white around."""
    noise = gaussian_filter(rng.random((size, size, 3)), (3, 3, 0)) * 1500 % 256
    noise[:, : size // 4] = noise[:, -size // 4 :] = 255
    buffer = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def make_set(path: Path, size: int) -> None:
    """``MADE_UP`` items with random labels."""
    shapes = {"joint_eulers": (6, 3), "betas": (10,), "z_id": (80,), "z_exp": (64,)}
    with DatasetWriter(path, image_size=size, face_size=size // 2, name="benchmark", made_by="bm_reader") as writer:
        for index in range(MADE_UP):
            rng = np.random.default_rng(index)
            labels = {name: 0.1 * rng.standard_normal(shape) for name, shape in shapes.items()}
            for name in ("camera", "face_camera"):
                labels[name] = np.pi / 2 + rng.normal(0, (0.05, 0.2))
            writer.add(index, picture(rng, size), picture(rng, size // 2), labels)
        writer.finish()


def megabytes() -> tuple[float, float]:
    """Memory of this process and its workers, pages that they share counted once; and what is resident here."""
    total, here, todo = 0, 0, ["self"]
    while todo:
        process = Path("/proc") / todo.pop()
        sizes = dict(line.split(":") for line in (process / "smaps_rollup").read_text().splitlines()[1:])
        total += int(sizes["Pss"].split()[0])
        here = int(sizes["Rss"].split()[0]) if process.name == "self" else here
        todo += [pid for task in (process / "task").iterdir() for pid in (task / "children").read_text().split()]
    return total / 1024, here / 1024


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_reader")
    parser.add_argument("--data", type=Path, help="data set (default: one made up for the purpose)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of the made-up images (%(default)s)")
    parser.add_argument("--reads", type=int, default=20_000, help="images to read (%(default)s)")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    add_record(parser)
    args = parser.parse_args()
    if min(args.reads, args.batch_size, args.workers, args.size) < 1:
        raise UserError("--reads, --batch_size, --workers, --size: expected positive numbers")

    with tempfile.TemporaryDirectory() as folder:
        path = args.data or Path(folder) / "set"
        if args.data is None:
            make_set(path, args.size)
        dataset = open_dataset(path)
        mirror = label_mirror(default_face(), default_body())
        reader = PortraitReader(dataset, args.batch_size, seed=0, mirror=mirror, workers=args.workers)
        file_size = statistics.mean(len(dataset.read_image(row)) for row in range(min(100, len(dataset))))
        print(f"{len(dataset)} images {dataset.image_size}^2 of {file_size / 1024:.1f} kB, {args.workers} workers")
        print(f"{'reads':>8s} {'images/s':>9s} {'MB in all':>10s} {'MB here':>8s}")
        next(reader)  # starts the workers
        done, report, start, cpu = 0, args.reads // 10, time.perf_counter(), time.process_time()
        last = start
        while done < args.reads:
            next(reader)
            done += args.batch_size
            if done // report > (done - args.batch_size) // report:
                now = time.perf_counter()
                everywhere, here = megabytes()
                print(f"{done:8d} {report / (now - last):9.0f} {everywhere:10.1f} {here:8.1f}", flush=True)
                last = time.perf_counter()
        wall, own = time.perf_counter() - start, time.process_time() - cpu
        reader.close()  # ended workers' times are known
        workers = sum(os.times()[2:4])
        print(f"{done / wall:.0f} images/s; CPU time an image: {1000 * own / done:.2f} ms here, ", end="")
        print(f"{1000 * workers / done:.2f} ms in workers: at most {done / (own + workers):.0f} images/s per core")
        if args.record:
            figures = {"images/s": done / wall, "images/s per core, at most": done / (own + workers)}
            record("bm_reader", {**figures, "MB in all": everywhere})


if __name__ == "__main__":
    run_cli(main)

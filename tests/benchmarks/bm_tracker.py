"""Frames a second that the tracker follows a person in, of a 720p video.

    python -m tests.benchmarks.bm_tracker                    # to meet: 30 a second on 2 cores
    python -m tests.benchmarks.bm_tracker --video me.mp4

Without a video it is one of scikit-image's astronaut, moved about over a grey wall; it is encoded first, so that
decoding, which another process does meanwhile, is paid for. Where other programs take turns, processor time says more.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from inference.ffmpeg import Encoder
from networks.person.tracker.follow import Tracker
from tests.benchmarks.records import add_record, record
from torch_utils.bounds import whole_number
from torch_utils.misc import CliParser, run_cli
from torch_utils.video_reader import VideoReader

GOAL = 30.0  # frames a second on 2 cores
SIZE = (1280, 720)


def make_video(path: Path, frames: int) -> None:
    """The astronaut at 25 frames a second, going round in circles of 60 pixels."""
    photo = Image.fromarray(data.astronaut()).resize((720, 720))
    encoder = Encoder(path, *SIZE, 25.0)
    for i in range(frames):
        frame = Image.new("RGB", SIZE, (150, 150, 150))
        frame.paste(photo, (280 + round(60 * np.cos(i / 10)), round(60 * np.sin(i / 10))))
        encoder.write(frame.tobytes())
    encoder.finish()


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_tracker", description=__doc__)
    parser.add_argument("--video", type=Path, help="to follow the largest face in")
    parser.add_argument("--frames", type=whole_number(1, 10**6), default=150, help="of it (default: %(default)s)")
    add_record(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.video or Path(folder, "astronaut.mp4")
        if args.video is None:
            make_video(path, args.frames)
        tracker, seen, steps = Tracker(), 0, []
        start, cpu = time.perf_counter(), time.process_time()
        for count, frame in enumerate(VideoReader(path), 1):  # noqa: B007 (count is read below)
            begun = time.perf_counter()
            seen += tracker.step(frame.image).face_score > 0
            steps.append(time.perf_counter() - begun)
            if count == args.frames:
                break
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    rate, step = count / wall, 1e3 * float(np.median(steps))
    print(f"{count} frames, a face in {seen}: {rate:.1f} a second (to meet: {GOAL:g})")
    print(f"tracking: {step:.1f} ms a frame, {1e3 * cpu / count:.1f} ms of processor time")
    if args.record:
        record("bm_tracker", {"frames a second": rate, "tracking, ms": step, "processor time, ms": 1e3 * cpu / count})


if __name__ == "__main__":
    run_cli(main)

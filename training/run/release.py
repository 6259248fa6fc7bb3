"""`python -m training.release RUN_DIR... --out FILE.safetensors`: a trained model as a file that says how it was made.

The folders are those of the stages in their order. The file has the last one's model in half precision, its priors, and
of every stage the commands, the configuration and the statistics.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from networks.saved_model import REPRESENTATIONS, SavedModel, pack_model, unpack_model
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.config import load_yaml
from torch_utils.misc import CliParser, UserError
from training.run.log import CONFIG, read_text, read_ticks
from training.run.state import BEST, LATEST


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(prog="python -m training.release", description=__doc__.split(": ", 1)[1])
    parser.add_argument("run_dirs", nargs="+", type=Path, help="folders of runs (train.py --outdir), in their order")
    parser.add_argument("--out", required=True, help="file to write")
    parser.add_argument("--model", choices=(LATEST, BEST), default=LATEST, help="of the last run (default: latest)")
    parser.add_argument("--what", default="", help="a sentence for its metadata: what the model is")
    args = parser.parse_args(argv)
    model = collect(args.run_dirs, args.model, args.what)
    save_checkpoint(args.out, pack_model(model, half=True))
    print(f"wrote {args.out} ({Path(args.out).stat().st_size / 1e6:.1f} MB)")


def collect(run_dirs: Sequence[Path], model: str, what: str) -> SavedModel:
    """The model ``model`` (latest or best) of the last run; its metadata tell of all of them.

    Raises:
        UserError: a folder is not that of a run, did not begin from the one before it, or has no such model.
    """
    runs = [describe_run(folder) for folder in run_dirs]
    for before, folder in itertools.pairwise(run_dirs):
        found = load_yaml(folder / CONFIG).get("init_from")
        if found is None or Path(found).parent.name != before.resolve().name:
            raise UserError(f"{folder}: expected a run that began from a model in {before}, found init_from: {found}")
    path = run_dirs[-1] / model
    saved = unpack_model(load_checkpoint(path), str(path), REPRESENTATIONS)
    return saved._replace(metadata={**saved.metadata, "what": what, "model": model, "runs": runs})


def describe_run(folder: Path) -> dict[str, Any]:
    """Name, the text of config.yaml (it begins with the command and the data), and the statistics of a run."""
    log, config = read_ticks(folder), read_text(folder / CONFIG)
    if not config:
        raise UserError(f"{folder}: expected the folder of a training run, found no {CONFIG} in it")
    made_by = [line.removeprefix("# ") for line in config.splitlines() if line.startswith("# ")]
    return {"name": folder.resolve().name, "made_by": made_by, "config": config, "log": log}

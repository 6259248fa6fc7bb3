"""A sound set to spoil, and how."""

import hashlib
import json
from pathlib import Path

import numpy as np

from torch_utils.misc import CliParser
from training.data import inspect_set

NUM = 30


def change_labels(path: Path, change) -> None:
    with np.load(path / "labels.npz") as archive:
        labels = dict(archive)
    labels = change(labels) or labels
    np.savez(path / "labels.npz", **labels)
    digest = hashlib.sha256((path / "labels.npz").read_bytes()).hexdigest()
    change_manifest(path, lambda manifest: manifest.update(labels_sha256=digest))


def change_manifest(path: Path, change) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("manifest_sha256", None)
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def inspect(*arguments) -> None:
    parser = CliParser(prog="inspect")
    inspect_set.add_arguments(parser)
    inspect_set.run(parser.parse_args([str(argument) for argument in arguments]))

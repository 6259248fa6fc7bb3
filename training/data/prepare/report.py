"""What became of every photo."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch_utils.misc import atomic_path, one_line


class Outcome(NamedTuple):
    photo: str  # file name
    result: str  # "ok", or the kind of reason for skipping it
    why: str = ""  # one line


def write_report(path: Path, outcomes: Mapping[int, Outcome]) -> None:
    """A table with a row per photo: its number in the data set, file name, result, why. Raises UserError: no space."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("item", *Outcome._fields))
        for index, outcome in sorted(outcomes.items()):
            table.writerow((f"{index:06d}", outcome.photo, outcome.result, one_line(outcome.why)))

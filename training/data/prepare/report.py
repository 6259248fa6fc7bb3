"""What became of every photo."""

import csv
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch_utils.misc import atomic_path, one_line, printable


class Outcome(NamedTuple):
    photo: str  # file name
    result: str  # "ok", or the kind of reason for skipping it
    why: str = ""  # one line


def hashed_names(paths: Iterable[Path]) -> str:
    """Twelve digits that tell one folder's files from another's, by their names."""
    return hashlib.sha256(os.fsencode("\n".join(path.name for path in paths))).hexdigest()[:12]


def summary(outcomes: Iterable[Outcome]) -> list[str]:
    """A line for every kind of result, the commonest first, with how many and the first one's reason."""
    kinds: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        kinds.setdefault(outcome.result, []).append(outcome)
    return [
        f"{len(same):8d}  {kind}" + (f"   e.g. {one_line(f'{same[0].photo}: {same[0].why}')}" if same[0].why else "")
        for kind, same in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]


def write_report(path: Path, outcomes: Mapping[int, Outcome]) -> None:
    """A table with a row per photo: its number in the data set, file name, result, why. Raises UserError: no space."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("item", *Outcome._fields))
        for index, outcome in sorted(outcomes.items()):
            table.writerow((f"{index:06d}", printable(outcome.photo), outcome.result, one_line(outcome.why)))

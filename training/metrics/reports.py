"""What was measured, as a report: of one model or of several, printed in columns and written as JSON.

``{"distances": {NAME: number}, "doubts": [...], "control": {...}, "ceiling": {...}, "others": {MODEL: {...}}}``: the
first model's numbers, those of true drawings, and of further models by their names.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch_utils.misc import atomic_path


def by_model(names: Sequence[str], what: str, found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """A report: numbers of the first model by ``what``, and those of any others below ``others``, by their names."""
    others = {name: {what: numbers} for name, numbers in zip(names[1:], found[1:], strict=True)}
    return {what: found[0]} | ({"others": others} if others else {})


def merge_reports(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Add ``more``, and what it says of other models."""
    for name, value in more.items():
        if name == "others" and "others" in into:
            for model, numbers in value.items():
                into["others"][model] |= numbers
        else:
            into[name] = value


def print_distances(found: dict[str, Any]) -> None:
    for doubt in found.get("doubts", []):
        print(f"warning: {doubt}", file=sys.stderr)
    print_columns(columns(found, "distances"))


def print_control(found: dict[str, Any]) -> None:
    """The models' numbers, beside those of true drawings where there are any."""
    drawing = {"drawing": found["ceiling"]} if "ceiling" in found else {}
    print_columns({**columns(found, "control"), **drawing})


def columns(found: dict[str, Any], what: str) -> dict[str, dict[str, float]]:
    """Numbers of every model by the heading of its column; several are told which is which in a line each."""
    others = found.get("others", {})
    if not others:
        return {"model": found[what]}
    for number, name in enumerate(others, 2):
        print(f"model {number}: {name}")
    return {"model 1": found[what]} | {f"model {i}": other[what] for i, other in enumerate(others.values(), 2)}


def print_columns(found: dict[str, dict[str, float]]) -> None:
    """A line a quantity, a column a model; headings where there are several."""
    if len(found) > 1:
        print(f"{'':44s}" + "".join(f" {heading:>10s}" for heading in found))
    for name in next(iter(found.values())):
        print(f"{name:44s}" + "".join(f" {numbers[name]:10.4f}" for numbers in found.values()), flush=True)


def write_report(found: dict[str, Any], path: Path | None) -> None:
    """The numbers as JSON, where that is asked for."""
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(finite(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(f"wrote {path}")


def finite(data: Any) -> Any:
    """The same with null for NaN, which JSON does not know: what could not be measured."""
    if isinstance(data, dict):
        return {name: finite(value) for name, value in data.items()}
    return None if isinstance(data, float) and not math.isfinite(data) else data

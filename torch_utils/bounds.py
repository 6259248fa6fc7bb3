"""Every number that a user gives has bounds, which are named when it is outside: options and configurations."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Number = TypeVar("Number", int, float)


class Range(NamedTuple):
    """Bounds of a number, both included; of a whole number where ``low`` is one."""

    low: int | float
    high: int | float

    def holds(self, number: Any) -> bool:
        """Whether ``number`` is one of the right kind within the bounds; nan is not."""
        kinds = int if isinstance(self.low, int) else int | float
        return isinstance(number, kinds) and not isinstance(number, bool) and self.low <= number <= self.high

    def __str__(self) -> str:
        kind = "a whole number" if isinstance(self.low, int) else "a number"
        return f"{kind} from {_bound(self.low)} to {_bound(self.high)}"


MAX_SEED = 2**63 - 1
MAX_FRAMES, MAX_IMAGES, MAX_BATCH, MAX_WORKERS = 10**6, 10**8, 2**16, 256


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """``type=`` of an option that takes a whole number from ``low`` to ``high``."""
    return _option(int, Range(low, high))


def real_number(low: float, high: float) -> Callable[[str], float]:
    """``type=`` of an option that takes a number from ``low`` to ``high``."""
    return _option(float, Range(float(low), high))


def check_ranges(config: Any) -> None:
    """ValueError that names the first field of the dataclass ``config`` with a number outside of its type's `Range`.

    Numbers are annotated as ``size: Annotated[int, Range(1, 4096)]``, also inside of tuples.
    """
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if typing.get_origin(hint) is tuple:
            kinds = typing.get_args(hint)
            kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
            if len(kinds) != len(value):
                raise ValueError(f"{name}: expected {len(kinds)} numbers, found {len(value)}")
            pairs = zip(kinds, value, strict=True)
        else:
            pairs = zip((hint,), (value,), strict=True)
        for kind, number in pairs:
            for span in getattr(kind, "__metadata__", ()):
                if isinstance(span, Range) and not span.holds(number):
                    raise ValueError(f"{name}: expected {span}, found {_show(number)}")


def _option(convert: Callable[[str], Number], span: Range) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        try:
            value = convert(text)
        except (ValueError, OverflowError):
            value = None
        if value is None or not span.holds(value):
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            raise argparse.ArgumentTypeError(f"expected {span}, found {shown}")
        return value

    return parse


def _bound(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.12g}"


def _show(number: Any) -> str:
    """A number as a message has it; one of thousands of digits by its size."""
    if isinstance(number, int) and abs(number) >= 10**40:
        return f"a number of {number.bit_length()} bits"
    return repr(number)

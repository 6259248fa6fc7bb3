"""Bounds of options and of configurations."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torch_utils.bounds import Range, check_ranges, real_number, whole_number
from torch_utils.misc import CliParser, UserError

Size = Annotated[int, Range(1, 9)]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    side: Size = 3
    pair: tuple[Size, Size] = (1, 2)
    rest: tuple[Annotated[float, Range(0.0, 1.0)], ...] = ()
    name: str = "free"
    level: Annotated[float, Range(-1.0, 1e3)] = 0.5


def test_what_is_within():
    check_ranges(Sizes())
    check_ranges(Sizes(side=1, pair=(9, 1), rest=(0.0, 1, 0.5), level=-1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 0}, "side: expected a whole number from 1 to 9, found 0"),
        ({"side": 2.0}, "side: expected a whole number from 1 to 9, found 2.0"),
        ({"side": True}, "side: expected a whole number from 1 to 9, found True"),
        ({"pair": (1, 10)}, "pair: expected a whole number from 1 to 9, found 10"),
        ({"pair": (1,)}, "pair: expected 2 numbers, found 1"),
        ({"rest": (0.5, float("nan"))}, "rest: expected a number from 0 to 1, found nan"),
        ({"level": 1e308}, "level: expected a number from -1 to 1000, found 1e+308"),
        ({"side": 10**5000}, "side: expected a whole number from 1 to 9, found a number of 16610 bits"),
    ],
)
def test_what_is_outside_is_named(change, message):
    with pytest.raises(ValueError) as error:
        check_ranges(Sizes(**change))
    assert str(error.value) == message


@given(st.integers(-20, 20))
def test_options_take_what_is_within(number):
    parser = CliParser(prog="x")
    parser.add_argument("--size", type=whole_number(-3, 7))
    if -3 <= number <= 7:
        assert parser.parse_args([f"--size={number}"]).size == number
    else:
        with pytest.raises(UserError, match=f"--size: expected a whole number from -3 to 7, found {number} "):
            parser.parse_args([f"--size={number}"])


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "fast", "", 9999 * "9"])
def test_options_refuse_what_is_no_such_number(text):
    parser = CliParser(prog="x")
    parser.add_argument("--fps", type=real_number(0, 240))
    with pytest.raises(UserError) as error:
        parser.parse_args(["--fps", text])
    assert "--fps: expected a number from 0 to 240, found " in str(error.value) and len(str(error.value)) < 120

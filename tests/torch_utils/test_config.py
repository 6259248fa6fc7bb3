"""YAML <-> dataclasses: strict about keys and types, and the inverse of each other."""

import dataclasses
import sys
from typing import Literal

import pytest

from torch_utils.config import completed, config_from_dict, config_to_dict, load_layered, load_yaml, parse_overrides
from torch_utils.misc import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    width: int
    rate: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner
    centre: tuple[float, float, float] = (0.0, 0.0, -1.5)
    channels: tuple[int, ...] = (64, 32)
    mode: Literal["fast", "exact"] = "exact"
    limit: int | None = None
    flag: bool = False
    size: int | str = 3

    def __post_init__(self):
        if self.limit is not None and self.limit < 0:
            raise ValueError(f"limit must not be negative, not {self.limit}")


def make_data(**changes):
    data = {"name": "a", "inner": {"width": 4, "rate": 1}, "centre": [1, 2, 3], "channels": [8], "mode": "fast"}
    return data | changes


def test_values_arrive_with_their_types():
    config = config_from_dict(Outer, make_data(limit=2, size="big"), "a.yaml")
    assert config == Outer(
        name="a",
        inner=Inner(width=4, rate=1.0),
        centre=(1.0, 2.0, 3.0),
        channels=(8,),
        mode="fast",
        limit=2,
        size="big",
    )
    assert isinstance(config.inner.rate, float) and isinstance(config.centre, tuple)


def test_data_of_earlier_versions_are_completed():
    """What they did not know has its default; what makes no configuration stays as it is."""
    whole = config_to_dict(config_from_dict(Outer, make_data(), "a.yaml"))
    early = {key: value for key, value in whole.items() if key not in ("limit", "size")}
    assert completed(Outer, early) == whole
    for other in ({}, whole | {"gone": 1}):
        assert completed(Outer, other) == other


def test_round_trip_is_plain_data():
    config = config_from_dict(Outer, make_data(), "a.yaml")
    data = config_to_dict(config)
    assert data["inner"] == {"width": 4, "rate": 1.0} and data["channels"] == [8] and data["limit"] is None
    assert config_from_dict(Outer, data, "again") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chanels": [1]}, "a.yaml: unknown key 'chanels'; the nearest valid key is 'channels'"),
        ({"inner": {"widht": 4}}, "a.yaml: inner: unknown key 'widht'; the nearest valid key is 'width'"),
        ({"inner": {}}, "a.yaml: inner: missing key 'width'"),
        ({"inner": 3}, "a.yaml: inner: expected a mapping for Inner, found int"),
        ({"inner": {"width": 4.0}}, "a.yaml: inner: key 'width': expected int, found float 4.0"),
        ({"inner": {"width": True}}, "a.yaml: inner: key 'width': expected int, found bool True"),
        ({"inner": {"width": 4, "rate": "fast"}}, "a.yaml: inner: key 'rate': expected float, found str 'fast'"),
        ({"centre": [1, 2]}, "a.yaml: key 'centre': expected 3 values, found 2"),
        ({"centre": 1}, "a.yaml: key 'centre': expected a list, found int 1"),
        ({"channels": [1, "x"]}, "a.yaml: key 'channels[1]': expected int, found str 'x'"),
        ({"mode": "slow"}, "a.yaml: key 'mode': expected one of 'fast', 'exact', found str 'slow'"),
        ({"name": None}, "a.yaml: key 'name': expected str, found nothing"),
        ({"flag": 1}, "a.yaml: key 'flag': expected bool, found int 1"),
        ({"limit": "x"}, "a.yaml: key 'limit': expected int, found str 'x'"),
        ({"size": 1.5}, "a.yaml: key 'size': expected int or str, found float 1.5"),
        ({"limit": -1}, "a.yaml: limit must not be negative, not -1"),
    ],
)
def test_bad_data_is_named(changes, message):
    with pytest.raises(UserError) as error:
        config_from_dict(Outer, make_data(**changes), "a.yaml")
    assert str(error.value) == message


def test_exponents_without_a_point_are_numbers(tmp_path):
    (tmp_path / "a.yaml").write_text("width: 4\nrate: 1e-3\n")  # YAML 1.1 reads 1e-3 as a string
    config = config_from_dict(Inner, load_yaml(tmp_path / "a.yaml"), "a.yaml")
    assert config.rate == 0.001


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such configuration file"),
        (b"a: [1, 2", "not valid YAML"),
        (b"- 1\n- 2\n", "expected a mapping of keys to values, found list"),
        (b"", "configuration: expected a file of 1 to 1,048,576 bytes, found 0"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_yaml(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (50_000 * "[", "nested too deeply"),
        ("a: " + 20_000 * "{b: ", "nested too deeply"),
        ("seed: " + 5000 * "7", "not valid YAML"),
        ("day: 2020-13-45", "not valid YAML"),
        ("\0", "not valid YAML"),
    ],
)
def test_hostile_text_is_one_line(tmp_path, text, found):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_yaml(tmp_path / "a.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'a.yaml'}: not valid YAML: ") and found in str(error.value)
    with pytest.raises(UserError, match="--seed: expected a YAML value"):
        parse_overrides(["--seed", text])


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_files_that_never_end_are_not_begun(tmp_path):
    with pytest.raises(UserError, match="^/dev/zero: configuration: expected a regular file, found a device or pipe$"):
        load_yaml("/dev/zero")
    (tmp_path / "a.yaml").write_text("base: /dev/zero\n")
    with pytest.raises(UserError, match="^/dev/zero: configuration: expected a regular file"):
        load_layered(tmp_path / "a.yaml")
    (tmp_path / "large.yaml").write_bytes(b"a" * (2**20 + 1))
    with pytest.raises(UserError, match="expected a file of 1 to 1,048,576 bytes, found 1,048,577"):
        load_yaml(tmp_path / "large.yaml")


def test_names_with_a_nul_are_refused():
    @dataclasses.dataclass(frozen=True)
    class Files:
        body: str | None = None

    with pytest.raises(UserError, match="here: key 'body': expected str, found str 'a.x00b'"):
        config_from_dict(Files, {"body": "a\0b"}, "here")

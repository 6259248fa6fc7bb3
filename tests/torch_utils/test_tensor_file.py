"""Our own files: what is saved comes back to the bit, other readers understand it, and no changed byte is believed."""

import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from torch_utils.checkpoint import load_checkpoint, load_raw
from torch_utils.misc import UserError
from torch_utils.tensor_file import read_tensor_file, write_tensor_file

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip


def make_state() -> dict:
    """The state of two optimizers: a mapping of numbers, scalars, tuples."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.99))
    net(torch.randn(2, 3, 6, 6)).square().sum().backward()
    optimizer.step()
    counters = {"step": 3, "seconds": 0.1 + 0.2, "best": None, "done": False, "worst": float("inf")}
    return {"net": net.state_dict(), "opt": optimizer.state_dict(), "counters": counters, "means": [net.state_dict()]}


def same(a, b) -> bool:
    """Whether two nested data are equal, tensors to the bit and of one type."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if torch.is_tensor(a):
        return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()
    return type(a) is type(b) and a == b


def test_a_state_comes_back(tmp_path):
    state = make_state()
    write_tensor_file(tmp_path / "state", state)
    found = load_checkpoint(tmp_path / "state")
    assert all(same(value, found[name]) for name, value in state.items())
    assert found["opt"]["param_groups"][0]["betas"] == [0.0, 0.99]
    write_tensor_file(tmp_path / "again", found)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "state").read_bytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_shape(dtype, tmp_path):
    tensors = [torch.arange(n).to(dtype).reshape(shape) for n, shape in ((1, ()), (0, (0, 3)), (3, (3,)), (6, (2, 3)))]
    tensors.append(torch.arange(12).to(dtype).reshape(3, 4).T[1:])  # neither contiguous nor from the beginning
    write_tensor_file(tmp_path / "a", {"odd": torch.zeros(3, dtype=torch.uint8), "tensors": tensors})
    assert same(read_tensor_file(tmp_path / "a")["tensors"], tensors)


words = st.text(max_size=8)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))


@settings(max_examples=50, deadline=None)
@given(value=nested, numbered=st.dictionaries(st.integers() | st.just("$items"), plain, max_size=3))
def test_plain_data_come_back(value, numbered, tmp_path_factory):
    path = tmp_path_factory.mktemp("a") / "a"
    write_tensor_file(path, {"value": value, "numbered": numbered, "$tensor": {"$tensor": 1}})
    found = read_tensor_file(path)
    assert same(found["value"], value) and same(found["numbered"], numbered) and found["$tensor"] == {"$tensor": 1}


def test_other_readers_understand_it(tmp_path):
    write_tensor_file(tmp_path / "a", {"state": {"w": torch.ones(2, 3)}, "config": {"sizes": [1, 2]}})
    with safe_open(tmp_path / "a", framework="np") as file:
        assert list(file.keys()) == ["state/w"]
        assert file.get_tensor("state/w").tolist() == [[1, 1, 1], [1, 1, 1]]
        about = file.metadata()
    assert (about["format"], about["version"], json.loads(about["config"])) == (
        "aniportraitgan",
        "2",
        {"sizes": [1, 2]},
    )


def test_no_changed_byte_is_believed(tmp_path):
    """Every byte of the header, and many of the tensors."""
    path = tmp_path / "a"
    write_tensor_file(path, {"state": {"w": torch.randn(1000)}, "numbers": {1: 2.5}, "what": 'a "test" \\'})
    sound = path.read_bytes()
    begin, rng = 8 + int.from_bytes(sound[:8], "little"), random.Random(0)
    assert load_checkpoint(path)["what"] == 'a "test" \\'
    for place in [*range(begin), *rng.choices(range(begin, len(sound)), k=300)]:
        changed = bytearray(sound)
        changed[place] ^= rng.randrange(1, 256)
        path.write_bytes(changed)
        with pytest.raises(UserError, match=f"^{path}: [^\n]+$"):
            load_checkpoint(path)


@pytest.mark.parametrize("kept", [1, 7, 8, 9, 200, -1, -400])
def test_no_shortened_file_is_believed(kept, tmp_path):
    path = tmp_path / "a"
    write_tensor_file(path, make_state())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=f"^{path}: [^\n]+$"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="found an empty file"):
        load_checkpoint(path)


def test_more_bytes_than_were_written(tmp_path):
    write_tensor_file(tmp_path / "a", make_state())
    with (tmp_path / "a").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="a: truncated or damaged"):
        load_checkpoint(tmp_path / "a")


def write_by_hand(path, header: str) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())


@pytest.mark.parametrize(
    "header",
    [
        '{"__metadata__":[]}', "{}x", "{" * 100_000, '{"__metadata__":{"format":"aniportraitgan","version":"2"}}',
        '{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', '{"a":3}',
    ],
)  # fmt: skip
def test_headers_that_are_none(header, tmp_path):
    write_by_hand(tmp_path / "a", header)
    with pytest.raises(UserError, match="a: [^\n]*damaged[^\n]*$"):
        load_raw(tmp_path / "a")


def test_other_people_s_safetensors_are_their_tensors(tmp_path):
    header = '{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    write_by_hand(tmp_path / "a", header)
    with (tmp_path / "a").open("ab") as file:
        file.write(torch.tensor([1.0, 2.0]).numpy().tobytes())
    assert same(load_raw(tmp_path / "a"), {"w": torch.tensor([1.0, 2.0])})
    with pytest.raises(UserError, match="expected a checkpoint of this project .*found keys w"):
        load_checkpoint(tmp_path / "a")


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(2).to(torch.complex64), b"x", {1.5: 2},
        {"a": torch.zeros(1), "b": [object()]}, {"x": {"y": torch.zeros(1)}, "x/y": torch.zeros(1)},
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_named(value, tmp_path):
    with pytest.raises(TypeError, match="value"):
        write_tensor_file(tmp_path / "a", {"value": value})
    assert not (tmp_path / "a").exists()

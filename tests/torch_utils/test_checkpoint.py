"""Checkpoints: what is saved comes back, and a bad file is told apart without running anything in it."""

import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from torch_utils.checkpoint import (
    check_format,
    in_single_precision,
    load_checkpoint,
    load_raw,
    load_weights,
    save_checkpoint,
)
from torch_utils.misc import UserError


class RunsCode:
    """A pickle that touches a file when it is loaded by plain pickle."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def make_data():
    return {"weights": {"w": torch.arange(6.0).reshape(2, 3)}, "config": {"sizes": [1, 2], "name": "x", "none": None}}


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", make_data())
    data = load_checkpoint(tmp_path / "a.safetensors")
    assert (data["format"], data["version"]) == ("aniportraitgan", 2)
    assert torch.equal(data["weights"]["w"], torch.arange(6.0).reshape(2, 3))
    assert data["config"] == make_data()["config"]
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_earlier_files_of_this_project_are_read(tmp_path):
    torch.save({**make_data(), "format": "aniportraitgan", "version": 1}, tmp_path / "a.pt")
    data = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(data["weights"]["w"], torch.arange(6.0).reshape(2, 3))
    assert data["config"] == make_data()["config"]


@pytest.mark.parametrize("value", [np.zeros(3), {"a": [object()]}, np.float64(1.0)])
def test_only_plain_data_is_saved(tmp_path, value):
    with pytest.raises(TypeError, match="tensors and plain data"):
        save_checkpoint(tmp_path / "a", {"value": value})
    assert os.listdir(tmp_path) == []


def test_a_pickle_that_wants_to_run_code_is_named_and_does_not_run(tmp_path):
    for name, zipped in (("zip.pt", True), ("legacy.pt", False)):
        torch.save({"a": RunsCode(tmp_path / "ran")}, tmp_path / name, _use_new_zipfile_serialization=zipped)
        with pytest.raises(
            UserError, match=rf"{name}: .*found a pickle that wants to run code \(.*mkdir\); not loaded"
        ):
            load_raw(tmp_path / name)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": RunsCode(tmp_path / "ran")}))
    with pytest.raises(UserError, match="plain.pt: .*wants to run code"):
        load_raw(tmp_path / "plain.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files(tmp_path, kept, zipped):
    path = tmp_path / "a.pt"
    torch.save(make_data(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match=r"a\.pt: .*truncated or damaged"):
        load_raw(path)


def test_other_things_that_are_no_checkpoint(tmp_path):
    for name, content, message in (
        ("empty.pt", b"", "found an empty file"),
        ("text.pt", b"not a checkpoint at all", "not a checkpoint"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: .*{message}"):
            load_raw(tmp_path / name)
    with pytest.raises(UserError, match="no such checkpoint file"):
        load_raw(tmp_path / "missing.pt")
    with pytest.raises(UserError, match="found a folder"):
        load_raw(tmp_path)
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(UserError, match="expected a checkpoint .a mapping of names., found Tensor"):
        load_raw(tmp_path / "tensor.pt")


def test_other_formats_and_versions(tmp_path):
    torch.save({"generator": 1}, tmp_path / "a.pt")
    assert load_raw(tmp_path / "a.pt") == {"generator": 1}
    with pytest.raises(UserError, match="expected a checkpoint of this project.*found keys generator"):
        load_checkpoint(tmp_path / "a.pt")
    torch.save({"format": "aniportraitgan", "version": 99}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="expected checkpoint version 1 or 2, found 99"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "expected a checkpoint of this project .*, found keys none"),
        ({"format": "other"}, "expected a checkpoint of this project .*, found format 'other'"),
        ({"format": torch.zeros(2)}, "expected a checkpoint of this project .*, found format Tensor"),
        ({"format": "aniportraitgan"}, "expected checkpoint version 1 or 2, found None"),
        ({"format": "aniportraitgan", "version": torch.ones(2, 2)}, "expected checkpoint version 1 or 2, found Tensor"),
        ({"format": "x" * 999}, "expected .*, found format 'x{56}[.]{3}$"),
    ],
)
def test_the_format_of_loaded_data(data, message):
    with pytest.raises(UserError, match=f"^a.pt: {message}"):
        check_format(data, "a.pt")
    check_format({"format": "aniportraitgan", "version": 1}, "a.pt")


def test_load_weights():
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(target, source.state_dict(), "a.pt")
    assert torch.equal(target.weight, source.weight) and torch.equal(target.bias, source.bias)


def test_load_weights_names_what_does_not_fit():
    target = nn.Linear(3, 2)
    before = target.weight.clone()
    with pytest.raises(UserError) as error:
        load_weights(target, {"weight": torch.zeros(2, 4), "gain": torch.zeros(1)}, "a.pt")
    assert str(error.value) == (
        "a.pt: weights do not fit Linear: 1 missing: bias; 1 unexpected: gain; "
        "1 misshapen: weight (expected [2, 3], found [2, 4])"
    )
    assert torch.equal(target.weight, before)


def test_load_weights_refuses_what_is_not_finite_or_no_tensor():
    state = {"weight": torch.full((2, 3), float("nan")), "bias": [0.0, 0.0]}
    with pytest.raises(UserError, match=r"1 misshapen: bias \(expected \[2\], found list\)"):
        load_weights(nn.Linear(3, 2), state, "a.pt")
    with pytest.raises(UserError, match="1 not finite: weight"):
        load_weights(nn.Linear(3, 2), state | {"bias": torch.zeros(2)}, "a.pt")
    for bias, found in (
        (torch.zeros(2).long(), r"int64 \[2\]"),
        (torch.zeros(2, dtype=torch.complex64), r"complex64 \[2\]"),
        (torch.zeros(2).to_sparse(), r"float32 without plain values \[2\]"),
        (torch.zeros(3, device="meta"), r"without plain values \[3\]"),
    ):
        with pytest.raises(UserError, match=rf"1 misshapen: bias \(expected \[2\], found {found}\)"):
            load_weights(nn.Linear(3, 2), {"weight": torch.zeros(2, 3), "bias": bias}, "a.pt")


def test_single_precision():
    state = {"half": torch.tensor([0.5], dtype=torch.float16), "index": torch.tensor([3]), "name": "x"}
    found = in_single_precision(state)
    assert found["half"].dtype == torch.float32 and found["half"].item() == 0.5
    assert found["index"].dtype == torch.int64 and found["name"] == "x"


def test_long_lists_are_cut():
    with pytest.raises(UserError, match=r"20 missing: 0.weight, 0.bias, 1.weight, 1.bias, 2.weight, ... \(15 more\)"):
        load_weights(nn.Sequential(*(nn.Linear(2, 2) for _ in range(10))), {}, "a.pt")

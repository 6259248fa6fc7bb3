"""`python -m inference.convert` of earlier files of this project; released ones are in test_released_checkpoint.py."""

import pytest
import torch

from inference import convert
from networks.saved_model import SavedModel, pack_model
from tests.networks.helpers import make_generator
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError


def earlier(data: dict, path) -> None:
    """As version 1 was written."""
    torch.save({**data, "format": "aniportraitgan", "version": 1}, path)


def test_a_model(tmp_path, capsys):
    model = pack_model(SavedModel(make_generator(), None, {"what": "made up"}))
    earlier(model, tmp_path / "old.pt")
    convert.main([str(tmp_path / "old.pt"), str(tmp_path / "new.safetensors")])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'new.safetensors'}\n"
    found = load_checkpoint(tmp_path / "new.safetensors")
    assert found["version"] == 2 and found["config"] == model["config"] and found["metadata"] == {"what": "made up"}
    assert list(found["state"]) == list(model["state"])
    assert all(torch.equal(value, model["state"][name]) for name, value in found["state"].items())


def test_the_state_of_a_run(tmp_path):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    earlier({"g_opt": optimizer.state_dict(), "counters": {"best": None}}, tmp_path / "state.pt")
    convert.main([str(tmp_path / "state.pt"), str(tmp_path / "state.safetensors")])
    found = load_checkpoint(tmp_path / "state.safetensors")
    assert found["g_opt"]["state"][0]["exp_avg"].tolist() == optimizer.state_dict()["state"][0]["exp_avg"].tolist()
    assert found["counters"] == {"best": None}


def test_options_of_the_other_layout_are_refused(tmp_path):
    earlier({}, tmp_path / "old.pt")
    with pytest.raises(UserError, match="--labels: .*old.pt is not in the released layout"):
        convert.main([str(tmp_path / "old.pt"), str(tmp_path / "new"), "--labels", "x"])
    assert not (tmp_path / "new").exists()

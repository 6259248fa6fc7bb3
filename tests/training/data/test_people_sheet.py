"""The sheet of drawn people."""

import sys

import pytest
from PIL import Image

from torch_utils.misc import UserError
from training.data import __main__ as commands


def test_a_row_a_person(tmp_path, monkeypatch, capsys):
    path = tmp_path / "people.png"
    monkeypatch.setattr(sys, "argv", ["data", "people", "--out", str(path), "--num", "1", "--size", "32"])
    commands.main()
    assert capsys.readouterr().out == f"wrote {path}\n"
    with Image.open(path) as sheet:
        assert sheet.width > 10 * 32 and 32 < sheet.height < 4 * 32
    monkeypatch.setattr(sys, "argv", ["data", "people", "--out", str(tmp_path / "people.jpg")])
    with pytest.raises(UserError, match="--out: expected a name that ends in .png"):
        commands.main()

"""What benchmarks record, and its picture."""

import json
import sys

import numpy as np
import pytest
import torch

from tests.benchmarks import records
from torch_utils.misc import UserError

CPU = torch.device("cpu")


@pytest.fixture
def history(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "HISTORY", tmp_path / "history")
    monkeypatch.setattr(sys, "argv", ["bm_made_up", "--size", "2", "--record"])
    return tmp_path / "history"


def test_a_record_says_what_when_and_where(history):
    records.record("bm_made_up", {"a frame, s": 0.123456, "images/s": 20})
    records.record("bm_made_up", {"a frame, s": 1})
    first, second = records.read_entries(history / "bm_made_up.jsonl")
    assert first["figures"] == {"a frame, s": 0.1235, "images/s": 20.0}
    assert second["figures"] == {"a frame, s": 1.0}
    assert first["options"] == "--size 2"  # not --record
    assert first["torch"] == torch.__version__
    assert f"{torch.get_num_threads()} of " in first["hardware"] and first["date"].endswith("Z")


def entry(date, hardware, **figures):
    return {"date": date, "commit": "c", "hardware": hardware, "torch": "t", "options": "--x", "figures": figures}


def test_series_of_a_history(history):
    history.mkdir()
    lines = [entry("2026-02-01", "a", f=2), entry("2026-01-01", "a", f=1, g=5), entry("2026-03-01", "b", f=3)]
    (history / "bm_y.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert records.collect([history / "bm_y.jsonl"]) == [
        ("bm_y --x", "f", {"a": [("2026-01-01", 1), ("2026-02-01", 2)], "b": [("2026-03-01", 3)]}),
        ("bm_y --x", "g", {"a": [("2026-01-01", 5)]}),
    ]


def test_heights_in_a_panel_are_ratios():
    """The value of 1 is drawn half as high above zero as the value of 2."""
    panel = records.draw_panel(records.Series("t", "f", {"a": [("1", 1.0), ("2", 2.0)]}), {"a": (255, 0, 0)})
    pixels = torch.from_numpy(np.array(panel)).int()
    rows, columns = torch.nonzero((pixels - torch.tensor([255, 0, 0])).abs().sum(-1) < 60, as_tuple=True)
    ground = records.HEIGHT - 3 * records.TEXT
    line = columns < records.WIDTH - 5 * records.TEXT  # without the number beside it
    low, high = (rows[line][columns[line] == x].float().mean() for x in (columns.min(), columns[line].max() - 4))
    assert (ground - high) / (ground - low) == pytest.approx(2, abs=0.15)  # of about 30 pixels, a dot has 5


@pytest.mark.parametrize("line", ["{", "[]", '{"date": "x"}', json.dumps(entry("d", "h", f="1"))])
def test_a_line_that_is_none_is_named(history, line):
    history.mkdir()
    (history / "bm_y.jsonl").write_text(json.dumps(entry("d", "h", f=1)) + "\n" + line)
    with pytest.raises(UserError, match="bm_y.jsonl:2: expected an object of date, commit"):
        records.read_entries(history / "bm_y.jsonl")


def test_every_benchmark_can_record():
    names = {path.stem for path in (records.ROOT / "tests/benchmarks").glob("bm_*.py")}
    assert names
    for name in names:
        text = (records.ROOT / f"tests/benchmarks/{name}.py").read_text()
        assert "add_record(parser)" in text and f'record("{name}"' in text, name
    assert {path.stem for path in records.HISTORY.glob("*.jsonl")} <= names


def test_bm_floor_records(history, monkeypatch, capsys):
    from tests.benchmarks import bm_floor

    monkeypatch.setattr(sys, "argv", ["bm_floor", "--terabytes", "4.8", "--record"])
    bm_floor.main()
    (found,) = records.read_entries(history / "bm_floor.jsonl")
    # As printed: "a frame: at least 141 us".
    printed = int(capsys.readouterr().out.split("at least ")[1].split()[0])
    assert round(found["figures"]["floor of a frame, us"]) == printed

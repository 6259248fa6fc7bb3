"""One page of a run."""

import base64
import io
import json
import re

import pytest
import torch
from PIL import Image

from tests.training.tiny_run import make_dataset, run
from torch_utils.misc import UserError
from training.run.report import curve, main, make_page

CPU = torch.device("cpu")


def make_run(folder):
    lines = [{"step": i, "cur_nimg": 1000 * i, "G/face": 0.5 * i, "distance": 3.0 - i} for i in range(3)]
    (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "cur')
    (folder / "config.yaml").write_text("stage: 1  # <b>\n")
    for images in (0, 2000):
        Image.new("RGB", (4, 4)).save(folder / f"fakes{images:09d}.png")
    numbers = {"distances": {"FD-attr/full": 1.25}, "control": {"pose/head": 2.5}, "ceiling": {"pose/head": 1.5}}
    (folder / "metrics.json").write_text(json.dumps(numbers))
    return folder


def test_page_is_whole_and_needs_no_other_file(tmp_path, capsys):
    make_run(tmp_path)
    main([str(tmp_path)])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"wrote {tmp_path / 'report.html'}" in capsys.readouterr().out
    assert "step 2, 2.00 kimg" in page  # the half line is left out
    assert page.count("data:image/png;base64,") == 2 and 'src="http' not in page
    assert "best 1 at 2 kimg, last 1" in page
    assert "<td>pose/head</td><td>2.5</td><td>1.5</td>" in page and "<td>FD-attr/full</td><td>1.25</td>" in page
    assert "&lt;b&gt;" in page  # what a file says is text


def test_a_curve_spans_its_frame():
    drawn = curve("loss", [(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)])
    assert 'points="8.0,142.0 180.0,8.0 352.0,75.0' in drawn
    assert "<b>loss</b> 2 (from 1 to 3; 0 to 2 kimg)" in drawn


def test_the_sheet_of_a_run(tmp_path):
    """Of tests/training/tiny_run.py: a row of 7 and one of 9 pictures."""
    run(make_dataset(tmp_path / "data"), tmp_path / "run", {"run": {"total_kimg": 0.004}})
    page = make_page(tmp_path / "run", 1, CPU)
    found = re.search('alt="control sheet" src="data:image/png;base64,([^"]*)"', page)
    width, height = Image.open(io.BytesIO(base64.b64decode(found[1]))).size
    assert 9 * 128 < width < 10 * 128 and 164 + 128 < height < 164 + 128 + 9 * 16  # headings of 11 pixels
    assert "Model <code>latest</code>" in page


def test_the_sheet_is_of_the_best_model(tmp_path, monkeypatch):
    make_run(tmp_path)
    asked = []

    def blank(path, people, device, size):
        asked.append((path.name, people))
        return Image.new("RGB", (size, size))

    monkeypatch.setattr("training.run.report.control_sheet", blank)
    assert "control sheet" not in make_page(tmp_path, 2, CPU)  # no model is saved
    for name in ("latest", "best"):
        (tmp_path / name).touch()
        assert f"Model <code>{name}</code>" in make_page(tmp_path, 3, CPU)
    assert "control sheet" not in make_page(tmp_path, 0, CPU)
    assert asked == [("latest", 3), ("best", 3)]


def test_number_of_people(tmp_path):
    with pytest.raises(UserError, match="--people: expected a whole number from 0 to 16, found 17"):
        main([str(tmp_path), "--people", "17"])


def test_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match="expected the folder of a training run, found no stats.jsonl"):
        make_page(tmp_path, 0, CPU)
    (tmp_path / "stats.jsonl").write_text("nothing\n")
    with pytest.raises(UserError, match="expected lines of statistics, found none"):
        make_page(tmp_path, 0, CPU)

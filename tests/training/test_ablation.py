"""The table commands, end to end at the smallest size."""

import csv

import pytest
import yaml
from PIL import Image

from tests.training.tiny_run import CONFIG, make_dataset
from torch_utils.config import merge
from torch_utils.misc import UserError
from training.ablation import TABLES, choose_rows, main
from training.ablation_table import PAPER, Result, csv_rows, markdown


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set of noise and tiny configurations of both stages."""
    folder = tmp_path_factory.mktemp("ablation")
    make_dataset(folder / "set", 8, size=64)
    second = merge(CONFIG, {"stage": 2, "generator": {"superresolution": True}, "losses": {"pose_smooth": 0.0}})
    for name, data in (("one", CONFIG), ("two", merge(second, {"init_from": "filled in"}))):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(data))
    return folder


def words(place, outdir, *more):
    return [
        *("--data", str(place / "set"), "--outdir", str(outdir), "--kimg", "0.004", "--num", "8", "--kid_subset", "4"),
        *("--config", str(place / "one.yaml"), "--config2", str(place / "two.yaml"), "--detector", "random"),
        *("--cache", str(place / "cache"), "--device", "cpu", "--run.snapshot_people", "1", *more),
    ]


def test_table_2_resumes_and_takes_any_subset(place, tmp_path, monkeypatch, capsys):
    main(words(place, tmp_path, "--rows", "whole_only"))
    first = (tmp_path / "whole_only" / "table.json").read_bytes()
    monkeypatch.setattr("training.ablation.load_renderer", pytest.fail)  # of the row that is done
    main(words(place, tmp_path, "--rows", "whole_only"))
    monkeypatch.undo()
    main(words(place, tmp_path, "--rows", "no_pose_smoothing"))
    assert (tmp_path / "whole_only" / "table.json").read_bytes() == first
    text = (tmp_path / "table2.md").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [line[0] for line in lines[1:]] == ["| whole only", "| no D^p"]  # the paper's order
    assert lines[1][-2:] == ["23.00 / 1.48", "18.11 / 1.06 |"]
    assert (
        "noise, 8 images, portraits 16^2, faces 16^2" in text and "FD-random and KD-random are no FID and KID" in text
    )
    with (tmp_path / "table2.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert [row[0] for row in table] == ["row", "whole_only", "no_pose_smoothing"] and float(table[1][4]) > 0
    assert Image.open(tmp_path / "table2.png").size == (6 * 128, 2 * (18 + 2 * 128))
    assert (
        yaml.safe_load((tmp_path / "no_pose_smoothing" / "config.yaml").read_text())["generator"]["pose"] == "nearest"
    )
    main(words(place, tmp_path, "--rows", "whole_only", "--num", "6"))
    text = (tmp_path / "table2.md").read_text()  # of numbers that compare with each other
    assert "| whole only" in text and "at most 6 against 6" in text and "no D^p" not in text
    with pytest.raises(UserError, match="whole_only: expected a run of this configuration and 4 images"):
        main(words(place, tmp_path, "--rows", "whole_only", "--seed", "5"))


def test_table_1_trains_both_stages(place, tmp_path):
    main(words(place, tmp_path, "--table", "1", "--rows", "gram_hd"))
    text = (tmp_path / "table1.md").read_text()
    assert "| GRAM-HD (128 -> 512) |" in text and "portraits 64^2, faces 32^2" in text
    assert (tmp_path / "gram_hd_stage2" / "latest").exists()


def test_every_row_has_its_numbers_in_the_paper():
    assert {table: set(rows) for table, rows in TABLES.items()} == {table: set(rows) for table, rows in PAPER.items()}


def test_number_of_pictures(place, tmp_path):
    with pytest.raises(UserError, match="--num: expected a whole number from 2 to"):
        main(words(place, tmp_path, "--num", "0"))


def test_unknown_rows():
    with pytest.raises(UserError, match="--rows: expected some of whole_only, .*, found 'eg3d'"):
        choose_rows(2, "full,eg3d")


def test_a_row_that_has_no_portrait():
    data = {
        "names": ["FID", "KID"], "distances": {"FID/face": 11.0, "KID/face": 0.5}, "kimg": 25.0, "num": 20,
        "kid_subset": 5, "detector": "inception", "data": "synth, 20 images", "size": {"portrait": 8, "face": 8},
    }  # fmt: skip
    result = Result("anifacegan", None, data, PAPER[1]["anifacegan"])
    assert "| AniFaceGAN | 11.00 / 0.50 | n/a | 25 | 11.56 / 0.66 | n/a |" in markdown(1, [result])
    assert csv_rows([result])[1] == [
        "anifacegan",
        "inception",
        25.0,
        20,
        11.0,
        0.5,
        None,
        None,
        11.56,
        0.66,
        None,
        None,
    ]

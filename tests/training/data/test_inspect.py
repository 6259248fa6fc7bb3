"""`inspect`: its table, its sheets, and what it says of sets that are not sound."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.sets import make_mask, make_pixels, make_png
from tests.training.data.spoilt import change_manifest, inspect
from torch_utils.misc import UserError
from training.data.storage import open_dataset


def test_inspect(path, tmp_path, capsys):
    """The table, a sheet of the asked size; made-up landmarks lie anywhere, which is noticed."""
    inspect(path, "--sheet", tmp_path / "sheet.png", "--num", 6)
    printed = capsys.readouterr()
    yaw = np.degrees(open_dataset(path).labels["camera"][:, 1])
    numbers = " ".join(f"{number:8.2f}" for number in (yaw.mean(), yaw.std(), yaw.min(), yaw.max()))
    assert f"{'camera yaw':20s} {numbers}\n" in printed.out
    assert printed.out.endswith("sound, 2 warnings\n")
    assert re.search(r"warning: .*stored landmarks are \d+\.\d pixels \(median\) from", printed.err)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * (2 * 256 + 12), 3 * (256 + 20))


def test_a_plain_sheet_shows_the_pictures(path, tmp_path):
    inspect(path, "--sheet", tmp_path / "plain.png", "--num", 1, "--plain")
    with Image.open(tmp_path / "plain.png") as sheet:
        shown = np.asarray(sheet.crop((0, 14, 256, 270)))
    expected = Image.fromarray(make_pixels(0, 16)).resize((256, 256), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(shown, np.asarray(expected))


def test_inspect_lists_errors(path, capsys):
    for index in range(25):
        (path / f"images/{index:06d}.png").write_bytes(b"")
    (path / "labels.npz").write_bytes((path / "labels.npz").read_bytes() + b" ")
    with pytest.raises(UserError, match="set: 26 errors; training would refuse this data set"):
        inspect(path)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.endswith("labels.npz is not the file that the manifest's checksum is of") for line in lines)
    assert sum(line.endswith("cut short") for line in lines) == 19
    assert "... and 6 more errors" in lines


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nowhere: no such data set"),
        ([], "the following arguments are required: path"),
        (["SET", "--num", "0"], "--num: expected a whole number from 1 to 1000, found 0"),
        (["SET", "--sheet", "a.jpg"], "--sheet: expected a name that ends in .png, found a.jpg"),
    ],
)
def test_inspect_with_odd_arguments(sound, arguments, message):
    with pytest.raises(UserError, match=message):
        inspect(*(sound if argument == "SET" else argument for argument in arguments))


def test_the_command_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "training.data", "inspect", str(tmp_path)],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path}: no manifest.json") and done.stderr.count("\n") == 1


def test_masks_that_show_nobody(path, capsys):
    """`inspect` decodes them; the manifest's checksums are made to fit, as somebody's own program would."""
    for index, mask in ((3, np.zeros((16, 16))), (4, np.full((16, 16), 255)), (5, 255 - make_mask(5, 16).astype(int))):
        data = make_png(mask.astype(np.uint8))
        (path / f"masks/{index:06d}.png").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        change_manifest(path, lambda m, i=index, d=digest: m["files"].update({f"masks/{i:06d}.png": d}))
    with pytest.raises(UserError, match="3 errors"):
        inspect(path)
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert "masks/000003.png: expected a person in the portrait, found a mask that covers 0.0% of it" in errors[0]
    assert "masks/000004.png: expected some background in the portrait, found a mask that covers 100%" in errors[1]
    assert "masks/000005.png: expected the face in the mask, found " in errors[2]

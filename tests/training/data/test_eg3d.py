"""EG3D's, PanoHead's and 360PHQ's archives: taken over, given away, and what may be wrong with them."""

import argparse
import io
import json
import math
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from networks.trigrid.camera_labels import make_label, mirror_label, mirror_pose, orbit, orbit_label
from torch_utils.misc import CliParser, UserError
from torch_utils.pictures import png_bytes
from training.data import convert
from training.data.checks import check_dataset
from training.data.eg3d import house_camera, house_pose, labels_of, rough_pose, yaw_histogram
from training.data.eg3d_sets import house_labels
from training.data.layout import CAMERA25, ROUGH_POSE
from training.data.mirror import LabelMirror
from training.data.storage import open_dataset

SIZE = 32
YAWS = (1.2, -2.9, 0.4)  # of 360PHQ: pi/2 is the front


def make_labels(count: int = 3) -> np.ndarray:
    """Labels [N, 31] of cameras on the orbit, with numbers that no float32 is."""
    yaw = torch.tensor(YAWS[:count], dtype=torch.float64)
    camera = make_label(orbit(yaw, torch.full_like(yaw, 1.4))).numpy()
    pose = np.random.default_rng(0).normal(0, 0.2, (count, 6))
    return np.concatenate([camera, pose], 1)


def picture(index: int, mode: str = "RGB", size: int = SIZE) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return png_bytes(Image.fromarray(pixels if mode == "RGB" else pixels[..., 0]))


def name_of(index: int) -> str:
    return f"0000000000/{index:010d}.png"


def write(path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def make_archives(root, rows, *, masks: int | None = None, named=name_of) -> None:
    count = len(rows)
    listed = [[named(i), list(map(float, row))] for i, row in enumerate(rows)]
    files = {named(i): picture(i) for i in range(count)}
    write(root / "images.zip", {**files, "dataset.json": json.dumps({"labels": listed}).encode()})
    write(root / "masks.zip", {named(i): picture(100 + i, "L") for i in range(count if masks is None else masks)})


def run(*words) -> None:
    parser: argparse.ArgumentParser = CliParser(prog="convert")
    convert.add_arguments(parser)
    convert.run(parser.parse_args([str(word) for word in words]))


def take_over(root, *words) -> None:
    run("--eg3d", root / "images.zip", "--masks", root / "masks.zip", "--out", root / "set", *words)


def contents(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        return {name: archive.read(name) for name in archive.namelist()}


def test_there_and_back_is_exact(tmp_path):
    """Pictures and masks byte by byte, labels bit by bit, names."""
    rows = make_labels()
    make_archives(tmp_path, rows)
    take_over(tmp_path)
    dataset = open_dataset(tmp_path / "set")
    assert not check_dataset(dataset).errors and (dataset.image_size, dataset.face_size) == (SIZE, SIZE // 2)
    assert dataset.labels[CAMERA25].dtype == np.float64 and np.array_equal(dataset.labels[CAMERA25], rows[:, :25])
    run("--to_eg3d", tmp_path / "set", "--out", tmp_path / "back.zip", "--out_masks", tmp_path / "back_masks.zip")
    before, after = contents(tmp_path / "images.zip"), contents(tmp_path / "back.zip")
    assert json.loads(after.pop("dataset.json")) == json.loads(before.pop("dataset.json")) and after == before
    assert contents(tmp_path / "back_masks.zip") == contents(tmp_path / "masks.zip")


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    """Doubles survive the journal."""
    from training.data import eg3d_sets

    rows = make_labels()
    make_archives(tmp_path, rows)
    crop, calls = eg3d_sets._crop, []

    def dies(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return crop(*args)

    monkeypatch.setattr(eg3d_sets, "_crop", dies)
    with pytest.raises(KeyboardInterrupt):
        take_over(tmp_path)
    take_over(tmp_path)
    assert np.array_equal(open_dataset(tmp_path / "set").labels[ROUGH_POSE], rows[:, 25:])


def test_sets_of_25_numbers_and_other_names(tmp_path):
    """EG3D's own: no poses, no masks, and names that come back."""
    make_archives(tmp_path, make_labels()[:, :25], named=lambda i: f"00000/img{i:08d}.png")
    run("--eg3d", tmp_path / "images.zip", "--out", tmp_path / "set")
    dataset = open_dataset(tmp_path / "set")
    assert not dataset.has_masks and ROUGH_POSE not in dataset.labels
    run("--to_eg3d", tmp_path / "set", "--out", tmp_path / "back.zip")
    assert set(contents(tmp_path / "back.zip")) == set(contents(tmp_path / "images.zip"))
    with pytest.raises(UserError, match="expected masks, found none"):
        run("--to_eg3d", tmp_path / "set", "--out", tmp_path / "b.zip", "--out_masks", tmp_path / "m.zip")


def test_cameras_of_this_house():
    """Ours are the directions from the head: those of the orbit that our own angles give come back, roughly: theirs
    are about the neck and look at the head above it, so that 2.7 m away angles differ by up to 0.065 / 2.7."""
    asked = np.array([[1.5, 1.9], [1.3, -2.0], [math.pi / 2, math.pi / 2]])
    found = house_camera(orbit_label(torch.from_numpy(asked)).numpy())
    np.testing.assert_allclose(found, asked, atol=0.025)


def test_poses_there_and_back():
    """Axis-angle from the T-pose; no turn of the head at all is our mean pose's tilt taken back."""
    pose = np.random.default_rng(1).normal(0, 0.3, (5, 6))
    np.testing.assert_allclose(rough_pose(house_pose(pose)), pose, atol=1e-12)
    rest = house_pose(np.zeros((1, 6)))[0]
    np.testing.assert_allclose(rest[3], [0, 0, -0.15536945], atol=1e-12)  # the head's row of Euler angles
    assert not np.delete(rest, 3, 0).any()


def test_sets_of_this_project_get_their_labels_from_its_own(tmp_path):
    make_archives(tmp_path, make_labels())
    take_over(tmp_path)
    dataset = open_dataset(tmp_path / "set")
    original = dataset.labels.pop(ROUGH_POSE)
    dataset.labels.pop(CAMERA25)
    made = labels_of(dataset)
    np.testing.assert_allclose(made.pose, original, atol=1e-6)  # our labels are float32
    forward = made.camera[:, [2, 6, 10]], make_labels()[:, [2, 6, 10]]  # what cameras look along
    np.testing.assert_allclose(*forward, atol=0.03)


def test_mirrored_labels(tmp_path):
    make_archives(tmp_path, make_labels())
    take_over(tmp_path)
    labels = {name: torch.from_numpy(array) for name, array in open_dataset(tmp_path / "set").labels.items()}
    mirrored = LabelMirror(None, None, None)(labels, SIZE)
    assert torch.equal(mirrored[CAMERA25], mirror_label(labels[CAMERA25]))
    assert torch.equal(mirrored[ROUGH_POSE], mirror_pose(labels[ROUGH_POSE]))


def test_face_crops_are_about_the_head():
    """+-0.1238 m (12 degrees from 1.1775 m) of +-0.2074 m: from the front a square in the picture's middle column."""
    from training.data.eg3d import Eg3dLabels

    row = make_label(orbit(torch.tensor([math.pi / 2]).double(), torch.tensor([math.pi / 2]).double())).numpy()
    _, (square,) = house_labels(Eg3dLabels(["a"], row, np.zeros((1, 6))), None)
    assert square.side == pytest.approx(0.1238 / 0.2074, rel=0.05)
    assert square.left + square.side / 2 == pytest.approx(0.5, abs=0.02)
    assert 0.2 < square.top + square.side / 2 < 0.6


def test_only_views_from_the_front(tmp_path, capsys):
    """YAWS are 21, 256 and 67 degrees from it."""
    make_archives(tmp_path, make_labels())
    take_over(tmp_path, "--max_yaw", "60")
    out = capsys.readouterr().out
    assert len(open_dataset(tmp_path / "set")) == 1 and "2 seen from more than 60 degrees aside were left out" in out


def test_yaw_histogram():
    """From the front, the person's left, the back."""
    camera = np.array([[1.5, math.pi / 2 - 0.01], [1.5, 0.01], [1.5, -math.pi / 2 + 0.01]])
    assert yaw_histogram(camera, 4) == "-180: 0, -90: 0, 0: 2, 90: 1"


def _break(rows: np.ndarray, place, value) -> np.ndarray:
    rows = rows.copy()
    rows[(1, place)] = value
    return rows


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(slice(0, 3), 0.0, "a matrix that is no rotation"),
     (15, 2.0, "a matrix whose last row is not 0, 0, 0, 1"),
     (16, -6.5, "a focal length that is not one of the picture's side"),
     (24, 3.0, "intrinsics that are none"),
     (slice(3, 12, 4), 1e-3, "one at a distance of 0, or very far away"),
     (18, 7.0, "one that does not look at the head"),
     (25, 90.0, r"a pose beyond pi radians \(degrees\?\)")],
)  # fmt: skip
def test_labels_that_are_no_camera(place, value, message, tmp_path):
    make_archives(tmp_path, _break(make_labels(), place, value))
    with pytest.raises(UserError, match=f"0000000001.png': expected a camera, found {message}"):
        take_over(tmp_path)
    assert not (tmp_path / "set").exists()


def test_cameras_upside_down(tmp_path):
    """OpenGL's axes, up in place of down."""
    rows = make_labels()
    for column in (1, 5, 9, 2, 6, 10):
        rows[:, column] *= -1
    make_archives(tmp_path, rows)
    with pytest.raises(UserError, match=r"expected a camera, found one .* \(3 such labels\)"):
        take_over(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "expected pictures with dataset.json, found none of it"),
     ({"dataset.json": b"{"}, "expected JSON with 'labels'"),
     ({"dataset.json": b'{"labels": null}'}, "a list of names and numbers, found nothing"),
     ({"dataset.json": b'{"labels": [["a.png", [1, 2]]]}'}, "expected a name and 25 or 31 numbers, found a list of 2"),
     ({"dataset.json": json.dumps({"labels": [["b.png", [0.0] * 25]]}).encode()}, "'b.png' has a label, no picture")],
)  # fmt: skip
def test_archives_without_labels(files, message, tmp_path):
    write(tmp_path / "images.zip", {"a.png": picture(0), **files})
    with pytest.raises(UserError, match=message):
        run("--eg3d", tmp_path / "images.zip", "--out", tmp_path / "set")


def test_masks_that_are_missing(tmp_path):
    make_archives(tmp_path, make_labels(), masks=2)
    with pytest.raises(UserError, match=r"masks\.zip: expected a mask of '0000000000/0000000002\.png', found none"):
        take_over(tmp_path)
    with pytest.raises(UserError, match="--masks: expected the archive of masks that 360PHQ comes with, found none"):
        run("--eg3d", tmp_path / "images.zip", "--out", tmp_path / "set")


def test_masks_of_another_size(tmp_path):
    make_archives(tmp_path, make_labels())
    write(tmp_path / "masks.zip", {name_of(i): picture(i, "L", 16) for i in range(3)})
    with pytest.raises(UserError, match="expected a mask of 32 x 32 pixels, found 16 x 16"):
        take_over(tmp_path)


def test_pictures_that_are_not_rgb_become_it(tmp_path):
    """A grey one is written anew, what it shows stays."""
    make_archives(tmp_path, make_labels(1))
    files = contents(tmp_path / "images.zip") | {name_of(0): picture(0, "L")}
    write(tmp_path / "images.zip", files)
    take_over(tmp_path)
    with Image.open(io.BytesIO(open_dataset(tmp_path / "set").read_image(0))) as found:
        assert found.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(found)[..., 1], np.asarray(Image.open(io.BytesIO(picture(0, "L")))))


def test_options_that_do_not_go_together(tmp_path):
    with pytest.raises(UserError, match="--images: expected a folder"):
        run("--out", tmp_path / "set")
    with pytest.raises(UserError, match=r"--out: expected a name that ends in \.zip"):
        run("--to_eg3d", tmp_path, "--out", tmp_path / "set")

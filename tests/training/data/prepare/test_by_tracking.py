"""Photos and videos without fits: drawn ones whose landmarks are known, so that no detector is needed."""

import shlex

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.networks.person.fitting.drawn_photos import (
    COUNT,
    RED,
    SIZE,
    draw_photo,
    known_people,
    write_folder,
    write_video,
)
from tests.training.data.prepare.runs import parse, read_report
from torch_utils.misc import UserError
from training.data.checks import check_dataset
from training.data.prepare import cli, tracked
from training.data.storage import open_dataset


@pytest.fixture(autouse=True)
def _known_people():
    with known_people():
        yield


def prepare(*words):
    cli.run(parse([*map(str, words), "--size", str(SIZE), "--face_size", "64", "--workers", "0"]))


def test_photos_become_a_set(tmp_path, capsys):
    folder, out = tmp_path / "photos", tmp_path / "mine"
    write_folder(folder)
    Image.new("RGB", (50, 50)).save(folder / "nobody.png")
    (folder / "broken.jpg").write_bytes(b"")
    Image.fromarray(draw_photo(0).image).filter(ImageFilter.GaussianBlur(4)).save(folder / "soft.png")
    two = draw_photo(1).image.copy()
    two[0, 0] = RED
    Image.fromarray(two).save(folder / "two.png")
    prepare("--images", folder, "--out", out)
    assert {row["photo"]: row["result"] for row in read_report(tmp_path / "mine.report.csv")} == {
        "0.png": "ok", "1.png": "ok", "nobody.png": "no face", "broken.jpg": "photo", "soft.png": "blurred",
        "two.png": "several people",
    }  # fmt: skip
    found = open_dataset(out)
    assert check_dataset(found).errors == []
    assert found.manifest["models"] == {"body": "open-1", "face": "open-1"}
    for row in range(COUNT):
        truth = draw_photo(row).truth
        # A single photo: how far the chest is turned is a matter of priors; the head before the camera is not.
        assert np.degrees(np.abs(found.labels["camera"][row] - truth.camera)).max() < 12
        turns = found.labels["joint_eulers"][row, [0, 3], 1].sum() + found.labels["camera"][row, 1]
        assert abs(np.degrees(turns - truth.eulers[[0, 3], 1].sum() - truth.camera[1])) < 6
        picture = np.asarray(Image.open(out / "images" / found.pictures.names[row]), np.float32)
        assert np.abs(picture - truth.portrait).mean() < 12  # grey levels: in its place, nearly
    capsys.readouterr()
    prepare("--images", folder, "--out", out)
    assert "mine: finished before with 2 items" in capsys.readouterr().out


def test_a_video_gives_every_nth_frame_of_one_person(tmp_path):
    folder, out = tmp_path / "videos", tmp_path / "set"
    folder.mkdir()
    write_video(folder / "me.mp4", frames=7, gap=range(2, 3))
    (folder / "broken.mp4").write_bytes(b"no video")
    prepare("--videos", folder, "--every", "2", "--out", out)
    rows = [(row["photo"], row["result"]) for row in read_report(tmp_path / "set.report.csv")]
    times = ("0.00", "0.20", "0.40", "0.60")
    expected = [(f"me.mp4 {time} s", "no face" if time == "0.20" else "ok") for time in times]
    assert rows == [("broken.mp4", "video"), *expected]
    labels = open_dataset(out).labels
    assert len(labels["z_id"]) == 3
    np.testing.assert_array_equal(labels["z_id"], np.repeat(labels["z_id"][:1], 3, 0))


def test_sharpness_tells_blurred_faces():
    photo = draw_photo(0)
    picture = Image.fromarray(photo.image)
    sharp = tracked.sharpness(picture, photo.sighting.face)
    soft = tracked.sharpness(picture.filter(ImageFilter.GaussianBlur(4)), photo.sighting.face)
    assert soft < tracked.LEAST_SHARP < sharp


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "expected --images or --videos, found neither"),
        ("--images a --videos b", "expected --images or --videos, found both"),
        ("--images nowhere", "--images: nowhere: no such folder"),
        ("--images tests --person me", "--images: tests: expected files"),
        ("--images a --masks b", "or none of these three, found --masks"),
    ],
)
def test_wrong_options_are_one_line(options, message, tmp_path):
    with pytest.raises(UserError, match=message) as failed:
        prepare(*shlex.split(options), "--out", tmp_path / "set")
    assert len(str(failed.value).splitlines()) == 1
    assert not (tmp_path / "set").exists()

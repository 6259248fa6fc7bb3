"""Every fault of a sound set's labels, files and pictures, made in it: what the quick checks say of it."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.sets import make_dataset, make_pixels, make_png
from tests.training.data.spoilt import NUM, change_labels, change_manifest
from torch_utils.misc import UserError
from training.data.checks import Findings, check_dataset, require_sound
from training.data.picture_checks import check_pictures
from training.data.storage import open_dataset


def quick(path: Path) -> Findings:
    return check_dataset(open_dataset(path))


def assert_only(messages: list[str], pattern: str) -> None:
    assert len(messages) == 1 and re.search(pattern, messages[0]), messages


@pytest.mark.parametrize("kind", ["folder", "set.zip"])
def test_a_sound_set(tmp_path, kind):
    dataset = open_dataset(make_dataset(tmp_path / kind, NUM))
    assert check_dataset(dataset) == ([], [])
    require_sound(dataset)


def test_labels_shorter_than_images(path):
    change_labels(path, lambda labels: {name: rows[:-1] for name, rows in labels.items()})
    errors = quick(path).errors
    assert any(re.search(r"'camera': expected shape \[30, 2\], found \[29, 2\]", error) for error in errors)
    assert any(re.search(r"'eps': expected shape \[30, 5\], found \[29, 5\]", error) for error in errors)
    with pytest.raises(UserError, match=r"labels.npz.*; \d+ more: python -m training.data inspect"):
        require_sound(open_dataset(path))


def test_a_missing_image_does_not_hide_the_rest(path):
    """Not another one for every label; and rows are still named by the manifest's names."""
    (path / "images/000003.png").unlink()
    change_labels(path, set_rows("z_exp", 7, np.nan))
    errors = [error.removeprefix(f"{path}: ") for error in quick(path).errors]
    assert errors == [
        "images/000003.png is missing",
        "faces/000003.png has no images/000003.png",
        "masks/000003.png has no images/000003.png",
        "manifest.json says 30 images, found 29",
        "labels.npz: 'z_exp': NaN or infinity for images/000007.png",
    ]


def set_rows(name: str, rows, value):
    def change(labels):
        labels[name][rows] = value

    return change


def scale(name: str, factor: float):
    def change(labels):
        labels[name] *= np.float32(factor)

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (set_rows("z_exp", 7, np.nan), "'z_exp': NaN or infinity for images/000007.png"),
        (set_rows("eps", 8, np.inf), "'eps': NaN or infinity for images/000008.png"),
        (scale("camera", 180 / np.pi), r"'camera': expected radians, found 1\d\d\.\d; are these degrees"),
        (scale("joint_eulers", 180 / np.pi), r"'joint_eulers': expected radians, found \d\d\.\d; are these degrees"),
        (set_rows("joint_eulers", 3, 3.5), "'joint_eulers' beyond pi for images/000003.png"),
        (set_rows("face_camera", 4, 3.2), "'face_camera': pitch beyond 0..pi for images/000004.png"),
        (lambda labels: {k: v for k, v in labels.items() if k != "betas"}, "'betas' is missing"),
        (
            lambda labels: labels | {"z_id": labels["z_id"].astype(np.float64)},
            "'z_id': expected float32, found float64",
        ),
        (
            lambda labels: labels | {"camera": labels["camera"] - np.float32(np.pi / 2)},
            r"expected \(pitch, yaw\) around",
        ),
    ],
)
def test_odd_labels(path, change, message):
    change_labels(path, change)
    assert_only(quick(path).errors, message)


def test_cameras_may_be_all_round(path):
    """Then no yaw is the middle one; pitch has one still."""

    def around(labels):
        camera = labels["camera"].copy()
        camera[:, 1] = np.linspace(-np.pi / 2, 3 * np.pi / 2, len(camera), endpoint=False)
        return labels | {"camera": camera, "face_camera": camera}

    change_labels(path, around)
    assert quick(path).errors == []
    change_labels(path, lambda labels: around(labels) | {"camera": around(labels)["camera"] - np.float32([1.2, 0])})
    assert_only(quick(path).errors, r"'camera': expected \(pitch, yaw\) around")


def test_swapped_pitch_and_yaw_are_suspected(path):
    change_labels(path, lambda labels: labels | {"camera": labels["camera"][:, ::-1]})
    findings = quick(path)
    assert findings.errors == []
    assert_only(findings.warnings, "'camera': pitch spreads more than yaw .*: were the columns swapped")


def test_few_images_have_no_statistics(tmp_path):
    path = make_dataset(tmp_path / "few", 4)
    change_labels(path, lambda labels: labels | {"camera": labels["camera"][:, ::-1]})
    assert quick(path) == ([], [])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: (path / "images/000003.png").unlink(), "images/000003.png is missing"),
        (lambda path: (path / "faces/000003.png").unlink(), "faces/000003.png is missing"),
        (lambda path: (path / "masks/000003.png").unlink(), "masks/000003.png is missing"),
        (lambda path: (path / "faces/x.png").write_bytes(b""), "faces/x.png is not in manifest.json"),
        (
            lambda path: (path / "images/000003.PNG").write_bytes(b""),
            "duplicate names: images/000003.PNG and images",
        ),
        (lambda path: change_manifest(path, lambda m: m.update(num=29)), "manifest.json says 29 images, found 30"),
        (lambda path: shutil.rmtree(path / "images"), "no pictures in images/"),
    ],
)
def test_odd_files(path, spoil, message):
    spoil(path)
    assert any(message in error for error in quick(path).errors), quick(path).errors


def test_repeated_names_in_a_zip(tmp_path, path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for file in [*sorted(path.rglob("*.*")), path / "faces" / "000002.png"]:
            archive.write(file, file.relative_to(path))
    assert_only(quick(tmp_path / "a.zip").errors, "faces/000002.png is in the zip more than once")


def test_the_same_picture_twice(path):
    change_manifest(path, lambda m: m["files"].update({"images/000002.png": m["files"]["images/000001.png"]}))
    assert_only(quick(path).warnings, "images/000002.png is the same picture as images/000001.png")


def grey(size: int) -> bytes:
    return make_png(make_pixels(0, size, 1))


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("images/000001.png", make_png(make_pixels(9, 16)), "images/000001.png is not the file that the manifest's"),
        ("images/000001.png", make_png(make_pixels(1, 16))[:99], "images/000001.png: damaged or cut short"),
        (
            "images/000001.png",
            make_png(make_pixels(1, 20)),
            "expected 16 x 16 pixels, found 20 x 20",
        ),
        ("faces/000001.png", grey(8), "faces/000001.png: expected an 8-bit RGB picture, found 8-bit grey"),
        ("faces/000001.png", b"", "faces/000001.png: cut short"),
        (
            "masks/000001.png",
            make_png(make_pixels(1, 16)),
            "masks/000001.png: expected an 8-bit grey picture",
        ),
    ],
)
def test_odd_pictures(path, name, data, message):
    (path / name).write_bytes(data)
    dataset = open_dataset(path)
    assert check_dataset(dataset).errors == []  # pixels are not its business
    findings = Findings([], [])
    check_pictures(dataset, findings)
    assert_only(findings.errors, message)


def test_backgrounds(path):
    """Made-up pixels are random up to the corners; with white corners nothing is said."""
    findings = Findings([], [])
    check_pictures(open_dataset(path), findings)
    assert_only(findings.warnings, "30 of 30 images are not white in the upper corners")
    for index in range(NUM):
        pixels = make_pixels(index, 16)
        pixels[0] = 255
        (path / f"images/{index:06d}.png").write_bytes(make_png(pixels))
    findings = Findings([], [])
    check_pictures(open_dataset(path), findings)
    assert findings.warnings == []


# ---- what systems leave in folders and archives ----------------------------------------------------------------------


def test_clutter_is_no_part_of_a_set(path, tmp_path):
    for name in (".DS_Store", "images/.DS_Store", "images/._000001.png", "masks/Thumbs.db", "__MACOSX/images/._a.png"):
        (path / name).parent.mkdir(exist_ok=True, parents=True)
        (path / name).write_bytes(b"clutter")
    assert quick(path) == ([], [])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                compressed = zipfile.ZIP_DEFLATED if b"clutter" in file.read_bytes()[:7] else zipfile.ZIP_STORED
                archive.write(file, file.relative_to(path), compressed)
    assert quick(tmp_path / "a.zip") == ([], [])

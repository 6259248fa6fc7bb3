"""Every fault of the issue's list, made in a sound set: what the quick checks and `inspect` say of it."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from networks.person.body_assets import default_body
from tests.training.data.sets import make_dataset, make_mask, make_pixels, make_png
from torch_utils.misc import CliParser, UserError
from training.data import inspect_set
from training.data.checks import Findings, check_dataset, require_sound
from training.data.label_models import DEFAULT_MODELS, check_models
from training.data.picture_checks import check_pictures
from training.data.storage import open_dataset

NUM = 30


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("checks") / "sound", NUM)


@pytest.fixture
def path(sound, tmp_path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(sound, tmp_path / "set")


def change_labels(path: Path, change) -> None:
    with np.load(path / "labels.npz") as archive:
        labels = dict(archive)
    labels = change(labels) or labels
    np.savez(path / "labels.npz", **labels)
    digest = hashlib.sha256((path / "labels.npz").read_bytes()).hexdigest()
    change_manifest(path, lambda manifest: manifest.update(labels_sha256=digest))


def change_manifest(path: Path, change) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("manifest_sha256", None)
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def quick(path: Path) -> Findings:
    return check_dataset(open_dataset(path))


def only(messages: list[str], pattern: str) -> None:
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
    only(quick(path).errors, message)


def test_cameras_may_be_all_round(path):
    """Then no yaw is the middle one; pitch has one still."""

    def around(labels):
        camera = labels["camera"].copy()
        camera[:, 1] = np.linspace(-np.pi / 2, 3 * np.pi / 2, len(camera), endpoint=False)
        return labels | {"camera": camera, "face_camera": camera}

    change_labels(path, around)
    assert quick(path).errors == []
    change_labels(path, lambda labels: around(labels) | {"camera": around(labels)["camera"] - np.float32([1.2, 0])})
    only(quick(path).errors, r"'camera': expected \(pitch, yaw\) around")


def test_swapped_pitch_and_yaw_are_suspected(path):
    change_labels(path, lambda labels: labels | {"camera": labels["camera"][:, ::-1]})
    findings = quick(path)
    assert findings.errors == []
    only(findings.warnings, "'camera': pitch spreads more than yaw .*: were the columns swapped")


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
    only(quick(tmp_path / "a.zip").errors, "faces/000002.png is in the zip more than once")


def test_the_same_picture_twice(path):
    change_manifest(path, lambda m: m["files"].update({"images/000002.png": m["files"]["images/000001.png"]}))
    only(quick(path).warnings, "images/000002.png is the same picture as images/000001.png")


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
    only(findings.errors, message)


def test_backgrounds(path):
    """Made-up pixels are random up to the corners; with white corners nothing is said."""
    findings = Findings([], [])
    check_pictures(open_dataset(path), findings)
    only(findings.warnings, "30 of 30 images are not white in the upper corners")
    for index in range(NUM):
        pixels = make_pixels(index, 16)
        pixels[0] = 255
        (path / f"images/{index:06d}.png").write_bytes(make_png(pixels))
    findings = Findings([], [])
    check_pictures(open_dataset(path), findings)
    assert findings.warnings == []


def inspect(*arguments) -> None:
    parser = CliParser(prog="inspect")
    inspect_set.add_arguments(parser)
    inspect_set.run(parser.parse_args([str(argument) for argument in arguments]))


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


# ---- the models that labels refer to ---------------------------------------------------------------------------------


@pytest.fixture
def other_body(tmp_path, monkeypatch) -> Path:
    """smpl_models/SMPL_NEUTRAL.npz of a working directory: a body three times as large."""
    monkeypatch.chdir(tmp_path)
    body = default_body()
    path = tmp_path / "smpl_models/SMPL_NEUTRAL.npz"
    path.parent.mkdir()
    np.savez(path, **body._asdict() | {"v_template": 3 * body.v_template, "f": body.faces})
    return path


def name_models(path: Path, **names: str) -> None:
    change_manifest(path, lambda manifest: manifest.update(models=DEFAULT_MODELS | names))


def test_inspect_takes_the_models_that_the_manifest_names(path, other_body, capsys):
    name = f"SMPL_NEUTRAL.npz {hashlib.sha256(other_body.read_bytes()).hexdigest()[:12]}"
    inspect(path)  # as it was made
    name_models(path)
    inspect(path)
    plain = capsys.readouterr().out
    assert plain.count("labels projected with: body open-1, face open-1\n") == 2
    name_models(path, body=name)
    inspect(path)
    printed = capsys.readouterr().out
    assert f"labels projected with: body {name}, face open-1\n" in printed
    gaps = [re.search(r"landmarks: (.*) pixels apart", text)[1] for text in (plain, printed)]
    assert gaps[0] != gaps[1]
    name_models(path)
    inspect(path, "--body_model", other_body)
    assert f"its labels refer to the body open-1, not to {name}" in capsys.readouterr().err


def test_models_that_are_not_there_are_refused(path, other_body):
    name_models(path, body="SMPL_NEUTRAL.npz 0123456789ab")
    expected = "the body model of its labels, SMPL_NEUTRAL.npz 0123456789ab, as smpl_models/SMPL_NEUTRAL.npz or"
    with pytest.raises(UserError, match=f"{expected} as --body_model FILE, found SMPL_NEUTRAL.npz [0-9a-f]{{12}}$"):
        inspect(path)
    other_body.unlink()
    with pytest.raises(UserError, match=f"{expected} as --body_model FILE, found none$"):
        inspect(path)
    change_manifest(path, lambda manifest: manifest.update(models={"body": 3}))
    with pytest.raises(UserError, match="manifest.json: 'models': expected names by body and face, found"):
        open_dataset(path)


def test_training_refuses_other_models(path, other_body):
    name_models(path, body="SMPL_NEUTRAL.npz 0123456789ab")
    manifest = open_dataset(path).manifest
    with pytest.raises(UserError, match="--body_model to be that of its labels, SMPL_NEUTRAL.npz 01.* found open-1"):
        check_models(manifest, {"body": None, "face": None}, path)
    name_models(path)
    manifest = open_dataset(path).manifest
    check_models(manifest, {"body": None, "face": None}, path)
    with pytest.raises(UserError, match="that of its labels, open-1, found SMPL_NEUTRAL.npz"):
        check_models(manifest, {"body": other_body, "face": None}, path)


@pytest.mark.parametrize("models", [None, {"body": "embedded", "face": "embedded"}])
def test_sets_of_the_earlier_body_are_refused(path, models):
    """By training and by inspect, with one line."""
    change_manifest(path, lambda manifest: manifest.pop("models") and models and manifest.update(models=models))
    message = "its labels refer to the body model of an earlier version; expected open-1: make the set again$"
    with pytest.raises(UserError, match=message):
        check_models(open_dataset(path).manifest, {"body": None, "face": None}, path)
    with pytest.raises(UserError, match=message):
        inspect(path)


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

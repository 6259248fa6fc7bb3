"""Drawn photos -> prepared data set -> the labels and pictures they were drawn from; and what can go wrong."""

import argparse
import csv
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tests.training.data.prepare.photos import make_photo, write_face, write_fits, write_photos
from torch_utils.misc import UserError
from training.data.prepare import cli
from training.data.storage import DatasetWriter, open_dataset
from training.data.synthetic import draw
from training.data.synthetic.drawing import camera_view, project

ROOT = Path(__file__).resolve().parents[4]
SEEDS = {"p0": 2, "p1": 3, "p2": 1}
SIZE, FACE_SIZE = 256, 128
OPTIONS = ["--size", str(SIZE), "--face_size", str(FACE_SIZE)]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(argv)


def prepare(root: Path, *options: str, report: str = "out.report.csv") -> list[dict[str, str]]:
    """Runs the command on the files under ``root`` in this process; returns the report's rows."""
    words = ["--images", "images", "--masks", "masks", "--smpl", "fits.npz", "--face", "face", "--out", "out"]
    argv = [str(root / word) if i % 2 else word for i, word in enumerate(words)]
    cli.run(parse([*argv, *OPTIONS, "--workers", "1", *options]))
    return read_report(root / report)


def read_report(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def models_once():
    """Making the embedded models takes seconds; the command's own loading is tested by the runs in processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "load_models", cache(cli.load_models))
        yield


@pytest.fixture(scope="module")
def photos():
    return {name: make_photo(seed) for name, seed in SEEDS.items()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, photos):
    """Inputs and outputs of an undisturbed run."""
    root = tmp_path_factory.mktemp("shhq")
    write_photos(root, photos)
    report = prepare(root)
    assert [row["result"] for row in report] == ["ok"] * 3, report
    return root


@pytest.fixture
def inputs(tmp_path, prepared):
    """A copy of the inputs to spoil."""
    for folder in ("images", "masks", "face"):
        shutil.copytree(prepared / folder, tmp_path / folder)
    shutil.copy(prepared / "fits.npz", tmp_path)
    return tmp_path


# ---- round trip -----------------------------------------------------------------------------------------------------


def rows(prepared, photos):
    dataset = open_dataset(prepared / "out")
    return dataset, [
        (number, photo, {name: array[number] for name, array in dataset.labels.items()})
        for number, photo in enumerate(photos.values())
    ]


def test_labels_come_back(prepared, photos):
    _, items = rows(prepared, photos)
    for _, photo, labels in items:
        # SPIN's camera is 50 m away: what is left is float32
        assert np.degrees(np.abs(labels["camera"] - photo.camera).max()) < 1e-3
        assert np.degrees(np.abs(labels["joint_eulers"] - photo.joint_eulers).max()) < 1e-3
        assert np.array_equal(labels["betas"], photo.person.betas)
        assert np.array_equal(labels["z_id"], photo.person.z_id)
        assert np.array_equal(labels["z_exp"], photo.expression)


def test_the_face_camera_is_the_one_that_explains_the_landmarks_best(prepared, photos):
    """Of all cameras on its orbit, with a free turn, scale and shift of the photo.

    The tracker's camera is 0.85 units away and the photo's 40: half a degree is what that difference may cost.
    """
    _, items = rows(prepared, photos)
    for _, photo, labels in items:
        marks = photo.person.landmarks(photo.expression)
        photo_marks = photo.landmarks - photo.landmarks.mean(0)

        def misfit(x, marks=marks, photo_marks=photo_marks):
            seen = project(marks, camera_view((x[0], x[1]), "face"), FACE_SIZE)[0]
            c, s = x[3] * math.cos(x[2]), x[3] * math.sin(x[2])
            return (seen - seen.mean(0) - photo_marks @ np.array([[c, -s], [s, c]])).ravel()

        best = least_squares(misfit, [*labels["face_camera"], 0.0, 1.0]).x[:2]
        assert np.degrees(np.abs(labels["face_camera"] - best).max()) < 0.5


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_pictures_lie_on_our_own_drawing_at_the_labels(prepared, photos):
    """What differs is perspective: the photo's camera is far, the portrait's at 2.2 m and the face's at 1.2 m."""
    dataset, items = rows(prepared, photos)
    for number, photo, labels in items:
        mesh = photo.person.posed_mesh(labels["z_exp"], labels["joint_eulers"])
        drawn = draw(mesh, tuple(labels["camera"]), SIZE)
        mask = np.asarray(Image.open(io.BytesIO(dataset.read_mask(number))))
        assert overlap(drawn.alpha > 0.5, mask > 127) > 0.97
        image = np.asarray(Image.open(io.BytesIO(dataset.read_image(number)))).astype(float)
        assert (image[mask == 0] == 255).all()
        assert np.abs(image - 127.5 * (drawn.image.transpose(1, 2, 0) + 1)).mean() < 4
        head = photo.person.joint_transforms(photo.joint_eulers)[15]
        drawn = draw(mesh, tuple(labels["face_camera"]), FACE_SIZE, "face", head)
        face = np.asarray(Image.open(io.BytesIO(dataset.read_face(number)))).astype(float)
        assert overlap(drawn.alpha > 0.5, face.min(-1) < 250) > 0.85
        middle = slice(FACE_SIZE // 4, -FACE_SIZE // 4)
        wanted = 127.5 * (drawn.image.transpose(1, 2, 0) + 1)
        assert np.abs(face - wanted)[middle, middle].mean() < 10  # eyes on eyes, mouth on mouth
        landmarks, _ = project(photo.person.landmarks(photo.expression) @ head[:3, :3].T + head[:3, 3],
                               camera_view(tuple(labels["camera"])), SIZE)  # fmt: skip
        assert np.linalg.norm(landmarks - labels["landmarks"], axis=1).mean() < 0.01 * SIZE


def test_report_and_manifest(prepared):
    report = read_report(prepared / "out.report.csv")
    assert [row["photo"] for row in report] == ["p0.png", "p1.png", "p2.png"]
    manifest = open_dataset(prepared / "out").manifest
    assert manifest["num"] == 3 and manifest["image_size"] == SIZE and manifest["face_size"] == FACE_SIZE
    assert "body embedded, face embedded" in manifest["made_by"]


def test_a_super_resolution_that_only_enlarges_changes_little(inputs, prepared):
    """Pixels doubled: the pictures stay where they are."""
    script = "import sys; from PIL import Image; a, b = sys.argv[1:]; i = Image.open(a); "
    script += "i.resize((2 * i.width, 2 * i.height), Image.Resampling.BICUBIC).save(b)"
    prepare(inputs, "--sr", f"{sys.executable} -c '{script}' {{in}} {{out}}")
    plain, enlarged = open_dataset(prepared / "out"), open_dataset(inputs / "out")
    for read in ("read_image", "read_face"):
        pictures = [np.asarray(Image.open(io.BytesIO(getattr(s, read)(0)))).astype(float) for s in (plain, enlarged)]
        assert np.abs(pictures[0] - pictures[1]).mean() < 1.0
    for name, array in plain.labels.items():
        assert np.array_equal(array, enlarged.labels[name])


def test_a_super_resolution_that_fails_ends_the_run(inputs):
    """Which is no photo's fault; nothing is skipped for it. The complaint comes from another process as it is."""
    command = f"{sys.executable} -c 'raise SystemExit(\"no memory\")' {{in}} {{out}}"
    with pytest.raises(UserError, match="^--sr: .* ended with code 1: no memory$"):
        prepare(inputs, "--workers", "2", "--sr", command)
    assert not (inputs / "out.report.csv").exists()


# ---- what can be wrong ----------------------------------------------------------------------------------------------


def edit_mat(path: Path, photo, **changes) -> None:
    savemat(path, {"id": photo.person.z_id[None], "exp": photo.expression[None], "angle": photo.angle[None],
                   "trans": photo.translation[None]} | changes)  # fmt: skip


def turn_pose(pose: np.ndarray, before=(0, 0, 0), after=(0, 0, 0)) -> None:
    """Turns the whole body, about the camera's axes (before) or its own (after)."""
    turn = Rotation.from_rotvec
    pose[:3] = (turn(before) * turn(pose[:3]) * turn(after)).as_rotvec()


def move_up(row: dict, files: dict, photo, distance: float) -> None:
    """The photo's upper edge comes to cut the head off, or the head leaves the photo."""
    row["center"][1] -= distance
    np.savetxt(files["txt"], photo.five() - [0, distance])


def white_mask(files: dict) -> None:
    Image.new("L", (512, 1024), 255).save(files["mask"])


# What happens to a photo's files or its row of fits; the kind of reason and the words expected.
SPOILED = {
    "no_mask": (lambda row, files, photo: files["mask"].unlink(), "no mask", "no mask file of 'no_mask'"),
    "no_face": (lambda row, files, photo: files["mat"].unlink(), "no face", "no face file"),
    "no_points": (lambda row, files, photo: files["txt"].unlink(), "no landmarks", "no landmarks file"),
    "no_fit": (
        lambda row, files, photo: row.update(imgname="other.png"),
        "SMPL fit", "expected one SMPL fit of 'no_fit', found none",
    ),
    "nan_fit": (
        lambda row, files, photo: row["cam"].fill(np.nan), "SMPL fit", "'nan_fit': 'cam': expected finite numbers"
    ),
    "nan_face": (
        lambda row, files, photo: edit_mat(files["mat"], photo, exp=np.full((1, 64), np.nan)),
        "face", "nan_face.mat: 'exp': expected finite numbers",
    ),
    "degrees": (
        lambda row, files, photo: edit_mat(files["mat"], photo, angle=np.degrees(photo.angle)[None] + 5),
        "face", "degrees.mat: 'angle': expected radians within +-pi",
    ),
    "half": (
        lambda row, files, photo: files["image"].write_bytes(files["image"].read_bytes()[:5000]),
        "photo", "half.png: damaged, cut short or no picture",
    ),
    "deep": (
        lambda row, files, photo: Image.fromarray(np.zeros((1024, 512), np.uint16)).save(files["image"]),
        "photo", "deep.png: expected an 8-bit picture, found I;16",
    ),
    "small_mask": (
        lambda row, files, photo: Image.new("L", (256, 512), 255).save(files["mask"]),
        "mask", "small_mask.png: expected 512x1024 pixels as the photo, found 256x512",
    ),
    "empty_mask": (
        lambda row, files, photo: Image.new("L", (512, 1024), 0).save(files["mask"]),
        "mask", "expected a person in the portrait, found a mask that covers 0.0% of it",
    ),
    "cut_off": (
        lambda row, files, photo: (move_up(row, files, photo, 90), white_mask(files)),
        "cut off", "the photo's edge cuts the person off inside the portrait",
    ),
    "outside": (
        lambda row, files, photo: move_up(row, files, photo, 900),
        "outside the photo", "expected head and shoulders inside the photo, found them at",
    ),
    "tiny": (
        lambda row, files, photo: row.update(scale=0.4),
        "too small", "the portrait is 20 pixels wide, expected 64 or more",
    ),
    "behind": (
        lambda row, files, photo: turn_pose(row["pose"], after=(0, np.pi, 0)),
        "body turned away", "the body is turned away by 1",
    ),
    "y_up": (
        lambda row, files, photo: turn_pose(row["pose"], before=(0, 0, np.pi)),
        "body leans", "expected trackers' axes: x right, y down, z away",
    ),
    "profile": (
        lambda row, files, photo: edit_mat(files["mat"], photo, angle=np.array([[0.0, 1.3, 0.0]])),
        "face turned away", "the face is turned away by 7",
    ),
    "other_order": (
        lambda row, files, photo: np.savetxt(files["txt"], photo.five()[::-1]),
        "landmarks", "the five landmarks disagree",
    ),
    "elsewhere": (
        lambda row, files, photo: np.savetxt(files["txt"], photo.five() + [0, 200]),
        "face elsewhere", "of the portrait's side apart",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory, prepared, photos):
    """One run over a sound photo and a copy of it for every way to spoil it; returns its folder and report by name."""
    root, photo = tmp_path_factory.mktemp("spoiled"), photos["p1"]
    table = dict(np.load(prepared / "fits.npz"))
    fits = []
    for name in ("sound", *SPOILED):
        files = {"image": root / f"images/{name}.png", "mask": root / f"masks/{name}.png"}
        files |= {kind: root / f"face/{name}.{kind}" for kind in ("mat", "txt")}
        for path in files.values():
            path.parent.mkdir(exist_ok=True)
            shutil.copy(prepared / path.parent.name / f"p1{path.suffix}", path)
        row = {key: column[1].copy() for key, column in table.items()} | {"imgname": f"{name}.jpg"}
        if name in SPOILED:
            SPOILED[name][0](row, files, photo)
        fits.append(row)
    np.savez(root / "fits.npz", **{key: np.stack([row[key] for row in fits]) for key in table})
    return root, {Path(row["photo"]).stem: row for row in prepare(root)}


@pytest.mark.parametrize("case", SPOILED)
def test_bad_photos_are_reported(spoiled, case):
    _, kind, message = SPOILED[case]
    row = spoiled[1][case]
    assert row["result"] == kind and message in row["why"], row


def test_the_sound_photo_among_bad_ones_is_prepared(spoiled, prepared):
    root, report = spoiled
    assert report["sound"]["result"] == "ok"
    good, found = open_dataset(prepared / "out"), open_dataset(root / "out")
    assert len(found) == 1
    assert found.read_image(0) == good.read_image(1) and found.read_face(0) == good.read_face(1)


def test_names_that_occur_twice(inputs):
    table = dict(np.load(inputs / "fits.npz"))
    np.savez(inputs / "fits.npz", **table | {"imgname": np.array(["p0", "p0", "p2"])})
    Image.open(inputs / "images/p2.png").save(inputs / "images/p2.jpg")
    for path in (inputs / "face/p1.mat", inputs / "face/p1.txt"):
        path.unlink()
    with pytest.raises(UserError, match="none"):
        prepare(inputs)
    report = read_report(inputs / "out.report.csv")
    assert [row["result"] for row in report] == ["SMPL fit", "no face", "name twice", "name twice"]
    assert "'p0', found 2" in report[0]["why"] and "found p2.jpg and p2.png" in report[2]["why"]


def test_nothing_usable_and_bad_options(inputs):
    for path in (inputs / "face").glob("*.txt"):
        path.write_text("1 2")
    with pytest.raises(UserError, match=r"out: expected photos that can be used, found none; see .*out.report.csv"):
        prepare(inputs)
    assert [row["result"] for row in read_report(inputs / "out.report.csv")] == ["landmarks"] * 3
    for options, message in (
        (["--size", "5"], "--size: expected 16 to 4096, found 5"),
        (["--max_turn", "nan"], "--max_turn: expected 1 to 90, found nan"),
        (["--workers", "0"], "--workers: expected 1 or more, found 0"),
        (["--images", str(inputs / "no")], "--images: .*no: no such folder"),
        (["--face", str(inputs / "masks")], "--face: .*masks: expected files .mat, found none"),
        (["--smpl", str(inputs / "no.npz")], "no.npz: no such file of SMPL fits"),
        (["--body_model", str(inputs / "no.pkl")], "no.pkl: no such SMPL file"),
        (["--sr", "nonsense", "--out", f"{inputs}/new"], "--sr: expected a command with"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(inputs, *options)


def test_other_settings_do_not_mix(prepared):
    with pytest.raises(UserError, match="made with other settings: 'made_by'"):
        prepare(prepared, "--max_turn", "30")


# ---- stopped and resumed --------------------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing(inputs, prepared, monkeypatch):
    """The writer's complaint (tested with it) after the first photo ends the run; the next run goes on from there."""
    add = DatasetWriter.add

    def full(self, index, *rest):
        if index == 1:
            raise UserError("images/000001.png: cannot be written: No space left on device")
        add(self, index, *rest)

    monkeypatch.setattr(DatasetWriter, "add", full)
    with pytest.raises(UserError, match="No space left"):
        prepare(inputs)
    monkeypatch.undo()
    assert [row["result"] for row in prepare(inputs)] == ["ok"] * 3
    assert tree(inputs / "out") == tree(prepared / "out")
    assert [row["result"] for row in prepare(inputs)] == ["ok"] * 3  # a finished set stays as it is


def start(inputs: Path, *options: str) -> subprocess.Popen:
    words = ["--images", "images", "--masks", "masks", "--smpl", "fits.npz", "--face", "face", "--out", "out"]
    command = [sys.executable, "-m", "training.data", "prepare", *words, *OPTIONS, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=inputs, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_and_run_again_with_other_workers(inputs, prepared):
    """kill -9 once the first photo is written; two processes finish, with the same bytes."""
    journal = inputs / "out/journal.jsonl"
    process = start(inputs, "--workers", "1")
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (inputs / "out/manifest.json").exists()
    process = start(inputs, "--workers", "2")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "3 photos, 0 prepared before" not in out and "out: 3 items" in out
    assert tree(inputs / "out") == tree(prepared / "out")


def test_inputs_in_other_layouts(inputs, prepared, photos):
    """A folder of fits, landmarks in detections/, and a zip."""
    (inputs / "fits").mkdir()
    (inputs / "face/detections").mkdir()
    for name, photo in photos.items():
        write_fits(inputs / "fits" / f"{name}.npz", {name: photo})
        write_face(inputs / "face", name, photo)
        (inputs / f"face/{name}.txt").rename(inputs / f"face/detections/{name}.txt")
    report = prepare(inputs, "--smpl", str(inputs / "fits"), "--zip", report="out.zip.report.csv")
    assert [row["result"] for row in report] == ["ok"] * 3
    assert open_dataset(inputs / "out.zip").checksum == open_dataset(prepared / "out").checksum

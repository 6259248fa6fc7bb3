"""Drawn photos -> prepared data set -> the labels and pictures they were drawn from; stopped and resumed."""

import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import least_squares

from tests.networks.person.tracker_results import PROGRAMS, Tracked
from tests.training.data.prepare.photos import write_face, write_fits
from tests.training.data.prepare.runs import FACE_SIZE, OPTIONS, ROOT, SIZE, prepare, read_report, tree
from torch_utils.misc import UserError
from training.data.storage import DatasetWriter, open_dataset
from training.data.synthetic import draw
from training.data.synthetic.drawing import camera_view, project


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

    The tracker's camera is 0.85 units away, ours 1 and the photo's 40: what is left are their perspectives (measured
    0.2 degrees at most over twelve photos).
    """
    _, items = rows(prepared, photos)
    for _, photo, labels in items:
        marks = photo.person.canonical_vertices(photo.expression)[photo.person.figure.landmarks]
        photo_marks = photo.landmarks - photo.landmarks.mean(0)

        def misfit(x, marks=marks, photo_marks=photo_marks):
            seen = project(marks, camera_view((x[0], x[1]), "face"), FACE_SIZE)[0]
            c, s = x[3] * math.cos(x[2]), x[3] * math.sin(x[2])
            return (seen - seen.mean(0) - photo_marks @ np.array([[c, -s], [s, c]])).ravel()

        best = least_squares(misfit, [*labels["face_camera"], 0.0, 1.0]).x[:2]
        assert np.degrees(np.abs(labels["face_camera"] - best).max()) < 0.25


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_pictures_lie_on_our_own_drawing_at_the_labels(prepared, photos):
    """What differs is perspective: the photo's camera is far, the portrait's at 2.2 m and the face's at 1.2 m."""
    dataset, items = rows(prepared, photos)
    for number, photo, labels in items:
        posed = photo.person.posed(labels["z_exp"], labels["joint_eulers"])
        drawn = draw(posed, tuple(labels["camera"]), SIZE)
        mask = np.asarray(Image.open(io.BytesIO(dataset.read_mask(number))))
        assert overlap(drawn.alpha > 0.5, mask > 127) > 0.96
        image = np.asarray(Image.open(io.BytesIO(dataset.read_image(number)))).astype(float)
        assert (image[mask == 0] == 255).all()
        assert np.abs(image - 127.5 * (drawn.image.transpose(1, 2, 0) + 1)).mean() < 6  # single strands of hair
        head = photo.person.joint_transforms(photo.joint_eulers)[15]
        drawn = draw(posed, tuple(labels["face_camera"]), FACE_SIZE, "face", head)
        face = np.asarray(Image.open(io.BytesIO(dataset.read_face(number)))).astype(float)
        assert overlap(drawn.alpha > 0.5, face.min(-1) < 250) > 0.85
        middle = slice(FACE_SIZE // 4, -FACE_SIZE // 4)
        wanted = 127.5 * (drawn.image.transpose(1, 2, 0) + 1)
        assert np.abs(face - wanted)[middle, middle].mean() < 10  # eyes on eyes, mouth on mouth
        posed = photo.person.posed(photo.expression, photo.joint_eulers)
        landmarks, _ = project(posed.landmarks, camera_view(tuple(labels["camera"])), SIZE)
        # Aligned by neck and head joint; the face is 0.1 m nearer, which perspective enlarges by 5 per cent.
        assert np.linalg.norm(landmarks - labels["landmarks"], axis=1).mean() < 0.015 * SIZE


def test_report_and_manifest(prepared):
    report = read_report(prepared / "out.report.csv")
    assert [row["photo"] for row in report] == ["p0.png", "p1.png", "p2.png"]
    manifest = open_dataset(prepared / "out").manifest
    assert manifest["num"] == 3 and manifest["image_size"] == SIZE and manifest["face_size"] == FACE_SIZE
    assert "body open-1, face open-1" in manifest["made_by"]


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
    """Which is no photo's fault; nothing is skipped for it."""
    command = f"{sys.executable} -c 'raise SystemExit(\"no memory\")' {{in}} {{out}}"
    with pytest.raises(UserError, match="^--sr: .* ended with code 1: no memory$"):
        prepare(inputs, "--sr", command)
    assert not (inputs / "out.report.csv").exists()


# ---- stopped and resumed --------------------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing(inputs, prepared, monkeypatch, capsys):
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
    capsys.readouterr()
    assert [row["result"] for row in prepare(inputs)] == ["ok"] * 3  # a finished set stays as it is
    assert "out: finished before with 3 items; to prepare skipped photos remove it" in capsys.readouterr().out


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


def test_trackers_results_give_the_same_set_as_spins_table(inputs, prepared, photos):
    """ROMP has a camera. SMPL-X's is none for SMPL: portraits are placed by the face, in another perspective."""
    people = [
        Tracked(name, photo.pose, photo.person.betas, photo.box[2], photo.box[0], 200 * photo.box[1])
        for name, photo in photos.items()
    ]
    expected = open_dataset(prepared / "out").labels
    for program, far in (("romp_photos", 1e-2), ("smplifyx", 0.03 * SIZE)):
        (inputs / program).mkdir()
        fits, _ = PROGRAMS[program](people, inputs / program)
        report = prepare(inputs, "--smpl", str(fits), "--out", str(inputs / "set"), report="set.report.csv")
        assert [row["result"] for row in report] == ["ok"] * 3, report
        labels = open_dataset(inputs / "set").labels
        np.testing.assert_allclose(labels["camera"], expected["camera"], atol=1e-5)
        gaps = np.linalg.norm(labels["landmarks"] - expected["landmarks"], axis=-1)  # pixels
        assert gaps.max() < far, (program, gaps.max())
        shutil.rmtree(inputs / "set")

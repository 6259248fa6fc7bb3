"""A prepared set taken apart into the authors' arrays and pictures, and put together again by `convert`."""

import argparse
import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from networks.person.body_model import euler_to_matrix
from networks.person.tracking import seen_by_head
from tests.training.data.prepare.runs import FACE_SIZE, SIZE
from torch_utils.misc import CliParser, UserError
from training.data import convert
from training.data.checks import check_dataset
from training.data.storage import open_dataset

NAMES = ("a10", "a2", "b1")  # sorted as files are


@pytest.fixture
def published(tmp_path, prepared):
    """images/, faces/, masks/ and labels/ of the prepared set."""
    dataset = open_dataset(prepared / "out")
    for folder in ("images", "faces", "masks"):
        shutil.copytree(prepared / "out" / folder, tmp_path / folder)
        for index, name in enumerate(NAMES):
            (tmp_path / folder / f"{index:06d}.png").rename(tmp_path / folder / f"{name}.png")
    labels = dataset.labels
    (tmp_path / "labels").mkdir()
    pose = labels["joint_eulers"].reshape(-1, 18)
    save(tmp_path, "camera_pose_joint_sample", np.concatenate([labels["camera"], pose], 1))
    save(tmp_path, "id_shape_sampler_body", np.concatenate([labels["z_id"], labels["betas"]], 1))
    save(tmp_path, "expression_body", labels["z_exp"])
    return tmp_path


def save(root, name: str, array: np.ndarray) -> None:
    np.save(root / "labels" / f"{name}.npy", array)


def run(root, *options: str) -> None:
    parser: argparse.ArgumentParser = CliParser(prog="convert")
    convert.add_arguments(parser)
    places = [word for flag in ("images", "faces", "labels") for word in (f"--{flag}", str(root / flag))]
    convert.run(parser.parse_args([*places, "--out", str(root / "set"), *options]))


def test_pictures_and_labels_are_taken_over(published, prepared):
    run(published, "--masks", str(published / "masks"))
    before, after = open_dataset(prepared / "out"), open_dataset(published / "set")
    assert len(after) == 3 and (after.image_size, after.face_size) == (SIZE, FACE_SIZE)
    for index in range(3):
        assert after.read_image(index) == before.read_image(index)
        assert after.read_face(index) == before.read_face(index)
    for name in ("camera", "joint_eulers", "betas", "z_id", "z_exp"):
        assert np.array_equal(after.labels[name], before.labels[name])
    # the face's tracker and SPIN's camera see it in different perspectives
    assert np.degrees(np.abs(after.labels["face_camera"] - before.labels["face_camera"]).max()) < 2
    assert not check_dataset(after).errors


def test_what_is_unknown_is_said_by_options(published, prepared):
    labels = open_dataset(prepared / "out").labels
    order = [2, 0, 1]
    for name in ("camera_pose_joint_sample", "id_shape_sampler_body", "expression_body"):
        save(published, name, np.load(published / f"labels/{name}.npy")[order])
    camera = np.load(published / "labels/camera_pose_joint_sample.npy")
    save(published, "mine", camera[:, [1, 0, *range(2, 20)]])
    np.save(published / "face.npy", labels["face_camera"][order])
    (published / "names.txt").write_text("".join(f"{NAMES[i]}.png\n" for i in order))
    run(
        published, "--names", str(published / "names.txt"), "--camera_order", "yaw_pitch",
        "--camera_pose", str(published / "labels/mine.npy"), "--face_camera", str(published / "face.npy"),
    )  # fmt: skip
    after = open_dataset(published / "set")
    for name in ("camera", "joint_eulers", "betas", "z_id", "z_exp", "face_camera"):
        assert np.array_equal(after.labels[name], labels[name][order])
    assert after.read_image(0) == open_dataset(prepared / "out").read_image(2)


def test_pictures_of_other_kinds_become_png(published):
    with Image.open(published / "images/b1.png") as picture:
        picture.convert("RGBA").save(published / "images/b1.webp", lossless=True)
        expected = np.asarray(picture)
    (published / "images/b1.png").unlink()
    run(published)
    written = Image.open(io.BytesIO(open_dataset(published / "set").read_image(2)))
    assert written.mode == "RGB" and np.array_equal(np.asarray(written), expected)


def test_the_head_sees_the_camera_turn_the_other_way():
    """A head turned by 0.3 to its left (+x) sees a frontal camera 0.3 to its right, where x is negative."""
    frontal = np.full((1, 2), np.pi / 2)

    head = euler_to_matrix(torch.tensor([[0.0, 0.3, 0.0]], dtype=torch.float64))
    view = seen_by_head(torch.from_numpy(frontal), head, torch.zeros(1, 3, dtype=torch.float64))
    np.testing.assert_allclose(view.camera.numpy(), [[np.pi / 2, np.pi / 2 + 0.3]], atol=1e-12)
    assert view.roll.abs().max() < 1e-12


def test_complaints(published):
    save(published, "expression_body", np.zeros((5, 64)))
    with pytest.raises(UserError, match="a row for each of 3 pictures, found 5 of expression; .* samples to draw from"):
        run(published)
    save(published, "expression_body", np.zeros((3, 65)))
    with pytest.raises(UserError, match=r"expression_body.npy: expected numbers \[N, 64\], found \(3, 65\)"):
        run(published)
    save(published, "expression_body", np.zeros((3, 64)))
    (published / "faces/a2.png").unlink()
    with pytest.raises(UserError, match="--faces: .*: expected a picture of 'a2', found none"):
        run(published)
    Image.new("RGB", (FACE_SIZE, FACE_SIZE + 1)).save(published / "faces/a2.png")
    with pytest.raises(UserError, match="a2.png: expected a square picture, found 128 x 129"):
        run(published)
    (published / "labels/expression_body.npy").unlink()
    with pytest.raises(UserError, match="expression_body.npy: no such file of labels"):
        run(published)

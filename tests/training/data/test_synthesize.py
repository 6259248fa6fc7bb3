"""`python -m training.data synthesize`: labels, the same files whatever the workers, stops and bad input."""

import argparse
import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from networks.cameras import PORTRAIT_CAMERA
from networks.cameras import project as project_reference
from networks.person.body_assets import default_body
from networks.person.body_model import HEAD, BodyModel
from networks.person.face_model import FaceModel, default_face
from networks.person.open_body.parts import TEETH
from torch_utils.misc import UserError
from training.data import synthesize
from training.data.storage import DatasetWriter, open_dataset
from training.data.synthetic.drawing import camera_view
from training.data.synthetic.person import SyntheticPerson
from training.data.synthetic.portrait import make_portrait, seen_from_head

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def portrait():
    return make_portrait(0, 1, size=128, face_size=64)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def head_transform(axis: str, angle: float, shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    transform = np.eye(4)
    transform[:3, :3] = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[axis]
    transform[:3, 3] = shift
    return transform


def run(out, **changes) -> None:
    chosen = dict(
        size=32,
        face_size=16,
        seed=5,
        views="front",
        shots=1,
        maps=False,
        renderer="drawn",
        workers=1,
        zip=False,
        samples=4,
        blender=Path("no"),
    )
    settings = dict(out=out, num=3) | chosen | changes
    synthesize.run(argparse.Namespace(**settings))


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pictures_and_labels_of_a_portrait(portrait):
    image, face, mask = (pixels(png) for png in portrait[:3])
    assert image.shape == (128, 128, 3) and face.shape == (64, 64, 3) and mask.shape == (128, 128)
    assert image.dtype == face.dtype == mask.dtype == np.uint8
    assert (image[mask == 0] == 255).all()  # white where nobody is
    assert 0.2 < (mask == 255).mean() < 0.8
    shapes = {name: row.shape for name, row in portrait.labels.items()}
    assert shapes == {
        "camera": (2,), "joint_eulers": (6, 3), "betas": (10,), "z_id": (80,), "eps": (80,), "z_exp": (64,),
        "face_camera": (2,), "landmarks": (68, 2),
    }  # fmt: skip
    assert all(row.dtype == np.float32 for row in portrait.labels.values())


def test_landmarks_are_where_the_labels_say(portrait):
    """The labels alone, through the body model and the camera of the generator, give the same pixels."""
    labels = portrait.labels
    face = FaceModel(default_face()).double()
    model = BodyModel(default_body(), torch.arange(3)).double()
    z_id, z_exp, betas, eulers = (
        torch.from_numpy(labels[name]).double()[None] for name in ("z_id", "z_exp", "betas", "joint_eulers")
    )
    with torch.no_grad():
        head = model.joint_transforms(betas, eulers)[0, HEAD].numpy()
        marks = face.landmark_points(z_id, z_exp)[0].numpy() @ head[:3, :3].T + head[:3, 3]
    camera = torch.from_numpy(labels["camera"]).double()[None]
    plane = project_reference(torch.from_numpy(marks)[None], camera, PORTRAIT_CAMERA)[0, :, :2].numpy()
    expected = (plane * [1, -1] + 1) * 0.5 * 127
    # brows, eyes, nose and upper lip go with the head alone, up to a trace of the neck's skinning weight
    rigid = slice(17, 55)
    np.testing.assert_allclose(labels["landmarks"][rigid], expected[rigid], atol=0.3)
    column, row = np.rint(labels["landmarks"]).astype(int).T
    assert (pixels(portrait.mask_png)[row, column] > 0).mean() > 0.95  # ears and jaw may lie on the outline


def test_face_camera_of_an_upright_head():
    origin = camera_view((1.5, 1.8)).origin
    away = origin / np.linalg.norm(origin)
    expected = [np.arccos(away[1]), np.arctan2(away[2], away[0])]
    np.testing.assert_allclose(seen_from_head((1.5, 1.8), np.eye(4)), expected, atol=1e-5)  # rounded to 1e-5


def test_face_camera_takes_off_what_the_head_turns():
    pitch, yaw = seen_from_head((1.5, 1.8), np.eye(4))
    # A head turned to its left (towards +x, where yaw is small) is seen more from its right.
    np.testing.assert_allclose(
        seen_from_head((1.5, 1.8), head_transform("y", 0.3)), [pitch, yaw + 0.3], atol=2e-5
    )  # both rounded
    frontal = seen_from_head((np.pi / 2, np.pi / 2), np.eye(4))
    bowed = seen_from_head((np.pi / 2, np.pi / 2), head_transform("x", 0.2))
    np.testing.assert_allclose(bowed, [frontal[0] - 0.2, frontal[1]], atol=2e-5)  # seen more from above


def test_face_camera_looks_from_the_portraits_camera():
    head = head_transform("y", -0.4, (0.02, -0.03, 0.01)) @ head_transform("x", 0.25)
    view = camera_view(seen_from_head((1.6, 1.4), head), "face", head)
    towards_face = view.origin - head[:3, 3]
    towards_portrait = camera_view((1.6, 1.4)).origin - head[:3, 3]
    # the face camera's radius is 1; the rounded angles leave 1e-5
    np.testing.assert_allclose(towards_face, towards_portrait / np.linalg.norm(towards_portrait), atol=2e-5)


def test_the_bodies_of_labels_and_pictures_agree(portrait):
    """The drawn body is that of the model that the generator skins with, in float64."""
    betas = portrait.labels["betas"]
    person = SyntheticPerson(np.zeros(80), np.zeros(80), betas)
    model = BodyModel(default_body(), torch.arange(3)).double()
    with torch.no_grad():
        expected = model.canonical_vertices(torch.from_numpy(betas).double()[None])[0].numpy()
    drawn = person.canonical_vertices()
    moved = np.abs(drawn - expected).max(1) > 1e-12  # upper teeth are drawn where people see them
    assert moved.sum() == 68 and (person.figure.part[moved] == TEETH).all()
    np.testing.assert_allclose(drawn[~moved], expected[~moved], atol=1e-12)


def test_shots_are_of_one_person_and_views_go_all_round():
    shots = [make_portrait(3, i, size=32, face_size=16, views="all", shots=2) for i in range(4)]
    for name in ("z_id", "betas", "eps"):
        a, b, c, d = (shot.labels[name] for shot in shots)
        assert np.array_equal(a, b) and np.array_equal(c, d) and not np.array_equal(a, c)
    for name in ("z_exp", "camera", "joint_eulers"):
        assert not np.array_equal(shots[0].labels[name], shots[1].labels[name])
    again = make_portrait(3, 1, size=32, face_size=16, views="all", shots=2)  # whoever makes it
    assert again.image_png == shots[1].image_png


def test_png_bytes_do_not_depend_on_the_zlib(portrait):
    """Pillow's wheels bring zlib-ng, Python usually has zlib: the same bytes from both."""
    for png in portrait[:3]:
        position, packed = 8, b""
        while position < len(png):
            (length,) = struct.unpack(">I", png[position : position + 4])
            if png[position + 4 : position + 8] == b"IDAT":
                packed += png[position + 8 : position + 8 + length]
            position += length + 12
        coder = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        assert coder.compress(zlib.decompress(packed)) + coder.flush() == packed


def test_another_machine_makes_the_same_bytes():
    """Another processor: other vector instructions in NumPy, PyTorch and BLAS round other last bits."""
    code = (
        "import hashlib; from training.data.synthetic.portrait import make_portrait; p = make_portrait(0, 1, size=128,"
        " face_size=64, maps=True); rows = [p.labels[k].tobytes() for k in sorted(p.labels)];"
        " print(hashlib.sha256(b''.join([*p[:3], *p.maps.values(), *rows])).hexdigest())"
    )
    plain = {
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SKX AVX512F AVX2 FMA3",
        "OPENBLAS_CORETYPE": "Nehalem",
        "OPENBLAS_NUM_THREADS": "2",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env=os.environ | plain, capture_output=True, text=True
    )
    portrait = make_portrait(0, 1, size=128, face_size=64, maps=True)
    rows = [portrait.labels[name].tobytes() for name in sorted(portrait.labels)]
    files = [*portrait[:3], *portrait.maps.values()]
    assert done.stdout.strip() == hashlib.sha256(b"".join([*files, *rows])).hexdigest(), done.stderr


def test_any_number_of_workers_and_a_stop_give_the_same_files(tmp_path, monkeypatch, capsys):
    """One worker is stopped after the first item, two go on; the files are those drawn right here."""
    add, added = DatasetWriter.add, []

    def stop_at_the_second(self, index, *args):
        if added:
            raise KeyboardInterrupt
        added.append(index)
        add(self, index, *args)

    monkeypatch.setattr(DatasetWriter, "add", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "set", workers=1)
    monkeypatch.undo()
    run(tmp_path / "set", workers=2)
    dataset = open_dataset(tmp_path / "set")
    assert len(dataset) == 3 and dataset.checksum in capsys.readouterr().out
    for index in range(3):
        here = make_portrait(5, index, size=32, face_size=16)
        assert dataset.read_image(index) == here.image_png
        assert dataset.read_face(index) == here.face_png
        assert dataset.read_mask(index) == here.mask_png
        for name, row in here.labels.items():
            np.testing.assert_array_equal(dataset.labels[name][index], row)


def fill(path: Path, indices, finish: bool, **changes) -> None:
    """A data set as an earlier run left it, without drawing."""
    header = dict(image_size=32, face_size=16, name=path.stem, made_by="") | changes
    header["made_by"] = (
        header["made_by"] or f"python -m training.data synthesize --seed 5 (drawing {synthesize.DRAWING})"
    )
    labels = {"camera": np.zeros(2), "joint_eulers": np.zeros((6, 3)), "betas": np.zeros(10), "z_id": np.zeros(80)}
    labels |= {"z_exp": np.zeros(64), "face_camera": np.zeros(2)}
    with DatasetWriter(path, **header) as writer:
        for index in indices:
            writer.add(index, b"image", b"face", labels, b"mask")
        if finish:
            writer.finish()


@pytest.mark.parametrize(
    "left, changes, message",
    [
        (dict(indices=[0, 1], finish=True), dict(num=3), r"--num 3: .*set is finished with 2 images"),
        (dict(indices=[0, 1, 2], finish=False), dict(num=2), r"--num 2: .*set holds 3 images already"),
        (dict(indices=[0], finish=False), dict(seed=6), r"set: holds a data set made with other settings: 'made_by'"),
        (
            dict(indices=[0], finish=True),
            dict(size=64),
            r"set: holds a data set made with other settings: 'image_size'",
        ),
    ],
)
def test_a_set_made_otherwise_is_refused(tmp_path, left, changes, message):
    fill(tmp_path / "set", **left)
    before = files_in(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        run(tmp_path / "set", **changes)
    assert files_in(tmp_path / "set") == before


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(num=0), "--num: expected 1 to 1000000, found 0"),
        (dict(size=8), "--size: expected 32 to 2048, found 8"),
        (dict(face_size=1), "--face_size: expected 16 to 2048, found 1"),
        (dict(workers=-1), "--workers: expected 0 to 256, found -1"),
        (dict(seed=-1), "--seed: expected 0 to"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path / "set", **changes)
    assert not (tmp_path / "set").exists()


def test_places_that_do_not_work_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/set: cannot write there: Not a directory"):
        run(tmp_path / "file" / "set")
    with pytest.raises(UserError, match=r"set.zip: a name that ends in .zip needs --zip"):
        run(tmp_path / "set.zip")

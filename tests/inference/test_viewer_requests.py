"""What the viewer's page asks for beside frames: pictures, keyframe files, motions, and its own files."""

import io
import json
import urllib.request
import zipfile

import numpy as np
import pytest
from PIL import Image

import gen_video
from inference.keyframes import load_keyframes, make_motion
from inference.motions import MOTIONS
from inference.pipeline import PortraitPipeline
from inference.portable.gltf import METRES
from inference.viewer import server
from inference.viewer.messages import EXPORTED
from inference.viewer.server import PAGE
from networks.person.expressions import expression
from networks.person.open_body.actions import ACTIONS
from networks.saved_model import pack_model
from tests.inference.portable.gltf_reader import Gltf
from tests.inference.viewer_server import SECONDS, SMILE, complaint, make_model, make_shot, picture, post, serve
from torch_utils.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def pipe() -> PortraitPipeline:
    return PortraitPipeline(make_model())


@pytest.fixture(scope="module")
def url(pipe):
    with serve(pipe) as address:
        yield address


def test_a_frame_as_png(pipe, url):
    shot = make_shot(seed=5, psi=0.5, expression=SMILE)
    data = post(url, "frame.png", shot)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture(pipe, shot))
    status, text = complaint(url, "frame.png", make_shot(psi=-1))
    assert (status, text) == (400, "psi: expected a number from 0 to 2, found -1")


def test_an_avatar_of_the_person_and_the_motion(pipe, url):
    tracks = {"pose": [[[0, 0, 0]] * 6, [[0, 0.2, 0]] * 6]}
    shot = {**make_shot(seed=5, psi=0.5), "tracks": tracks, "n_interval": 4, "fps": 10}
    file = Gltf(post(url, "avatar.glb", shot))
    expected = METRES * pipe.person(5, psi=0.5).avatar().vertices.numpy()
    np.testing.assert_allclose(file.vertices(), expected, atol=1e-6)
    extras = file.document["asset"]["extras"]
    assert (extras["seed"], extras["psi"], extras["checkpoint"]) == (5, 0.5, "tiny.safetensors")
    [animation] = file.document["animations"]
    assert file.accessor(animation["samplers"][0]["input"])[-1] == pytest.approx(0.8)  # two keyframes, four frames each
    status, text = complaint(url, "avatar.glb", shot | {"fps": 0})
    assert (status, text) == (400, "fps: expected a number from 0.1 to 1000, found 0")


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_body_that_is_too_long(url, monkeypatch):
    monkeypatch.setattr(server, "MAX_BODY", 1000)
    status, text = complaint(url, "keyframes?name=a.npy", npy(np.zeros((3, 64))))
    assert (status, text) == (400, "request: expected at most 1000 bytes, found more")


@pytest.mark.parametrize(("kind", "shape"), [("expression", (3, 64)), ("pose", (2, 6, 3)), ("camera", (4, 2))])
def test_keyframe_files_are_known_by_their_shape(url, kind, shape):
    rows = 1 + np.random.default_rng(0).random(shape)
    answer = json.loads(post(url, "keyframes?name=a.npy", npy(rows)))
    assert answer["kind"] == kind and np.array_equal(answer["rows"], rows)


NO_ARRAY = "a.npy: expected a .npy file of numbers, found something else, or half of one"
GIANT = b"(" + 20 * b"9" + b",), }"  # of a header: more rows than a number counts
BAD_FILES = {
    "text": (b"hello", NO_ARRAY),
    "empty": (b"", NO_ARRAY),
    "half": (npy(np.zeros((3, 64)))[:-1], NO_ARRAY),
    "objects": (npy(np.array([{}])), "a.npy: expected a .npy file of numbers, found an object array"),
    "header": (npy(np.zeros((3, 64))).replace(b"}", b" "), NO_ARRAY),
    "giant": (npy(np.zeros((3, 2))).replace(b"(3, 2), }".ljust(len(GIANT)), GIANT), NO_ARRAY),
    "zip": (b"PK\x03\x04", NO_ARRAY),
    "shape": (npy(np.zeros((3, 65))), "a.npy: expected keyframes of expression [N,64] or pose [N,6,3] or camera [N,2]"),
    "text array": (npy(np.full((3, 64), "a")), "a.npy: expression keyframes: expected numbers, found dtype <U1"),
    "none": (npy(np.zeros((0, 2))), "a.npy: camera keyframes: expected at least one keyframe, found none"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_keyframe_files_are_one_line(url, case):
    data, expected = BAD_FILES[case]
    status, text = complaint(url, "keyframes?name=a.npy", data)
    assert status == 400 and text.startswith(expected) and "\n" not in text, text


def test_frames_of_a_motion_are_those_of_a_video(url):
    random = np.random.default_rng(1)
    expression, pose = random.standard_normal((3, 64)), 0.2 * random.standard_normal((3, 6, 3))
    camera = np.full((1, 2), 1.5)  # holds still
    tracks = {"expression": expression.tolist(), "pose": pose.tolist(), "camera": camera.tolist()}
    rows = np.frombuffer(post(url, "motion", {"tracks": tracks, "n_interval": 4}), "<f4").reshape(-1, 84)
    motion = make_motion(expression, pose, camera, n_interval=4)
    assert np.array_equal(rows[:, :64], motion.expression.astype(np.float32))
    assert np.array_equal(rows[:, 64:82].reshape(-1, 6, 3), motion.joint_eulers.astype(np.float32))
    assert np.array_equal(rows[:, 82:], motion.camera.astype(np.float32))
    # Without a camera the length is that of the keyframes, not of a camera's swing.
    alone = post(url, "motion", {"tracks": {"pose": pose[:1].tolist()}, "n_interval": 4})
    assert len(alone) == 4 * 84 * 4


def test_recordings_by_arkit(url):
    """The tiny model says no face model, so nothing is refused; header and one row with a smile."""
    header = ",".join(ACTIONS)
    row = ",".join("0.5" if name.startswith("mouthSmile") else "0" for name in ACTIONS)
    answer = json.loads(post(url, "keyframes?name=take.csv", f"{header}\n{row}\n".encode()))
    assert answer["kind"] == "expression"
    np.testing.assert_array_equal(answer["rows"], [expression(mouthSmile=0.5)])
    status, text = complaint(url, "keyframes?name=take.csv", b"a,b\n1,2\n")
    assert status == 400 and text.startswith("take.csv: expected ARKit's 52 actions, found no eyeBlinkLeft")


BAD_MOTIONS = {
    "nothing": ({}, "tracks: expected some of expression, pose, camera, found null"),
    "kind": ({"tracks": {"hair": []}}, "tracks: expected some of expression, pose, camera, found"),
    "rows": ({"tracks": {"pose": [[1, 2]]}}, "tracks: pose: pose keyframes: expected shape [N,6,3]"),
    "interval": ({"tracks": {"camera": [[1.5, 1.5]]}, "n_interval": 0}, "n_interval: expected a whole number"),
    "long": ({"tracks": {"camera": [[1.5, 1.5]]}, "n_interval": 20001}, "motion: expected at most 20000 frames"),
    "lengths": (
        {"tracks": {"camera": [[1.5, 1.5]] * 2, "pose": [[[0.0] * 3] * 6] * 3}, "n_interval": 1},
        "keyframe files of different lengths: pose has 3, camera has 2",
    ),
}


@pytest.mark.parametrize("case", BAD_MOTIONS)
def test_bad_motions_are_one_line(url, case):
    data, expected = BAD_MOTIONS[case]
    status, text = complaint(url, "motion", data)
    assert status == 400 and text.startswith(expected) and "\n" not in text, text


@pytest.mark.parametrize("index", range(len(MOTIONS)))
def test_shipped_motions(url, index):
    with urllib.request.urlopen(f"{url}motions/{index}", timeout=SECONDS) as response:
        motion = json.load(response)
    assert motion["tracks"].keys() == MOTIONS[index].files.keys()
    for kind, path in MOTIONS[index].files.items():
        assert np.array_equal(motion["tracks"][kind], load_keyframes(path, kind))  # of a model that says no face model


def test_exported_keyframes_make_the_same_frames(pipe, url, tmp_path):
    """The round trip: viewer -> files -> gen_video.py -> PNG, against the viewer's own PNG of the same frames."""
    random = np.random.default_rng(2)
    tracks = {
        "expression": random.standard_normal((2, 64)).tolist(),
        "pose": (0.2 * random.standard_normal((2, 6, 3))).tolist(),
        "camera": [[1.45, 1.7]],
    }
    with zipfile.ZipFile(io.BytesIO(post(url, "export", {"tracks": tracks}))) as files:
        assert sorted(files.namelist()) == sorted(EXPORTED.values())
        files.extractall(tmp_path)
    for kind, rows in tracks.items():
        assert np.array_equal(load_keyframes(tmp_path / EXPORTED[kind], kind), rows)
    save_checkpoint(tmp_path / "tiny", pack_model(make_model()))
    paths = [f"--{flag}_path={tmp_path}/{EXPORTED[kind]}" for flag, kind in
             (("exp", "expression"), ("pose", "pose"), ("cam", "camera"))]  # fmt: skip
    gen_video.main([*paths, "--ckpt", str(tmp_path / "tiny"), "--seeds", "3", "--psi", "0.7", "--n_interval", "2",
                    "--ext", "png", "--device", "cpu", "--output_dir", str(tmp_path / "out")])  # fmt: skip
    rows = np.frombuffer(post(url, "motion", {"tracks": tracks, "n_interval": 2}), "<f4").reshape(-1, 84).tolist()
    assert len(rows) == 4
    for i, row in enumerate(rows):
        pose = np.reshape(row[64:82], (6, 3)).tolist()
        ours = post(url, "frame.png", make_shot(3, 0.7, expression=row[:64], pose=pose, camera=row[82:]))
        video = Image.open(tmp_path / f"out/video_3_rgb_{i:03d}.png")
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(ours))), np.asarray(video))


def test_the_page_needs_nothing_from_elsewhere(url):
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("}://${", "").replace("// ", ""), path
        with urllib.request.urlopen(url + path.name, timeout=SECONDS) as response:
            assert response.read() == path.read_bytes() and response.headers["cache-control"] == "no-cache"
    with urllib.request.urlopen(url, timeout=SECONDS) as response:
        assert response.read() == (PAGE / "index.html").read_bytes()

"""The viewer's server, asked as its page asks it."""

import io
import json
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from websockets.exceptions import InvalidStatus

import gen_video
from inference.keyframes import load_keyframes, make_motion
from inference.pipeline import PortraitPipeline
from inference.video import image_to_uint8
from inference.viewer.server import MOTIONS, PAGE, SameOrigin
from inference.viewer.studio import JPEG
from networks.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from tests.inference.viewer_server import SECONDS, make_shot, open_page, serve
from tests.networks.helpers import make_generator, make_priors_dict
from torch_utils.checkpoint import save_checkpoint

SMILE = [0.0, 1.0] + [0.0] * 62


def make_model() -> SavedModel:
    return SavedModel(make_generator(), LabelPriors.from_dict(make_priors_dict(), "here"), {"source": "made up"})


@pytest.fixture(scope="module")
def pipe() -> PortraitPipeline:
    return PortraitPipeline(make_model())


@pytest.fixture(scope="module")
def url(pipe):
    with serve(pipe) as address:
        yield address


def picture(pipe, shot) -> np.ndarray:
    """What ``shot`` should look like, uint8 [H, W, 3]."""
    person = pipe.person(shot["seed"], psi=shot["psi"])
    return image_to_uint8(person.render(shot["expression"], shot["pose"], shot["camera"], quality="fast").image)


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", **JPEG)
    return file.getvalue()


def post(url: str, path: str, body, headers=None) -> bytes:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=body, headers=headers or {})
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return response.read()


def complaint(url: str, path: str, body, headers=None) -> tuple[int, str]:
    """Status and text of what is refused."""
    with pytest.raises(urllib.error.HTTPError) as info:
        post(url, path, body, headers)
    return info.value.code, info.value.read().decode()


# ---- live frames --------------------------------------------------------------------------------------------------


def test_a_frame_is_the_person_s_picture(pipe, url):
    with open_page(url) as page:
        for number, shot in enumerate([make_shot(), make_shot(expression=SMILE), make_shot(camera=[1.4, 1.8])]):
            page.send({"id": number, **shot})
            frame = page.until(type="frame", id=number)
            assert frame["picture"] == jpeg(picture(pipe, shot))
            assert (frame["seed"], frame["psi"]) == (0, 0.7)
    # The pictures differ, or the lines above would say little.
    assert jpeg(picture(pipe, make_shot())) != jpeg(picture(pipe, make_shot(expression=SMILE)))


def test_the_greeting_describes_the_page(pipe, url):
    with open_page(url) as page:
        hello = page.hello
    assert (hello["type"], hello["checkpoint"], hello["device"]) == ("hello", "tiny.pt", "cpu")
    assert hello["image_size"] == pipe.generator.config.image_size
    assert hello["spans"] == {"expression": [0, 64], "pose": [64, 82], "camera": [82, 84]}
    assert hello["rest"] == [0.0] * 82 + [pytest.approx(torch.pi / 2)] * 2
    assert [group["title"] for group in hello["groups"]] == ["Expression", "Head", "Shoulders", "Camera"]


@pytest.fixture
def gate(pipe, monkeypatch):
    """Lets people be made one by one: ``gate.release()``; ``gate.made`` says whom."""
    gate = threading.Semaphore(0)
    gate.made = []
    make = pipe.person

    def person(seed, *, psi):
        gate.acquire(timeout=SECONDS)
        gate.made.append(seed)
        return make(seed, psi=psi)

    monkeypatch.setattr(pipe, "person", person)
    return gate


def everything_is_read(page) -> None:
    """Messages are read in turn: when the complaint about one is back, those before it were read."""
    page.send("no JSON")
    page.until(type="error")


def test_only_the_latest_shot_is_drawn(pipe, gate):
    with serve(pipe) as url, open_page(url) as page:
        for number in range(5):
            page.send({"id": number, **make_shot(camera=[1.5, 1.5 + 0.01 * number])})
        assert page.receive() == {"type": "making", "seed": 0, "psi": 0.7}
        everything_is_read(page)
        gate.release()
        frame = page.receive()
        assert frame["type"] == "frame" and frame["id"] == 4


def test_the_person_before_stays_while_another_is_made(pipe, gate):
    gate.release()
    with serve(pipe) as url, open_page(url) as page:
        page.send({"id": 1, **make_shot(seed=0)})
        first = page.until(type="frame")
        page.send({"id": 2, **make_shot(seed=1)})
        page.until(type="making", seed=1)
        meanwhile = page.until(type="frame")
        assert meanwhile["seed"] == 0 and meanwhile["picture"] == first["picture"]
        page.send({"id": 3, **make_shot(seed=2)})
        page.send({"id": 4, **make_shot(seed=3)})
        everything_is_read(page)
        gate.release()
        gate.release()
        frame = page.until(type="frame", seed=3)
        assert frame["id"] == 4
        page.send({"id": 5, **make_shot(seed=1)})  # kept: nobody is made
        assert page.until(type="frame", id=5)["seed"] == 1
        assert gate.made == [0, 1, 3]
        gate.release()
        assert frame["picture"] == jpeg(picture(pipe, make_shot(seed=3)))


def test_a_person_that_cannot_be_made(pipe, monkeypatch):
    make = pipe.person

    def person(seed, *, psi):
        if seed == 1:
            raise RuntimeError("not enough memory:\nyou tried")
        return make(seed, psi=psi)

    monkeypatch.setattr(pipe, "person", person)
    with serve(pipe) as url, open_page(url) as page:
        page.send({"id": 1, **make_shot(seed=0)})
        page.until(type="frame")
        page.send({"id": 2, **make_shot(seed=1)})
        assert page.until(type="error") == {"type": "error", "id": 2, "message": "not enough memory: you tried"}
        page.send({"id": 3, **make_shot(seed=2)})
        assert page.until(type="frame", id=3, seed=2)


BAD_SHOTS = {
    "text": ("hello", "message: expected JSON, found 'hello'"),
    "bytes": (b"\x00", "message: expected JSON, found ''"),
    "deep": ("[" * 50000, "message: expected JSON, found '[[["),
    "list": ([1], "message: expected a JSON object, found list"),
    "nothing": ({}, "seed: expected a whole number from 0 to 4294967295, found null"),
    "seed": (make_shot(seed=-1), "seed: expected a whole number from 0 to 4294967295, found -1"),
    "seed text": (make_shot(seed="x"), 'seed: expected a whole number from 0 to 4294967295, found "x"'),
    "psi": (make_shot(psi=9), "psi: expected a number from 0 to 2, found 9"),
    "psi nan": (make_shot(psi=float("nan")), "psi: expected a number from 0 to 2, found NaN"),
    "no camera": (make_shot(camera=None), "camera: "),
    "width": (make_shot(expression=[0.0] * 63), "expression: expression keyframes: expected shape [N,64]"),
    "words": (make_shot(pose="x"), "pose: expected numbers, found"),
    "huge": (make_shot(camera=[10**400, 0]), "camera: expected numbers, found"),
    "nan": (make_shot(camera=[1.5, float("nan")]), "camera: camera keyframes: expected finite numbers, found nan"),
    "pitch": (make_shot(camera=[4.0, 1.5]), "camera: camera keyframes: expected pitch (column 0) between 0 and pi"),
}


@pytest.mark.parametrize("case", BAD_SHOTS)
def test_bad_messages_are_answered_with_one_line(url, case):
    message, expected = BAD_SHOTS[case]
    with open_page(url) as page:
        page.send(message)
        answer = page.until(type="error")
        assert answer["message"].startswith(expected) and "\n" not in answer["message"], answer
        page.send({"id": 7, **make_shot()})  # it goes on
        assert page.until(type="frame", id=7)


# ---- requests -----------------------------------------------------------------------------------------------------


def test_a_frame_as_png(pipe, url):
    shot = make_shot(seed=5, psi=0.5, expression=SMILE)
    data = post(url, "frame.png", shot)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture(pipe, shot))
    status, text = complaint(url, "frame.png", make_shot(psi=-1))
    assert (status, text) == (400, "psi: expected a number from 0 to 2, found -1")


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "shape"), [("expression", (3, 64)), ("pose", (2, 6, 3)), ("camera", (4, 2))])
def test_keyframe_files_are_known_by_their_shape(url, kind, shape):
    rows = 1 + np.random.default_rng(0).random(shape)
    answer = json.loads(post(url, "keyframes?name=a.npy", npy(rows)))
    assert answer["kind"] == kind and np.array_equal(answer["rows"], rows)


BAD_FILES = {
    "text": (b"hello", "a.npy: expected a .npy file of numbers, found something else, or half of one"),
    "empty": (b"", "a.npy: expected a .npy file of numbers, found something else, or half of one"),
    "half": (npy(np.zeros((3, 64)))[:-1], "a.npy: expected a .npy file of numbers, found something else, or half of"),
    "objects": (npy(np.array([{}])), "a.npy: expected a .npy file of numbers, found something else, or half of one"),
    "zip": (b"PK\x03\x04", "a.npy: expected a .npy file of numbers, found something else, or half of one"),
    "shape": (npy(np.zeros((3, 65))), "a.npy: expected keyframes of expression [N,64] or pose [N,6,3] or camera [N,2]"),
    "integers": (npy(np.zeros((3, 64), int)), "a.npy: expression keyframes: expected floating-point numbers, found"),
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
    assert motion["tracks"].keys() == MOTIONS[index]["files"].keys()
    for kind, path in MOTIONS[index]["files"].items():
        assert np.array_equal(motion["tracks"][kind], load_keyframes(path, kind))


def test_exported_keyframes_make_the_same_frames(pipe, url, tmp_path):
    """The round trip: viewer -> .npy -> gen_video.py -> PNG, against the viewer's own PNG of the same frames."""
    random = np.random.default_rng(2)
    tracks = {
        "expression": random.standard_normal((2, 64)).tolist(),
        "pose": (0.2 * random.standard_normal((2, 6, 3))).tolist(),
        "camera": [[1.45, 1.7]],
    }
    with zipfile.ZipFile(io.BytesIO(post(url, "export", {"tracks": tracks}))) as files:
        assert sorted(files.namelist()) == ["camera.npy", "expression.npy", "pose.npy"]
        files.extractall(tmp_path)
    for kind, rows in tracks.items():
        assert np.array_equal(load_keyframes(tmp_path / f"{kind}.npy", kind), rows)
    save_checkpoint(tmp_path / "tiny.pt", pack_model(make_model()))
    paths = [f"--{flag}_path={tmp_path}/{kind}.npy" for flag, kind in
             (("exp", "expression"), ("pose", "pose"), ("cam", "camera"))]  # fmt: skip
    gen_video.main([*paths, "--ckpt", str(tmp_path / "tiny.pt"), "--seeds", "3", "--psi", "0.7", "--n_interval", "2",
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


# ---- who may ask --------------------------------------------------------------------------------------------------

HOSTS = {
    ("127.0.0.1:8765", None): True,
    ("localhost:8765", "http://localhost:8765"): True,
    ("[::1]:8765", "http://[::1]:8765"): True,
    ("192.168.0.7:8765", "http://192.168.0.7:8765"): True,  # where --host lets others in
    ("desk:8765", "http://desk:8765"): True,  # a name of this machine
    ("evil.example:8765", "http://evil.example:8765"): False,  # DNS rebinding
    ("127.0.0.1:8765", "http://evil.example"): False,
    ("127.0.0.1:8765", "http://127.0.0.1:9999"): False,  # another program's page
    ("127.0.0.1:8765", "null"): False,
    ("localhost.evil.example", None): False,
    ("", None): False,
    ("[", "http://["): False,
}


@pytest.mark.parametrize(("host", "origin"), HOSTS)
def test_who_is_let_in(host, origin):
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert SameOrigin(None, frozenset({"desk"}))._lets_in(headers) is HOSTS[host, origin]


def test_other_pages_are_refused(url):
    with open_page(url, origin=url.rstrip("/")) as page:
        assert page.hello["type"] == "hello"
    with pytest.raises(InvalidStatus) as info, open_page(url, origin="http://evil.example"):
        pass
    assert info.value.response.status_code == 403
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert complaint(url, "frame.png", make_shot(), headers)[0] == 403


def test_only_this_machine_by_default():
    from inference.viewer.__main__ import make_parser

    assert make_parser().parse_args([]).host == "127.0.0.1"
    assert Path(make_parser().parse_args([]).ckpt).parts[-2:] == ("ckpts", "demo.pt")

"""The viewer's live frames, asked for as its page does, and who may ask."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus

from inference.pipeline import PortraitPipeline
from inference.viewer.__main__ import MAX_MESSAGE, make_parser
from inference.viewer.server import SameOrigin
from inference.viewer.studio import JPEG
from tests.inference.viewer_server import SECONDS, SMILE, complaint, make_model, make_shot, open_page, picture, serve


@pytest.fixture(scope="module")
def pipe() -> PortraitPipeline:
    return PortraitPipeline(make_model())


@pytest.fixture(scope="module")
def url(pipe):
    with serve(pipe) as address:
        yield address


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", **JPEG)
    return file.getvalue()


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
    assert (hello["type"], hello["checkpoint"], hello["device"]) == ("hello", "tiny.safetensors", "cpu")
    assert hello["image_size"] == pipe.generator.config.image_size
    assert hello["spans"] == {"expression": [0, 64], "pose": [64, 82], "camera": [82, 84]}
    assert hello["rest"] == [0.0] * 82 + [pytest.approx(torch.pi / 2)] * 2
    actions = ["Eyes", "Brows", "Mouth", "Jaw", "Cheeks and nose", "Tongue"]
    titles = ["Expression", *actions, "Head", "Shoulders", "Camera"]
    assert [group["title"] for group in hello["groups"]] == titles
    assert [group["title"] for group in hello["groups"] if not group["open"]] == actions


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


def test_a_png_that_cannot_be_drawn_is_one_line(pipe, monkeypatch):
    def person(seed, *, psi):
        raise RuntimeError("not enough memory:\nyou tried")

    monkeypatch.setattr(pipe, "person", person)
    with serve(pipe) as url:
        assert complaint(url, "frame.png", make_shot(seed=7)) == (503, "not enough memory: you tried")


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


def test_a_message_that_is_too_long_ends_the_connection(url):
    with open_page(url) as page:
        page.send(" " * (MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosed, match="1009"):
            page.receive()


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
    assert make_parser().parse_args([]).host == "127.0.0.1"
    assert Path(make_parser().parse_args([]).ckpt).parts[-2:] == ("ckpts", "demo.safetensors")

"""The viewer's camera: pictures in, controls out, for pages of this machine alone; and the page in a browser."""

import asyncio
import io
import json
import subprocess

import numpy as np
import pytest
from PIL import Image
from skimage import data
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from inference.pipeline import PortraitPipeline
from inference.viewer.camera import MAX_PIXELS, CameraDesk, Driver, is_this_machine, read_jpeg
from networks.person.expressions import ARKIT, BASEL, columns_of
from tests.inference.browser import by_id, needs_browser, open_browser, until
from tests.inference.viewer_server import SECONDS, make_model, serve
from tests.networks.person.tracker.detectors import needs_detectors
from torch_utils.ffmpeg import find_ffmpeg
from torch_utils.misc import UserError


def jpeg(image) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg")
    return file.getvalue()


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(data.astronaut()).crop((0, 0, 480, 360))


@pytest.fixture(scope="module")
def pipe():
    return PortraitPipeline(make_model())


class BrightnessDriver:
    """In place of the tracker: the mean of a picture opens the jaw; black is nobody."""

    def __init__(self, face_model):
        self.face_model = face_model

    def step(self, data):
        mean = np.asarray(read_jpeg(data)).mean() / 255
        if mean < 0.1:
            return None
        return {"expression": [mean] * 64, "pose": [[0.0] * 3] * 6, "camera": [1.5, 1.6]}


def test_every_picture_gets_one_answer(pipe, monkeypatch):
    monkeypatch.setattr("inference.viewer.server.Driver", BrightnessDriver)
    with serve(pipe) as url, connect(url.replace("http", "ws", 1) + "camera") as socket:

        def answer(message=None):
            if message is not None:
                socket.send(message)
            return json.loads(socket.recv(SECONDS))

        assert answer() == {"type": "ready"}
        found = answer(jpeg(Image.new("RGB", (640, 480), (128, 128, 128))))
        assert found["type"] == "pose" and found["expression"] == pytest.approx([128 / 255] * 64, abs=0.01)
        assert (found["pose"], found["camera"]) == ([[0.0] * 3] * 6, [1.5, 1.6])
        assert answer(jpeg(Image.new("RGB", (64, 48))))["type"] == "nobody"
        assert answer(b"no picture") == {
            "type": "error", "message": "camera: expected a JPEG picture, found 10 bytes of something else"
        }  # fmt: skip
        assert answer(jpeg(Image.new("RGB", (64, 48), "white")))["type"] == "pose"  # and goes on


def test_without_detectors_the_page_is_told_why(pipe, monkeypatch):
    def missing(face_model):
        raise UserError("the detectors could not be fetched")

    monkeypatch.setattr("inference.viewer.server.Driver", missing)
    with serve(pipe) as url, connect(url.replace("http", "ws", 1) + "camera") as socket:
        assert json.loads(socket.recv(SECONDS)) == {"type": "error", "message": "the detectors could not be fetched"}
        with pytest.raises(ConnectionClosed):
            socket.recv(SECONDS)


@pytest.mark.parametrize("host", ["192.168.0.7", "8.8.8.8", "::ffff:10.0.0.1", "fe80::1%eth0", "testclient"])
def test_other_machines_are_refused(host):
    """The connection is closed before it is accepted, and no driver is made."""

    class Socket:
        client = type("Address", (), {"host": host})
        said: list[str] = []

        async def close(self):
            self.said.append("closed")

    assert not is_this_machine(host)
    desk = CameraDesk(lambda: pytest.fail("a driver for another machine"))
    asyncio.run(desk.serve(Socket()))
    assert Socket.said == ["closed"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_not(host):
    assert is_this_machine(host)


def test_pictures_that_are_none_are_one_line():
    for bad in (b"", b"no picture", jpeg(Image.new("RGB", (64, 48)))[:300]):
        with pytest.raises(UserError, match=f"expected a JPEG picture, found {len(bad)} bytes of something else"):
            read_jpeg(bad)
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "png")
    with pytest.raises(UserError, match="expected a JPEG picture"):
        read_jpeg(png.getvalue())
    with pytest.raises(UserError, match=f"expected at most {MAX_PIXELS} pixels, found 2000 x 2000"):
        read_jpeg(jpeg(Image.new("L", (2000, 2000))))
    assert read_jpeg(jpeg(Image.new("L", (8, 8), 200))).getpixel((0, 0)) == (200, 200, 200)


def test_expressions_without_names_cannot_be_driven():
    with pytest.raises(UserError, match="the camera: expected expressions of the checkpoint's face model, basel"):
        Driver(BASEL)


@needs_detectors
def test_a_smiling_astronaut_makes_the_person_smile(photo):
    driver = Driver(ARKIT)
    found = [driver.step(jpeg(photo)) for _ in range(4)][-1]
    expression = np.array(found["expression"])
    assert expression[list(columns_of("mouthSmile"))].min() > 0.3
    assert expression[list(columns_of("eyeBlink"))].max() < 0.4
    assert np.abs(np.array(found["camera"]) - np.pi / 2).max() < 0.5
    assert driver.step(jpeg(Image.new("RGB", (480, 360)))) is None or True


@needs_browser
@needs_detectors
def test_the_page_follows_the_camera(photo, pipe, tmp_path):
    """A camera that shows the astronaut: she smiles, so the slider does; not before the click."""
    film = tmp_path / "camera.mjpeg"
    photo.resize((320, 240)).save(tmp_path / "photo.png")
    command = [find_ffmpeg("this test"), "-v", "error", "-loop", "1", "-i", str(tmp_path / "photo.png"), "-t", "2"]
    subprocess.run([*command, "-r", "15", "-pix_fmt", "yuvj420p", "-q:v", "2", str(film)], check=True)
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-gpu")
    fake = (*flags, f"--use-file-for-fake-video-capture={film}")
    with serve(pipe) as url, open_browser(tmp_path / "profile", tmp_path, *fake) as browser:
        browser.get(url)
        smile = browser.find_element("css selector", "[data-slider='Expression Smile']")
        until(browser, lambda: by_id(browser, "drive").is_enabled() and smile.is_displayed())
        assert not by_id(browser, "mirror").is_displayed()
        assert float(smile.get_property("value")) == 0
        by_id(browser, "drive").click()
        until(browser, lambda: float(smile.get_property("value")) > 0.2)
        assert by_id(browser, "mirror").is_displayed() and "fps" in by_id(browser, "seen").text
        by_id(browser, "drive").click()
        assert not by_id(browser, "mirror").is_displayed()
        assert browser.execute_script("return document.getElementById('camera').srcObject") is None
        browser.get("about:blank")

"""The viewer's server in a thread, with a tiny model, and a client that plays the page."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from inference.pipeline import PortraitPipeline
from inference.viewer.__main__ import listen, make_server, page_url
from inference.viewer.studio import Studio
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel
from tests.networks.helpers import make_generator, make_priors_dict
from torch_utils.pixels import image_to_uint8

SECONDS = 60  # until a test gives up
SMILE = [0.0, 1.0] + [0.0] * 62


def make_model() -> SavedModel:
    return SavedModel(make_generator(), LabelPriors.from_dict(make_priors_dict(), "here"), {"source": "made up"})


@contextmanager
def serve(pipe: PortraitPipeline, port: int = 0) -> Iterator[str]:
    """Serves the page of a pipeline; yields its address."""
    with listen("127.0.0.1", port) as listening:
        server = make_server(Studio(pipe), checkpoint="tiny.safetensors", command="python gen_video.py")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield page_url(listening)
        finally:
            server.should_exit = True
            thread.join(SECONDS)


class Page:
    """The websocket as the page uses it."""

    def __init__(self, socket: ClientConnection):
        self._socket = socket
        self.hello = self.receive()

    def send(self, message: Any) -> None:
        self._socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def receive(self) -> dict[str, Any]:
        """The next message; a frame's JPEG as its ``picture``."""
        data = self._socket.recv(SECONDS)
        if isinstance(data, str):
            return json.loads(data)
        end = 4 + int.from_bytes(data[:4], "little")
        return {"type": "frame", **json.loads(data[4:end]), "picture": data[end:]}

    def until(self, **expected: Any) -> dict[str, Any]:
        """The next message that has these entries."""
        while True:
            message = self.receive()
            if expected.items() <= message.items():
                return message


@contextmanager
def open_page(url: str, **options: Any) -> Iterator[Page]:
    with connect(url.replace("http", "ws", 1) + "live", **options) as socket:
        yield Page(socket)


def make_shot(seed: int = 0, psi: float = 0.7, **controls: Any) -> dict[str, Any]:
    """A shot at rest but for ``controls``."""
    rest = {"expression": [0.0] * 64, "pose": [[0.0] * 3] * 6, "camera": [1.5, 1.6]}
    return {"seed": seed, "psi": psi, **rest, **controls}


def picture(pipe, shot) -> np.ndarray:
    """What ``shot`` should look like, uint8 [H, W, 3]."""
    person = pipe.person(shot["seed"], psi=shot["psi"])
    return image_to_uint8(person.render(shot["expression"], shot["pose"], shot["camera"], quality="fast").image)


def post(url: str, path: str, body, headers=None) -> bytes:
    """The answer to a request; what is no bytes is sent as JSON."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=body, headers=headers or {})
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return response.read()


def complaint(url: str, path: str, body, headers=None) -> tuple[int, str]:
    """Status and text of what is refused."""
    with pytest.raises(urllib.error.HTTPError) as info:
        post(url, path, body, headers)
    return info.value.code, info.value.read().decode()

"""Whoever sits before this machine's camera drives the person: pictures in, controls out.

Pictures come over a websocket from a browser on the same machine, one at a time; each is forgotten when its controls
are known. Nothing is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from networks.person.expressions import ARKIT, carried
from networks.person.tracker.follow import Sighting, Tracker
from torch_utils.misc import UserError, one_line

MAX_PIXELS = 2**21  # of a picture: more than any camera that is asked for 640 x 480 sends


class Controls(Protocol):
    """What drives a portrait."""

    expression: np.ndarray  # [64] of the open face
    joint_eulers: np.ndarray  # [6, 3] radians
    camera: np.ndarray  # [2] radians


class Fit(Protocol):
    """Turns what is seen of a person, picture after picture, into controls."""

    def step(self, sighting: Sighting, image_size: tuple[int, int], seconds: float) -> Controls | None: ...


class Driver:
    """One person before a camera.

    Args:
        face_model: of the checkpoint whose person is driven.

    Raises:
        UserError: the tracker's detectors are not to be had, or the checkpoint's expressions have no names.
    """

    def __init__(self, face_model: str | None) -> None:
        from networks.person.fitting.live import LiveFit  # here: with its body it takes a second to load

        self._face_model = face_model
        self._carry(np.zeros(64))
        self._tracker, self._fit = Tracker(), LiveFit()

    def step(self, data: bytes) -> dict[str, Any] | None:
        """A picture, as the bytes of a JPEG file -> controls as the page's shots have them; None: nobody is seen.

        Raises:
            UserError: it is no such picture.
        """
        picture = read_jpeg(data)
        controls = self._fit.step(self._tracker.step(picture), picture.size, time.monotonic())
        if controls is None:
            return None
        parts = {
            "expression": self._carry(controls.expression), "pose": controls.joint_eulers, "camera": controls.camera
        }  # fmt: skip
        return {kind: np.round(part, 5).tolist() for kind, part in parts.items()}

    def _carry(self, expression: np.ndarray) -> np.ndarray:
        return carried(expression, ARKIT, self._face_model, "the camera")


def read_jpeg(data: bytes) -> Image.Image:
    """An RGB picture from the bytes of a JPEG file; a UserError for anything else."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if picture.width * picture.height <= MAX_PIXELS:
                return picture.convert("RGB")
            size = f"{picture.width} x {picture.height}"
    except Exception as error:  # decoders raise many kinds
        raise UserError(f"camera: expected a JPEG picture, found {len(data)} bytes of something else") from error
    raise UserError(f"camera: expected at most {MAX_PIXELS} pixels, found {size}")


class CameraDesk:
    """Serves the websocket; all work is done in one thread of its own. Several pages take turns."""

    def __init__(self, make_driver: Callable[[], Driver]) -> None:
        self._make_driver = make_driver
        self._thread = ThreadPoolExecutor(1, "camera")

    async def serve(self, socket: WebSocket) -> None:
        """One page's camera. Every picture gets an answer: {type: pose, expression, pose, camera, milliseconds},
        {type: nobody} or {type: error, message}; {type: ready} comes first."""
        if socket.client is None or not is_this_machine(socket.client.host):
            await socket.close()  # not accepted: status 403
            return
        await socket.accept()
        run = asyncio.get_running_loop().run_in_executor
        with contextlib.suppress(WebSocketDisconnect, asyncio.CancelledError):  # the page or the server goes away
            try:
                driver = await run(self._thread, self._make_driver)
            except (UserError, RuntimeError, MemoryError) as error:
                await socket.send_json({"type": "error", "message": one_line(str(error))})
                return await socket.close()
            await socket.send_json({"type": "ready"})
            while True:
                data = await socket.receive_bytes()
                start = time.perf_counter()
                try:
                    controls = await run(self._thread, driver.step, data)
                except (UserError, RuntimeError, MemoryError) as error:
                    await socket.send_json({"type": "error", "message": one_line(str(error))})
                    continue
                took = round(1e3 * (time.perf_counter() - start), 1)
                answer = {"type": "nobody"} if controls is None else {"type": "pose", **controls}
                await socket.send_json({**answer, "milliseconds": took})

    def close(self) -> None:
        """Begins nothing any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def is_this_machine(host: str) -> bool:
    """Whether an address is the loopback's."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

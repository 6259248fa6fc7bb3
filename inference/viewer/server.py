"""The web application: a page, its websocket of live frames, and a few requests.

    /                       the page
    /live                   websocket. The page sends shots {id, seed, psi, expression, pose, camera}; only the latest
                            one is drawn. It gets {type: hello | making | error, ...}, and frames: a length (4 bytes,
                            little endian), so many bytes of JSON {id, seed, psi, milliseconds}, and a JPEG.
    /camera                 websocket, for browsers on this machine. The page sends pictures of its camera, one by one,
                            and gets the controls of whom they show (camera.py)
    POST /frame.png         a shot -> a PNG
    POST /avatar.glb        a shot, or with {tracks, n_interval, fps} also a motion -> a portable avatar
    POST /keyframes?name=   a .npy file -> {kind, rows}
    POST /motion            {tracks, n_interval} -> its frames, float32 [F,84]
    POST /export            {tracks} -> a zip archive of .npy files
    GET /motions/{index}    a motion that ships with the project -> {tracks, n_interval, fps}

What is wrong with a request is one line of text, with status 400.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketClose, WebSocketDisconnect

from inference.keyframes import Kind, load_expressions, load_keyframes
from inference.motions import MOTIONS
from inference.person import Person
from inference.viewer.camera import CameraDesk, Driver
from inference.viewer.controls import SPANS, make_groups, rest_row
from inference.viewer.messages import (
    Shot,
    motion_frames,
    pack_keyframes,
    parse_clips,
    parse_json,
    parse_shot,
    parse_tracks,
    read_keyframes,
)
from inference.viewer.studio import Studio, Who
from torch_utils.misc import UserError, one_line, shortened

PAGE = Path(__file__).parent / "page"
MAX_BODY = 64 * 2**20  # bytes of a request
START: Who = (0, 0.7)  # the first person


def make_app(studio: Studio, *, checkpoint: str, command: str, hosts: frozenset[str] = frozenset()) -> Starlette:
    """The application.

    Args:
        studio: what draws.
        checkpoint: its name, for the page.
        command: the call of gen_video.py that the page completes for an exported motion.
        hosts: names, beside localhost and addresses, under which this machine may be asked.
    """
    hello = {
        "type": "hello", "checkpoint": checkpoint, "device": studio.device, "image_size": studio.image_size,
        "command": command, "person": dict(zip(("seed", "psi"), START, strict=True)), "rest": rest_row(),
        "spans": SPANS, "groups": [group.plain() for group in make_groups(studio.face_model, studio.controls)],
        "one_person": studio.one_person, "motions": [motion.title for motion in MOTIONS],
    }  # fmt: skip

    desk = CameraDesk(lambda: Driver(studio.face_model))

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            await socket.send_json(hello)
            await Connection(socket, studio).run()

    async def frame_png(request: Request) -> Response:
        shot = parse_shot(parse_json(await _body(request)))
        picture = await studio.draw(await studio.person((shot.seed, shot.psi)), shot, "png")
        return Response(picture, media_type="image/png")

    async def avatar_glb(request: Request) -> Response:
        data = parse_json(await _body(request))
        shot, clips = parse_shot(data), parse_clips(data, studio.face_model)
        glb = await studio.export((shot.seed, shot.psi), clips, {"checkpoint": checkpoint})
        return Response(glb, media_type="model/gltf-binary")

    async def keyframes(request: Request) -> Response:
        name = request.query_params.get("name", "file")
        kind, rows = read_keyframes(await _body(request), name, studio.face_model)
        return JSONResponse({"kind": kind, "rows": rows.tolist()})

    async def export(request: Request) -> Response:
        tracks = parse_tracks(parse_json(await _body(request)).get("tracks"))
        return Response(pack_keyframes(tracks, studio.face_model), media_type="application/zip")

    async def shipped_motion(request: Request) -> Response:
        index = request.path_params["index"]
        if index >= len(MOTIONS):
            raise UserError(f"motions: expected an index below {len(MOTIONS)}, found {index}")
        title, files, n_interval, fps = MOTIONS[index]
        tracks = {kind: _shipped_rows(path, kind, studio.face_model).tolist() for kind, path in files.items()}
        return JSONResponse({"title": title, "n_interval": n_interval, "fps": fps, "tracks": tracks})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette):
        begun = [asyncio.ensure_future(studio.warm_up()), asyncio.ensure_future(studio.person(START))]
        yield
        for task in begun:
            task.cancel()
        studio.close()
        desk.close()

    routes = [
        WebSocketRoute("/live", live),
        WebSocketRoute("/camera", desk.serve),
        Route("/frame.png", frame_png, methods=["POST"]),
        Route("/avatar.glb", avatar_glb, methods=["POST"]),
        Route("/keyframes", keyframes, methods=["POST"]),
        Route("/motion", _motion, methods=["POST"]),
        Route("/export", export, methods=["POST"]),
        Route("/motions/{index:int}", shipped_motion),
        Mount("/", _Page(directory=PAGE, html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(SameOrigin, hosts=hosts)],
        exception_handlers={UserError: _complain, RuntimeError: _fail, MemoryError: _fail},
        lifespan=lifespan,
    )


def _complain(request: Request, error: Exception) -> Response:
    return PlainTextResponse(one_line(str(error)), status_code=400)


def _fail(request: Request, error: Exception) -> Response:
    """What torch says where it cannot draw, as when memory is short."""
    return PlainTextResponse(shortened(one_line(str(error)) or type(error).__name__), status_code=503)


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise UserError(f"request: expected at most {MAX_BODY} bytes, found more")
    return bytes(data)


async def _motion(request: Request) -> Response:
    return Response(motion_frames(parse_json(await _body(request))), media_type="application/octet-stream")


def _shipped_rows(path: Path, kind: Kind, face_model: str | None) -> np.ndarray:
    return load_expressions(path, face_model) if kind == "expression" else load_keyframes(path, kind)


class Connection:
    """One open page: draws the latest shot it has sent, over and over; makes people while the one before stays."""

    def __init__(self, socket: WebSocket, studio: Studio):
        self._socket, self._studio = socket, studio
        self._wanted: tuple[Any, Shot] | None = None  # the latest shot and its id
        self._changed = asyncio.Event()  # it, or who is there
        self._shown: tuple[Who, Person] | None = None
        self._making: asyncio.Task | None = None
        self._failed: Who | None = None  # could not be made; not tried again until somebody else is wanted

    async def run(self) -> None:
        """Until the page goes away."""
        tasks = [asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._draw())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, self._making):
                if task is not None:
                    task.cancel()
        for task in done:
            task.result()

    async def _receive(self) -> None:
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            number = None
            try:
                data = parse_json(message.get("text") or "")
                number = data.get("id")
                self._wanted = number, parse_shot(data)
                self._changed.set()
            except UserError as error:
                await self._complain(number, error)

    async def _draw(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            assert self._wanted is not None
            number, shot = self._wanted
            who = shot.seed, shot.psi
            if (person := self._studio.ready(who)) is not None:
                self._shown, self._failed = (who, person), None
            elif self._making is None and who != self._failed:
                self._making = asyncio.ensure_future(self._make(number, who))
            if self._shown is not None:
                await self._send_frame(number, shot)

    async def _make(self, number: Any, who: Who) -> None:
        """Makes a person; of those wanted meanwhile, the latest one comes next."""
        try:
            await self._socket.send_json({"type": "making", "seed": who[0], "psi": who[1]})
            await self._studio.person(who)
        except (UserError, RuntimeError, MemoryError, ValueError) as error:  # of torch, as when memory is short
            self._failed = who
            await self._complain(number, error)
        finally:
            self._making = None
            self._changed.set()

    async def _send_frame(self, number: Any, shot: Shot) -> None:
        assert self._shown is not None
        (seed, psi), person = self._shown
        start = time.perf_counter()
        try:
            picture = await self._studio.draw(person, shot, "jpeg")
        except (UserError, RuntimeError, MemoryError, ValueError) as error:
            await self._complain(number, error)
            return
        took = round(1e3 * (time.perf_counter() - start), 1)
        head = json.dumps({"id": number, "seed": seed, "psi": psi, "milliseconds": took}).encode()
        await self._socket.send_bytes(len(head).to_bytes(4, "little") + head + picture)

    async def _complain(self, number: Any, error: Exception) -> None:
        await self._socket.send_json({"type": "error", "id": number, "message": one_line(str(error))})


class SameOrigin:
    """Lets in only this page: refuses (403) what other web pages send, and names that other people may point here.

    A browser says in ``Origin`` which page asks: it must be the one that is asked. Against DNS rebinding, where a
    foreign name is made to point to this machine and both agree, ``Host`` must be an address, localhost or a name in
    ``hosts``: an address or localhost cannot be pointed elsewhere.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] = frozenset()):
        self._app, self._hosts = app, {"localhost", *hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._lets_in(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await PlainTextResponse("refused: asked by another page, or under another name", 403)(scope, receive, send)

    def _lets_in(self, headers: Mapping[str, str]) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            same = origin is None or urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:  # no URL at all
            return False
        return same and (name in self._hosts or _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Page(StaticFiles):
    """Files that a browser asks for again each time: another version of the project may have changed them."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response

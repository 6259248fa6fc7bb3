"""People and pictures for the pages that are open: one thread draws, another one makes people meanwhile."""

from __future__ import annotations

import asyncio
import functools
import io
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image

from inference.arguments import Quality
from inference.person import Person
from inference.pipeline import PortraitPipeline
from inference.portable.clips import Clip
from inference.portable.export import export_avatar
from inference.viewer.messages import Shot
from networks.person.controls import Controls
from torch_utils.pixels import image_to_uint8

T = TypeVar("T")
Who = tuple[int, float]  # seed, psi
MAX_PEOPLE = 4  # kept: going back to one is instant. One of the released size takes 0.2 GB
# Fine enough that no block is seen, at a tenth of the bytes and time of a PNG.
JPEG = {"quality": 92, "subsampling": 0}


class Studio:
    """A pipeline whose slow work is awaited. Its coroutines belong to one event loop.

    Args:
        pipe: whose people are shown.
        quality: of Person.render.
    """

    def __init__(self, pipe: PortraitPipeline, quality: Quality = "fast"):
        self._pipe, self._quality = pipe, quality
        self._drawing = ThreadPoolExecutor(1, "drawing")
        self._making = ThreadPoolExecutor(1, "making")
        self._people: OrderedDict[Who, Person] = OrderedDict()
        self._begun: dict[Who, asyncio.Future[Person]] = {}

    @property
    def device(self) -> str:
        return str(self._pipe.device)

    @property
    def face_model(self) -> str | None:
        """Whose expressions it takes."""
        return self._pipe.face_model

    @property
    def controls(self) -> Controls:
        """What its people can do."""
        return self._pipe.controls

    @property
    def one_person(self) -> bool:
        """Whether there is nobody else to choose."""
        return self._pipe.one_person

    @property
    def image_size(self) -> int:
        return self._pipe.image_size

    async def warm_up(self) -> None:
        """Does what the first fast frame would have to wait for."""
        if self._quality == "fast":
            await self._run(self._drawing, self._pipe.warm_up)

    def ready(self, who: Who) -> Person | None:
        """The person, if made before and still kept."""
        if who in self._people:
            self._people.move_to_end(who)
        return self._people.get(who)

    async def person(self, who: Who) -> Person:
        """The person, made now if need be; takes seconds."""
        if (known := self.ready(who)) is not None:
            return known
        if who not in self._begun:
            made = self._run(self._making, functools.partial(self._make, *who))
            self._begun[who] = asyncio.ensure_future(made)
            self._begun[who].add_done_callback(functools.partial(self._keep, who))
        return await asyncio.shield(self._begun[who])  # another page may wait for it, too

    def _make(self, seed: int, psi: float) -> Person:
        person = self._pipe.person(seed, psi=psi)
        if self._quality == "layers":
            person.render(quality="layers")  # the first one makes them: frames of others are not to wait for it
        return person

    def _keep(self, who: Who, made: asyncio.Future[Person]) -> None:
        del self._begun[who]
        if made.cancelled() or made.exception() is not None:
            return
        self._people[who] = made.result()
        while len(self._people) > MAX_PEOPLE:
            self._people.popitem(last=False)

    async def draw(self, person: Person, shot: Shot, ext: Literal["jpeg", "png"]) -> bytes:
        """A frame as a file."""
        if not self.controls.expression:  # motions may have some
            shot = shot._replace(expression=np.zeros_like(shot.expression))
        return await self._run(self._drawing, functools.partial(draw, person, shot, ext, self._quality))

    async def export(self, who: Who, clips: Sequence[Clip], source: Mapping[str, Any]) -> bytes:
        """A portable avatar of the person, as a .glb file; takes seconds."""
        person = await self.person(who)
        source = {**dict(zip(("seed", "psi"), who, strict=True)), **source}
        make = functools.partial(export_avatar, self._pipe, person, clips, source)
        return (await self._run(self._making, make)).glb

    def close(self) -> None:
        """Begins nothing any more."""
        for threads in (self._drawing, self._making):
            threads.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _run(threads: ThreadPoolExecutor, function: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(threads, function)


def draw(person: Person, shot: Shot, ext: Literal["jpeg", "png"], quality: Quality = "fast") -> bytes:
    """A frame of ``person`` as the bytes of a JPEG or PNG file."""
    frame = person.render(shot.expression, shot.joint_eulers, shot.camera, quality=quality)
    file = io.BytesIO()
    Image.fromarray(image_to_uint8(frame.image)).save(file, ext, **(JPEG if ext == "jpeg" else {}))
    return file.getvalue()

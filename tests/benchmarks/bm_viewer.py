"""Frames a second that the viewer's page gets, of those that drawing alone would make.

    python -m tests.benchmarks.bm_viewer                    # ckpts/demo.safetensors; to meet: 10 a second on 2 cores
    python -m tests.benchmarks.bm_viewer --busy             # while another person is made, over and over
    python -m tests.benchmarks.bm_viewer --camera           # driven by a camera, which shows scikit-image's astronaut
    python -m tests.benchmarks.bm_viewer --ckpt FILE --device cuda --frames 200

A client in this process asks as the page does: a slider moves all the time, and the next shot is sent while the one
before is on its way. Frames come through a real socket, as JPEG. Drawing alone and the page take turns in this run, so
that other programs slow both down alike; their ratio is what the encoding, the server and the socket cost. Where other
programs take turns, processor time (of all threads, the client's too) says more; OMP_NUM_THREADS=1 keeps threads from
spending it on waiting for each other.
"""

import io
import itertools
import json
import math
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from skimage import data
from websockets.sync.client import ClientConnection, connect

from inference.person import Person
from inference.pipeline import DEMO, PortraitPipeline
from inference.viewer.messages import parse_shot
from inference.viewer.server import START
from tests.benchmarks.records import add_record, record
from tests.inference.viewer_server import SECONDS, Page, make_shot, open_page, serve
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli

GOAL = 10.0  # frames a second of the demo model on 2 cores
ROUND = 10  # frames in a turn


def moving_shots() -> Iterator[dict]:
    """Somebody moves a slider of the head up and down."""
    for i in itertools.count():
        pose = [[0.0] * 3 for _ in range(6)]
        pose[3][1] = 0.3 * math.sin(i / 10)
        yield {"id": i, **make_shot(*START, pose=pose)}


class Cost(NamedTuple):
    wall: float  # seconds
    cpu: float  # seconds of all threads

    @classmethod
    def now(cls) -> "Cost":
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: "Cost") -> "Cost":
        return Cost(self.wall - start.wall, self.cpu - start.cpu)


class Asking:
    """Asks as page/connection.js does: at most two shots are on their way; an answer is one for all before it."""

    def __init__(self, page: Page, shots: Iterator[dict]):
        self._page, self._shots = page, shots
        self._sent = self._answered = -1  # ids

    def ask(self, frames: int) -> Cost:
        """What so many frames cost."""
        start = Cost.now()
        for _ in range(frames):
            while self._sent < self._answered + 2:
                shot = next(self._shots)
                self._page.send(shot)
                self._sent = shot["id"]
            self._receive()
        cost = Cost.now().since(start)
        self.settle()
        return cost

    def draw(self, controls: dict) -> None:
        """Asks for one more picture, once fewer than two are on their way."""
        while self._sent >= self._answered + 2:
            self._receive()
        self._sent += 1
        self._page.send({"id": self._sent, **make_shot(*START, **controls)})

    def settle(self) -> None:
        """Waits for the pictures that are on their way."""
        while self._answered < self._sent:
            self._receive()

    def _receive(self) -> None:
        self._answered = self._page.until(type="frame")["id"]


class Driving:
    """Asks as page/camera.js does: a picture is sent when the one before is answered, and what it says is drawn."""

    def __init__(self, socket: ClientConnection, asking: Asking):
        self._socket, self._asking = socket, asking
        self._ready = json.loads(socket.recv(SECONDS))
        photo = Image.fromarray(data.astronaut()).crop((0, 0, 480, 360)).resize((640, 480))
        self._pictures = itertools.cycle([_jpeg(photo.rotate(2 * math.sin(i))) for i in range(ROUND)])

    def ask(self, frames: int) -> Cost:
        start = Cost.now()
        for _ in range(frames):
            self._socket.send(next(self._pictures))
            found = json.loads(self._socket.recv(SECONDS))
            if found["type"] != "pose":
                raise UserError(f"the camera's picture: expected a pose, found {found}")
            self._asking.draw({kind: found[kind] for kind in ("expression", "pose", "camera")})
        self._asking.settle()
        return Cost.now().since(start)


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=85)
    return file.getvalue()


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_viewer")
    parser.add_argument("--ckpt", default=str(DEMO), help="default: ckpts/demo.safetensors")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--frames", type=int, default=100, help="of each kind (default: 100)")
    parser.add_argument("--busy", action="store_true", help="make people meanwhile")
    parser.add_argument("--camera", action="store_true", help="let a camera drive the person")
    add_record(parser)
    args = parser.parse_args()
    if args.frames < ROUND:
        raise UserError(f"--frames: expected at least {ROUND}, found {args.frames}")

    pipe = PortraitPipeline.from_checkpoint(args.ckpt, device=resolve_device(args.device))
    person = pipe.person(START[0], psi=START[1])
    alone, through = [], []
    with serve(pipe) as url, open_page(url) as page, ExitStack() as stack:
        asking: Asking | Driving = Asking(page, moving_shots())
        asking.ask(1)  # the first person is there
        if args.camera:
            asking = Driving(stack.enter_context(connect(url.replace("http", "ws", 1) + "camera")), asking)
            asking.ask(3 * ROUND)  # by then the fit knows who it is
        with making_people(pipe) if args.busy else nullcontext():
            for _ in range(args.frames // ROUND):
                alone.append(draw_alone(person, ROUND))
                through.append(asking.ask(ROUND))
    print(f"{Path(args.ckpt).name} on {pipe.device}{', making people meanwhile' if args.busy else ''}:")
    figures, way = {}, "driven by the camera" if args.camera else "through the websocket"
    for what, costs in (("drawing alone", alone), (way, through)):
        wall, cpu = (statistics.median(part) / ROUND for part in zip(*costs, strict=True))
        figures |= {f"{what}, frames/s": 1 / wall, f"{what}, ms of processor time": 1e3 * cpu}
        print(f"    {what:22} {1 / wall:5.1f} frames a second, {1e3 * cpu:4.0f} ms of processor time a frame")
    ratio = statistics.median(a.wall / b.wall for a, b in zip(alone, through, strict=True))
    print(
        f"    the page gets {100 * ratio:.0f} % of drawing alone; goal with the demo model: {GOAL:.0f} frames a second"
    )
    print(f"    medians of {len(alone)} turns of {ROUND} frames")
    if args.record:
        record("bm_viewer", {**figures, "page / drawing alone, %": 100 * ratio}, pipe.device)


def draw_alone(person: Person, frames: int) -> Cost:
    """What so many frames cost that nobody sees."""
    start = Cost.now()
    for wanted in itertools.islice(moving_shots(), frames):
        shot = parse_shot(wanted)
        person.render(shot.expression, shot.joint_eulers, shot.camera, quality="fast").image.cpu()
    return Cost.now().since(start)


@contextmanager
def making_people(pipe: PortraitPipeline) -> Iterator[None]:
    """A thread makes one after the other."""
    stop = threading.Event()

    def make() -> None:
        for seed in itertools.count(1):
            if stop.is_set():
                return
            pipe.person(seed, psi=START[1])

    thread = threading.Thread(target=make)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    run_cli(main)

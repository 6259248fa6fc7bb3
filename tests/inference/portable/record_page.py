"""Records the player page as an animated picture: ``python -m tests.inference.portable.record_page --help``.

What is seen does not depend on how fast this machine draws: every frame is sought before it is taken.
"""

import io
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome

from inference.portable.page import write_page
from tests.inference.browser import open_browser, until
from tests.inference.portable.test_page import DRAWING
from torch_utils.misc import CliParser, atomic_path, run_cli

FPS = 10
WINDOW = (940, 760)
WIDTH = 720  # pixels of the recording
SCENES = (("Talk", 1.0, 3.4), ("Expressions and poses", 0.0, 4.8))  # motion, seconds of it
TURN = 0.45  # radians that the view swings to either side in the first scene


def record(page: Chrome) -> list[Image.Image]:
    """Pictures of the window at FPS."""
    names = [motion["name"] for motion in page.execute_script("return player.motions")]
    frames = []
    for number, (name, start, stop) in enumerate(SCENES):
        page.execute_script("player.reset(); player.choose(arguments[0])", names.index(name))
        count = round((stop - start) * FPS)
        for frame in range(count):
            page.execute_script("player.seek(arguments[0])", start + frame / FPS)
            if number == 0:
                page.execute_script(
                    "document.getElementById('with-camera').checked = false;"
                    "const { camera, orbit } = player.stage, r = camera.position.distanceTo(orbit.target);"
                    "const yaw = arguments[0] * Math.sin(2 * Math.PI * arguments[1]);"
                    "camera.position.copy(orbit.target);"
                    "camera.position.x += r * Math.sin(yaw); camera.position.z += r * Math.cos(yaw); orbit.update();",
                    TURN,
                    frame / count,
                )
            page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
            shot = Image.open(io.BytesIO(page.get_screenshot_as_png())).convert("RGB")
            frames.append(shot.resize((WIDTH, round(WIDTH * shot.height / shot.width)), Image.Resampling.LANCZOS))
    return frames


def main() -> None:
    parser = CliParser(prog="python -m tests.inference.portable.record_page", description=__doc__.split(":")[0])
    parser.add_argument("--glb", type=Path, required=True, help="the avatar")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .webp")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_browser(Path(folder) / "p", Path(folder), *DRAWING) as page:
        write_page(args.glb, Path(folder) / "site")
        page.set_window_size(*WINDOW)
        page.get((Path(folder) / "site" / "index.html").as_uri())
        until(page, lambda: page.execute_script("return Boolean(player.row)"))
        page.execute_script("player.pause()")
        frames = record(page)
    with atomic_path(args.out) as temporary:
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=1000 // FPS, quality=88, loop=0)


if __name__ == "__main__":
    run_cli(main)

"""The player page in headless Chromium, from a disk and from a web server: sliders, motions, recordings, pictures."""

import base64
import functools
import http.server
import io
import json
import re
import threading
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from inference.from_arkit import head_pose
from inference.motions import MOTIONS
from inference.portable.clips import load_clip
from inference.portable.gltf import to_glb
from inference.portable.page import SCRIPTS, player_script, write_page
from inference.portable.renderer import LayersRenderer
from networks.person.expressions import ARKIT, expression
from tests.inference.browser import by_id, needs_browser, open_browser, until
from tests.inference.portable.made_up import make_avatar
from tests.inference.recordings import make_rows, text, write
from torch_utils.misc import UserError
from torch_utils.pixels import image_to_uint8

# Where there is no graphics card, Chromium draws with the processor.
DRAWING = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
SIZE = 64


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    clips = [
        load_clip(title, files, ARKIT, n_interval=n_interval, fps=fps) for title, files, n_interval, fps in MOTIONS[:2]
    ]
    (folder / "person.glb").write_bytes(to_glb(make_avatar(), clips, image_size=SIZE).glb)
    write_page(folder / "person.glb", folder / "site")
    return folder / "site"


# ---- the files ----------------------------------------------------------------------------------------------------


def test_the_folder_has_all_that_the_page_asks_for(site):
    asked = re.findall(r'(?:src|href)="([^"]+)"', (site / "index.html").read_text())
    assert asked and all((site / name).is_file() for name in asked)
    assert (site / "avatar.glb").read_bytes() == (site.parent / "person.glb").read_bytes()
    script = (site / "avatar.glb.js").read_text()
    assert base64.b64decode(script.split('"')[1]) == (site / "avatar.glb").read_bytes()
    assert "MIT" in (site / "three.LICENSE").read_text()
    # Nothing comes from elsewhere.
    own = (site / "player.js").read_text() + (site / "index.html").read_text() + (site / "style.css").read_text()
    assert set(re.findall(r"https?://[\w.]+", own)) <= {"http://www.w3.org"}


def test_modules_become_one_script():
    code = player_script("avatar.glb")
    assert not re.search(r"^\s*(import|export)\b", code, flags=re.MULTILINE)
    names = re.findall(r"^(?:const|let|class|(?:async )?function) (\w+)", code, flags=re.MULTILINE)
    assert len(names) == len(set(names)) and {"Sliders", "Figure", "Splats", "Stage", "readRecording"} <= set(names)
    assert len(SCRIPTS) == 10


@pytest.mark.parametrize("name", ["missing", "text", "half", "no mesh"])
def test_what_is_no_avatar_is_refused(tmp_path, name):
    path = tmp_path / "person.glb"
    whole = to_glb(make_avatar()).glb
    contents = {"text": b"hello" * 9, "half": whole[:-9], "no mesh": whole.replace(b'"meshes":[', b'"mashes":[')}
    if name in contents:
        path.write_bytes(contents[name])
    with pytest.raises(UserError, match=r"person\.glb: (no such avatar file|expected a \.glb file)"):
        write_page(path, tmp_path / "site")
    assert not (tmp_path / "site").exists()


# ---- in a browser -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads"), *DRAWING) as browser:
        yield browser


@pytest.fixture
def page(browser, site):
    """The page from a disk, at rest; whatever happens on it, it must not complain in the console."""
    browser.get((site / "index.html").as_uri())
    until(browser, lambda: browser.execute_script("return Boolean(player.row)"))
    by_id(browser, "reset").click()
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def picture(page, side=SIZE) -> np.ndarray:
    """[side, side, 3] of the page's picture."""
    data = page.execute_script(f"return player.picture({side})")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")).astype(int)


def slider(page, name):
    return page.find_element(By.CSS_SELECTOR, f"[data-slider='{name}']")


def notes(page) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll('.note > span')].map(note => note.innerText)")


def row(page) -> np.ndarray:
    return np.array(page.execute_script("return player.row"))


@needs_browser
def test_layers_blend_as_they_do_here(page):
    """Opaque red under blue of opacity 128 / 255, in display values: what glTF's order of triangles gives."""
    middle = picture(page)[SIZE // 2, SIZE // 2]
    opacity = 128 / 255
    assert np.abs(middle - [255 * (1 - opacity), 0, 255 * opacity]).max() <= 1  # a framebuffer's rounding
    page.execute_script("player.paint('#00ff00')")
    assert picture(page)[1, 1].tolist() == [0, 255, 0]


@needs_browser
def test_pictures_are_those_of_our_renderer(page):
    """By the portrait camera, with an expression and a pose: both draw the same meshes; edges differ by a rule."""
    eulers = 0.2 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    asked = torch.from_numpy(expression(jawOpen=0.6, browInnerUp=0.9)).float()
    page.execute_script(
        "arguments[0].forEach((value, i) => (player.row[i] = value))", [*asked.tolist(), *eulers.flatten().tolist()]
    )
    renderer = LayersRenderer(make_avatar(), SIZE, torch.device("cpu"))
    ours = image_to_uint8(renderer.render(asked, eulers, torch.full((2,), torch.pi / 2)).image).astype(int)
    error = np.square(picture(page) - ours).mean()
    assert 10 * np.log10(255**2 / error) >= 28


@needs_browser
def test_a_slider_moves_what_it_says(page):
    before = picture(page)
    for _ in range(50):
        slider(page, "Expression Mouth open").send_keys(Keys.ARROW_RIGHT)
    assert row(page)[17] == pytest.approx(0.5)  # jawOpen, in steps of 0.01
    changed = np.abs(picture(page) - before).max(-1) > 0
    assert changed[SIZE // 2 :].any() and not changed[: SIZE // 2 - 2].any()  # the lower edge, and nothing above
    by_id(page, "reset").click()
    assert np.array_equal(picture(page), before)


@needs_browser
def test_motions_play(page):
    Select(by_id(page, "motions")).select_by_visible_text("Talk")
    until(page, lambda: float(page.execute_script("return document.getElementById('scrub').value")) > 0.01)
    by_id(page, "play").click()
    page.execute_script("player.seek(2.0)")  # frame 25 of 12.5 a second
    clip = load_clip("Talk", MOTIONS[1].files, ARKIT, n_interval=1, fps=12.5)
    found = row(page)
    np.testing.assert_allclose(found[[17, 23, 43]], clip.expression[25][[17, 23, 43]], atol=1e-6)
    np.testing.assert_allclose(found[64:82].reshape(6, 3), clip.joint_eulers[25], atol=1e-6)


@needs_browser
def test_a_recording_plays(page, tmp_path):
    rows = make_rows(count=7, head=(0.3, 0.2, 0.1))
    by_id(page, "file").send_keys(write(tmp_path / "take.csv", rows))
    until(page, lambda: "take.csv" in by_id(page, "motions").text)
    page.execute_script("player.pause(); player.seek(2.5 / 60)")
    found = row(page)
    assert found[17] == pytest.approx(0.25)  # half-way between 0.2 and 0.3
    # Neck and head share R = Ry(0.3) Rx(-0.2) Rz(0.1), about one axis.
    eulers = head_pose(Rotation.from_euler("YXZ", [[0.3, -0.2, 0.1]]).as_matrix(), level=False)[0]
    np.testing.assert_allclose(found[64:82].reshape(6, 3), eulers, atol=1e-6)


BAD_TAKES = {
    "words": ("hello", "expected a header and a row"),
    "column": (text(make_rows()).replace("JawOpen", "Jaw"), "found no jawOpen"),
    "percent": (text(make_rows()).replace("0.400000", "40.0"), "expected 0..1, found 40"),
    "gap": (text(make_rows()).replace("0.400000", ""), "expected a number, found ''"),
    "degrees": (text(make_rows(head=(20.0, 0.0, 0.0))), "expected head angles in radians"),
}  # fmt: skip


@needs_browser
def test_bad_recordings_are_one_line(page, tmp_path):
    for case, (content, complaint) in BAD_TAKES.items():
        (tmp_path / f"{case}.csv").write_text(content)
        by_id(page, "file").send_keys(str(tmp_path / f"{case}.csv"))
        said = f"{case}.csv: "
        [note] = until(page, lambda said=said: [n for n in notes(page) if n.startswith(said)])
        assert complaint in note and "\n" not in note, note


@needs_browser
def test_it_plays_from_a_web_server(browser, site):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        browser.get(url)
        until(browser, lambda: browser.execute_script("return Boolean(player.row)"))
        assert browser.execute_script("return player.motions.length") == 2
        link = by_id(browser, "avatar").get_attribute("href")
        with urllib.request.urlopen(link) as answer:
            assert answer.read() == (site / "avatar.glb").read_bytes()
        server.shutdown()


@needs_browser
def test_a_phone_sees_all_of_it(page):
    page.set_window_size(500, 900)
    page.execute_script("window.dispatchEvent(new Event('resize'))")
    try:
        width = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
        boxes = page.execute_script(
            "return ['picture', 'play', 'motions', 'scrub', 'panel'].map((id) => document.getElementById(id)"
            ".getBoundingClientRect().toJSON())"
        )
        assert all(box["left"] >= 0 and box["right"] <= width[1] for box in boxes), json.dumps(boxes)
    finally:
        page.set_window_size(1280, 800)

"""The viewer's page in headless Chromium: sliders, playback, files, and a server that goes away."""

import base64
import io
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from inference.keyframes import load_keyframes
from inference.motions import KEYFRAMES, MOTIONS
from inference.pipeline import PortraitPipeline
from networks.person.expressions import columns_of
from tests.inference.browser import by_id, needs_browser, open_browser, until
from tests.inference.portable.gltf_reader import Gltf
from tests.inference.viewer_server import make_model, serve

pytestmark = needs_browser


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    with open_browser(tmp_path_factory.mktemp("profile"), downloads, "--disable-gpu") as browser:
        yield browser


@pytest.fixture(scope="module")
def pipe():
    return PortraitPipeline(make_model())


@pytest.fixture(scope="module")
def url(pipe):
    with serve(pipe) as address:
        yield address


@pytest.fixture
def page(browser, url):
    """The page with its first picture; whatever happens on it, it must not complain in the console."""
    browser.get(url)
    until(browser, lambda: picture_id(browser) > 0)
    yield browser
    complaints = [entry for entry in browser.get_log("browser") if "400 (Bad Request)" not in entry["message"]]
    assert not complaints


def picture_id(browser) -> int:
    """The number of the shot that is seen."""
    return int(browser.execute_script("return document.getElementById('picture').dataset.id || 0"))


def pixels(browser) -> np.ndarray:
    data = browser.execute_script("return document.getElementById('picture').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")).astype(int)


def slider(browser, name):
    return browser.find_element(By.CSS_SELECTOR, f"[data-slider='{name}']")


def number(browser, name) -> float:
    """The number beside a slider."""
    return float(browser.execute_script("return arguments[0].nextSibling.value", slider(browser, name)))


def settled(browser) -> np.ndarray:
    """The picture once nothing changes it any more."""
    seen = [-1]

    def same():
        seen.append(picture_id(browser))
        time.sleep(0.2)
        return seen[-1] == seen[-2] == picture_id(browser)

    until(browser, same)
    return pixels(browser)


def notes(browser) -> list[str]:
    return browser.execute_script("return [...document.querySelectorAll('.note > span')].map(note => note.innerText)")


def test_a_slider_moves_the_picture(page):
    before = settled(page)
    for _ in range(20):
        slider(page, "Camera Yaw").send_keys(Keys.ARROW_RIGHT)
    assert number(page, "Camera Yaw") == 10.0  # in steps of half a degree
    after = settled(page)
    assert np.abs(after - before).mean() > 1
    by_id(page, "reset").click()
    assert number(page, "Camera Yaw") == 0
    assert np.array_equal(settled(page), before)


def test_another_person(page):
    before = settled(page)
    by_id(page, "seed-more").click()
    until(page, lambda: by_id(page, "picture").get_attribute("data-seed") == "1")
    assert np.abs(settled(page) - before).mean() > 1
    assert not by_id(page, "making").is_displayed()


def test_playback(page):
    Select(by_id(page, "motions")).select_by_visible_text("Head")
    first = until(page, lambda: picture_id(page) > 1 and picture_id(page))
    until(page, lambda: picture_id(page) > first + 5 and abs(number(page, "Head Yaw")) > 1)  # the sliders go along
    by_id(page, "play").click()
    still = settled(page)
    scrub = by_id(page, "scrub")
    frame = int(scrub.get_property("value"))
    assert scrub.get_property("max") == "95"
    page.find_element(By.TAG_NAME, "body").send_keys("]")  # to the next keyframe, which is that of the file
    expected = load_keyframes(KEYFRAMES / "headpose.npy", "pose")
    key = (frame // 8 + 1) % 12
    assert int(scrub.get_property("value")) == 8 * key
    assert number(page, "Head Yaw") == pytest.approx(np.degrees(expected[key, [0, 3], 1].sum()), abs=0.051)  # 1 decimal
    if not np.array_equal(expected[key], expected[frame // 8]):
        assert not np.array_equal(settled(page), still)
    by_id(page, "clear").click()
    until(page, lambda: by_id(page, "clock").text == "no motion")


def test_keyframes_go_out_and_come_back(page, downloads, tmp_path):
    for amount in (4, 9):
        slider(page, "Expression Smile").send_keys(Keys.ARROW_RIGHT * amount)
        by_id(page, "add").click()
        until(page, lambda: not by_id(page, "remove").get_property("disabled"))
    until(page, lambda: by_id(page, "clock").text.startswith("9 / 16"))
    by_id(page, "export").click()
    archive = downloads / "motion.zip"
    until(page, archive.exists)
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    expression = load_keyframes(tmp_path / "expression.npz", "expression")
    smile = list(columns_of("mouthSmile"))
    assert expression[:, smile] == pytest.approx(np.array([[0.04] * 2, [0.13] * 2]), abs=1e-7)  # one by float32
    assert not np.delete(expression, smile, axis=1).any()
    assert not load_keyframes(tmp_path / "pose.npy", "pose").any()
    assert load_keyframes(tmp_path / "camera.npy", "camera") == pytest.approx(np.full((2, 2), np.pi / 2), abs=1e-7)
    assert "python gen_video.py --seeds 0 --psi 0.7 --n_interval 8 --fps 20" in notes(page)[-1]

    page.refresh()
    until(page, lambda: picture_id(page) > 0)
    by_id(page, "files").send_keys("\n".join(str(tmp_path / name) for name in ("expression.npz", "pose.npy")))
    until(page, lambda: by_id(page, "tracks").text.split("\n")[0].startswith("Expression · 2"))
    assert "Camera · sliders" in by_id(page, "tracks").text
    by_id(page, "play").click()
    page.find_element(By.TAG_NAME, "body").send_keys("[]")
    assert number(page, "Expression Smile") in (0.04, 0.13)


def test_a_frame_is_saved_as_png(page, downloads):
    by_id(page, "save").click()
    until(page, (downloads / "seed0.png").exists)
    saved = np.asarray(Image.open(downloads / "seed0.png")).astype(int)
    # What is seen is a JPEG of it; of noise, for which 8 of 255 is close.
    assert saved.shape == settled(page).shape and np.abs(saved - pixels(page)).mean() < 8


def test_an_avatar_is_saved(page, downloads):
    by_id(page, "avatar").click()
    until(page, (downloads / "person0_psi0.7.glb").exists)
    file = Gltf((downloads / "person0_psi0.7.glb").read_bytes())
    assert [motion["name"] for motion in file.document["animations"]] == [motion.title for motion in MOTIONS]
    command = "python -m inference.portable page --glb person0_psi0.7.glb --out site"
    until(page, lambda: command in notes(page)[-1])


def test_a_bad_file_is_one_line(page, tmp_path):
    np.save(tmp_path / "odd.npy", np.zeros((3, 7)))
    by_id(page, "files").send_keys(str(tmp_path / "odd.npy"))
    expected = "odd.npy: expected keyframes of expression [N,64] or pose [N,6,3] or camera [N,2], found [3,7]"
    assert until(page, lambda: notes(page)) == [expected]


def test_a_lost_server_comes_back(browser, pipe):
    with serve(pipe) as url:
        browser.get(url)
        until(browser, lambda: picture_id(browser) > 0)
        slider(browser, "Head Yaw").send_keys(Keys.ARROW_RIGHT * 3)
    until(browser, lambda: by_id(browser, "link").text == "connection lost, trying again")
    seen = picture_id(browser)
    with serve(pipe, port=int(url.rstrip("/").rpartition(":")[2])):
        until(browser, lambda: by_id(browser, "link").text == "connected")
        until(browser, lambda: picture_id(browser) > seen)
        assert number(browser, "Head Yaw") == 1.5  # the page keeps what it had
    browser.get("about:blank")
    browser.get_log("browser")

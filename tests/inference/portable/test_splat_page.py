"""A linear avatar on the player page in headless Chromium: the same pictures as here, sliders, motions, a worker."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from inference.motions import MOTIONS
from inference.pipeline import PortraitPipeline
from inference.portable.clips import load_clip
from inference.portable.page import write_page
from networks.gaussian.avatar import pack_avatar
from networks.gaussian.linear import LinearAvatar, pack_linear
from networks.person.expressions import ARKIT, expression
from tests.inference.browser import by_id, needs_browser, open_browser, until
from tests.inference.portable.test_page import DRAWING
from tests.networks.gaussian.made_up import make_avatar
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError
from torch_utils.pixels import image_to_uint8

SIZE = 48


def make_linear() -> LinearAvatar:
    """A ball of opaque Gaussians of many colours and shapes; all that can move it does."""
    avatar = make_avatar("static")
    random = torch.Generator().manual_seed(0)
    poses = [avatar.pose(torch.rand(64, generator=random), 0.3 * torch.randn(6, 3, generator=random)) for _ in range(9)]
    avatar.fit_projection(poses)
    linear = LinearAvatar.of(avatar, 4)
    with torch.no_grad():
        linear.positions *= 0.5
        linear.base.copy_(torch.cat([avatar.canonical[name] for name in ("colour", "position", "other")], -1))
        linear.base[:, :3] = torch.rand(linear.base[:, :3].shape, generator=random)
        linear.base[:, 6] = 2.0
        linear.base[:, 7:14] += 0.3 * torch.randn(linear.base[:, 7:14].shape, generator=random) - 0.1
        linear.directions[:3] = 0.1 * torch.randn(linear.directions[:3].shape, generator=random)
        linear.mixing.weight[:] = 0.0
        linear.mixing.bias[:] = 0.0
        linear.mixing.weight[0, 0] = 1.0  # the pose
        linear.mixing.weight[1, 2 + 17] = 2.0  # jawOpen
        linear.mixing.weight[2, -3] = 2.0  # from the side
        linear.limits[:] = 1.5
        linear.most[17] = 0.3  # less than is asked for
    return linear


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("linear") / "ball.safetensors"
    save_checkpoint(path, pack_linear(make_linear(), {"face_model": "arkit", "image_size": SIZE, "source": "a ball"}))
    return path


@pytest.fixture(scope="module")
def browser(saved, tmp_path_factory):
    write_page(saved, saved.parent / "site", linear=True)
    with open_browser(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads"), *DRAWING) as browser:
        yield browser


@pytest.fixture
def page(browser, saved):
    browser.get((saved.parent / "site" / "index.html").as_uri())
    until(browser, lambda: browser.execute_script("return Boolean(player.row)"))
    by_id(browser, "reset").click()
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def picture(page, side=SIZE) -> np.ndarray:
    data = page.execute_script(f"return player.picture({side})")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")).astype(int)


@needs_browser
def test_pictures_are_ours(page, saved):
    """With an expression, a pose, from the side. Edges differ: 3 sigma and tiles here, 1/255 there; eight bits."""
    person = PortraitPipeline.from_checkpoint(saved).person()
    eulers = 0.2 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    asked = torch.from_numpy(expression(jawOpen=0.6)).float()
    script = "arguments[0].forEach((value, i) => (player.row[i] = value))"
    for row, yaw in (((torch.zeros(64), torch.zeros(6, 3)), np.pi / 2), ((asked, eulers), 1.3)):
        page.execute_script(script, [*row[0].tolist(), *row[1].flatten().tolist()])
        page.execute_script(
            "const { camera, orbit } = player.stage, { radius, target } = CONFIG.portrait, yaw = arguments[0];"
            "camera.position.set(target[0] + radius * Math.cos(yaw), target[1], target[2] + radius * Math.sin(yaw));"
            "orbit.update(); camera.updateMatrixWorld();", yaw,
        )  # fmt: skip
        ours = image_to_uint8(person.render(*row, (np.pi / 2, yaw)).image).astype(int)
        error = np.square(picture(page) - ours).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-6)) >= 36 and ours.std() > 30


@needs_browser
def test_a_slider_moves_it_by_the_worker(page):
    """The canvas itself changes, not only the pictures that are asked for."""
    shown = "return document.getElementById('picture').toDataURL()"
    until(page, lambda: page.execute_script("return player.rate >= 0 && !player.stage.changed"))
    before = page.execute_script(shown)
    slider = page.find_element(By.CSS_SELECTOR, "[data-slider='Expression Mouth open']")
    for _ in range(30):
        slider.send_keys(Keys.ARROW_RIGHT)
    until(page, lambda: page.execute_script(shown) != before)
    sliders = page.find_elements(By.CSS_SELECTOR, "[data-slider^='Expression ']")
    assert len(sliders) == 1  # what moves nothing here has none
    assert by_id(page, "avatar").text == "Download .safetensors" and by_id(page, "who").text == "a ball"


@needs_browser
def test_motions_that_ship_play(page):
    titles = [option.text for option in Select(by_id(page, "motions")).options]
    assert titles[1:] == [motion.title for motion in MOTIONS]
    page.execute_script("player.choose(1); player.seek(2.0)")  # Talk, frame 25 of 12.5 a second
    clip = load_clip("Talk", MOTIONS[1].files, ARKIT, n_interval=1, fps=12.5)
    row = np.array(page.execute_script("return player.row"))
    np.testing.assert_allclose(row[[17, 23, 43]], clip.expression[25][[17, 23, 43]], atol=1e-4)  # rounded to 4 places
    np.testing.assert_allclose(row[64:82].reshape(6, 3), clip.joint_eulers[25], atol=1e-4)


def test_what_the_page_cannot_draw_is_refused(tmp_path):
    linear = make_linear()
    linear.skinning = "published"
    save_checkpoint(tmp_path / "a", pack_linear(linear, {}))
    with pytest.raises(
        UserError, match="expected an avatar of head and shoulders with exact skinning, found one of 24"
    ):
        write_page(tmp_path / "a", tmp_path / "site", linear=True)
    save_checkpoint(tmp_path / "b", pack_avatar(make_avatar(), {}))
    with pytest.raises(UserError, match="b: expected a linear avatar, found 'gaussian_avatar'"):
        write_page(tmp_path / "b", tmp_path / "site", linear=True)

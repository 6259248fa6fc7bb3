"""A Gaussian avatar in the pipeline that draws people."""

import math

import pytest
import torch

from inference.avatar import AvatarPipeline
from inference.pipeline import PortraitPipeline
from networks.cameras import PORTRAIT_CAMERA, pinhole
from networks.gaussian.avatar import View, pack_avatar
from tests.inference.viewer_server import complaint, make_shot, open_page, serve
from tests.networks.gaussian.made_up import make_avatar
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError

METADATA = {"face_model": "arkit", "image_size": 40}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> PortraitPipeline:
    avatar = make_avatar()
    with torch.no_grad():
        for values in (avatar.maps.positions, avatar.maps.expression_basis):
            values *= 0.5
        avatar.canonical["other"][:, 1:4] += math.log(0.5)
        avatar.canonical["other"][:, 0] = 8.0  # opaque
        avatar.canonical["colour"][:] = torch.tensor([0.8, 0.2, 0.1])
    poses = [avatar.pose(torch.zeros(64), 0.1 * i * torch.ones(6, 3)) for i in range(3)]
    avatar.fit_projection(poses)
    path = tmp_path_factory.mktemp("avatar") / "latest"
    save_checkpoint(path, pack_avatar(avatar, METADATA))
    return PortraitPipeline.from_checkpoint(path)


def test_frames(pipe):
    """A red ball in the middle, on white; where it is opaque its depth is the distance along the ray."""
    assert isinstance(pipe, AvatarPipeline) and pipe.face_model == "arkit" and pipe.priors is None
    person = pipe.person(seed=0, psi=0.7)
    frame = person.render(camera=(math.pi / 2, 1.3), quality="fast")
    assert [tuple(part.shape) for part in frame] == [(3, 40, 40), (3, 10, 10), (40, 40), (40, 40)]
    assert frame.image[:, 20, 20].tolist() == pytest.approx([0.6, -0.6, -0.8], abs=0.05)
    assert frame.image[:, 0, 0].tolist() == [1, 1, 1] and frame.depth[0, 0] == 0
    assert frame.alpha[20, 20] > 0.97
    # The camera looks at (0, -0.018, -0.096) from 1.895 away; the ball of 0.1 about the origin is 0.092 nearer to it.
    assert frame.depth[20, 20] == pytest.approx(1.895 - 0.092 - 0.095, abs=0.03)
    view = View(*pinhole(torch.tensor([math.pi / 2, 1.3]), PORTRAIT_CAMERA, 40), (40, 40))
    avatar = person.avatar
    with torch.no_grad():
        picture = avatar(avatar.pose(torch.zeros(64), torch.zeros(6, 3)), view.origin, project=True).draw(view, 1.0)
    assert torch.allclose(frame.image, picture.image.permute(2, 0, 1).clamp(0, 1) * 2 - 1)


def test_controls(pipe):
    """Each of them changes the picture."""
    person = pipe.person()
    still = person.render()
    wide = torch.zeros(64)
    wide[0] = 1.0
    for changed in (person.render(expression=wide), person.render(joint_eulers=0.2 * torch.ones(6, 3)),
                    person.render(camera=(1.3, 1.5))):  # fmt: skip
        assert (changed.alpha - still.alpha).abs().max() > 0.05


def test_one_actor_is_no_crowd(pipe):
    with pytest.raises(UserError, match="expected seed 0, for this is the avatar of one actor, found seed 3"):
        pipe.person(seed=3)
    with pytest.raises(UserError, match="expected seed 0, .* found betas"):
        pipe.person(betas=[0.0] * 10)
    for ask in (lambda: pipe.generator, lambda: pipe.sample_latents(0), lambda: pipe.fast_renderer):
        with pytest.raises(UserError, match="expected a generator of people, found the avatar of one actor"):
            ask()
    with pytest.raises(ValueError, match="quality: expected one of .*, found 'best'"):
        pipe.person().render(quality="best")
    with pytest.raises(ValueError, match=r"joint_eulers: expected .* radians, found 90 \(degrees\?\)"):
        pipe.person().render(joint_eulers=90 * torch.ones(6, 3))


def test_the_viewer_shows_the_actor(pipe):
    """A frame, and one line for whoever asks for somebody else; the page is told that there is nobody else."""
    with serve(pipe) as url, open_page(url) as page:
        assert page.hello["one_person"] and page.hello["image_size"] == 40
        page.send({"id": 1, **make_shot(camera=[1.5, 1.4])})
        assert page.until(type="frame", id=1)["seed"] == 0
        page.send({"id": 2, **make_shot(seed=7)})
        assert "expected seed 0, for this is the avatar of one actor" in page.until(type="error", id=2)["message"]
        status, said = complaint(url, "avatar.glb", make_shot())
        assert status == 400 and "expected a person of layers" in said

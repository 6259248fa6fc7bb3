"""Our own data sets as a rig: who is on them, from where, and that the body is where the pictures show it."""

import argparse

import pytest
import torch

from networks.gaussian.avatar import AvatarConfig, GaussianAvatar
from networks.gaussian.maps import CanonicalMaps
from tests.training.avatar.made_up import CONFIG
from torch_utils.config import config_from_dict
from torch_utils.misc import UserError
from training.avatar.config import AvatarTrainConfig
from training.avatar.portraits import PortraitViews
from training.data import synthesize

CPU = torch.device("cpu")
SIZE, SHOTS = 48, 5
TINY = config_from_dict(AvatarTrainConfig, {**CONFIG, "capture": {"held_out_every": 5}}, "tiny")


def draw(words: str) -> None:
    parser = argparse.ArgumentParser()
    synthesize.add_arguments(parser)
    synthesize.run(parser.parse_args(words.split()))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("set") / "two"
    words = f"--out {out} --num {2 * SHOTS} --shots {SHOTS} --views all --size {SIZE} --face_size 16 --workers 0"
    draw(words)
    return out


def test_pictures_are_of_one_person(data):
    views, other = PortraitViews(data, 0, TINY, CPU), PortraitViews(data, 1, TINY, CPU)
    assert views.learned == [0, 1, 2, 3] and views.others == [4] and other.learned == [5, 6, 7, 8]
    assert views.frames == 4 and views.metadata["face_model"] == "arkit" and "5 pictures" in views.summary
    shot, (pose, view) = views.shot(2), views.look(2)
    assert torch.equal(shot.pose.transforms, pose.transforms) and shot.view.size == view.size == (SIZE, SIZE)
    expected = views.body.joint_transforms(views.betas[None], views.labels["joint_eulers"][2:3])[0]
    assert torch.allclose(pose.transforms, expected, atol=1e-6)
    assert torch.equal(pose.expression, views.labels["z_exp"][2])
    picture = shot.over(1.0)  # as it is in the file
    assert picture[0, 0].tolist() == [1, 1, 1] and picture.min() < 0.5
    assert torch.equal(views.look(6)[0].expression, pose.expression)  # round again


@torch.no_grad()
def test_the_body_is_where_pictures_show_it(data):
    """From all sides: most of an opaque template's outline is the mask's; Gaussians are as wide as they are apart."""
    views = PortraitViews(data, 0, TINY, CPU)
    config = AvatarConfig(map_size=64, nets="static", pose_components=0)
    actor = views.actor(64)
    maps = CanonicalMaps.from_template(actor.template, actor.window)
    avatar = GaussianAvatar(config, maps, actor.joints, actor.parents)
    avatar.start()
    avatar.canonical["other"][:, 0] = 6.0
    shares = []
    for index in range(views.frames):
        shot = views.shot(index)
        found = avatar(shot.pose, shot.view.origin).draw(shot.view).alpha > 0.5
        wanted = shot.alpha > 0.5
        shares.append(((found & wanted).sum() / (found | wanted).sum()).item())
    assert min(shares) > 0.65, shares  # 0.72 where this was written; a person seen from elsewhere has 0.5


def test_faces_move(data):
    """The template's mouth opens by jawOpen as the face's does; shoulders stay."""
    actor = PortraitViews(data, 0, TINY, CPU).actor(16)
    moved = actor.template.expression_basis[:, :, 17].norm(dim=-1)
    assert moved.max() > 0.01 and (moved[actor.template.vertices[:, 1] < -0.15] < 1e-6).all()
    assert actor.template.drawn is not None
    assert (actor.template.drawn - actor.template.vertices).norm(dim=-1).max() > 0.005


def test_bad_input(data, tmp_path):
    with pytest.raises(UserError, match="--seed 2: expected one of the 2 people in"):
        PortraitViews(data, 2, TINY, CPU)
    words = f"--out {tmp_path / 'crowd'} --num 2 --size 32 --face_size 16 --workers 0"
    draw(words)
    with pytest.raises(UserError, match=r"expected masks, and several pictures of everybody \(--shots\), found 1 pic"):
        PortraitViews(tmp_path / "crowd", 0, TINY, CPU)

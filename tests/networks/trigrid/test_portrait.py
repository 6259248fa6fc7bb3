"""People of a tri-grid with a body: cameras of this house, frames, and checkpoints."""

import math

import pytest
import torch

from networks.cameras import FACE_CAMERA, FRONTAL, PORTRAIT_CAMERA, cast_rays
from networks.manifold.generator import Generator
from networks.person.body_model import HEAD
from networks.saved_model import REPRESENTATIONS, SavedModel, pack_model, unpack_model
from networks.trigrid.camera_labels import FOCAL, label_rays, orbit, orbit_label, portrait_label
from networks.trigrid.config import TriGridConfig
from networks.trigrid.deformation import UNIT, to_canonical, to_metres
from networks.trigrid.portrait import TriGridPortrait
from tests.networks.helpers import make_body, make_generator
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.misc import UserError

TINY = {
    "image_size": 32, "raw_size": 10, "latent_dim": 8, "style_dim": 8, "plane_size": 8, "plane_features": 4,
    "plane_depth": 2, "channel_base": 64, "max_channels": 8, "colour_features": 4, "superresolution_input": 16,
    "superresolution_channels": (4, 4), "background_size": 8, "samples": 10, "importance_samples": 4, "near": 1.8,
    "far": 2.7, "rest_pose": "mean", "orbit": "portrait",
}  # fmt: skip


def make_portrait(**changes) -> TriGridPortrait:
    torch.manual_seed(0)
    body = make_body()
    portrait = TriGridPortrait(TriGridConfig(**{**TINY, **changes}), body, torch.arange(len(body.v_template)))
    return portrait.eval().requires_grad_(False)


def test_rays_of_a_portrait_label_are_the_portrait_camera_s():
    """In canonical units, the pixels' centres at the ends of the field of view."""
    camera = torch.tensor([[FRONTAL, FRONTAL], [1.2, -2.0]])
    ours = cast_rays(camera, PORTRAIT_CAMERA, 8)
    found = label_rays(portrait_label(camera, 8), 8)
    torch.testing.assert_close(to_canonical(found.origins), ours.origins, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.directions, ours.directions, rtol=0, atol=1e-6)


def test_the_orbit_of_360phq_in_this_house_s_angles():
    """The front is pi/2 in both; a camera at the person's left (x > 0) has a smaller yaw here, a larger one there."""
    found = orbit_label(torch.tensor([[FRONTAL, FRONTAL], [FRONTAL, 0.0], [math.pi / 3, FRONTAL]]))
    front = orbit(torch.tensor([math.pi / 2]), torch.tensor([math.pi / 2]))
    torch.testing.assert_close(found[0, :16], front.flatten(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1, 3], torch.tensor(2.7), rtol=0, atol=1e-5)  # x
    torch.testing.assert_close(found[2, 7], torch.tensor(1.35), rtol=0, atol=1e-5)  # y = r cos(pitch)
    assert found[0, 16] == pytest.approx(FOCAL)


@pytest.mark.parametrize("pose", ["none", "smoothed"])
def test_expressions_come_after_the_pose(pose):
    """D^e whose answer is a constant moves all points by it, in canonical units, once the pose is taken off."""
    portrait = make_portrait(pose=pose, expression_dim=4)
    step = torch.tensor([0.01, -0.02, 0.03])
    portrait.expression_deformation.output.bias[:3] = step
    assert portrait.controls.expression and not make_portrait().controls.expression
    eulers = torch.zeros(1, 6, 3)
    eulers[:, 3, 1] = 0.3
    rotations, label = portrait.space.rotations_of(portrait.body, eulers), portrait.camera_label(torch.ones(1, 2))
    rays = label_rays(label, 10)
    points = rays.at(torch.linspace(2.0, 2.5, 10))
    unpose = portrait.space(portrait.body, rotations, rays)
    neutral = points if unpose is None else unpose(points)
    found = portrait.deformation(rotations, rays, expression=torch.ones(1, 64))(points)
    torch.testing.assert_close(found, neutral + UNIT * step, rtol=0, atol=1e-6)
    assert (portrait.deformation(rotations, rays) is None) is (pose == "none")  # neutral faces ask nobody


def test_expressions_need_the_space_that_faces_are_defined_in():
    with pytest.raises(ValueError, match="rest_pose: expected mean for skinning, shoulders and expressions"):
        make_portrait(rest_pose="t_pose", pose="frames", expression_dim=4)


def test_face_cameras_ride_on_the_head():
    """Their rays are those of :func:`networks.cameras.cast_rays` on the posed head joint, in canonical units."""
    portrait = make_portrait(image_size=32)
    eulers, camera = torch.zeros(1, 6, 3), torch.tensor([[1.4, 1.8]])
    eulers[:, 0, 1], eulers[:, 3, 2] = 0.3, 0.2
    frame = portrait.body.joint_transforms(torch.zeros(1, 10), eulers)[:, HEAD]
    ours = cast_rays(camera, FACE_CAMERA, 32, frame)
    found = label_rays(portrait.face_label(camera, portrait.space.rotations_of(portrait.body, eulers)), 32)
    torch.testing.assert_close(to_canonical(found.origins), ours.origins, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.directions, ours.directions, rtol=0, atol=1e-5)


def test_metres_and_canonical_units_are_inverses():
    points = torch.randn(5, 3)
    torch.testing.assert_close(to_canonical(to_metres(points)), points, rtol=0, atol=1e-6)
    assert pytest.approx(1.177469, abs=1e-6) == UNIT  # the specification's


@pytest.mark.parametrize("pose", ["frames", "smoothed", "nearest", "none"])
def test_frames(pose):
    portrait = make_portrait(pose=pose)
    person = portrait.person(torch.randn(1, 8))
    eulers, front = torch.zeros(1, 6, 3), torch.full((1, 2), FRONTAL)
    frame = portrait.render(person, eulers, front)
    assert frame.image.shape == (1, 3, 32, 32) and frame.image_lr.shape == (1, 3, 10, 10)
    assert frame.alpha.shape == frame.depth.shape == (1, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(frame, portrait.render(person, eulers, front), strict=True))
    seen = frame.depth[frame.alpha > 0.01]
    assert seen.numel() and (seen > 1.8 / UNIT).all() and (seen < 2.75 / UNIT).all()
    eulers[:, 0, 1] = 0.5
    assert torch.equal(frame.image, portrait.render(person, eulers, front).image) is (pose == "none")


def test_psi_0_is_the_mean_person():
    portrait = make_portrait()
    portrait.trigrid.backbone.mapping.w_avg.normal_()
    one, other = (portrait.person(z, psi=0.0).ws for z in torch.randn(2, 1, 8))
    assert torch.equal(one, other)


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_holds_everything(half, tmp_path):
    portrait = make_portrait(pose="smoothed")
    save_checkpoint(tmp_path / "model", pack_model(SavedModel(portrait, None, {"steps": 3}), half=half))
    again = unpack_model(load_checkpoint(tmp_path / "model"), "model", REPRESENTATIONS)
    assert isinstance(again.generator, TriGridPortrait) and again.metadata == {"steps": 3}
    assert again.generator.config == portrait.config
    z, eulers, front = torch.randn(1, 8), torch.zeros(1, 6, 3), torch.full((1, 2), FRONTAL)
    one, other = (each.render(each.person(z), eulers, front).image for each in (portrait, again.generator))
    torch.testing.assert_close(other, one, rtol=0, atol=0.05 if half else 0)


def test_a_checkpoint_of_the_other_representation_is_refused():
    packed = pack_model(SavedModel(make_portrait(), None, {}))
    with pytest.raises(UserError, match="^here: convention: expected 'aniportraitgan', found 'trigrid'$"):
        unpack_model(packed, "here")
    with pytest.raises(UserError, match="^here: convention: expected 'trigrid', found 'aniportraitgan'$"):
        unpack_model(pack_model(SavedModel(make_generator(), None, {})), "here", (TriGridPortrait,))
    mixed = {**packed, "config": {"representation": "manifolds"}}
    with pytest.raises(UserError, match="representation"):
        unpack_model(mixed, "here", (Generator, TriGridPortrait))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose": "smoothed", "rest_pose": "t_pose"}, "rest_pose: expected mean"),
        ({"shoulders": True, "rest_pose": "t_pose"}, "rest_pose: expected mean"),
        ({"pose": "smoothed", "samples": 8}, "at least 10"),
        ({"raw_size": 18}, "raw_size: expected at most superresolution_input"),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        TriGridConfig(**{**TINY, **changes})

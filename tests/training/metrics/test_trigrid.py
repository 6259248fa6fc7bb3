"""Tri-grid models in the metrics: whose z, conditioned on what, in which pose."""

import pytest
import torch

from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from tests.networks.helpers import make_priors_dict
from tests.networks.trigrid.test_portrait import make_portrait
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError
from training.metrics.renderers import load_renderer
from training.metrics.trigrid import TriGridRenderer
from training.sampling import Inputs


def make_inputs(count: int = 2) -> Inputs:
    random = torch.Generator().manual_seed(3)
    shapes = {"z_id": (80,), "z_noise": (80,), "betas": (10,), "z_exp": (64,), "joint_eulers": (6, 3), "camera": (2,),
              "face_camera": (2,), "where": (1,), "delta": (1, 3)}  # fmt: skip
    drawn = {name: torch.randn(count, *shape, generator=random) for name, shape in shapes.items()}
    drawn["joint_eulers"] *= 0.1
    drawn["camera"] = torch.pi / 2 + 0.2 * drawn["camera"]
    return Inputs(**drawn)


def make_renderer(*, priors: bool = True) -> TriGridRenderer:
    rows = LabelPriors.from_dict(make_priors_dict(), "here") if priors else None
    portrait = make_portrait()
    portrait.trigrid.decoder.net[2].bias[0] = 30.0  # something to see
    return TriGridRenderer(portrait, rows, "model.safetensors")


def test_pictures_depend_on_nothing_but_their_row():
    renderer, inputs = make_renderer(), make_inputs()
    both = renderer(inputs, ("portrait",))["portrait"]
    alone = renderer(inputs.part(slice(1, 2)), ("portrait",))["portrait"]
    torch.testing.assert_close(both.image[1:], alone.image, rtol=0, atol=1e-5)
    assert not torch.equal(both.image[0], both.image[1]) and both.image.shape == (2, 3, 32, 32)


def test_camera_and_pose_are_rendered_and_do_not_condition():
    renderer, inputs = make_renderer(), make_inputs(1)
    ws = renderer.style(inputs.z_noise[0])
    other = inputs._replace(camera=inputs.camera + 0.3, joint_eulers=-inputs.joint_eulers)
    assert torch.equal(renderer.style(other.z_noise[0]), ws)
    images = [renderer(each, ("portrait",))["portrait"].image for each in (inputs, other)]
    assert not torch.equal(*images)
    assert not torch.equal(renderer.style(inputs.z_noise[0] + 1), ws)


def test_without_rows_people_are_conditioned_on_the_front():
    renderer, inputs = make_renderer(priors=False), make_inputs(1)
    found = renderer.style(inputs.z_noise[0])
    assert found.shape == (1, renderer.portrait.trigrid.backbone.synthesis.num_ws, 8)


def test_no_face_camera_sees_them(tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", pack_model(SavedModel(make_portrait(), None, {})))
    renderer = load_renderer(tmp_path / "m.safetensors", torch.device("cpu"))
    with pytest.raises(UserError, match=r"--regions: expected full, for .*m\.safetensors is a tri-grid"):
        renderer(make_inputs(1), ("portrait", "face"))

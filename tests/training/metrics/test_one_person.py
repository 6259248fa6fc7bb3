"""Models of one person in the metrics of control: avatars, and people of photos."""

import pytest
import torch

from inference.pipeline import PortraitPipeline
from networks.gaussian.avatar import pack_avatar
from networks.person.priors import Latents
from networks.saved_model import SavedModel, pack_model
from tests.networks.gaussian.made_up import make_avatar
from tests.networks.helpers import make_generator
from tests.training.metrics.test_control import Canvas
from tests.training.metrics.test_trigrid import make_inputs
from tests.training.tiny_run import make_sampler
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError
from training.metrics import control
from training.metrics.control import ControlConfig, measure_control
from training.metrics.renderers import GeneratorRenderer, load_renderer

CPU = torch.device("cpu")
PERSON = {"z_id": [0.5] * 80, "betas": [-0.5] * 10}


def test_an_avatar_s_portraits_are_the_pipeline_s_and_its_face_camera_rides_on_the_head(tmp_path):
    avatar = make_avatar("static")
    avatar.maps.lbs_weights.zero_()[:, 15] = 1.0  # all of it hangs on the head
    metadata = {"face_model": "arkit", "image_size": 40, "person": PERSON}
    save_checkpoint(tmp_path / "latest", pack_avatar(avatar, metadata))
    renderer, inputs = load_renderer(tmp_path / "latest", CPU), make_inputs(2)
    assert renderer.size == {"portrait": 40, "face": 20} and renderer.face_model == "arkit"
    assert renderer.only is not None and renderer.only.betas.tolist() == [PERSON["betas"]]
    inputs = inputs._replace(face_camera=torch.full((2, 2), torch.pi / 2))
    found = renderer(inputs, ("portrait", "face"))
    person = PortraitPipeline.from_checkpoint(tmp_path / "latest").person()
    for i in range(2):
        frame = person.render(inputs.z_exp[i], inputs.joint_eulers[i], inputs.camera[i])
        assert torch.equal(found["portrait"].image[i], frame.image)
        assert torch.equal(found["portrait"].depth[i], frame.depth)
    still = renderer(inputs._replace(joint_eulers=torch.zeros(2, 6, 3)), ("face",))["face"]
    assert torch.allclose(found["face"].image, still.image, atol=1e-3) and still.image.min() < 0.9
    save_checkpoint(tmp_path / "other", pack_avatar(avatar, {"image_size": 40}))
    with pytest.raises(UserError, match="other: expected an avatar of a generated or drawn person .* names none"):
        load_renderer(tmp_path / "other", CPU)


def test_a_photo_s_person_is_rendered_whoever_is_asked_for(tmp_path):
    generator, inputs = make_generator(), make_inputs(2)
    latents = {name: value[:1] for name, value in inputs._asdict().items() if name in ("z_id", "z_noise", "betas")}
    style = generator.style(latents["z_id"], latents["z_noise"], psi=1.0)
    styles = {**style.radiance._asdict(), "superresolution": style.superresolution}
    person = {name: part.detach() for name, part in (latents | styles).items()}
    save_checkpoint(tmp_path / "me", pack_model(SavedModel(generator, None, {}, person)))
    renderer = load_renderer(tmp_path / "me", CPU)
    assert isinstance(renderer, GeneratorRenderer) and torch.equal(renderer.only.z_id, latents["z_id"])
    own = inputs.part(slice(0, 1))
    others = own._replace(z_noise=inputs.z_noise[1:])  # D^e's and the body's are those that are asked for
    expected = GeneratorRenderer(generator, 2, "demo")(own, ("portrait",))["portrait"].image
    assert torch.equal(renderer(others, ("portrait",))["portrait"].image, expected)


def test_people_are_not_compared_where_there_is_one(monkeypatch):
    """Everybody that is asked for is that person."""
    sampler = make_sampler(40, 0)
    canvas, row = Canvas(), make_inputs(1)
    canvas.only = only = Latents(row.z_id, row.z_noise, row.betas)
    monkeypatch.setattr(control, "load_face_recon", lambda path: torch.nn.Identity())
    monkeypatch.setattr(control, "InputSampler", lambda *given: sampler)
    seen = []
    monkeypatch.setitem(control.CONTROL, "expression", lambda scene: seen.append(scene.inputs) or {"x": 1.0})
    found = measure_control(canvas, None, ControlConfig(metrics=("expression", "identity"), num=3), CPU)
    assert found == {"expression/x": 1.0}
    assert torch.equal(seen[0].z_id, only.z_id.expand(3, -1)) and len(seen[0].z_exp) == 3

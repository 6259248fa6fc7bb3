"""A generated person as the actor: the command from end to end, and what the rig gives."""

from pathlib import Path

import pytest
import torch

from networks.gaussian.avatar import unpack_avatar
from networks.gaussian.maps import CanonicalMaps
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model, unpack_model
from tests.networks.gaussian.made_up import UNET
from tests.networks.helpers import make_generator
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.config import config_to_dict, load_yaml
from torch_utils.misc import UserError
from training.avatar.__main__ import CONFIGS, load_avatar_config, main
from training.avatar.config import DistillationConfig
from training.avatar.generated import GeneratedViews

CONFIG = DistillationConfig(frames=4, window=0.5, expression_draws=100)
CPU = torch.device("cpu")


def make_priors() -> LabelPriors:
    random = torch.Generator().manual_seed(0)
    camera_pose = 0.05 * torch.randn(9, 20, generator=random)
    camera_pose[:, :2] += torch.pi / 2
    return LabelPriors(camera_pose, *(torch.randn(9, width, generator=random) for width in (90, 64)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "demo"
    save_checkpoint(path, pack_model(SavedModel(make_generator(), make_priors(), {"face_model": "arkit"})))
    return path


def test_shots_are_the_generator_s(checkpoint):
    """The same every time, in any order; those held out are others; over white they are its pictures."""
    views, again = (GeneratedViews(checkpoint, 3, CONFIG, 0, CPU) for _ in range(2))
    first, _, same = views.shot(1), again.shot(0), again.shot(1)
    assert torch.equal(first.colour, same.colour) and torch.equal(first.pose.transforms, same.pose.transforms)
    assert not torch.equal(views.held_out(1).view.world_to_camera, first.view.world_to_camera)
    assert views.summary == "person 3 of demo, psi 0.7" and views.metadata["face_model"] == "arkit"
    expression, eulers, camera = (part[None] for part in views._labels(0, 1))
    who = views.latents
    frame = views.generator.render(views.manifolds, who.z_id, expression, who.betas, eulers, camera)
    assert torch.allclose(first.over(1.0), (frame.image[0].permute(1, 2, 0) + 1) / 2, atol=2e-3)  # kept as float16
    transforms = views.generator.body.joint_transforms(who.betas, eulers)[0]
    assert torch.allclose(first.pose.transforms, transforms, atol=1e-6)
    assert [pose.expression.tolist() for pose in views.poses(9)][1] == expression[0].tolist()


def test_a_model_of_one_person(checkpoint, tmp_path):
    """As inference.invert writes it: latents and styles are the file's, and nobody else is there."""
    views, model = GeneratedViews(checkpoint, 3, CONFIG, 0, CPU), unpack_model(load_checkpoint(checkpoint), "demo")
    style = views.generator.style(views.latents.z_id, views.latents.z_noise, psi=CONFIG.psi)
    styles = {**style.radiance._asdict(), "superresolution": style.superresolution}
    person = {name: part.detach() for name, part in (views.latents._asdict() | styles).items()}
    save_checkpoint(tmp_path / "me", pack_model(model._replace(person=person)))
    found = GeneratedViews(tmp_path / "me", 0, CONFIG, 0, CPU)
    assert torch.equal(found.shot(1).colour, views.shot(1).colour) and found.summary == "person 0 of me"
    with pytest.raises(UserError, match="--seed 3: expected 0, for .*me is a model of one person"):
        GeneratedViews(tmp_path / "me", 3, CONFIG, 0, CPU)


def test_the_template_moves_as_the_person_does(checkpoint):
    """Displacements are D^e's, of an expression as they are drawn: this net, which is random, is far from linear."""
    views = GeneratedViews(checkpoint, 3, CONFIG, 0, CPU)
    actor = views.actor(16)
    assert len(CanonicalMaps.from_template(actor.template, actor.window).pixels) > 20
    body = views.generator.body.canonical_vertices(views.latents.betas)[0]
    expression = views.priors.expression[2]
    moved = (actor.template.expression_basis @ expression).norm(dim=-1) > 0
    zero = torch.zeros(1, 64)
    z_id = views.latents.z_id
    truth = views._displacement(body[moved], z_id, zero) - views._displacement(body[moved], z_id, expression[None])
    ours = (actor.template.expression_basis @ expression)[moved]
    assert (ours - truth).norm() < 0.5 * truth.norm()


def test_command(checkpoint, tmp_path):
    """As documented, small; the avatar is whole."""
    small = f"--avatar.map_size 16 --avatar.unet.size 8 --avatar.unet.widths {list(UNET['widths'])} --optim.steps 3"
    small += (
        " --optim.static_steps 1 --distillation.frames 2 --distillation.expression_draws 4 --distillation.window 0.5"
    )
    small += " --run.held_out 1 --run.snapshot_views 1"
    words = f"--from {checkpoint} --seed 3 --config avatar_tiny --outdir {tmp_path / 'run'}".split()
    main([*words, *small.replace(", ", ",").split()])
    avatar, metadata = unpack_avatar(load_checkpoint(tmp_path / "run/latest"), "latest")
    assert metadata["step"] == 3 and metadata["source"].startswith("person 3 of demo")
    assert avatar.config.nets == "one" and len(list((tmp_path / "run").glob("fakes*.png"))) == 2


def test_bad_input(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "bare", pack_model(SavedModel(make_generator(), None, {})))
    with pytest.raises(UserError, match="bare: expected a checkpoint with priors to draw poses from, found none in it"):
        GeneratedViews(tmp_path / "bare", 0, CONFIG, 0, CPU)
    with pytest.raises(UserError, match="unknown key 'nest'; the nearest valid key is 'unet'"):
        load_avatar_config("avatar_tiny", ["--avatar.nest", "one"])


@pytest.mark.parametrize("name", ["avatar_tiny", "avatar_fullbody"])
def test_shipped_configurations_say_everything(name):
    """Every key is there and has a comment."""
    assert config_to_dict(load_avatar_config(name)) == load_yaml(CONFIGS / f"{name}.yaml")
    lines = (CONFIGS / f"{name}.yaml").read_text().splitlines()
    assert all("#" in line for line in lines if ":" in line and not line.rstrip().endswith(":"))

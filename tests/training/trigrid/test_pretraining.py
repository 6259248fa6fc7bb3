"""Stage 0 of tri-grids: rays of drawn people, their points, the losses, stopping and going on, what goes on from it."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from networks.cameras import FRONTAL
from networks.saved_model import unpack_model
from networks.stylegan_layers import upsample
from networks.trigrid.camera_labels import portrait_label
from networks.trigrid.config import TriGridConfig
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.superresolution import resized
from tests.training.tiny_run import ALONE
from tests.training.trigrid import tiny_portraits
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.config import config_from_dict, config_to_dict, load_yaml
from torch_utils.misc import UserError
from training.config import load_train_config
from training.data.synthetic.appearance import N_USED
from training.data.synthetic.person import SyntheticPerson
from training.drawn_labels import DrawnLabels
from training.drawn_points import drawn_identity
from training.losses.drawn_rays import INTERVAL, Errors, colour_error, opacity_error
from training.trigrid import pretraining as program
from training.trigrid.config import TriGridTrainConfig
from training.trigrid.drawn_rays import ABOVE, RAY, DrawnRays, draw_rays, pack, points_along, seen, unpack
from training.trigrid.pretraining import RAYS, TriGridPretrainConfig, TriGridPretraining, pretrain
from training.trigrid.recipe import TRIGRID

CPU = torch.device("cpu")
CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SIZES = {**tiny_portraits.CONFIG["generator"], "latent_dim": 160}


@pytest.fixture(autouse=True)
def few_strangers(monkeypatch):
    monkeypatch.setattr(program, "STRANGERS", 1)


def make_config(**changes) -> TriGridPretrainConfig:
    settings = {
        "people": 3, "views": 1, "rays": 40, "steps": 4, "batch_size": 2, "batch_rays": 16, "rendered_rays": 4,
        "rendered_share": 0.5, "save_every": 2, "workers": 0, "precision": "fp32",
    }  # fmt: skip
    sizes = config_from_dict(TriGridConfig, {**SIZES, **changes.pop("generator", {})}, "tiny")
    return TriGridPretrainConfig(generator=sizes, **{**settings, **changes})


# ---- rays -----------------------------------------------------------------------------------------------------------


def test_rays_come_from_the_tri_grid_s_camera_and_meet_the_person():
    """They pass through where portrait_label puts the camera; a face is met where the drawn one is."""
    identity, camera = drawn_identity(0, 0), np.array([FRONTAL + 0.2, FRONTAL - 0.7])
    posed = SyntheticPerson(identity.z_id, identity.eps, identity.betas).posed(np.zeros(64), np.zeros((6, 3)))
    rays = seen(posed, camera, "portrait", np.eye(4), 50, np.random.default_rng(0))
    position = portrait_label(torch.from_numpy(camera)[None], 256)[0, [3, 7, 11]]
    apart = torch.linalg.cross(rays.place - position, rays.direction).norm(dim=-1)
    assert apart.max() < 2e-6  # metres; the constants of both have single precision
    met = rays.alpha > 0.99
    assert 10 < met.sum() < 50
    vertices = program.build(make_config()).space.rest.double()
    assert torch.cdist(rays.place[met], vertices).min(1).values.median() < 0.06  # hair and shirt lie on the mean body
    assert (rays.place[rays.alpha == 0] * rays.direction[rays.alpha == 0]).sum(-1).abs().max() < 1e-9  # nearest to 0


def test_rays_are_kept_to_the_step_of_their_numbers():
    rays = unpack(draw_rays(0, 2, 60, 1))
    assert rays.place.shape == (60, 3) and 0.3 < (rays.alpha > 0).float().mean() < 1
    assert (rays.direction.norm(dim=-1) - 1).abs().max() < 1e-4
    again = unpack(pack(rays))
    assert all(torch.equal(*pair) for pair in zip(rays, again, strict=True))
    assert draw_rays(0, 2, 60, 1).tobytes() == pack(rays).tobytes()  # everything follows from seed and index
    assert RAY.itemsize == 16


def test_points_along_a_ray_know_what_is_there():
    """A ray along z that meets a half-opaque surface at z = 0.1, and one that meets nobody."""
    along = torch.tensor([0.0, 0.0, 1.0]).expand(1, 400, 3)
    alpha = torch.cat([torch.full((1, 200), 0.5), torch.zeros(1, 200)], 1)
    rays = DrawnRays(torch.tensor([0.0, 0.0, 0.1]).expand(1, 400, 3), along, torch.full((1, 400, 3), 0.3), alpha)
    found = points_along(rays, torch.Generator().manual_seed(0))
    assert found.position.shape == (1, 1250, 3)
    edge, before, behind = (
        [part[0, k * 400 : k * 400 + 200] for part in (found.position[..., 2] - 0.1, *found[2:])] for k in range(3)
    )  # fmt: skip
    torch.testing.assert_close(edge[1], (0.5 + edge[0] / 0.006).clamp(0, 1) * 0.5, atol=1e-5, rtol=0)  # of 6 mm
    assert edge[0].abs().max() <= 0.01 + 1e-6 and ((edge[3] > 0) == (edge[0] > -0.003)).all()
    assert (before[0] < -0.005 + 1e-6).all() and (before[1] == 0).all() and (before[3] == 0).all()
    assert (behind[0] >= -1e-6).all() and (behind[0] <= 0.02 + 1e-6).all() and (behind[1] == 0.5).all()
    assert (behind[2] == 0.5).all() and (behind[3] == 0.25).all()
    nobody = torch.cat([found.alpha[0, k * 400 + 200 : (k + 1) * 400] for k in range(3)])
    assert (nobody == 0).all()
    air = found.position[0, 1200:]
    assert (air[:, 1] >= ABOVE).all() and air[:, 0].abs().max() <= 0.27 and (found.alpha[0, 1200:] == 0).all()


def test_losses_by_hand():
    """softplus(sigma - 1) = log 2 / INTERVAL is half-opaque: log 2 where all is wanted, nothing where a half is."""
    half = math.log(2) / INTERVAL  # softplus is the identity up here
    density, wanted = torch.full((2,), half + 1, dtype=torch.double), torch.tensor([1.0, 0.5], dtype=torch.double)
    error = opacity_error(density, wanted, torch.tensor([0.5, 1.0]))
    assert error.item() == pytest.approx(math.log(2) / 4, abs=1e-5)  # 1e-6 keeps the logarithm finite
    clear = opacity_error(torch.tensor([-30.0]), torch.zeros(1), torch.ones(1))
    assert clear.item() == pytest.approx(0, abs=1e-6)
    colours = torch.tensor([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])
    assert colour_error(colours, torch.full((2, 3), 0.8), torch.tensor([1.0, 0.0])).item() == pytest.approx(0.3)
    assert Errors(*map(torch.tensor, (1.0, 2.0, 3.0, 4.0, 5.0))).total(10.0).item() == 1 + 3 + 5 + 10 * (2 + 4)


# ---- learning -------------------------------------------------------------------------------------------------------


def test_a_stopped_pretraining_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = pretrain(make_config(), tmp_path / "whole", CPU).state_dict()

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TriGridPretraining, "strangers", stop)
        pretrain(make_config(), tmp_path / "halves", CPU)  # after the first state
    halves = pretrain(make_config(), tmp_path / "halves", CPU).state_dict()
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())
    saved = load_checkpoint(tmp_path / "whole" / "latest")
    assert saved["metadata"]["step"] == 4 and saved["metadata"]["pretraining"]["batch_rays"] == 16
    rays = np.load(tmp_path / "whole" / RAYS)
    assert rays.shape == (3, 40) and rays.tobytes() == np.load(tmp_path / "halves" / RAYS).tobytes()
    start = load_checkpoint(tmp_path / "whole" / "start")["state"]
    changed = {name for name in whole if not torch.equal(whole[name], start[name])}
    assert "trigrid.backbone.synthesis.b8.conv0.noise_const" in changed  # where it is, the backbone learns as well
    still = ("trigrid.superresolution", "trigrid.pose_branch", "space", "body", "trigrid.backbone.mapping.embed")
    assert not any(name.startswith(still) for name in changed)


def test_it_learns(tmp_path):
    config = make_config(steps=30, batch_size=1, batch_rays=40, people=2, save_every=30)
    generator = pretrain(make_config(steps=1, people=2, save_every=1), tmp_path, CPU)
    task = TriGridPretraining(config, generator, np.load(tmp_path / RAYS), DrawnLabels(0, 2).priors())
    found = [task() for _ in range(30)]
    for name in ("opacity", "colours", "white"):
        assert np.mean([one[name] for one in found[-5:]]) < 0.8 * np.mean([one[name] for one in found[:5]]), name
    assert found[0]["rendered"] == 0 and found[-1]["rendered"] > 0 and found[-1]["masks"] > 0


def test_w_first_says_what_single_numbers_of_z_say(tmp_path):
    """Entries of w are 2 v where its number v is positive, else 0.08 v: twice a leaky ReLU with a gain of sqrt 2. What
    says nothing about people never counts."""
    portrait, z = program.begin(make_config(), DrawnLabels(0, 2), CPU), torch.randn(3, 160)
    number = (z / z.square().mean(1, keepdim=True).sqrt())[:, 80 : 80 + 8]
    w = portrait.style(z)[:, 0]
    torch.testing.assert_close(w, torch.where(number > 0, 2 * number, 0.08 * number), atol=1e-5, rtol=0)
    learned = pretrain(make_config(), tmp_path, CPU)
    other = z.clone()
    other[:, 80 + N_USED :] *= -1
    assert torch.equal(learned.style(z), learned.style(other))
    other = z.clone()
    other[:, 80] *= -1
    assert not torch.allclose(learned.style(z), learned.style(other), atol=0.1)


def test_w_follows_from_z_alone_and_pictures_are_enlarged_raw_ones(tmp_path):
    config = make_config()
    portrait = program.begin(config, DrawnLabels(0, 2), CPU).eval()
    z, cameras = torch.randn(1, 160).expand(2, -1), torch.randn(2, 25)
    ws = portrait.trigrid.style(z, cameras, torch.randn(2, 6))
    torch.testing.assert_close(ws[0], ws[1])
    person, label = portrait.person_of(ws[:1]), portrait.camera_label(torch.full((1, 2), FRONTAL))
    with torch.no_grad():
        seen_now = portrait.pictures(person, portrait.space.rest_rotations[None], label)
    torch.testing.assert_close(seen_now.image, upsample(resized(seen_now.raw, 16)), atol=1e-5, rtol=0)


def test_it_goes_on_from_an_earlier_model(tmp_path):
    """More people may be drawn, and D^e learned beside; what the planes mean stays."""
    first = pretrain(make_config(steps=2), tmp_path / "first", CPU)
    path = str(tmp_path / "first" / "latest")
    config = make_config(init_from=path, people=4, generator={"expression_dim": 4}, expression_steps=1)
    begun = program.begin(config, DrawnLabels(config.seed, config.people), CPU)
    for name, value in begun.trigrid.state_dict().items():
        assert torch.equal(value, first.trigrid.state_dict()[name]), name
    pretrain(make_config(init_from=path, people=4, steps=2), tmp_path / "second", CPU)
    with pytest.raises(UserError, match=r"start: this pretraining was begun otherwise \(init_from: .*latest -> None\)"):
        pretrain(make_config(people=4, steps=2), tmp_path / "second", CPU)
    for changes, message in (
        ({"box": 0.5}, r"latest: generator.box: expected the same in both runs, found .*, in the configuration 0.5"),
        ({"plane_features": 8}, r"latest: generator.plane_features: expected the same in both runs, found .*, in the "),
    ):
        other = make_config(init_from=path, generator=changes)
        with pytest.raises(UserError, match=message):
            program.begin(other, DrawnLabels(other.seed, other.people), CPU)
    saved = load_checkpoint(path)
    del saved["metadata"]["pretraining"]
    save_checkpoint(tmp_path / "other", saved)
    with pytest.raises(UserError, match="other: init_from: expected a model of training.pretrain, found another one"):
        begin_from(str(tmp_path / "other"))
    demo = str(CONFIGS.parent / "ckpts/demo.safetensors")
    with pytest.raises(UserError, match="demo.safetensors: convention: expected 'trigrid"):
        begin_from(demo)


def begin_from(path: str) -> TriGridPortrait:
    config = make_config(init_from=path)
    return program.begin(config, DrawnLabels(config.seed, config.people), CPU)


def test_training_goes_on_from_the_model(tmp_path):
    """G, its running mean too, are what stage 0 has learned; D begins."""
    made = pretrain(make_config(steps=2), tmp_path / "start", CPU).state_dict()
    dataset = tiny_portraits.make_dataset(tmp_path / "data")
    changes = {"init_from": str(tmp_path / "start" / "latest"), "noise": "const", "generator": {"latent_dim": 160}}
    _, state = TRIGRID.begin(tiny_portraits.make_config(changes), dataset, ALONE)
    for part in (state.networks.generator, state.g_ema):
        assert all(torch.equal(value, made[name]) for name, value in part.state_dict().items())
    tiny_portraits.run(dataset, tmp_path / "run", {**changes, "run": {"total_kimg": 0.004}})
    gone_on = load_checkpoint(tmp_path / "run" / "state.safetensors")["generator"]
    name = "trigrid.backbone.synthesis.b8.conv0.noise_const"
    assert torch.equal(gone_on[name], made[name])
    other = tiny_portraits.make_config({**changes, "generator": {"latent_dim": 160, "crop": 0.2}})
    with pytest.raises(
        UserError, match=r"latest: generator.crop: expected the same in both runs, found 0.1, in the co"
    ):
        TRIGRID.begin(other, dataset, ALONE)


def test_expressions_are_learned_first(tmp_path):
    config = make_config(generator={"expression_dim": 4}, expression_steps=2, steps=1)
    begun = program.begin(config, DrawnLabels(0, 3), CPU).expression_deformation
    assert begun is not None and begun.output.weight.abs().max() > 0
    after = pretrain(config, tmp_path, CPU)
    assert after.controls.expression and after.expression_deformation is not None
    assert all(
        torch.equal(a, b) for a, b in zip(begun.parameters(), after.expression_deformation.parameters(), strict=True)
    )


# ---- configurations -------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_named(tmp_path):
    pretrain(make_config(steps=2), tmp_path, CPU)
    with pytest.raises(UserError, match=r"state.safetensors: .* begun otherwise \(decoder_lr: 0.01 -> 0.5\)"):
        pretrain(make_config(steps=2, decoder_lr=0.5), tmp_path, CPU)
    with pytest.raises(UserError, match=r"start: this pretraining was begun otherwise \(seed: 0 -> 1\)"):
        pretrain(make_config(steps=2, seed=1), tmp_path, CPU)
    with pytest.raises(UserError, match=r"rays.npy: expected 3 people with 50 rays, found 3 with 40"):
        pretrain(make_config(steps=2, rays=50), tmp_path, CPU)
    for changes, message in (
        ({"batch_rays": 41}, r"batch_rays: expected at most 40, found 41"),
        ({"generator": {"latent_dim": 8}}, r"generator.latent_dim: expected 160 \(z_id, eps\), found 8"),
        ({"generator": {"orbit": "phq"}}, "generator: expected orbit portrait and rest_pose mean"),
        ({"expression_steps": 3}, "expression_steps: expected some where generator.expression_dim is above 0, else 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make_config(**changes)


def test_the_shipped_configurations():
    """No key is left to a default, every one is explained, and what goes on from it has its sizes."""
    path = CONFIGS / "portrait360_start.yaml"
    config = config_from_dict(TriGridPretrainConfig, load_yaml(path), path.name)
    assert config_to_dict(config) == load_yaml(path)
    for line in path.read_text().splitlines():
        if re.match(r"\s*\w+:\s+\S", line):
            assert re.search(r"#\s*\S+", line), line
    later = load_train_config(CONFIGS / "portrait360_from_start.yaml", cls=TriGridTrainConfig)
    assert later.generator == config.generator and later.noise == "const"


def test_the_shipped_model_is_of_the_shipped_configuration():
    """A person of it, 64 rays: something in the middle, nobody at the upper corners."""
    path = CONFIGS.parent / "ckpts/portrait360.safetensors"
    model = unpack_model(load_checkpoint(path), path.name, (TriGridPortrait,))
    sizes = config_from_dict(TriGridPretrainConfig, load_yaml(CONFIGS / "portrait360_start.yaml"), "").generator
    assert model.generator.config == sizes and "without an adversary" in model.metadata["what"]
    portrait = model.generator.requires_grad_(False)
    person = portrait.person(torch.zeros(1, 160), psi=0.0)
    label = portrait.camera_label(torch.full((1, 2), FRONTAL))
    mask = portrait.pictures(person, portrait.space.rest_rotations[None], label, raw_size=10).mask[0, 0]
    assert mask[4:7, 4:6].min() > 0.95 and mask[:3, [0, -1]].max() < 0.1

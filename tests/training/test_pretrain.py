"""Stage 0: the loss, what is learned, stopping and going on, what does not fit."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from networks.manifold.generator_config import GeneratorConfig
from networks.person.expressions import face_model_name
from tests.training.tiny_run import CONFIG
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import config_from_dict, config_to_dict, load_yaml
from torch_utils.misc import UserError
from training import pretrain as program
from training.config import load_train_config
from training.data.synthetic.appearance import N_USED
from training.drawn_labels import DrawnLabels
from training.drawn_points import Targets
from training.pretrain import POINTS, PretrainConfig, Pretraining, point_loss, pretrain

CPU = torch.device("cpu")


def make_config(**changes) -> PretrainConfig:
    sizes = {**CONFIG["generator"], "canonical_shape": "mean"}
    generator = config_from_dict(GeneratorConfig, sizes, "tiny")
    settings = {
        "people": 3, "rays": 30, "points": 60, "steps": 4, "batch_size": 2, "batch_points": 20,
        "expression_steps": 2, "save_every": 2, "workers": 0, "precision": "fp32",
    }  # fmt: skip
    return PretrainConfig(generator=generator, **{**settings, **changes})


@pytest.fixture(autouse=True)
def no_relief(monkeypatch):
    """M stays as it is: nested spheres."""
    monkeypatch.setattr(program, "wrap_manifolds", lambda generator, seed: None)


def test_the_loss_by_hand():
    """One point wants alpha 1 and has 0.5, with a colour that is off by 0.3; one wants 0.5, has it, and weighs half."""
    colours = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.5]]])
    targets = Targets(
        torch.zeros(1, 2, 3), torch.full((1, 2, 3), 0.8), torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.5]]),
        torch.tensor([[1.0, 0.0]]),
    )  # fmt: skip
    loss, error = point_loss(colours, targets, 4.0)
    assert error.item() == pytest.approx(0.3, abs=1e-6)
    assert loss.item() == pytest.approx(np.log(2) / 2 + 4 * 0.3, abs=1e-5)  # the second is as good as can be
    sharp, _ = point_loss(colours, targets, 4.0, sharpness=2.0)
    assert sharp.item() - loss.item() == pytest.approx(2 * 0.5 / 2, abs=1e-5)


def test_a_stopped_pretraining_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = pretrain(make_config(), tmp_path / "whole", CPU).state_dict()

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(program, "draw_points", stop)
        pretrain(make_config(), tmp_path / "halves", CPU)  # after D^e
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Pretraining, "strangers", stop)
        pretrain(make_config(), tmp_path / "halves", CPU)  # after the first state
    halves = pretrain(make_config(), tmp_path / "halves", CPU).state_dict()
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())
    saved = load_checkpoint(tmp_path / "whole" / "latest")
    assert saved["metadata"]["step"] == 4 and saved["metadata"]["face_model"] == face_model_name(None)
    points = np.load(tmp_path / "whole" / POINTS)
    assert points.shape == (3, 60) and points["weights"][:, :, 0].any(1).all()
    assert points.tobytes() == np.load(tmp_path / "halves" / POINTS).tobytes()


def test_phi_learns(tmp_path):
    config = make_config(steps=120, batch_size=1, batch_points=60, people=2, siren_lr=1e-3, save_every=120)
    generator = pretrain(make_config(steps=1, people=2), tmp_path, CPU)
    task = Pretraining(config, generator, np.load(tmp_path / POINTS), DrawnLabels(0, 2).priors())
    losses = [task()["loss"] for _ in range(120)]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


def test_phi_does_not_see_what_says_nothing(tmp_path):
    """Colours depend on the used entries of eps; not on the others, nor on z_id, which D^e alone knows."""
    phi = pretrain(make_config(), tmp_path, CPU).radiance
    points, latent = torch.rand(1, 5, 3), torch.randn(1, 160)
    unused = torch.cat([torch.arange(80), torch.arange(80 + N_USED, 160)])

    def colours(index, other):
        changed = latent.clone()
        changed[:, index] = other
        return phi.colours(points, phi.styled(phi.style(changed)))

    with torch.no_grad():
        assert torch.equal(colours(unused, torch.randn(len(unused))), colours(unused, 0.0))
        assert not torch.equal(colours(slice(80, 80 + N_USED), 0.0), colours(unused, 0.0))


def test_phi_goes_on_from_an_earlier_model(tmp_path):
    """M is the same and phi as soft as it was; D^e, of another width, is learned anew."""
    first = pretrain(make_config(hardness=3.0), tmp_path / "first", CPU)
    path = str(tmp_path / "first" / "latest")
    wider = replace(make_config().generator, expression_mapping_dim=24)
    config = replace(make_config(init_from=path), generator=wider)
    generator = program.begin(config, DrawnLabels(config.seed, config.people), CPU)
    for part in ("manifolds", "radiance"):
        expected = getattr(first, part).state_dict()
        for name, value in getattr(generator, part).state_dict().items():
            torch.testing.assert_close(value, expected[name])
    assert generator.expression_deformation.mapping[0].out_features == 24
    other = replace(config, generator=replace(wider, first_level=25.0))
    with pytest.raises(UserError, match="generator.first_level: expected the same in both runs, found .*, in the conf"):
        program.begin(other, DrawnLabels(other.seed, other.people), CPU)


def test_saved_opacity_is_hard(tmp_path):
    """That of the result, not what phi begins with."""
    phi = pretrain(make_config(hardness=3.0), tmp_path, CPU).radiance
    saved = load_checkpoint(tmp_path / "latest")["state"]
    for index, head in enumerate(phi.to_sigma):
        torch.testing.assert_close(saved[f"radiance.to_sigma.{index}.weight"], 3 * head.weight)
    start, config = load_checkpoint(tmp_path / "start")["state"], make_config()
    began = program.begin(config, DrawnLabels(config.seed, config.people), CPU)
    for index, head in enumerate(began.radiance.to_sigma):
        assert torch.equal(start[f"radiance.to_sigma.{index}.weight"], head.weight)


def test_what_does_not_fit_is_named(tmp_path):
    pretrain(make_config(steps=2), tmp_path, CPU)
    with pytest.raises(UserError, match=r"state.safetensors: .* begun otherwise \(head_lr: 0.001 -> 0.5\)"):
        pretrain(make_config(steps=2, head_lr=0.5), tmp_path, CPU)
    with pytest.raises(UserError, match=r"start: this pretraining was begun otherwise \(seed: 0 -> 1\)"):
        pretrain(make_config(steps=2, seed=1), tmp_path, CPU)
    with pytest.raises(UserError, match=r"points.npy: expected 3 people with 50 points, found 3 with 60"):
        pretrain(make_config(steps=2, points=50), tmp_path, CPU)
    with pytest.raises(ValueError, match=r"batch_points: expected at most points \(60\), found 61"):
        make_config(batch_points=61)


def test_the_shipped_configuration_says_everything():
    path = Path(__file__).resolve().parents[2] / "configs/demo_pretrain.yaml"
    config = config_from_dict(PretrainConfig, load_yaml(path), path.name)
    assert config_to_dict(config) == load_yaml(path)  # no key is left to a default
    for line in path.read_text().splitlines():
        if re.match(r"\s*\w+:\s+\S", line):
            assert re.search(r"#\s*\S+", line), line
    # What goes on from the shipped model has its sizes.
    later = load_train_config(path.with_name("shhq_hs_from_synth.yaml")).generator
    free = ("image_size", "lowres_size", "map_scale", "num_samples", "num_fine_samples")
    shipped = config_from_dict(
        GeneratorConfig, load_checkpoint(path.parents[1] / "ckpts/demo.safetensors")["config"], ""
    )
    ours, theirs = ({k: v for k, v in vars(sizes).items() if k not in free} for sizes in (shipped, later))
    assert ours == theirs


def test_the_command_line(tmp_path, capsys):
    path = Path(__file__).resolve().parents[2] / "configs/demo_pretrain.yaml"
    with pytest.raises(UserError, match="unknown key 'stepz'; the nearest valid key is 'steps'"):
        program.main(["--config", str(path), "--outdir", str(tmp_path), "--stepz", "3"])
    with pytest.raises(UserError, match="people: expected a whole number from 2 to 1000000, found 1"):
        program.main(["--config", str(path), "--outdir", str(tmp_path), "--people", "1"])
    assert not list(tmp_path.iterdir())

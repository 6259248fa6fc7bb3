"""D^e before training: points that need no search, and a fit that follows the face."""

import numpy as np
import pytest
import torch

from tests.training.tiny_run import ALONE, make_config, make_dataset, make_sampler, run
from torch_utils.misc import UserError
from training import training_loop
from training.data.synthetic import sample_expression
from training.expression_warmup import FAR_SHARE, POINTS, face_points, warm_up_expression
from training.models import build_networks
from training.training_loop import begin


def test_points_beside_the_face_have_the_displacement_of_the_nearest_vertex_and_far_ones_none():
    imitation = build_networks(make_config()).imitation
    inputs = make_sampler(4, 8).draw(3, 0)
    points, expected = face_points(imitation, inputs.z_id, inputs.z_exp, torch.Generator().manual_seed(0))
    assert points.shape == expected.shape == (3, POINTS, 3)
    reference = imitation(points, inputs.z_id, inputs.z_exp)
    far = POINTS // FAR_SHARE
    assert not reference.mask[:, -far:].any() and not expected[:, -far:].any()
    # Beside the face the vertex that a point was made from may not be the nearest: neighbours move alike.
    error = (expected - reference.displacement)[:, :-far].norm(dim=-1)[reference.mask[:, :-far]]
    assert reference.mask[:, :-far].float().mean() > 0.9
    assert error.median() < 2e-4 < reference.displacement.norm(dim=-1).max()  # a quarter of a millimetre


def test_d_e_follows_the_face_afterwards():
    config = make_config({"generator": {"expression_dim": 96}})
    networks, sampler = build_networks(config), make_sampler(3, 8)  # people
    rng = np.random.default_rng(0)  # expressions that faces make
    sampler.labels["z_exp"] = torch.from_numpy(np.stack([sample_expression(rng) for _ in range(3)]))
    before = {name: value.clone() for name, value in networks.generator.state_dict().items()}
    error = warm_up_expression(networks.generator, networks.imitation, sampler, steps=500, seed=0)
    inputs = sampler.draw(8, 99)
    points, expected = face_points(networks.imitation, inputs.z_id, inputs.z_exp, torch.Generator().manual_seed(1))
    still = expected.square().sum(-1).mean().sqrt().item()
    assert error < 0.8 * still
    with torch.no_grad():
        d_e = networks.generator.expression_deformation
        found = d_e(points, d_e.style(inputs.z_id, inputs.z_exp))
    assert (found - expected).square().sum(-1).mean().sqrt().item() == pytest.approx(error, rel=0.25)
    changed = {name for name, value in networks.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("expression_deformation.") for name in changed)


def test_a_run_warms_up_once_and_the_same_way_every_time(tmp_path, monkeypatch):
    calls = []
    fit = training_loop.warm_up_expression
    monkeypatch.setattr(training_loop, "warm_up_expression", lambda *args, **more: calls.append(fit(*args, **more)))
    dataset = make_dataset(tmp_path / "set")
    changes = {"expression_warmup": 3, "run": {"total_kimg": 0.004}}
    run(dataset, tmp_path / "run", changes)
    run(dataset, tmp_path / "run", {**changes, "run": {"total_kimg": 0.008}})
    assert len(calls) == 1
    begin(make_config(changes), dataset, ALONE)[1].reader.close()
    assert calls[0] == calls[1]


def test_nothing_to_warm_up_with():
    with pytest.raises(UserError, match="expression_warmup: expected 0 without losses.imitation"):
        make_config({"expression_warmup": 3, "losses": {"imitation": 0.0}})

"""The smaller parts of training: draws, running means, updates, snapshots, logs, the memory estimate."""

import json
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from networks.discriminators import Judgement
from networks.person.face_model import default_face
from tests.training.tiny_run import RELATIVISTIC, make_config, make_sampler
from torch_utils.distributed import average_gradients, mean_over_processes
from torch_utils.misc import UserError
from torch_utils.ops import point_network
from training.models import build_networks, choose_trained
from training.phases import discriminator_terms, generator_terms, generator_weight, micro_batches, resize
from training.run.ema import WeightAverage
from training.run.log import RunLog
from training.run.memory import estimate
from training.run.optimizers import generator_optimizer, update
from training.run.snapshot import COLUMNS, save_grid, snapshot_inputs, unlike_expressions
from training.run.stop_request import StopRequest
from training.sampling import Inputs, InputSampler, random_generator


def test_draws_follow_from_their_key_and_keep_rows_together():
    sampler = make_sampler(5, 3)
    inputs = sampler.draw(200, 1, 2)
    assert all(torch.equal(a, b) for a, b in zip(inputs, sampler.draw(200, 1, 2), strict=True))
    assert not torch.equal(inputs.z_noise, sampler.draw(200, 1, 3).z_noise)
    assert not torch.equal(inputs.z_noise, sampler.draw(200, 2, 2).z_noise)

    def rows(name):
        drawn = getattr(inputs, name).flatten(1)
        return (drawn[:, None] == sampler.labels[name].flatten(1)).all(-1).long().argmax(1)

    assert torch.equal(rows("camera"), rows("joint_eulers")) and torch.equal(rows("camera"), rows("face_camera"))
    assert torch.equal(rows("z_id"), rows("betas"))
    for other in ("z_id", "z_exp"):
        assert len(torch.unique(5 * rows("camera") + rows(other))) == 25  # independent: every pair occurs
    assert inputs.part(slice(3, 5)).delta.equal(inputs.delta[3:5])
    assert inputs.where.min() >= 0 and inputs.where.max() < 1


def test_mirrored_labels_are_drawn_like_others():
    labels = {name: array.numpy() for name, array in make_sampler(2, 3).labels.items()}
    dataset = SimpleNamespace(labels=labels, image_size=16)
    sampler = InputSampler(dataset, lambda labels, size: {name: -array for name, array in labels.items()}, 3)
    drawn = sampler.draw(100, 0).camera
    assert len(sampler.labels["camera"]) == 4
    assert 20 < (drawn[:, 0] < 0).sum() < 80


def test_generators_are_seeded_by_all_their_numbers():
    seeds = {random_generator(*key).initial_seed() for key in [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 1, 0)]}
    assert len(seeds) == 6


def test_running_mean_in_closed_form():
    module = nn.Linear(1, 1, bias=False)
    module.register_buffer("count", torch.zeros(1))
    module.weight.data.fill_(0.0)
    average = WeightAverage(module, 0.9, rampup=0.0)
    module.weight.data.fill_(1.0)
    module.count += 5
    for step in (1, 2, 3):
        average.update(module, step)
    assert average.average.weight.item() == pytest.approx(1 - 0.9**3, abs=1e-6)
    assert average.average.count.item() == 5
    assert not average.average.weight.requires_grad
    ramped = WeightAverage(module, 0.9, rampup=0.5)
    assert [ramped.decay_at(step) for step in (1, 2, 100)] == pytest.approx([1 / 3, 1 / 2, 0.9])
    ramped.load_state_dict(average.state_dict())
    assert torch.equal(ramped.average.weight, average.average.weight)


def test_update_clips_each_part_and_reports_the_largest_norm():
    parts = [nn.Linear(1, 2, bias=False), nn.Linear(1, 1, bias=False)]
    optimizer = torch.optim.SGD([p for part in parts for p in part.parameters()], lr=1.0)
    for part in parts:
        part.weight.data.zero_()
    parts[0].weight.grad = torch.tensor([[3.0], [4.0]])
    parts[1].weight.grad = torch.tensor([[0.25]])
    assert update(optimizer, parts, clip_norm=0.5).item() == pytest.approx(5.0)
    assert torch.allclose(parts[0].weight, -torch.tensor([[0.3], [0.4]]), atol=1e-6)
    assert torch.allclose(parts[1].weight, -torch.tensor([[0.25]]))
    assert parts[0].weight.grad is None


def test_update_passes_over_what_is_not_trained():
    """A norm of nothing would be a number on the host, and gradients of nothing no message to other processes."""
    parts = [nn.ReLU(), nn.Linear(1, 1, device="meta").requires_grad_(False), nn.Linear(1, 1, device="meta")]
    for parameter in parts[2].parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert update(torch.optim.SGD(parts[2].parameters()), parts, clip_norm=0.5).device.type == "meta"


def test_heads_have_their_own_rate_and_nothing_frozen_is_optimized():
    config = make_config({"optim": {"head_lr_scale": 10.0, "expression_lr_scale": 0.1}})
    generator = build_networks(config).generator
    optimizer = generator_optimizer(generator, config.optim)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 1e-2, 1e-4])
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = {name for name, p in generator.named_parameters() if id(p) in optimized}
    assert "radiance.to_sigma.0.weight" in names and "manifolds.output.weight" in names
    assert not [name for name in names if name.startswith(("superresolution", "radiance.to_feature"))]
    choose_trained(generator, 2)
    assert {name.split(".")[0] for name, p in generator.named_parameters() if p.requires_grad} == {"superresolution"}


def test_alone_there_is_nothing_to_average():
    module = nn.Linear(2, 2)
    module.weight.grad = torch.ones(2, 2)
    average_gradients(module.parameters())
    assert torch.equal(module.weight.grad, torch.ones(2, 2)) and module.bias.grad is None
    assert mean_over_processes(torch.tensor(3.0)).item() == 3.0


def test_micro_batches_cover_every_row_once():
    assert list(micro_batches(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(micro_batches(5, 0)) == [slice(0, 5)]


def test_weights_of_terms():
    config = make_config({"losses": {"camera": 15.0, "imitation": 7.0}})
    assert generator_weight(config, "G/torso") == 0.5
    assert generator_weight(config, "G/torso_camera") == 7.5
    assert generator_weight(config, "imitation") == 7.0


def test_resize_maps_bytes_to_minus_one_to_one():
    image = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 8, 8)
    assert torch.equal(resize(image, 8)[:, 0, 0, 0], torch.tensor([-1.0, 1.0]))
    assert torch.allclose(resize(image, 4)[:, 0, 0, 0], torch.tensor([-1.0, 1.0]))


def test_snapshot_columns_change_one_thing_each():
    columns = snapshot_inputs(make_sampler(5, 3), 2, seed=0, face=default_face())
    assert len(columns) == len(COLUMNS)
    neutral = columns[0]
    assert not neutral.z_exp.any() and not neutral.joint_eulers.any()
    changed = [
        {name for name in Inputs._fields if not torch.equal(getattr(column, name), getattr(neutral, name))}
        for column in columns[1:]
    ]
    assert changed == [{"camera"}] * 2 + [{"z_exp"}] * 2 + [{"joint_eulers"}] * 3
    assert not torch.equal(columns[3].z_exp, columns[4].z_exp)


def test_snapshots_show_expressions_that_are_easy_to_tell_apart():
    basis = np.zeros((2, 3, 64), np.float32)
    basis[0, 0, 0], basis[0, 1, 1], basis[1, 2, 2] = 1.0, 2.0, 100.0  # the second vertex is no landmark
    face = default_face()._replace(exp_basis=basis, landmarks=np.zeros(68, np.int64))
    z_exp = torch.zeros(4, 64)
    z_exp[0, 2], z_exp[1, 0], z_exp[2, 1], z_exp[3, 1] = 9.0, 3.0, 2.0, -1.0  # which move landmarks by 0, 3, 4 and -2
    first, second = unlike_expressions(z_exp, face)
    assert torch.equal(first, z_exp[2]) and torch.equal(second, z_exp[3])


def test_grid_is_laid_out_row_by_row(tmp_path):
    images = torch.stack([torch.full((3, 4, 4), value) for value in (-1.0, 0.0, 1.0, 3.0)])
    save_grid(tmp_path / "grid.png", images, columns=2)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (14, 14, 3)
    assert [pixels[4, 4, 0], pixels[4, 10, 0], pixels[10, 4, 0], pixels[10, 10, 0]] == [0, 128, 255, 255]


def test_log_drops_what_a_killed_session_wrote_and_goes_on(tmp_path, capsys):
    lines = [json.dumps({"step": i, "cur_nimg": 4 * i}) for i in range(4)]
    (tmp_path / "stats.jsonl").write_text("\n".join([*lines, '{"step": 4, "cur_n']))
    log = RunLog(tmp_path, cur_nimg=8, total=20)
    log.add({"G/whole": 1.0}, 4)
    log.add({"G/whole": 3.0}, 4)
    log.report(4, 16, torch.device("cpu"), {"distance": 5.0})
    log.close()
    kept = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [line["cur_nimg"] for line in kept] == [0, 4, 8, 16]
    assert (kept[-1]["G/whole"], kept[-1]["distance"]) == (2.0, 5.0)
    assert "kimg 0.02  G/whole 2" in capsys.readouterr().out + capsys.readouterr().err


def test_a_log_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    log = RunLog(tmp_path, cur_nimg=0, total=20)
    (tmp_path / "stats.jsonl").mkdir()
    with pytest.raises(UserError, match="statistics cannot be written: .*; the last checkpoint is still there"):
        log.report(1, 4, torch.device("cpu"))
    log.close()


def test_a_second_sigterm_is_the_same_request_and_a_second_ctrl_c_interrupts():
    with StopRequest().listening() as request:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert request.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


class Brightness(nn.Module):
    """A discriminator whose score is the sum of a picture's values times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.25))

    def forward(self, image):
        return Judgement(self.weight * image.sum((1, 2, 3)), image.new_zeros(len(image), 2))


def test_pairs_and_penalties_by_hand():
    """Real and fake of one value each: sums of 2 and -1, differences 3; |grad|^2 = 12 weight^2 everywhere."""
    config = make_config(RELATIVISTIC)
    judge = Brightness()
    networks = SimpleNamespace(discriminators={"face": judge})
    real, fake = (torch.full((2, 3, 2, 2), value / 12) for value in (2.0, -1.0))
    cameras = (torch.zeros(2, 2),) * 2
    terms = discriminator_terms(networks, config, "face", real, fake, cameras, (4.0, 0.5))
    assert terms["D/face"].item() == pytest.approx(math.log1p(math.exp(-0.75)), abs=1e-6)
    assert terms["D/face_r1"].item() == pytest.approx(2 * 12 / 16, abs=1e-6)
    assert terms["D/face_r2"].item() == pytest.approx(0.25 * 12 / 16, abs=1e-6)
    terms["D/face_r2"].backward()
    assert judge.weight.grad.item() == pytest.approx(0.25 * 24 * 0.25, abs=1e-6)
    assert "D/face_r2" not in discriminator_terms(networks, config, "face", real, fake, cameras, (0.0, 0.0))


def test_the_generator_shall_look_more_real_than_its_partner():
    config = make_config(RELATIVISTIC)
    networks = build_networks(config)
    names = config.discriminators.active
    networks = networks._replace(discriminators=nn.ModuleDict({name: Brightness() for name in names}))
    networks.discriminators.requires_grad_(False)
    noise = torch.Generator().manual_seed(0)
    reals = {name: torch.rand(2, 3, *config.picture_size(name)[::-1], generator=noise) for name in names}
    terms, pictures = generator_terms(networks, config, make_sampler(5, 16).draw(2, 0), reals)
    for name in names:
        apart = [0.25 * (real - fake).sum().item() for real, fake in zip(reals[name], pictures[name], strict=True)]
        expected = sum(max(x, 0) + math.log1p(math.exp(-abs(x))) for x in apart) / 2
        assert terms[f"G/{name}"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_memory_estimate_against_what_autograd_keeps(compiled, monkeypatch):
    """Within 30 %; sizes at which activations outweigh the rest."""
    if not compiled:
        monkeypatch.setattr(point_network, "select", lambda *_: None)
    widths = {"radiance_dim": 64, "expression_dim": 64, "manifold_dim": 64, "num_samples": 16, "num_fine_samples": 16}
    config = make_config({"generator": {**widths, "num_manifolds": 12}})
    networks = build_networks(config)
    inputs = make_sampler(5, 16).draw(2, 0)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)
        return tensor

    held = []
    networks.discriminators.requires_grad_(False)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        generator_terms(networks, config, inputs)
    found = sum(kept.values())
    expected = estimate(config, 2, bf16=False, parameters=(0, 0), compiled=compiled).generator
    assert expected / found == pytest.approx(1.0, abs=0.3)


def test_memory_estimate_grows_as_it_must():
    config = make_config()
    one, four = (estimate(config, n, bf16=False, parameters=(10**6, 10**6)) for n in (1, 4))
    assert four.generator == pytest.approx(4 * one.generator)
    assert one.weights == 4 * 10**6 * (5 + 4)  # weight, gradient, two moments, one running mean; D has no mean
    chunked = estimate(make_config({"run": {"rays_per_chunk": 32}}), 4, bf16=False, parameters=(0, 0))
    assert chunked.generator < 0.5 * four.generator
    assert estimate(config, 4, bf16=True, parameters=(0, 0)).generator < four.generator
    pairs = estimate(make_config(RELATIVISTIC), 4, bf16=False, parameters=(10**6, 10**6))
    assert pairs.discriminators == pytest.approx(6 / 4 * four.discriminators)  # R2 differentiates a second time, as R1

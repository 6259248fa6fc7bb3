"""Runs that go on from another one: at twice the size, with a running mean of their own."""

import shutil

import pytest
import torch

from inference.pipeline import PortraitPipeline
from networks.discriminators import Discriminator, DiscriminatorConfig
from tests.training.tiny_run import ALONE, make_config, make_dataset, run
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import merge
from torch_utils.misc import UserError
from training.manifold_recipe import begin, describe
from training.models import build_discriminators, grow
from training.run.state import STATE


@pytest.mark.parametrize(("rampup", "share"), [(0.05, "3e-08"), (1.0, None), (0.0, None)])
def test_a_running_mean_that_forgets_what_it_began_with_is_said(dataset, finished, rampup, share):
    """At 0.05 ten steps keep 1/21, 2/22, ... 10/30 of it: 10! 20! / 30! = 3.3e-8."""
    config = make_config({"init_from": str(finished / "latest"), "optim": {"ema_rampup": rampup}})
    state = begin(config, dataset, ALONE)[1]
    state.reader.close()
    said = [line for line in describe(config, state) if line.startswith("warning: ")]
    latest, expected = finished / "latest", "expected ema_rampup 1, or 0 for the whole ema_decay"
    wanted = [f"warning: the running mean forgets {latest} at once ({share} of it after 10 steps): {expected}"]
    assert said == (wanted if share else [])


def test_a_run_goes_on_at_twice_the_size(dataset, tmp_path):
    """From the averaged generator and the grown discriminators; once begun it needs neither file."""
    small, large = tmp_path / "small", tmp_path / "large"
    wide = {"discriminators": {"channel_base": 96}, "run": {"total_kimg": 0.004}}
    run(dataset, small, wide)
    before = load_checkpoint(small / STATE)
    changes = merge(wide, {"init_from": str(small / "latest"), "grow_from": str(small / STATE)})
    changes = merge(changes, {"generator": {"lowres_size": 32, "image_size": 128}})
    data = make_dataset(tmp_path / "data", size=32)
    state = begin(make_config(changes), data, ALONE)[1]
    state.reader.close()
    kept = PortraitPipeline.from_checkpoint(small / "latest").generator.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in state.networks.generator.state_dict().items())
    for name, discriminator in state.networks.discriminators.items():
        assert torch.equal(discriminator.output.weight, before["discriminators"][f"{name}.output.weight"])
        assert torch.equal(
            discriminator.blocks[1].conv1.weight, before["discriminators"][f"{name}.blocks.0.conv1.weight"]
        )
    run(data, large, changes)
    shutil.rmtree(small)
    run(data, large, merge(changes, {"run": {"total_kimg": 0.008}}))
    assert load_checkpoint(large / STATE)["counters"]["step"] == 2


@pytest.mark.parametrize(
    ("file", "changes", "complaint"),
    [
        ("latest", {}, r"latest: expected the state of a training run \(state.safetensors\), found no"),
        (STATE, {"discriminators": {"channel_base": 128}}, "whole: weights do not fit Discriminator"),
        (STATE, {"generator": {"lowres_size": 32, "image_size": 128}}, "whole: expected 3 to 3 channels"),
    ],
)
def test_discriminators_that_cannot_grow_so(finished, file, changes, complaint):
    settings = {"init_from": str(finished / "latest"), "grow_from": str(finished / file)}
    with pytest.raises(UserError, match=complaint):
        build_discriminators(make_config(merge(settings, changes)))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("whole", "whole: expected 2 blocks or fewer, found one of 3"), ("face", "face: .*, found no such discriminator")],
)
def test_discriminators_never_shrink(name, complaint):
    weights = Discriminator(DiscriminatorConfig(width=16, height=16, max_channels=4)).state_dict(prefix="whole.")
    with pytest.raises(UserError, match=f"state.safetensors: discriminators.{complaint}"):
        grow(weights, name, DiscriminatorConfig(width=8, height=8, max_channels=4), STATE)

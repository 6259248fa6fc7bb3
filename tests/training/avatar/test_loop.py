"""Training of an avatar: it learns, it goes on as if it had never stopped, it says what is wrong."""

import json

import pytest
import torch
from skimage.metrics import structural_similarity as skimage_ssim

from networks.gaussian.avatar import unpack_avatar
from networks.perceptual import EfficientNetLite0, perceptual_distance
from tests.training.avatar.made_up import CONFIG, MadeUpViews
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import config_from_dict, merge
from torch_utils.misc import UserError
from torch_utils.tensor_file import write_tensor_file
from training.avatar import loop
from training.avatar.config import AvatarLossConfig, AvatarTrainConfig
from training.avatar.loop import AvatarRun, picture_losses, rate, train_avatar, training_index
from training.losses.similarity import structural_similarity

CPU = torch.device("cpu")


def config(**changes) -> AvatarTrainConfig:
    return config_from_dict(AvatarTrainConfig, merge(CONFIG, changes), "tiny")


def test_it_learns():
    """Colours of a ball, in forty steps: PSNR rises by 6 dB at least (8 where this was written)."""
    run = AvatarRun(config(), MadeUpViews(), CPU)
    before = run.measure()
    losses = [run.train_step()["loss"] for _ in range(40)]
    after = run.measure()
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert after.psnr > before.psnr + 6 and after.ssim > before.ssim


def test_going_on_is_as_if_never_stopped(tmp_path, monkeypatch):
    """To the bit: weights, moments of Adam, and the statistics' steps."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    short = config(optim={"steps": 6, "static_steps": 2}, run={"snapshot_steps": 4})
    train_avatar(short, MadeUpViews(), whole, CPU)
    views = MadeUpViews()
    real, seen = views.shot, []

    def killed(index):
        seen.extend([index] if index < views.frames else [])  # the others are held out
        if len(seen) == 6:
            raise KeyboardInterrupt  # as by a kill: nothing is saved any more
        return real(index)

    monkeypatch.setattr(views, "shot", killed)
    with pytest.raises(KeyboardInterrupt):
        train_avatar(short, views, parts, CPU)
    assert load_checkpoint(parts / "state.safetensors")["counters"]["step"] == 4
    train_avatar(short, MadeUpViews(), parts, CPU)
    ours, theirs = (load_checkpoint(folder / "state.safetensors") for folder in (parts, whole))
    for name, value in theirs["avatar"].items():
        assert torch.equal(ours["avatar"][name], value), name
    lines = [json.loads(line)["step"] for line in (parts / "stats.jsonl").read_text().splitlines()]
    assert lines == [0, 4, 4, 6]
    avatar, metadata = unpack_avatar(load_checkpoint(parts / "latest"), "latest")
    assert metadata["source"] == "a ball" and metadata["step"] == 6
    assert torch.equal(avatar.canonical["colour"], theirs["avatar"]["canonical.colour"])
    assert len(list(parts.glob("fakes*.png"))) == 3


def test_another_run_is_refused(tmp_path):
    train_avatar(config(optim={"steps": 1, "static_steps": 0}), MadeUpViews(), tmp_path, CPU)
    with pytest.raises(UserError, match=r"begun otherwise \(losses.l1: 1.0 -> 2.0\); --allow_change goes on"):
        train_avatar(config(optim={"steps": 1, "static_steps": 0}, losses={"l1": 2.0}), MadeUpViews(), tmp_path, CPU)
    views = MadeUpViews()
    views.summary = "a cube"
    with pytest.raises(UserError, match="a ball -> a cube"):
        train_avatar(config(optim={"steps": 1, "static_steps": 0}), views, tmp_path, CPU)
    with pytest.raises(UserError, match=r"optim.static_steps: expected at most optim.steps \(1\), found 10"):
        config(optim={"steps": 1})
    with pytest.raises(UserError, match="there is nothing to train"):
        AvatarRun(config(avatar={"nets": "static", "canonical": "fixed"}), MadeUpViews(), CPU)


def test_order_and_rate():
    """Every picture once an epoch, in another order; rates from 1 to a twentieth."""
    epochs = [[training_index(3, step, 6) for step in range(start, start + 6)] for start in (0, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs) and epochs[0] != epochs[1]
    optim = config().optim
    assert (rate(0, optim), rate(20, optim), rate(40, optim)) == pytest.approx((1, 0.525, 0.05))


def test_runs_go_on_that_began_before_an_option(tmp_path):
    """What a state does not name is as it is by default."""
    begun = config(optim={"steps": 1, "static_steps": 0})
    train_avatar(begun, MadeUpViews(), tmp_path, CPU)
    state = load_checkpoint(tmp_path / "state.safetensors")
    del state["config"]["losses"]["perceptual"]
    write_tensor_file(tmp_path / "state.safetensors", state)
    train_avatar(begun, MadeUpViews(), tmp_path, CPU)


def test_the_perceptual_loss_is_the_distance_of_whole_pictures(monkeypatch):
    torch.manual_seed(0)
    net = EfficientNetLite0().eval().requires_grad_(False)
    monkeypatch.setattr(loop, "load_efficientnet", lambda what: net)
    run = AvatarRun(config(losses={"perceptual": 0.5}), MadeUpViews(), CPU)
    assert run.train_step()["perceptual"] > 0 and AvatarRun(config(), MadeUpViews(), CPU).judge is None
    shot, image = MadeUpViews().shot(0), torch.rand(24, 24, 3)
    losses = picture_losses(run.config.losses, image, shot.alpha, shot, torch.ones(3), run.judge)
    pair = ((2 * part - 1).permute(2, 0, 1)[None] for part in (image, shot.over(1.0)))
    assert losses["perceptual"].item() == pytest.approx(0.5 * perceptual_distance(net, *pair).item(), rel=1e-5)


def test_what_does_not_count_changes_nothing():
    """A boundary band is painted with the background in both pictures."""
    shot = MadeUpViews().shot(0)
    counts = torch.rand(24, 24, generator=torch.Generator().manual_seed(0)) > 0.5
    background, weights = torch.tensor([0.2, 0.4, 0.6]), AvatarLossConfig()
    image, alpha = torch.rand(24, 24, 3), torch.rand(24, 24)
    other = torch.where(counts[..., None], image, 7.0), torch.where(counts, alpha, 7.0)
    first, second = (
        picture_losses(weights, *parts, shot._replace(counts=counts), background) for parts in ((image, alpha), other)
    )
    assert all(torch.equal(first[name], second[name]) for name in ("l1", "ssim", "mask"))
    same = picture_losses(weights, shot.over(background), shot.alpha, shot, background)
    assert [value.item() for value in same.values()] == pytest.approx([0, 0, 0], abs=1e-6)


def test_ssim_is_scikit_images():
    random = torch.Generator().manual_seed(0)
    a = torch.rand(20, 17, 3, generator=random, dtype=torch.float64)
    b = (a + 0.2 * torch.randn(a.shape, generator=random, dtype=torch.float64)).clamp(0, 1)
    expected = skimage_ssim(a.numpy(), b.numpy(), channel_axis=2, data_range=1.0)
    ours = structural_similarity(*(part.permute(2, 0, 1)[None] for part in (a, b)))
    assert ours.item() == pytest.approx(expected, abs=1e-9)

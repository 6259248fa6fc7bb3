"""From an avatar with nets to a linear one: the fit finds what is linear, pictures make it better."""

import pytest
import torch

from networks.gaussian.linear import LinearAvatar, unpack_linear
from tests.networks.gaussian.made_up import make_avatar
from tests.training.avatar.made_up import CONFIG, MadeUpViews
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import config_from_dict, config_to_dict, merge
from torch_utils.misc import UserError
from training.avatar import linear as command
from training.avatar.config import AvatarTrainConfig
from training.avatar.linear import collect, fit, refine, weights_of_values
from training.avatar.loop import measure, train_avatar

CONFIGURED = config_from_dict(AvatarTrainConfig, CONFIG, "tiny")
POSES = 12


@pytest.fixture
def avatar():
    """Without nets: what it adds, the expression's displacement, is linear."""
    views, found = MadeUpViews(), make_avatar("static")
    found.load_state_dict(views.avatar.state_dict())
    found.fit_projection([views.look(i)[0] for i in range(POSES)])
    return found


@torch.no_grad()
def test_what_is_linear_is_found(avatar):
    """One direction is enough for one coefficient: frames of poses not seen are the avatar's, to the ridge's part."""
    views = MadeUpViews()
    linear = LinearAvatar.of(avatar, 2)
    fit(linear, collect(avatar, linear, views, POSES))
    for index in (50, 51):
        pose, view = views.look(index)
        ours, theirs = linear.driven(pose, view.origin), avatar.driven(pose, view.origin)
        assert torch.allclose(ours.means, theirs.means, atol=1e-4)  # of moves of up to 0.02; the ridge keeps a little
        assert torch.allclose(ours.axes, theirs.axes, atol=1e-6) and torch.allclose(ours.colours, theirs.colours)
    neutral = views.look(50)[0]._replace(expression=torch.zeros(64))
    assert (linear(neutral, view.origin).means - ours.means).abs().max() > 1e-3  # expressions do move it


def test_weights(avatar):
    """By hand: an opacity of a half; a size of a tenth of the unit."""
    mean = torch.zeros(1, 14)
    mean[0, 7:10] = torch.tensor(0.1).log()
    found = weights_of_values(mean, 0.02)
    assert found[0].tolist() == pytest.approx([0.5] * 3 + [0.1] * 3 + [0.25] + [0.5] * 7)


def test_pictures_make_it_better(avatar, monkeypatch):
    """A base that is off by a tenth of a colour comes back, by at least 3 dB in thirty steps (8 where written), which
    are ten times as large as those of runs, of which there are hundreds."""
    monkeypatch.setattr(command, "RATES", {name: 10 * rate for name, rate in command.RATES.items()})
    views = MadeUpViews()
    linear = LinearAvatar.of(avatar, 2)
    fit(linear, collect(avatar, linear, views, POSES))
    with torch.no_grad():
        linear.base[:, :3] += 0.03
    shots = [views.held_out(i) for i in range(2)]
    before = measure(linear, shots)
    losses = list(refine(linear, views, CONFIGURED, 30))
    assert measure(linear, shots).psnr > before.psnr + 3 and losses[-1] < losses[0]


def test_the_command(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    short = config_from_dict(AvatarTrainConfig, merge(CONFIG, {"optim": {"steps": 2, "static_steps": 1}}), "tiny")
    train_avatar(short, MadeUpViews(), run, torch.device("cpu"))
    monkeypatch.setattr(command, "open_views", lambda *_: MadeUpViews())
    words = ["--run", str(run), "--from", "nowhere", "--rank", "4", "--draws", "8", "--steps", "2", "--device", "cpu"]
    command.main(words)
    said = capsys.readouterr().out
    assert "held-out pictures: avatar " in said and "Gaussians, rank 4" in said
    found, metadata = unpack_linear(load_checkpoint(run / "linear.safetensors"), "linear")
    assert len(found.limits) == 4 and metadata["linear"] == {"rank": 4, "draws": 8, "steps": 2}
    assert metadata["training"] == config_to_dict(short)
    views = MadeUpViews()
    views.metadata = {"source": "somebody else"}
    monkeypatch.setattr(command, "open_views", lambda *_: views)
    with pytest.raises(UserError, match="expected the actor of a ball, found somebody else"):
        command.main(words)

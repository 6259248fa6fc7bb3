"""A linear avatar of a trained one: `python -m training.avatar.linear --run runs/avatar3 --from CKPT --seed 3 ...`.

Least squares over drawn poses, expressions and views (one pass), the strongest directions of what is found, and some
hundred steps on pictures.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from networks.gaussian.avatar import CHANNELS, GaussianAvatar, unpack_avatar
from networks.gaussian.linear import LEAST_LIMIT, WIDTH, LinearAvatar, pack_linear
from torch_utils.bounds import whole_number
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.config import config_from_dict
from torch_utils.device import full_precision
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from training.avatar.actors import add_actor, open_views
from training.avatar.config import AvatarTrainConfig
from training.avatar.loop import load_judge, measure, picture_losses, training_index
from training.avatar.views import Views
from training.run.state import LATEST

OUT = "linear.safetensors"
RIDGE = 1e-5  # of the mean variance of features
LEAST_VARIANCE = 1e-6  # of the largest: features that hardly vary explain nothing
RATES = {"base": 1e-4, "directions": 3e-5, "mixing": 1e-5}  # Adam's; larger ones undo what the fit found


class Moments(NamedTuple):
    """Of M draws of features [K] and raw values [N, 14]."""

    features: Tensor  # [M, K]
    mean: Tensor  # [N, 14] of values
    products: Tensor  # [K, N * 14] sums of centred features times values, over M


@torch.no_grad()
def collect(avatar: GaussianAvatar, linear: LinearAvatar, views: Views, draws: int) -> Moments:
    """One pass over drawn poses and cameras."""
    looks = [views.look(i) for i in range(draws)]
    features = torch.stack([linear.features(pose, view.origin) for pose, view in looks])
    centred = features - features.mean(0)
    mean = torch.zeros_like(linear.base)
    products = mean.new_zeros(features.shape[1], mean.numel())
    for row, (pose, view) in zip(centred, tqdm(looks, desc="looks", mininterval=1.0), strict=True):
        raw = avatar.corrected(pose, view.origin)
        mean += raw / draws
        products.addr_(row, raw.flatten(), alpha=1 / draws)
    return Moments(features, mean, products)


def weights_of_values(mean: Tensor, position_unit: float) -> Tensor:
    """[N, 14]: how much a picture changes, roughly, by a unit of each raw value.

    A faint Gaussian changes little; one that moves by its own size, or grows by e, about as much as one that changes
    from black to white.
    """
    logits, log_scales = mean[:, 6:7], mean[:, 7:10]
    opacity = logits.sigmoid()
    size = log_scales.mean(-1, keepdim=True).exp()
    parts = {"colour": opacity, "position": opacity * position_unit / size, "other": opacity}
    weights = torch.cat([part.expand(-1, CHANNELS[name]) for name, part in parts.items()], -1)
    weights[:, 6:7] = opacity * (1 - opacity)
    return weights


@torch.no_grad()
@full_precision()
def fit(linear: LinearAvatar, moments: Moments) -> None:
    """Ridge regression in whitened features, then the directions that change pictures most."""
    features, mean, products = moments
    centre, draws = features.mean(0), len(features)
    centred = (features - centre).double()
    variances, axes = torch.linalg.eigh(centred.T @ centred / draws)
    kept = variances > LEAST_VARIANCE * variances.max()
    variances, axes = variances[kept], axes[:, kept]
    whiten = (axes / variances.sqrt()).float()  # [K, k]
    shrink = variances / (variances + RIDGE * variances.mean())
    found = shrink.float()[:, None] * (whiten.T @ products)  # [k, N * 14]
    weighted = found * weights_of_values(mean, linear.position_unit).flatten()
    _, turns = torch.linalg.eigh((weighted @ weighted.T).double())
    turns = turns.flip(1)[:, : len(linear.limits)].float()  # [k, R], the strongest first
    rank = turns.shape[1]
    mixing = turns.T @ whiten.T
    linear.base.copy_(mean)
    linear.directions.zero_()
    linear.directions[:rank] = (turns.T @ found).view(rank, -1, WIDTH)
    linear.mixing.weight.zero_(), linear.mixing.bias.zero_()
    linear.mixing.weight[:rank] = mixing
    linear.mixing.bias[:rank] = -mixing @ centre
    seen = linear.mixing(features).abs().amax(0)
    linear.limits.copy_(seen.clamp(min=LEAST_LIMIT))


def refine(linear: LinearAvatar, views: Views, config: AvatarTrainConfig, steps: int) -> Iterator[float]:
    """Steps on pictures to learn from, by the run's own losses; yields each one's loss."""
    groups = [{"params": [p for n, p in linear.named_parameters() if n.split(".")[0] == name], "lr": rate}
              for name, rate in RATES.items()]  # fmt: skip
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    white, judge = linear.base.new_ones(3), load_judge(config.losses, linear.base.device)
    for step in range(steps):
        shot = views.shot(training_index(config.seed, step, views.frames))
        picture = linear(shot.pose, shot.view.origin).draw(shot.view, white)
        losses = picture_losses(config.losses, picture.image, picture.alpha, shot, white, judge)
        loss = torch.stack(list(losses.values())).sum()
        if not loss.isfinite():
            raise UserError(f"step {step} went wrong: the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield loss.item()


def load_run(run: Path, device: torch.device) -> tuple[GaussianAvatar, dict, AvatarTrainConfig]:
    """The trained avatar of a run folder, what it says about itself, and the configuration it was trained by."""
    path = run / LATEST
    avatar, metadata = unpack_avatar(load_checkpoint(path), str(path))
    if not isinstance(metadata.get("training"), dict):
        raise UserError(f"{path}: expected an avatar that says how it was trained, found none of it")
    config = config_from_dict(AvatarTrainConfig, metadata["training"], f"{path}: training")
    return avatar.to(device), metadata, config


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m training.avatar.linear", description="Make a linear avatar of a trained one.")
    parser.add_argument("--run", type=Path, required=True, help="run folder of python -m training.avatar")
    add_actor(parser)
    parser.add_argument("--out", type=Path, help=f"file to write (default: {OUT} in the run folder)")
    parser.add_argument("--rank", type=whole_number(1, 1024), default=32, help="directions (default: %(default)s)")
    parser.add_argument(
        "--draws", type=whole_number(2, 10**6), default=600, help="poses and views to fit to (default: %(default)s)"
    )
    parser.add_argument("--steps", type=whole_number(0, 10**6), default=300, help="on pictures (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    args = parser.parse_args(argv)
    device = resolve_device(args.device)
    avatar, metadata, config = load_run(args.run, device)
    linear = LinearAvatar.of(avatar, args.rank).to(device)
    views = open_views(args, config, device)
    if views.metadata["source"] != metadata.get("source"):
        raise UserError(f"{args.run}: expected the actor of {metadata.get('source')}, found {views.metadata['source']}")
    fit(linear, collect(avatar, linear, views, args.draws))
    shots = [views.held_out(i) for i in range(config.run.held_out)]
    print(f"held-out pictures: avatar {measure(avatar.driven, shots)}, fitted {measure(linear, shots)}")
    for _ in tqdm(refine(linear, views, config, args.steps), "steps", args.steps, mininterval=1.0):
        pass
    metadata |= {"linear": {"rank": args.rank, "draws": args.draws, "steps": args.steps}}
    out = args.out or args.run / OUT
    save_checkpoint(out, pack_linear(linear, metadata))
    print(f"{out}: {len(linear.base):,} Gaussians, rank {args.rank}; {measure(linear, shots)}")


if __name__ == "__main__":
    run_cli(main)

"""Training of an avatar, a picture a step, top to bottom."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from networks.gaussian.avatar import GaussianAvatar, Gaussians, Pose, pack_avatar
from networks.gaussian.maps import CanonicalMaps
from networks.perceptual import EfficientNetLite0, load_efficientnet, perceptual_distance
from torch_utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from torch_utils.config import completed, config_to_dict, differences
from torch_utils.locks import hold
from torch_utils.misc import UserError, atomic_path, one_line
from torch_utils.tensor_file import write_tensor_file
from training.avatar.config import AvatarLossConfig, AvatarOptimConfig, AvatarTrainConfig
from training.avatar.template import with_mesh
from training.avatar.views import Shot, Views
from training.losses.similarity import structural_similarity
from training.run.log import CONFIG, RunLog, snapshot_path
from training.run.snapshot import save_grid
from training.run.state import LATEST, STATE
from training.run.stop_request import StopRequest
from training.sampling import random_generator

LOCK = ".lock"
ORDER, STEP = 10, 11  # draws that have nothing in common
Draws = Callable[[Pose, Tensor], Gaussians]  # an avatar, or a way to ask one
PROJECTION_POSES = 400  # that PCA is fitted to
LEAST_RATE = 0.05  # of the first one, at the end


class Measured(NamedTuple):
    """Means over held-out pictures on white, whole frames."""

    psnr: float  # dB
    ssim: float

    def __str__(self) -> str:
        return f"{self.psnr:.2f} dB, SSIM {self.ssim:.4f}"


class AvatarRun:
    """What changes while a run goes on: avatar, optimizer, step. Random numbers follow from (seed, step)."""

    def __init__(self, config: AvatarTrainConfig, views: Views, device: torch.device):
        self.config, self.views, self.device = config, views, device
        actor = views.actor(config.avatar.map_size)
        actor = actor if config.template is None else with_mesh(actor, config.template)
        maps = CanonicalMaps.from_template(actor.template, actor.window)
        torch.manual_seed(random_generator(config.seed).initial_seed())
        self.avatar = GaussianAvatar(config.avatar, maps, actor.joints, actor.parents)
        self.avatar.start()
        self.avatar.fit_projection(views.poses(PROJECTION_POSES))
        self.avatar.to(device)
        nets = [p for name, p in self.avatar.named_parameters() if not name.startswith("canonical.")]
        canonical = [p for p in self.avatar.canonical.parameters() if p.requires_grad]
        groups = [(part, lr) for part, lr in ((nets, config.optim.lr), (canonical, config.optim.canonical_lr)) if part]
        if not groups:
            raise UserError("avatar: expected nets, or learned canonical Gaussians: there is nothing to train")
        self.optimizer = torch.optim.Adam([{"params": part, "lr": lr} for part, lr in groups])
        self.first_rates = [lr for _, lr in groups]
        self.judge = load_judge(config.losses, device)
        self.step, self.seconds = 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "config": config_to_dict(self.config), "data": self.views.summary,
            "counters": {"step": self.step, "seconds": self.seconds},
            "avatar": self.avatar.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip

    def save(self, outdir: Path) -> None:
        """State, then model; each is whole or the one before it."""
        with atomic_path(outdir / STATE) as temporary:
            write_tensor_file(temporary, self.state_dict())
        metadata = self.views.metadata | {"training": config_to_dict(self.config), "step": self.step}
        save_checkpoint(outdir / LATEST, pack_avatar(self.avatar, metadata))

    def load(self, outdir: Path, *, allow_change: bool) -> None:
        """Raises UserError: the file is damaged, or of another run and ``allow_change`` is not given."""
        path = outdir / STATE
        data = load_checkpoint(path)
        missing = [name for name in self.state_dict() if name not in data]
        if missing:
            raise UserError(f"{path}: expected the state of an avatar's training, found no '{missing[0]}'")
        begun = completed(AvatarTrainConfig, data["config"])
        changed = differences(begun | {"run": None}, config_to_dict(self.config) | {"run": None})
        if data["data"] != self.views.summary:
            changed.append(f"{data['data']} -> {self.views.summary}")
        if changed and not allow_change:
            raise UserError(f"{outdir}: this run was begun otherwise ({'; '.join(changed)}); --allow_change goes on")
        load_weights(self.avatar, data["avatar"], f"{path}: avatar")
        try:
            self.optimizer.load_state_dict(data["optimizer"])
        except (ValueError, KeyError) as error:
            raise UserError(f"{path}: the optimizer does not fit: {one_line(str(error))}") from error
        self.step, self.seconds = data["counters"]["step"], data["counters"]["seconds"]

    def train_step(self) -> dict[str, float]:
        """One picture; returns its losses."""
        config, optim = self.config, self.config.optim
        random = random_generator(config.seed, STEP, self.step)
        torch.manual_seed(random.initial_seed())  # for what is added to the views
        shot = self.views.shot(training_index(config.seed, self.step, self.views.frames))
        white = config.losses.background == "white"
        background = (torch.ones(3) if white else torch.rand(3, generator=random)).to(self.device)
        for group, first in zip(self.optimizer.param_groups, self.first_rates, strict=True):
            group["lr"] = first * rate(self.step, optim)
        self.avatar.train()
        gaussians = self.avatar(shot.pose, shot.view.origin, static=self.step < optim.static_steps)
        picture = gaussians.draw(shot.view, background)
        losses = picture_losses(config.losses, picture.image, picture.alpha, shot, background, self.judge)
        losses["offset"] = config.losses.offset * gaussians.offsets.norm(dim=-1).mean()
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad()
        total.backward()
        values = {name: value.item() for name, value in losses.items()} | {"loss": total.item()}
        wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise UserError(f"step {self.step} went wrong: {', '.join(wrong)}; training stopped, the last state stays")
        self.optimizer.step()
        self.step += 1
        return values

    def drawn(self) -> Draws:
        """The avatar as it is: without nets, while they rest."""
        self.avatar.eval()
        return partial(self.avatar, static=self.step <= self.config.optim.static_steps)

    def draw(self, shot: Shot) -> Tensor:
        """Our picture of a shot, on white: [H, W, 3] in 0..1."""
        return draw_picture(self.drawn(), shot)

    def measure(self) -> Measured:
        """By pictures that training does not see."""
        return measure(self.drawn(), [self.views.held_out(i) for i in range(self.config.run.held_out)])

    def snapshot(self, path: Path) -> None:
        """Held-out pictures, the truth above and ours below."""
        shots = [self.views.held_out(i) for i in range(self.config.run.snapshot_views)]
        pictures = [shot.over(1.0) for shot in shots] + [self.draw(shot) for shot in shots]
        save_grid(path, torch.stack(pictures).permute(0, 3, 1, 2).cpu() * 2 - 1, len(shots))


@torch.no_grad()
def draw_picture(avatar: Draws, shot: Shot) -> Tensor:
    """An avatar's picture of a shot, on white: [H, W, 3] in 0..1."""
    return avatar(shot.pose, shot.view.origin).draw(shot.view, 1.0).image.clamp(0, 1)


def measure(avatar: Draws, shots: Sequence[Shot]) -> Measured:
    """Means over pictures."""
    rows = []
    for shot in shots:
        ours, truth = draw_picture(avatar, shot), shot.over(1.0)
        error = (ours - truth).square().mean().clamp(min=1e-10)
        ssim = structural_similarity(ours.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None])
        rows.append((-10 * math.log10(error.item()), ssim.item()))
    return Measured(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))


def training_index(seed: int, step: int, frames: int) -> int:
    """Which picture a step sees: all of them in every epoch, in an order of its own."""
    order = torch.randperm(frames, generator=random_generator(seed, ORDER, step // frames))
    return int(order[step % frames])


def rate(step: int, optim: AvatarOptimConfig) -> float:
    """Of the first learning rate: a half cosine."""
    return LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * step / optim.steps)) / 2


def load_judge(weights: AvatarLossConfig, device: torch.device) -> EfficientNetLite0 | None:
    """The net of the perceptual distance, where that has a weight. Raises UserError: its package is missing."""
    return load_efficientnet("losses.perceptual").to(device) if weights.perceptual > 0 else None


def picture_losses(
    weights: AvatarLossConfig, image: Tensor, alpha: Tensor, shot: Shot, background: Tensor,
    judge: EfficientNetLite0 | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Of a picture [H, W, 3] and its alpha over a background [3]; what does not count is painted with it in both.

    ``judge``: of the perceptual distance, where that has a weight.
    """
    target, expected = shot.over(background), shot.alpha
    if shot.counts is not None:
        image, target = (torch.where(shot.counts[..., None], part, background) for part in (image, target))
        alpha, expected = (torch.where(shot.counts, part, 0.0) for part in (alpha, expected))
    losses = {"l1": weights.l1 * (image - target).abs().mean()}
    pictures = [part.permute(2, 0, 1)[None] for part in (image, target)]
    if weights.ssim > 0:
        losses["ssim"] = weights.ssim * (1 - structural_similarity(*pictures))
    if judge is not None:
        distance = perceptual_distance(judge, *(2 * picture - 1 for picture in pictures))
        losses["perceptual"] = weights.perceptual * distance.mean()
    if weights.mask > 0:
        losses["mask"] = weights.mask * (alpha - expected).abs().mean()
    return losses


def train_avatar(
    config: AvatarTrainConfig, views: Views, outdir: Path, device: torch.device, *, command: str = "",
    allow_change: bool = False,
) -> None:  # fmt: skip
    """Train until ``config.optim.steps``; goes on where the state in ``outdir`` was written.

    SIGTERM and Ctrl-C finish the step, save, and return (Ctrl-C then raises KeyboardInterrupt).

    Raises:
        UserError: the run was begun otherwise, a loss is not finite, files cannot be written, or another process is
            training in ``outdir``.
    """
    with hold(outdir / LOCK, f"--outdir {outdir}", "training there"):
        run = AvatarRun(config, views, device)
        if (outdir / STATE).exists():
            run.load(outdir, allow_change=allow_change)
        _save_config(config, outdir / CONFIG, (command, f"views: {views.summary}"))
        log = RunLog(outdir, run.step, config.optim.steps)
        started = time.monotonic() - run.seconds
        with StopRequest().listening() as request:
            try:
                for line in describe(run):
                    log.write(line)
                _train(run, log, outdir, request, started)
            finally:
                log.close()
    if request.signal == signal.SIGINT:
        raise KeyboardInterrupt


def _train(run: AvatarRun, log: RunLog, outdir: Path, request: StopRequest, started: float) -> None:
    total, often = run.config.optim.steps, run.config.run
    first = True
    while True:
        done, stopping = run.step >= total, request.signal is not None
        measured: dict[str, float] = {}
        if first or done or stopping or run.step % often.snapshot_steps == 0:
            run.seconds = time.monotonic() - started
            if not stopping:
                run.snapshot(snapshot_path(outdir, run.step))
                measured = {f"held_out/{name}": value for name, value in run.measure()._asdict().items()}
            run.save(outdir)
            first = False
        if measured or done or stopping or run.step % often.tick_steps == 0:
            log.report(run.step, run.step, run.device, measured)
        if done or stopping:
            return
        log.add(run.train_step(), 1)


def describe(run: AvatarRun) -> list[str]:
    """Lines for a person."""
    avatar = run.avatar
    weights = sum(p.numel() for p in avatar.nets.parameters())
    lines = [f"{run.views.summary}: {len(avatar.maps.pixels):,} Gaussians, nets of {weights:,} weights"]
    if run.config.losses.ssim > 0:
        lines.append("losses: L1 and SSIM; LPIPS, the paper's, needs weights that are not ours to give")
    return lines


def _save_config(config: AvatarTrainConfig, path: Path, remarks: Sequence[str]) -> None:
    comments = "".join(f"# {' '.join(remark.split())}\n" for remark in remarks if remark)
    with atomic_path(path) as temporary:
        temporary.write_text(comments + yaml.safe_dump(config_to_dict(config), sort_keys=False), encoding="utf-8")

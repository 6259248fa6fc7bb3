"""Stage 0: what drawn people look like, before any adversary does (`python -m training.pretrain --help`).

Drawn people have exact shapes and colours. M is wrapped around the mean body, D^e learns from the morphable face, and
phi is regressed at single points, where rays of drawn people cross the manifolds. ``z_noise`` means what the drawing's
``eps`` means. The adversarial stages of the paper go on from there.
"""

from __future__ import annotations

import copy
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from networks.layers import weight_and_bias
from networks.manifold.generator import ID_DIM, NOISE_DIM, Generator
from networks.manifold.generator_config import GeneratorConfig
from networks.manifold.radiance import INITIAL_SIGMA
from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.person.expressions import face_model_name
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from torch_utils.bounds import MAX_SEED, Range, check_ranges
from torch_utils.checkpoint import load_checkpoint, load_weights, save_checkpoint
from torch_utils.config import (
    config_from_dict,
    config_to_dict,
    load_layered,
    merge,
    parse_overrides,
)
from torch_utils.host_memory import keep_freed_memory
from torch_utils.misc import CliParser, resolve_device, run_cli
from training.config import representation_of
from training.data.synthetic.appearance import N_USED
from training.drawn_labels import DrawnLabels
from training.drawn_points import POINT, Targets, draw_points, drawn_identity, find_air, unpack, with_air
from training.expression_warmup import warm_up_expression
from training.models import check_same_space, face_of, wrap_manifolds
from training.regression import Regression
from training.run.state import LATEST, NUM_MEAN_SAMPLES
from training.sampling import random_generator
from training.stage0 import START, Learning, check_begun, collect, earlier_model, learn, learned
from training.trigrid.pretraining import TriGridPretrainConfig
from training.trigrid.pretraining import pretrain as pretrain_trigrid

POINTS = "points.npy"
AIR_SHARE = 8  # beside so many points of a batch there is one where nobody has anything
FIRST_SIGMA = 4.0  # phi begins nearly clear: gradients reach its inner layers
BATCH_KEY = 0xF1  # of draws


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """All of it."""

    generator: GeneratorConfig
    init_from: str | None = None  # a model of an earlier pretraining, whose M and phi go on; none: from the beginning
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    expression_steps: Annotated[int, Range(0, 10**6)] = 5000  # of D^e
    people: Annotated[int, Range(2, 10**6)] = 2500  # drawn
    rays: Annotated[int, Range(8, 2**15)] = 1400  # of a person's camera
    points: Annotated[int, Range(8, 2**20)] = 5000  # of a person, of those where rays cross the manifolds
    steps: Annotated[int, Range(1, 10**7)] = 12000  # of phi
    batch_size: Annotated[int, Range(1, 1024)] = 32  # people a step
    batch_points: Annotated[int, Range(1, 2**20)] = 512  # of every person, a step
    mapping_lr: Annotated[float, Range(1e-12, 1.0)] = 1e-3  # Adam's at its peak, of phi's mapping network
    siren_lr: Annotated[float, Range(1e-12, 1.0)] = 1.5e-4  # of its sine layers
    head_lr: Annotated[float, Range(1e-12, 1.0)] = 1e-3  # of phi's heads of colour
    sigma_lr: Annotated[float, Range(1e-12, 1.0)] = 5e-3  # of those of sigma, which has to reach 100
    colour: Annotated[float, Range(0.0, 1e3)] = 4.0  # weight of colours, beside opacity
    sharpness: Annotated[float, Range(0.0, 1e3)] = 0.0  # weight of opacity's absolute errors, beside its cross-entropy
    hardness: Annotated[float, Range(1.0, 100.0)] = 1.0  # of opacity in the model that is saved: radiance.harden
    precision: Literal["fp32", "bf16"] = "bf16"  # of phi; bf16 is 2.6 times as fast where the CPU has such products
    workers: Annotated[int, Range(-1, 256)] = -1  # processes that draw people; -1: one a core, 0: none but this one
    save_every: Annotated[int, Range(1, 10**6)] = 1000  # steps

    def __post_init__(self):
        check_ranges(self)
        if self.batch_points > self.points:
            raise ValueError(f"batch_points: expected at most points ({self.points}), found {self.batch_points}")


# ---- M and D^e -----------------------------------------------------------------------------------------------------


def meaningless(config: GeneratorConfig) -> Tensor:
    """Which entries of phi's latents [160] say nothing about a drawn person: unused ones of eps, and those of z_id
    where D^e alone is to know it. phi is not to see them: by them it knew people by heart, and strangers worse."""
    unseen = torch.zeros(ID_DIM + NOISE_DIM, dtype=torch.bool)
    unseen[ID_DIM + N_USED :] = True
    unseen[:ID_DIM] = config.canonical_shape == "mean"
    return unseen


def begin(config: PretrainConfig, labels: DrawnLabels, device: torch.device) -> Generator:
    """A generator whose manifolds lie around the mean body and whose D^e imitates the open face; M and phi as they are
    in ``init_from``, where it names a model. UserError where that does not fit."""
    torch.manual_seed(config.seed)
    body = default_body()
    generator = Generator(config.generator, body, torch.as_tensor(head_shoulder_vertices(body)))
    if config.init_from is not None:
        take_over(generator, config.init_from)
    else:
        wrap_manifolds(generator, config.seed)
        with torch.no_grad():
            for head in generator.radiance.to_sigma:
                weight_and_bias(head)[1].add_((FIRST_SIGMA - INITIAL_SIGMA) / len(generator.radiance.to_sigma))
    with torch.no_grad():
        weight_and_bias(generator.radiance.mapping[0])[0][:, meaningless(config.generator)] = 0
    generator.to(device)
    if config.expression_steps and config.generator.expression:
        imitation = face_of(config.generator).to(device)
        warm_up_expression(
            generator.expression_deformation, imitation, labels, steps=config.expression_steps, seed=config.seed
        )
    return generator


def take_over(generator: Generator, path: str) -> None:
    """M and phi of a model of an earlier pretraining, its opacity as soft as it was learned. UserError where they do
    not fit."""
    model = earlier_model(path, (Generator,))
    saved = model.generator
    check_same_space(generator, saved, path)
    load_weights(generator.manifolds, saved.manifolds.state_dict(), f"{path}: manifolds")
    load_weights(generator.radiance, saved.radiance.state_dict(), f"{path}: radiance")
    generator.radiance.harden(1 / model.metadata["pretraining"].get("hardness", 1.0))


# ---- phi -----------------------------------------------------------------------------------------------------------


def collect_points(config: PretrainConfig, model: Path, path: Path) -> np.ndarray:
    """Points of all people [P, N], :data:`training.drawn_points.POINT`, in ``path``; goes on where it was stopped."""
    draw = partial(draw_points, str(model), config.seed, config.rays, config.points)

    def drawn(points: np.ndarray) -> np.ndarray:
        return points["weights"][:, 0].max(1) > 0

    return collect(path, POINT, (config.people, config.points), draw, drawn, config.workers)


def point_loss(
    colours: Tensor, targets: Targets, colour_weight: float, sharpness: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of opacity, less what uncertain targets cannot go below, and absolute errors of colours.

    Args:
        colours: [B, N, 4] of phi.
        colour_weight: beside opacity.
        sharpness: weight of absolute errors of opacity: where strands are too thin to be known the median of what is
            there, hair or none, takes the place of the mean, which is smoke.

    Returns:
        the loss, and the mean error of colours.
    """
    alpha, rgb = colours[..., 3].clamp(1e-5, 1 - 1e-5), colours[..., :3]
    entropy = -(targets.alpha * alpha.log() + (1 - targets.alpha) * (1 - alpha).log())
    least = torch.special.entr(targets.alpha) + torch.special.entr(1 - targets.alpha)
    off = (alpha - targets.alpha).abs()
    opacity = (targets.alpha_weight * (entropy - least + sharpness * off)).mean()
    error = (targets.colour_weight * (rgb - targets.colour).abs().mean(-1)).sum()
    error = error / targets.colour_weight.sum().clamp_min(1)
    return opacity + colour_weight * error, error


class Pretraining(Learning):
    """phi's regression: what changes while it goes on, and a step of it."""

    config: PretrainConfig
    generator: Generator

    def __init__(self, config: PretrainConfig, generator: Generator, points: np.ndarray, priors: LabelPriors):
        super().__init__(config, generator)
        self.points, self.priors = points, priors
        phi = generator.radiance
        sine_layers = nn.ModuleList([*phi.layers, phi.colour_layer])
        parts = (
            (config.mapping_lr, phi.mapping),
            (config.siren_lr, sine_layers),
            (config.head_lr, phi.to_rgb),
            (config.sigma_lr, phi.to_sigma),
        )
        self.regression = Regression([(rate, [part.parameters()]) for rate, part in parts], config.steps)
        people = [drawn_identity(config.seed, index) for index in range(config.people)]
        self.latents = torch.from_numpy(np.stack([np.concatenate([one.z_id, one.eps]) for one in people]))
        self.latents[:, meaningless(config.generator)] = 0
        self.air = find_air(generator, points)

    def some_air(self, random: torch.Generator) -> Tensor | None:
        """Points [B, M, 3] where nobody has anything; None where there are no such."""
        shape = (self.config.batch_size, max(1, self.config.batch_points // AIR_SHARE))
        return self.air[torch.randint(len(self.air), shape, generator=random)] if len(self.air) else None

    def loss(self, people: Tensor, latents: Tensor, where: slice, air: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """:func:`point_loss` of some people with latents [B, 160] at some of their points, and at ``air`` [B, M, 3]."""
        device = self.generator.manifolds.levels.device
        rows = np.stack([self.points[index, where] for index in people.tolist()])
        targets = unpack(rows) if air is None else with_air(unpack(rows), air)
        targets = Targets(*(part.to(device) for part in targets))
        phi = self.generator.radiance
        styled = phi.styled(phi.style(latents.to(device)))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            colours = phi.colours(targets.position, styled)
        return point_loss(colours.float(), targets, self.config.colour, self.config.sharpness)

    def __call__(self) -> dict[str, float]:
        """One step: its loss and the error of colours."""
        config, random = self.config, random_generator(self.config.seed, BATCH_KEY, self.step)
        people = torch.randint(learned(config.people), (config.batch_size,), generator=random)
        first = int(torch.randint(config.points - config.batch_points + 1, (), generator=random))
        where = slice(first, first + config.batch_points)
        loss, error = self.loss(people, self.latents[people], where, self.some_air(random))
        self.step += 1
        return {"loss": self.regression.step(loss), "colours": error.item()}

    @torch.no_grad()
    def strangers(self) -> dict[str, float]:
        """Loss and error of colours of people that are not learned from."""
        people = torch.arange(learned(self.config.people), self.config.people)[:64]
        where = slice(0, self.config.batch_points)
        losses = [self.loss(part, self.latents[part], where) for part in people.split(self.config.batch_size)]
        loss, error = np.mean([[value.item() for value in pair] for pair in losses], 0)
        return {"strangers": float(loss), "strangers_colours": float(error)}

    def save_model(self, path: Path) -> None:
        """See :func:`save_model`."""
        save_model(path, self.generator, self.config, self.priors, self.step)


def save_model(path: Path, generator: Generator, config: PretrainConfig, priors: LabelPriors, step: int) -> None:
    """Write the generator, mean styles measured and opacity hardened, as ``--ckpt`` and ``init_from`` read it."""
    generator = copy.deepcopy(generator)
    generator.radiance.harden(config.hardness)
    latents = priors.sample_latents(NUM_MEAN_SAMPLES, random_generator(0))
    device = generator.mean_phase.device
    generator.set_mean_styles(latents.z_id.to(device), latents.z_noise.to(device))
    metadata = {"face_model": face_model_name(None), "pretraining": config_to_dict(config), "step": step}
    save_checkpoint(path, pack_model(SavedModel(generator, priors, metadata)))


def pretrain(config: PretrainConfig, outdir: Path, device: torch.device, *, command: str = "") -> Generator:
    """The whole of it; the same call goes on where it was stopped.

    Args:
        command: that does this, for ``config.yaml``.

    Raises:
        UserError: a state of another pretraining, or a place that cannot be written to.
    """
    outdir.mkdir(parents=True, exist_ok=True)
    labels, start = DrawnLabels(config.seed, config.people), outdir / START
    if not start.exists():
        soft = replace(config, hardness=1.0)  # phi learns from there
        save_model(start, begin(config, labels, device), soft, labels.priors(), 0)
    generator = started(config, start, device)
    task = Pretraining(config, generator, collect_points(config, start, outdir / POINTS), labels.priors())
    learn(task, outdir, device, command=command)
    return generator


def started(config: PretrainConfig, path: Path, device: torch.device) -> Generator:
    """The generator in ``path``, which :func:`begin` made. UserError where it was begun otherwise."""
    data = load_checkpoint(path)
    early = ("generator", "init_from", "seed", "expression_steps", "people")
    check_begun(path, data["metadata"].get("pretraining", {}), config, early)
    body = default_body()
    generator = Generator(config.generator, body, torch.as_tensor(head_shoulder_vertices(body)))
    load_weights(generator, data["state"], str(path))
    return generator.to(device)


PROGRAMS: dict[str, tuple[type, Callable[..., Any]]] = {
    "manifolds": (PretrainConfig, pretrain),
    "trigrid": (TriGridPretrainConfig, pretrain_trigrid),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(prog="python -m training.pretrain", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML file, e.g. configs/demo_pretrain.yaml")
    parser.add_argument("--outdir", required=True, type=Path, help="folder of the run, made if missing")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    args, rest = parser.parse_known_args(argv)
    data = merge(load_layered(args.config), parse_overrides(rest))
    config_class, program = PROGRAMS[representation_of(data, args.config, PROGRAMS)]
    config: Any = config_from_dict(config_class, data, args.config)
    keep_freed_memory()
    command = shlex.join(["python", "-m", "training.pretrain", *(sys.argv[1:] if argv is None else argv)])
    program(config, args.outdir, resolve_device(args.device), command=command)
    print(f"{args.outdir / LATEST}: a model to begin from (init_from) or to look at (gen_video.py --ckpt)")


if __name__ == "__main__":
    run_cli(main)

"""How the training loop trains the tri-grid generator, in all its stages (3DPortraitGAN, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.superresolution import resized
from torch_utils.distributed import World, copy_from_main, mean_over_processes
from torch_utils.misc import UserError
from training.data.label_models import check_models
from training.data.layout import CAMERA25, MASKS
from training.data.mirror import label_mirror
from training.data.reader import Batch
from training.data.storage import Dataset
from training.evaluation import Evaluation
from training.expression_warmup import warm_up_expression
from training.models import face_to_imitate
from training.phases import resize
from training.recipe import STEP_KEY, Task, read_portraits, set_precision, share_of, trained
from training.run.memory import FLOAT, MemoryEstimate, check_fits
from training.run.optimizers import update
from training.run.outputs import Outputs
from training.sampling import random_generator
from training.trigrid.config import GROUP, TriGridTrainConfig
from training.trigrid.history import Remembered
from training.trigrid.models import build_networks, load_body, load_face, read_stage, take_over
from training.trigrid.phases import Clock, Reals, accumulate_discriminator, accumulate_generator, make_people
from training.trigrid.sampling import Inputs, MeanFaces, TriGridSampler, cameras
from training.trigrid.snapshot import portraits, save_snapshot
from training.trigrid.state import TriGridState

TriGridTask = Task[TriGridTrainConfig, TriGridSampler]


class TriGrid:
    """See :class:`training.recipe.Recipe`."""

    config_class = TriGridTrainConfig

    def estimate(
        self, config: TriGridTrainConfig, share: int, *, bf16: bool, parameters: tuple[int, int], compiled: bool
    ) -> MemoryEstimate:
        """Weights with their moments and running means, and what a micro-batch keeps for the backward pass."""
        g, narrow = config.generator, 2 if bf16 else FLOAT
        rows = min(config.run.micro_batch or share, share)
        size = max(config.raw_size_at(0), config.raw_size_at(1e9))
        samples = size**2 * (g.samples + g.importance_samples)
        # Points, look-ups in three volumes, the decoder's layers, marching twice.
        volume = FLOAT * samples * (60 + 4 * g.plane_features + 3 * 64 + 6 * g.colour_features)
        nets = _synthesis(g.plane_size, g.channel_base, g.max_channels, 3 * g.plane_features * g.plane_depth)
        nets += _synthesis(g.background_size, g.channel_base // 2, g.max_channels, g.colour_features)
        nets += 6 * g.image_size**2 * sum(g.superresolution_channels)
        d = config.discriminator
        passes = (1 if d.fold_mirror else 2) * (2 + 2 * (d.r1_gamma > 0))
        features = sum(
            4 * (g.image_size >> k) ** 2 * min(d.channel_base // (g.image_size >> k), d.max_channels)
            for k in range(g.image_size.bit_length() - 3)
        )
        judged = min(config.run.d_micro_batch or rows, share)
        weights = FLOAT * 5 * sum(parameters)
        return MemoryEstimate(weights, rows * (volume + narrow * nets), judged * passes * narrow * features)

    def check_memory(self, config: TriGridTrainConfig, world: World) -> None:
        """See :func:`training.run.memory.check_fits`."""
        share = config.optim.batch_size // world.size
        needed = self.estimate(config, share, bf16=False, parameters=(0, 0), compiled=False).total
        check_fits(needed, world, "a smaller batch_size or micro_batch, fewer samples")

    def begin(
        self, config: TriGridTrainConfig, dataset: Dataset, world: World, *, resuming: bool = False
    ) -> tuple[TriGridTask, TriGridState]:
        """A run at its beginning, on every process the same; ``resuming``: a saved state will be loaded."""
        check_data(config, dataset, world)
        before = None
        if config.init_from is not None and not resuming:
            before = read_stage(config.init_from, config)
        networks = build_networks(config)
        mirror = label_mirror(load_face(config), load_body(config)) if config.mirror else None
        sampler = TriGridSampler(dataset, mirror, networks.generator, config)
        networks.to(world.device)
        if config.expression_warmup and world.is_main and not resuming:  # the others take over what it has learned
            learn_expressions(config, networks.generator, MeanFaces(sampler.z_exp))
        if before is not None:
            take_over(networks, before, str(config.init_from))
        for part in networks:
            copy_from_main(part)
        reader = read_portraits(config, dataset, world, mirror, masks=True)
        state = TriGridState(config, networks, reader, dataset.checksum)
        if before is not None:
            state.begin_from(before, str(config.init_from))
        return Task(config, world, sampler, set_precision(config.run.precision, world.device)), state

    def trial(self, config: TriGridTrainConfig) -> TriGridTrainConfig:
        """The same without D^e's steps alone."""
        return replace(config, expression_warmup=min(config.expression_warmup, 20))

    def describe(self, config: TriGridTrainConfig, state: TriGridState) -> list[str]:
        """Lines for a person: what is trained."""
        lines = [trained("G", state.networks.generator), trained("D", state.networks.discriminators)]
        rough = {"labels": "as labelled", "noisy": f"off by {config.losses.rough_noise:g} degrees a component"}
        lines.append(f"rough poses: {rough.get(config.losses.rough_labels, 'withheld')}")
        return lines

    def train_step(self, task: TriGridTask, state: TriGridState) -> dict[str, float]:
        """One update of both sides; returns its losses and gradient norms, means over all processes."""
        config, world, networks = task.config, task.world, state.networks
        optim, clock = config.optim, Clock.at(config, state.cur_nimg)
        state.set_rates(clock.rate)
        batch = next(state.reader)  # which, as its workers start, draws from the generator that is seeded here
        torch.manual_seed(random_generator(config.seed, state.step, world.rank).initial_seed())  # depths and noise
        drawn = task.sampler.draw(optim.batch_size, config.seed, STEP_KEY, state.step)
        inputs = drawn.part(slice(world.rank, None, world.size)).to(world.device)
        reals = real_people(task, networks.generator, batch)

        losses, fakes = accumulate_generator(networks, config, inputs, clock, task.autocast)
        norm = update(state.g_opt, networks.generator.trigrid.children(), optim.clip_norm)
        networks.generator.trigrid.backbone.mapping.track(mean_over_processes(fakes.w.mean(0))[None])

        again = state.remember(Remembered(*fakes.seen, inputs.camera[:, 0], fakes.pose))
        losses |= accumulate_discriminator(
            networks, config, reals, fakes, inputs, clock, state.step, task.autocast, again
        )  # fmt: skip
        losses |= {"G/gradient_norm": norm}
        losses["D/gradient_norm"] = update(state.d_opt, networks.discriminators.values(), optim.clip_norm)
        losses["pose_spread"] = fakes.pose.std(0, correction=0).mean()  # radians

        state.step += 1
        state.cur_nimg += optim.batch_size
        state.update_averages()
        # One copy to the host for all of them.
        values = mean_over_processes(torch.stack([value.float() for value in losses.values()])).tolist()
        return dict(zip(losses, values, strict=True))

    def outputs(self, task: TriGridTask, dataset: Dataset, outdir: Path, features: Any) -> TriGridOutputs:
        """See :class:`TriGridOutputs`."""
        return TriGridOutputs(task, dataset, outdir, features)


TRIGRID = TriGrid()


def learn_expressions(config: TriGridTrainConfig, portrait: TriGridPortrait, faces: MeanFaces) -> None:
    """D^e imitates the morphable face, before anything else is trained; then it stays."""
    d_e, device = portrait.expression_deformation, portrait.body.v_template.device
    assert d_e is not None
    d_e.requires_grad_(True)
    imitation = face_to_imitate(config.face_model).to(device)
    warm_up_expression(d_e, imitation, faces, steps=config.expression_warmup, seed=config.seed)
    d_e.requires_grad_(False)


def real_people(task: TriGridTask, portrait: TriGridPortrait, batch: Batch) -> Reals:
    """What D sees of a batch of the data set."""
    config, device = task.config, task.world.device
    labels = {name: value.to(device, non_blocking=True) for name, value in batch.labels.items()}
    image, mask = (part.to(device, non_blocking=True) for part in (batch.image, batch.maps[MASKS][:, None]))
    face = batch.face.to(device, non_blocking=True)
    face = resize(face, config.face_size) if config.face.weight else image.new_empty(len(image), 0)
    seen = pictures(image, mask, config.generator.image_size, labels)
    return Reals(*seen, cameras(portrait, labels), face, labels["face_camera"])


def pictures(image: Tensor, mask: Tensor, size: int, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, H] and masks [B, 1, H, H], uint8 -> [B, ., size, size] in -1..1 and in 0..1.

    Pictures keep their edges where cameras tell of these (25 numbers), else the centres of their border pixels.
    """
    if CAMERA25 in labels:
        shrunk = [resized(part.float() / 127.5 - 1, size) for part in (image, mask)]
    else:
        shrunk = [resize(part, size) for part in (image, mask)]
    return shrunk[0], (shrunk[1] + 1) / 2


class TriGridEvaluation(Evaluation):
    """Distances of portraits, before the data's cameras and in E_G's poses."""

    def sizes(self) -> dict[str, int]:
        """One view."""
        return {"portrait": self.config.generator.image_size}

    def render(self, generator: Any, inputs: Inputs) -> dict[str, Tensor]:
        """Portraits [N, 3, H, H], rendered one by one, conditioned on their own cameras and poses."""
        clock = Clock.at(self.config, 0)._replace(swap=0.0, density_noise=0.0, raw_size=generator.config.raw_size)
        clock = clock._replace(pose_noise=self.config.schedules.pose_noise.last)
        device = generator.body.v_template.device
        found = []
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for row in range(len(inputs.z)):
                part = inputs.part(slice(row, row + 1)).to(device)
                found.append(portraits(make_people(generator, self.config, part, clock).pictures))
        return {"portrait": torch.cat(found)}


class TriGridOutputs(Outputs):
    """What a run leaves behind at every snapshot."""

    def __init__(self, task: TriGridTask, dataset: Dataset, outdir: Path, features: Any):
        super().__init__(task, dataset, outdir, TriGridEvaluation(task.config, dataset, task.sampler, features))

    def draw(self, path: Path, state: Any) -> None:
        """See the base class."""
        save_snapshot(path, state.g_ema, self.config.run.snapshot_people, self.config.seed)


def check_data(config: TriGridTrainConfig, dataset: Dataset, world: World) -> None:
    """UserError where sizes do not fit the data set or the processes, masks are missing, or the labels refer to other
    models."""
    check_models(dataset.manifest, {"body": config.body_model, "face": config.face_model}, dataset.path)
    if not dataset.has_masks:
        raise UserError(f"{dataset.path}: expected masks beside the images (D judges them), found none")
    size = config.generator.image_size
    if dataset.image_size < size:
        raise UserError(f"{dataset.path}: images: expected at least {size} pixels a side, found {dataset.image_size}")
    if config.face.weight and dataset.face_size < config.face_size:
        found = f"found {dataset.face_size}"
        raise UserError(f"{dataset.path}: faces: expected at least {config.face_size} pixels a side, {found}")
    share = share_of(config.optim.batch_size, world)
    again = config.discriminator.history * share // config.optim.batch_size
    if again % GROUP:
        raise UserError(f"--history: expected a multiple of {GROUP} a process, found {again}")
    for name in ("micro_batch", "d_micro_batch"):
        rows = getattr(config.run, name)
        if rows and share % rows:
            raise UserError(f"--{name}: expected a divisor of a process's batch ({share}), found {rows}")
        if (rows or share) % min(GROUP, rows or share):
            raise UserError(
                f"--{name if rows else 'batch_size'}: expected a multiple of {GROUP} a process, found {rows or share}"
            )


def _synthesis(resolution: int, base: int, most: int, pictures: int) -> float:
    """Numbers that a synthesis network keeps for the backward pass of a picture."""
    sizes = [4 << k for k in range((resolution // 4).bit_length())]
    return sum(size**2 * (6 * min(base // size, most) + pictures) for size in sizes)

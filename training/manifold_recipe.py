"""How the training loop trains the manifold generator, in both stages (paper section 3.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from torch_utils.distributed import World, copy_from_main, mean_over_processes
from torch_utils.misc import UserError
from training.config import TrainConfig
from training.data.label_models import check_models
from training.data.mirror import label_mirror
from training.data.reader import Batch
from training.data.storage import Dataset
from training.evaluation import Evaluation, Features
from training.expression_warmup import warm_up_expression
from training.models import build_networks, load_body, load_face, manifold_coverage
from training.phases import accumulate_discriminators, accumulate_generator, camera_of, make_fakes, pictures_for, resize
from training.recipe import STEP_KEY, Task, read_portraits, set_precision, share_of, trained
from training.run.memory import check_memory, estimate
from training.run.optimizers import update
from training.run.outputs import Outputs
from training.run.snapshot import save_snapshot, snapshot_inputs
from training.run.state import RunState
from training.sampling import Inputs, InputSampler, random_generator
from training.superresolution_start import start_as_interpolation

ManifoldTask = Task[TrainConfig, InputSampler]


class Manifolds:
    """What a run of the manifold generator is made of (:class:`training.recipe.Recipe`)."""

    config_class = TrainConfig

    def estimate(self, config: TrainConfig, share: int, *, bf16: bool, parameters: tuple[int, int], compiled: bool):
        """Memory of a step."""
        return estimate(config, share, bf16=bf16, parameters=parameters, compiled=compiled)

    def check_memory(self, config: TrainConfig, world: World) -> None:
        """See :func:`training.run.memory.check_memory`."""
        check_memory(config, world)

    def begin(
        self, config: TrainConfig, dataset: Dataset, world: World, *, resuming: bool = False
    ) -> tuple[ManifoldTask, RunState]:
        """See :func:`begin`."""
        return begin(config, dataset, world, resuming=resuming)

    def trial(self, config: TrainConfig) -> TrainConfig:
        """The same without what takes long before the first step."""
        return replace(config, expression_warmup=0, discriminator_warmup=0, superresolution_init="random")

    def describe(self, config: TrainConfig, state: RunState) -> list[str]:
        """See :func:`describe`."""
        return describe(config, state)

    def train_step(self, task: ManifoldTask, state: RunState) -> dict[str, float]:
        """See :func:`train_step`."""
        return train_step(task, state)

    def outputs(self, task: ManifoldTask, dataset: Dataset, outdir: Path, features: Features | None) -> ManifoldOutputs:
        """See :class:`ManifoldOutputs`."""
        return ManifoldOutputs(task, dataset, outdir, features)


MANIFOLDS = Manifolds()


def begin(
    config: TrainConfig, dataset: Dataset, world: World, *, resuming: bool = False
) -> tuple[ManifoldTask, RunState]:
    """A run at its beginning, on every process the same.

    Args:
        resuming: a saved state will be loaded, so nothing is read or trained that would be the run's beginning.
    """
    check_data(config, dataset, world)
    makes = world.is_main and not resuming  # the others take over what it has made
    networks = build_networks(config, resuming=not makes).to(world.device)
    mirror = label_mirror(load_face(config), load_body(config)) if config.mirror else None
    sampler = InputSampler(dataset, mirror, config.losses.points)
    steps = config.expression_warmup
    if steps and config.init_from is None and makes:
        generator, imitation = networks.generator, networks.imitation
        assert imitation is not None
        warm_up_expression(generator.expression_deformation, imitation, sampler, steps=steps, seed=config.seed)
    if config.stage == 2 and config.superresolution_init == "interpolation" and makes:
        start_as_interpolation(networks.generator, sampler, seed=config.seed)
    for part in (networks.generator, networks.discriminators):
        copy_from_main(part)
    reader = read_portraits(config, dataset, world, mirror)
    state = RunState(config, networks, reader, dataset.checksum)
    return Task(config, world, sampler, set_precision(config.run.precision, world.device)), state


def train_step(task: ManifoldTask, state: RunState) -> dict[str, float]:
    """One update of both sides; returns its losses and gradient norms, means over all processes."""
    config, world, networks = task.config, task.world, state.networks
    optim, discriminators = config.optim, networks.discriminators
    torch.manual_seed(random_generator(config.seed, state.step, world.rank).initial_seed())  # nothing of ours uses it
    share = optim.batch_size // world.size
    inputs = task.sampler.draw(optim.batch_size, config.seed, STEP_KEY, state.step)
    inputs = inputs.part(slice(world.rank * share, (world.rank + 1) * share)).to(world.device)
    reals, real_inputs = real_pictures(task, state, next(state.reader))

    # The generator's gradients (eqs. 8 to 13), and its pictures.
    if state.step >= config.discriminator_warmup:
        losses, fakes = accumulate_generator(networks, config, inputs, task.autocast, reals)
        losses["G/gradient_norm"] = update(state.g_opt, networks.generator.children(), optim.clip_norm)
    else:
        losses, fakes = {}, make_fakes(networks.generator, config, inputs, task.autocast)

    # The discriminators' gradients (eq. 8), with R1 and R2.
    cameras = {name: (camera_of(name, real_inputs), camera_of(name, inputs)) for name in reals}
    losses |= accumulate_discriminators(networks, config, reals, fakes, cameras, state.step, task.autocast)
    losses["D/gradient_norm"] = update(state.d_opt, discriminators.values(), optim.clip_norm)

    state.step += 1
    state.cur_nimg += optim.batch_size
    for average in state.ema:
        average.update(networks.generator, state.step)
    # One copy to the host for all of them.
    values = mean_over_processes(torch.stack([value.float() for value in losses.values()])).tolist()
    return dict(zip(losses, values, strict=True))


def real_pictures(task: ManifoldTask, state: RunState, batch: Batch) -> tuple[dict[str, Tensor], Inputs]:
    """What the discriminators see of a batch of the data set, and its labels."""
    config, device = task.config, task.world.device
    labels = {name: batch.labels[name].to(device, non_blocking=True) for name in Inputs._fields if name in batch.labels}
    inputs = Inputs(*(labels.get(name, torch.empty(0)) for name in Inputs._fields))
    portrait = resize(batch.image.to(device, non_blocking=True), config.portrait_size)
    face = resize(batch.face.to(device, non_blocking=True), config.face_size)
    return pictures_for(state.networks.generator, config, portrait, face, inputs), inputs


class ManifoldOutputs(Outputs):
    """What a run leaves behind at every snapshot."""

    def __init__(self, task: ManifoldTask, dataset: Dataset, outdir: Path, features: Features | None):
        config, sampler = task.config, task.sampler
        super().__init__(task, dataset, outdir, Evaluation(config, dataset, sampler, features))
        self.shown = snapshot_inputs(sampler, config.run.snapshot_people, config.seed, load_face(config))

    def draw(self, path: Path, state: RunState) -> None:
        """See the base class."""
        save_snapshot(path, state.g_ema, self.config, self.shown)


def check_data(config: TrainConfig, dataset: Dataset, world: World) -> None:
    """UserError where sizes do not fit the data set or the processes (enlarged pictures would teach blur), or where the
    labels refer to other models."""
    check_models(dataset.manifest, {"body": config.body_model, "face": config.face_model}, dataset.path)
    needed = {"portrait": ("images", config.portrait_size, dataset.image_size)}
    needed["face"] = ("faces", config.face_size, dataset.face_size)
    for view in config.discriminators.views:
        name, expected, there = needed[view]
        if there < expected:
            raise UserError(f"{dataset.path}: {name}: expected at least {expected} pixels a side, found {there}")
    share_of(config.optim.batch_size, world)


def describe(config: TrainConfig, state: RunState) -> list[str]:
    """Lines for a person: what is trained, and whether the manifolds lie where the body is."""
    parts = {"G": state.networks.generator, **{f"D_{n}": d for n, d in state.networks.discriminators.items()}}
    lines = [trained(name, part) for name, part in parts.items()]
    lines.append(f"manifolds cover {manifold_coverage(state.networks.generator):.1%} of the mean body's front")
    if config.stage == 1 and config.init_from is not None and 0 < config.optim.ema_rampup < 1:
        share = f"{state.ema[0].share_of_first(10):.1g} of it after 10 steps"
        expected = "expected ema_rampup 1, or 0 for the whole ema_decay"
        lines.append(f"warning: the running mean forgets {config.init_from} at once ({share}): {expected}")
    return lines

"""The two phases of a step of the tri-grid generator (3DPortraitGAN, section 3.3).

As for the manifolds, people are rendered once a step: the pictures that gave G its gradients are, detached, the fakes
that D learns from, and R1 is a part of D's step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from networks.trigrid.discriminator import Observed, PoseAwareDiscriminator
from networks.trigrid.generator import Draws, Pictures, TriGridGenerator
from networks.trigrid.portrait import FACE_DEPTHS, TriGridPerson, TriGridPortrait
from torch_utils.device import constant, full_precision
from training.losses.adversarial import (
    camera_loss,
    discriminator_loss,
    generator_loss,
    lazy_gamma,
    zero_centred_penalty,
)
from training.losses.consistency import downsample_image
from training.losses.pose_self_learning import (
    Conditions,
    blurred,
    exchanged,
    gradient_penalty,
    observed_real,
    pose_error,
)
from training.phases import Terms, add_terms
from training.trigrid.config import TriGridTrainConfig
from training.trigrid.history import Remembered
from training.trigrid.models import TriGridNetworks
from training.trigrid.sampling import Inputs

# How far necks bend, turn and tilt, of how far they turn (about x, y, z): 55, 80 and 45 degrees.
NECK_RANGE = (0.7, 1.0, 0.55)


class Clock(NamedTuple):
    """The schedules' numbers at a step."""

    rough_pose: float
    swap: float
    blur: float
    density_noise: float
    pose_noise: float
    rate: float
    raw_size: int

    @staticmethod
    def at(config: TriGridTrainConfig, cur_nimg: int) -> Clock:
        """After so many images of this run."""
        kimg, schedules = config.first_kimg + cur_nimg / 1000, config.schedules
        return Clock(
            rough_pose=schedules.rough_pose.at(kimg),
            swap=schedules.swap.at(kimg),
            blur=schedules.blur.at(kimg),
            density_noise=schedules.density_noise.at(kimg),
            pose_noise=schedules.pose_noise.at(kimg),
            rate=schedules.rate.at(kimg),
            raw_size=config.raw_size_at(kimg),
        )


class Fakes(NamedTuple):
    """Generated people."""

    seen: Observed
    pose: Tensor  # [B, 6] with which they were rendered
    w: Tensor  # [B, style_dim] whose mean truncation draws to
    face: Tensor  # [B, 3, h, h] what D_face sees; [B, 0] where it takes no part

    def map(self, change: Callable[[Tensor], Tensor]) -> Fakes:
        """``change`` of all tensors."""
        return Fakes(Observed(*map(change, self.seen)), *map(change, self[1:]))


class Reals(NamedTuple):
    """Photographs."""

    image: Tensor  # [B, 3, H, H] in -1..1
    mask: Tensor  # [B, 1, H, H] in 0..1
    camera: Tensor  # [B, LABEL_SIZE]
    face: Tensor  # [B, 3, h, h] in -1..1
    face_camera: Tensor  # [B, 2] (pitch, yaw)


class Made(NamedTuple):
    """People as training renders them."""

    pictures: Pictures
    pose: Tensor  # [B, 6] in which they were rendered, with gradients to E_G
    chosen: Tensor  # [B, 6] by E_G; the same without pose_noise
    w: Tensor  # [B, style_dim]
    face: Tensor  # [B, 3, H, H] of the face camera; [B, 0] where nobody looks at it


def draws_of(portrait: TriGridPortrait, batch: int, size: int, device: torch.device) -> Draws:
    """Random depths of ``batch`` pictures of size^2 rays, by torch's own generator."""
    config = portrait.config
    counts = (config.samples, config.importance_samples)
    return Draws(*(torch.rand(batch, size * size, count, device=device) for count in counts))


def poses_held(trigrid: TriGridGenerator, inputs: Inputs, clock: Clock) -> tuple[Tensor, Tensor]:
    """Poses [B, CHAIN, 6] that E_G chooses, and those drawn about them in which people are rendered."""
    batch = len(inputs.z)
    chosen = trigrid.predict_pose(inputs.z.flatten(0, 1), inputs.camera.flatten(0, 1)).unflatten(0, (batch, -1))
    turns = clock.pose_noise * inputs.turns * constant(NECK_RANGE, chosen)
    return chosen, chosen + torch.cat([turns, turns], -1)  # pictures hardly tell how neck and head share a turn


def make_people(portrait: TriGridPortrait, config: TriGridTrainConfig, inputs: Inputs, clock: Clock) -> Made:
    """Render a batch as training sees it."""
    trigrid, batch = portrait.trigrid, len(inputs.z)
    with full_precision():  # poses and cameras are positions
        chosen, pose = poses_held(trigrid, inputs, clock)
        known = [Conditions(inputs.camera[:, k], pose[:, k]) for k in range(inputs.z.shape[1])]
        ws = []
        for k in range(2):  # oneself, and the neighbour for the background
            condition = exchanged(known[k], known[k + 1], inputs.takes[:, k : k + 1] < clock.swap)
            ws.append(trigrid.style(inputs.z[:, k], *condition))
        rotations = portrait.space.rotations(pose[:, 0])
        rotations = portrait.space.with_shoulders(portrait.body, rotations, inputs.joint_eulers)
    others = (inputs.background < config.schedules.background_swap)[:, None, None]
    background = trigrid.background(torch.where(others, ws[1], ws[0]), "random")
    person = TriGridPerson(ws[0], trigrid.planes(ws[0], config.noise).float(), background)

    def pictures(label: Tensor, depths: tuple[float, float] | None = None) -> Pictures:
        draws = draws_of(portrait, batch, clock.raw_size, inputs.z.device)
        return portrait.pictures(
            person, rotations, label, raw_size=clock.raw_size, density_noise=clock.density_noise, draws=draws,
            depths=depths, expression=inputs.z_exp,
        )  # fmt: skip

    face = pose.new_empty(batch, 0)
    if config.face.weight:
        face = pictures(portrait.face_label(inputs.face_camera, rotations), FACE_DEPTHS).image.float()
    return Made(pictures(inputs.camera[:, 0]), pose[:, 0], chosen[:, 0], ws[0][:, 0], face)


def generator_terms(
    networks: TriGridNetworks, config: TriGridTrainConfig, inputs: Inputs, clock: Clock
) -> tuple[Terms, Fakes]:
    """G's losses, unweighted, and the people they were computed from."""
    pictures, pose, chosen, w, face = make_people(networks.generator, config, inputs, clock)
    image, raw = blurred(pictures.image.float(), clock.blur), pictures.raw.float()
    fakes = Fakes(Observed(image, raw, pictures.mask), pose, w, face)
    score = networks.discriminator(fakes.seen, inputs.camera[:, 0]).score
    terms = {
        "G/portrait": generator_loss(score.float()),
        "rough_pose": pose_error(chosen, inputs.rough_pose).mean(),
    }
    if config.face.weight:
        fakes = fakes._replace(face=downsample_image(face, config.face_size))
        judgement = networks.discriminators["face"](fakes.face)
        terms["G/face"] = generator_loss(judgement.score.float())
        terms["G/face_camera"] = camera_loss(judgement.camera, inputs.face_camera)
    return terms, fakes


def face_terms(discriminator: nn.Module, reals: Reals, fake: Tensor, fake_camera: Tensor, gamma: float) -> Terms:
    """D_face's losses, unweighted (R1 contains gamma): of real and of fake [B, 3, h, h], whose cameras are [B, 2]."""
    real = reals.face.detach().requires_grad_(gamma > 0)
    of_real, of_fake = discriminator(real), discriminator(fake)
    terms = {
        "D/face": discriminator_loss(of_real.score.float(), of_fake.score.float()),
        "D/face_camera": camera_loss(of_real.camera, reals.face_camera) + camera_loss(of_fake.camera, fake_camera),
    }
    if gamma:
        terms["D/face_r1"] = zero_centred_penalty(of_real.score, real, gamma)
    return terms


def discriminator_terms(
    discriminator: PoseAwareDiscriminator, config: TriGridTrainConfig, reals: Reals, fakes: Fakes, camera: Tensor,
    clock: Clock, gamma: float,
) -> Terms:  # fmt: skip
    """D's losses, unweighted (R1 contains gamma); ``camera`` [B, 25] of the fakes."""
    real = observed_real(reals.image, reals.mask, clock.raw_size, clock.blur)
    real = Observed(*(part.detach().requires_grad_(gamma > 0) for part in real))
    of_fake, of_real = discriminator(fakes.seen, camera), discriminator(real, reals.camera)
    terms = {
        "D/portrait": discriminator_loss(of_real.score.float(), of_fake.score.float()),
        "D/pose": pose_error(of_fake.pose.float(), fakes.pose).mean(),
    }
    if gamma:
        terms["D/portrait_r1"] = gamma * gradient_penalty(of_real.score, real).loss.mean()
    return terms


def weighted(terms: Terms, weights: dict[str, float]) -> Tensor:
    """The sum of losses; those that ``weights`` does not name count once."""
    return torch.stack([weights.get(name, 1.0) * value for name, value in terms.items()]).sum()


def strided(total: int, size: int) -> Iterator[slice]:
    """Rows for micro-batches of at most ``size`` (0: all at once): every n-th one, so that D's groups stay together."""
    count = -(-total // (size or total))
    return (slice(i, None, count) for i in range(count))


def accumulate_generator(
    networks: TriGridNetworks, config: TriGridTrainConfig, inputs: Inputs, clock: Clock, autocast: torch.autocast
) -> tuple[Terms, Fakes]:
    """Add G's gradients of one batch, micro-batch by micro-batch; returns its losses and its people, detached."""
    networks.discriminators.requires_grad_(False)
    sums: Terms = {}
    made: list[tuple[slice, Fakes]] = []
    total = len(inputs.z)
    face = config.face
    weights = {"rough_pose": clock.rough_pose if config.stage == 1 else 0.0}
    weights |= {"G/face": face.weight, "G/face_camera": face.weight * face.camera}
    for rows in strided(total, config.run.micro_batch):
        part = inputs.part(rows)
        with autocast:
            terms, fakes = generator_terms(networks, config, part, clock)
        share = len(part.z) / total
        (share * weighted(terms, weights)).backward()
        made.append((rows, fakes.map(Tensor.detach)))
        add_terms(sums, terms, share)
    networks.discriminators.requires_grad_(True)
    return sums, _together(made, total)


def _together(made: list[tuple[slice, Fakes]], total: int) -> Fakes:
    """Fakes of micro-batches in the order of the batch."""

    def joined(parts: list[tuple[slice, Tensor]]) -> Tensor:
        whole = parts[0][1].new_empty(total, *parts[0][1].shape[1:])
        for rows, values in parts:
            whole[rows] = values
        return whole

    seen = (joined([(rows, fakes.seen[k]) for rows, fakes in made]) for k in range(len(Observed._fields)))
    others = (joined([(rows, getattr(fakes, name)) for rows, fakes in made]) for name in Fakes._fields[1:])
    return Fakes(Observed(*seen), *others)


def accumulate_discriminator(
    networks: TriGridNetworks, config: TriGridTrainConfig, reals: Reals, fakes: Fakes, inputs: Inputs, clock: Clock,
    step: int, autocast: torch.autocast, again: Remembered | None = None,
) -> Terms:  # fmt: skip
    """Add the discriminators' gradients of one batch; ``inputs`` of the fakes, ``again`` those of earlier steps, which
    share the weight of poses with them."""
    sums: Terms = {}
    d, face, camera = config.discriminator, config.face, inputs.camera[:, 0]
    total = len(camera)
    gamma, of_face = (lazy_gamma(part.r1_gamma, d.r1_interval, step) for part in (d, face))
    known = 0 if again is None else len(again.pose)
    weights = {"D/pose": config.losses.pose * total / (total + known), "D/face_camera": face.camera}
    micro_batch = config.run.d_micro_batch or config.run.micro_batch
    for rows in strided(total, micro_batch):
        real = Reals(*(part[rows] for part in reals))
        fake = fakes.map(itemgetter(rows))
        with autocast:
            terms = discriminator_terms(networks.discriminator, config, real, fake, camera[rows], clock, gamma)
            if face.weight:
                judge = networks.discriminators["face"]
                terms |= face_terms(judge, real, fake.face, inputs.face_camera[rows], of_face)
        share = len(real.image) / total
        (share * weighted(terms, weights)).backward()
        add_terms(sums, terms, share)
    if again is not None:
        weight = config.losses.pose * known / (total + known)
        sums["D/pose_again"] = accumulate_again(networks.discriminator, again, weight, micro_batch, autocast)
    return sums


def accumulate_again(
    discriminator: PoseAwareDiscriminator, again: Remembered, weight: float, micro_batch: int, autocast: torch.autocast
) -> Tensor:
    """Add ``weight`` times D's gradients of the poses of earlier fakes; returns their error."""
    total = again.pose.new_zeros(())
    count = len(again.pose)
    for i in range(0, count, micro_batch or count):
        part = again.part(slice(i, i + (micro_batch or count)))
        with autocast:
            found = discriminator.predict_pose(part.seen, part.camera)
            error = pose_error(found.float(), part.pose).sum() / count
        (weight * error).backward()
        total += error.detach()
    return total

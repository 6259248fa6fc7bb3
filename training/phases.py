"""The two phases of a step (paper section 3.3): the generator's gradients, then the discriminators'.

People are rendered once a step: pictures that gave the generator its gradients are, detached, the fakes that the
discriminators learn from. Both sides thus see each other as they were before the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from networks.discriminators import torso_crop
from networks.manifold.generator import Generator, ManifoldMaps
from networks.person.framing import face_crop
from torch_utils.device import full_precision
from training.config import TrainConfig
from training.losses.adversarial import (
    camera_loss,
    discriminator_loss,
    generator_loss,
    lazy_gamma,
    relativistic_loss,
    zero_centred_penalty,
)
from training.losses.consistency import downsample_image, image_consistency_loss, map_consistency_loss
from training.losses.expression_field import expression_minimal_loss, expression_smooth_loss
from training.losses.imitation import imitation_loss
from training.losses.landmarks import landmark_loss
from training.losses.pose_smooth import pose_smooth_loss
from training.models import Networks
from training.rendering import (
    View,
    build_maps,
    head_frame,
    pose_people,
    render_maps,
    render_radiance,
)
from training.sampling import Inputs

Terms = dict[str, Tensor]  # losses by name, scalars


# ---- pictures ------------------------------------------------------------------------------------------------------


def render_views(
    generator: Generator, config: TrainConfig, inputs: Inputs
) -> tuple[dict[str, View], ManifoldMaps | None]:
    """All views that the discriminators need, by name, and in stage 2 the maps they were looked up in."""
    run = config.run
    with full_precision():  # phi's frequencies are some 30: bfloat16 would round them to an eighth
        style = generator.style(inputs.z_id, inputs.z_noise, psi=1.0)
    views, body = config.discriminators.views, pose_people(generator, inputs)
    if config.stage == 1:
        draw = partial(render_radiance, generator, style.radiance, inputs, body=body, rays_per_chunk=run.rays_per_chunk)
        return {view: draw(view) for view in views}, None
    maps = build_maps(generator, style, manifolds_per_chunk=run.manifolds_per_chunk)
    return {view: render_maps(generator, maps, inputs, view, body=body) for view in views}, maps


def pictures_for(
    generator: Generator, config: TrainConfig, portrait: Tensor | None, face: Tensor | None, inputs: Inputs
) -> dict[str, Tensor]:
    """What every discriminator sees of portraits and faces, real or generated.

    Args:
        generator: whose body says where the head is, for crops.
        portrait: [B, 3, H, W] in -1..1; None where no discriminator looks at it.
        face: [B, 3, h, w], of the face camera; None where faces are cropped from the portrait or not looked at.
        inputs: labels of the pictures.
    """
    pictures = {}
    for name in config.discriminators.active:
        cropped = name == "face" and config.discriminators.face_view == "crop"
        picture = face if name == "face" and not cropped else portrait
        assert picture is not None
        if cropped:
            frame = head_frame(generator, inputs.betas, inputs.joint_eulers)
            picture = face_crop(picture, frame, inputs.camera, config.face_size)
        pictures[name] = torso_crop(picture) if name == "torso" else picture
    return pictures


def fake_pictures(
    generator: Generator, config: TrainConfig, views: dict[str, View], inputs: Inputs
) -> dict[str, Tensor]:
    """:func:`pictures_for` of :func:`render_views`."""
    images = {name: view.image for name, view in views.items()}
    return pictures_for(generator, config, images.get("portrait"), images.get("face"), inputs)


def camera_of(discriminator: str, inputs: Inputs) -> Tensor:
    """The camera [B, 2] that a discriminator is to recognise."""
    return inputs.face_camera if discriminator == "face" else inputs.camera


def resize(image: Tensor, size: int) -> Tensor:
    """Images of the data set [B, 3, H, H] uint8 -> [B, 3, size, size] in -1..1, on the pixel grid of rendered ones."""
    image = image.float() / 127.5 - 1
    return image if image.shape[-1] == size else downsample_image(image, size).clamp(-1, 1)


# ---- the generator -------------------------------------------------------------------------------------------------


def generator_terms(
    networks: Networks, config: TrainConfig, inputs: Inputs, reals: dict[str, Tensor] | None = None
) -> tuple[Terms, dict[str, Tensor]]:
    """The generator's losses, unweighted, and the pictures they were computed from.

    Args:
        reals: what each discriminator sees of the data, as many as there are ``inputs``: the other halves of pairs,
            which the relativistic loss alone asks for.
    """
    weights = config.losses
    views, maps = render_views(networks.generator, config, inputs)
    pictures = fake_pictures(networks.generator, config, views, inputs)
    terms: Terms = {}
    for name, picture in pictures.items():
        discriminator = networks.discriminators[name]
        judgement = discriminator(picture)
        if config.losses.adversarial == "relativistic":
            assert reals is not None
            with torch.no_grad():
                of_real = discriminator(reals[name])
            terms[f"G/{name}"] = relativistic_loss(judgement.score.float(), of_real.score.float())
        else:
            terms[f"G/{name}"] = generator_loss(judgement.score.float())
        terms[f"G/{name}_camera"] = camera_loss(judgement.camera, camera_of(name, inputs))
    if networks.face_recon is not None and "face" in pictures:  # eq. 9
        with full_precision():
            asked = networks.face_recon.landmark_face(inputs.z_id, inputs.z_exp)
            seen = networks.face_recon.landmarks(pictures["face"], inputs.face_camera)
        terms["landmarks"] = landmark_loss(asked, seen)
    fields = [field_terms(networks, config, inputs, view) for view in views.values()] if config.stage == 1 else []
    for name in fields[0] if fields else ():
        terms[name] = torch.stack([field[name] for field in fields]).mean()
    if maps is not None and weights.map_consistency:
        terms["map_consistency"] = map_consistency_loss(maps.high, maps.low)
    if maps is not None and weights.image_consistency:
        pairs = [(view.image, view.image_lr) for view in views.values()]
        losses = [image_consistency_loss(image, image_lr) for image, image_lr in pairs if image_lr is not None]
        terms["image_consistency"] = torch.stack(losses).mean()
    return terms, pictures


def field_terms(networks: Networks, config: TrainConfig, inputs: Inputs, view: View) -> Terms:
    """Equations 10 to 13 at some of the samples of a view, and the mean opacity over all rays and manifolds."""
    generator, weights = networks.generator, config.losses
    terms: Terms = {}
    if weights.opacity and view.opacity is not None:
        terms["opacity"] = view.opacity.mean()
    if weights.pose_smooth and view.smoothed is not None and view.transforms is not None:
        terms["pose_smooth"] = pose_smooth_loss(view.smoothed, view.transforms)
    if not generator.config.expression or not (
        weights.imitation or weights.expression_smooth or weights.expression_minimal
    ):
        return terms
    neutral = view.neutral.detach().flatten(1, 2)  # [B, RS, 3]
    index = (inputs.where * neutral.shape[1]).long().clamp_max(neutral.shape[1] - 1)
    points = neutral.gather(1, index[..., None].expand(-1, -1, 3))  # [B, P, 3]
    with full_precision():
        style = generator.expression_deformation.style(inputs.z_id, inputs.z_exp)
        nearby = points + weights.jitter * inputs.delta
        displacement, displacement_nearby = (generator.expression_deformation(x, style) for x in (points, nearby))
        if networks.imitation is not None:
            reference = networks.imitation(points, inputs.z_id, inputs.z_exp)
            terms["imitation"] = imitation_loss(displacement, reference)
    if weights.expression_smooth:
        terms["expression_smooth"] = expression_smooth_loss(displacement, displacement_nearby)
    if weights.expression_minimal:
        terms["expression_minimal"] = expression_minimal_loss(displacement)
    return terms


def generator_weight(config: TrainConfig, term: str) -> float:
    """The weight of one of :func:`generator_terms`."""
    if not term.startswith("G/"):
        return getattr(config.losses, term)
    name = term.removeprefix("G/")
    weight = getattr(config.discriminators, name.removesuffix("_camera")).weight
    return weight * config.losses.camera if name.endswith("_camera") else weight


def micro_batches(total: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` (0: all at once) rows."""
    return (slice(i, min(i + (size or total), total)) for i in range(0, total, size or total))


def accumulate_generator(
    networks: Networks, config: TrainConfig, inputs: Inputs, autocast: torch.autocast,
    reals: dict[str, Tensor] | None = None,
) -> tuple[Terms, dict[str, Tensor]]:  # fmt: skip
    """Add the generator's gradients of one batch, micro-batch by micro-batch, each weighed by its share of the batch.

    Args:
        reals: see :func:`generator_terms`.

    Returns:
        the batch's losses, and its pictures, both without gradients.
    """
    networks.discriminators.requires_grad_(False)
    sums: Terms = {}
    total, fakes = len(inputs.z_id), []
    for rows in micro_batches(total, config.run.micro_batch):
        partners = None if reals is None else {name: real[rows] for name, real in reals.items()}
        with autocast:
            terms, pictures = generator_terms(networks, config, inputs.part(rows), partners)
        share = (rows.stop - rows.start) / total
        loss = sum(generator_weight(config, name) * value for name, value in terms.items())
        (share * loss).backward()
        fakes.append({name: picture.detach() for name, picture in pictures.items()})
        add_terms(sums, terms, share)
    networks.discriminators.requires_grad_(True)
    return sums, joined(fakes)


@torch.no_grad()
def make_fakes(
    generator: Generator, config: TrainConfig, inputs: Inputs, autocast: torch.autocast
) -> dict[str, Tensor]:
    """The pictures of :func:`accumulate_generator` alone, for discriminators that learn while G stands still."""
    fakes = []
    for rows in micro_batches(len(inputs.z_id), config.run.micro_batch):
        part = inputs.part(rows)
        with autocast:
            views, _ = render_views(generator, config, part)
            fakes.append(fake_pictures(generator, config, views, part))
    return joined(fakes)


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Pictures of micro-batches as those of a batch."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


# ---- the discriminators --------------------------------------------------------------------------------------------


def discriminator_terms(
    networks: Networks, config: TrainConfig, name: str, real: Tensor, fake: Tensor, cameras: tuple[Tensor, Tensor],
    gammas: tuple[float, float],
) -> Terms:  # fmt: skip
    """One discriminator's losses, unweighted, but that R1 and R2 contain their ``gammas``.

    Args:
        real, fake: [B, 3, H, W] in -1..1; of the relativistic loss row i is a pair.
        cameras: [B, 2] of real and fake, radians.
    """
    discriminator = networks.discriminators[name]
    loss = relativistic_loss if config.losses.adversarial == "relativistic" else discriminator_loss
    real, fake = (x.detach().requires_grad_(gamma > 0) for x, gamma in zip((real, fake), gammas, strict=True))
    of_real, of_fake = discriminator(real), discriminator(fake)
    terms = {
        f"D/{name}": loss(of_real.score.float(), of_fake.score.float()),
        f"D/{name}_camera": camera_loss(of_real.camera, cameras[0]) + camera_loss(of_fake.camera, cameras[1]),
    }
    if gammas[0] > 0:
        terms[f"D/{name}_r1"] = zero_centred_penalty(of_real.score, real, gammas[0])
    if gammas[1] > 0:
        terms[f"D/{name}_r2"] = zero_centred_penalty(of_fake.score, fake, gammas[1])
    return terms


def accumulate_discriminators(
    networks: Networks,
    config: TrainConfig,
    reals: dict[str, Tensor],
    fakes: dict[str, Tensor],
    cameras: dict[str, tuple[Tensor, Tensor]],
    step: int,
    autocast: torch.autocast,
) -> Terms:
    """Add the discriminators' gradients of one batch; arguments by discriminator as of :func:`discriminator_terms`."""
    sums: Terms = {}
    for name in reals:
        adversary, interval = getattr(config.discriminators, name), config.discriminators.r1_interval
        gammas = (lazy_gamma(adversary.r1_gamma, interval, step), lazy_gamma(adversary.r2_gamma, interval, step))
        total = len(reals[name])
        for rows in micro_batches(total, config.run.d_micro_batch or config.run.micro_batch):
            labels = (cameras[name][0][rows], cameras[name][1][rows])
            with autocast:
                terms = discriminator_terms(
                    networks, config, name, reals[name][rows], fakes[name][rows], labels, gammas
                )
            share = (rows.stop - rows.start) / total
            loss = sum((config.losses.camera if k.endswith("_camera") else 1.0) * v for k, v in terms.items())
            (share * loss).backward()
            add_terms(sums, terms, share)
    return sums


def add_terms(sums: Terms, terms: Terms, share: float) -> None:
    """Add a micro-batch's losses to the batch's, by its ``share`` of it."""
    for name, value in terms.items():
        sums[name] = sums.get(name, 0.0) + share * value.detach()

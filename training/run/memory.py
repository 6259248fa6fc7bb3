"""How much memory a step takes, estimated from the configuration before anything is built.

Counted are weights, gradients, Adam's moments and running means, and what a micro-batch keeps for the backward pass of
the generator or of the discriminators, whichever is more. Temporary buffers of libraries come on top (``OVERHEAD``).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from networks.discriminators import DiscriminatorConfig
from networks.manifold.manifolds import FLAT_SAMPLES
from torch_utils.distributed import World
from torch_utils.misc import UserError
from torch_utils.ops.point_network import cpu_is_compiled
from training.config import TrainConfig

FLOAT = 4  # bytes
VALID_CROSSINGS = 0.7  # share of crossings that are valid, about, on the first manifolds
OVERHEAD = 1.25


class MemoryEstimate(NamedTuple):
    """Bytes."""

    weights: float  # parameters with gradients, moments and running means
    generator: float  # kept for the backward pass of a micro-batch
    discriminators: float

    @property
    def total(self) -> float:
        """Of a step."""
        return OVERHEAD * (self.weights + max(self.generator, self.discriminators))


def estimate(
    config: TrainConfig, share: int, *, bf16: bool, parameters: tuple[int, int], compiled: bool = False
) -> MemoryEstimate:
    """Memory of a process.

    Args:
        share: images of a step that are its own.
        bf16: whether phi, U and the discriminators run in bfloat16.
        parameters: of the generator and of all discriminators together.
        compiled: whether phi, D^e and M are the compiled op, which keeps nothing of a forward pass: on a CPU.
    """
    copies = 4 + len(config.optim.ema_decays), 4  # weight, gradient, two moments; running means of G
    weights = FLOAT * sum(count * copy for count, copy in zip(parameters, copies, strict=True))
    narrow = 2 if bf16 else FLOAT
    run = config.run
    batch = min(run.micro_batch or share, share)  # rendered at a time
    judged = min(run.d_micro_batch or batch, share)
    views = len(config.discriminators.views)
    if config.stage == 1:
        generator = batch * views * _rendered_picture(config, narrow, compiled)
    else:
        generator = batch * _person_maps(config, narrow)
    discriminators = (judged * _discriminator(config, name, narrow) for name in config.discriminators.active)
    return MemoryEstimate(weights, generator, max(discriminators))


def check_memory(config: TrainConfig, world: World) -> None:
    """:func:`check_fits` of a step, by its estimate."""
    weights = sum(_discriminator_weights(config, name) for name in config.discriminators.active)
    needed = estimate(
        config, config.optim.batch_size // world.size, bf16=False, parameters=(0, weights), compiled=cpu_is_compiled()
    ).total
    check_fits(needed, world, "a smaller batch_size or micro_batch, fewer channels or points")


def check_fits(needed: float, world: World, ways: str) -> None:
    """UserError where a CPU's step would take more than twice the memory of this machine, which ends in a kill.

    A GPU says by itself that its memory is full.

    Args:
        needed: bytes of a step.
        ways: to make it smaller, for the message.
    """
    if world.device.type != "cpu" or not hasattr(os, "sysconf"):  # Windows has none
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 2 * memory:
        expected = f"a step that fits {memory / 2**30:.0f} GiB ({ways})"
        raise UserError(f"memory: expected {expected}, found {needed / 2**30:,.0f}")


def _discriminator_weights(config: TrainConfig, name: str) -> int:
    """About as many as its convolutions have."""
    channels = _discriminator_channels(config, name)
    return sum(9 * (a + 2) * b + 9 * b * b for a, b in zip(channels[:-1], channels[1:], strict=True))


def _discriminator_channels(config: TrainConfig, name: str) -> tuple[int, ...]:
    width, height = config.picture_size(name)
    d = config.discriminators
    sizes = DiscriminatorConfig(width=width, height=height, channel_base=d.channel_base, max_channels=d.max_channels)
    return sizes.channels


def _rendered_picture(config: TrainConfig, narrow: int, compiled: bool) -> float:
    """Bytes a picture of stage 1 keeps (:func:`training.rendering.render_radiance`)."""
    g = config.generator
    rays = g.lowres_size**2
    # Every FiLM layer keeps its input and the argument of its sine, every ReLU layer one of the two.
    of_sample, of_crossing = 3 * 2 * g.expression_dim + 3 * g.manifold_dim, 9 * 2 * g.radiance_dim + 7 * 4
    if compiled:
        of_sample, of_crossing, narrow = 0, 0, FLOAT
    sample = FLOAT * (g.num_fine_samples * (of_sample + 30) + 20 * g.num_manifolds)
    crossing = narrow * g.num_manifolds * VALID_CROSSINGS * (of_crossing + 30)
    ray = sample + crossing
    volume = FLOAT * rays * g.num_samples * (2.6 * 12 + 12 if g.pose == "smoothed" else 12)
    kept = FLOAT * rays * 10 * g.num_manifolds  # crossings and radiance for compositing
    chunk = config.run.rays_per_chunk
    # Pictures are recomputed a chunk of rays at a time, of all people together.
    recomputed = min(chunk, rays) / len(config.discriminators.views) if chunk else rays
    return volume + kept + recomputed * ray


def _person_maps(config: TrainConfig, narrow: int) -> float:
    """Bytes a person of stage 2 keeps (:func:`training.rendering.build_maps`, :func:`render_maps`)."""
    g = config.generator
    texels = (g.map_scale * g.lowres_size) ** 2
    growth = sum(g.sr_features + i * g.sr_growth for i in range(5)) + 4 * g.sr_growth * 2 + 2 * g.sr_features
    trunk = 3 * g.sr_blocks * growth + 6 * g.sr_features
    first, second = g.sr_up_channels
    up = 4 * (first + first) + 16 * (second * 2 + second * 2 + 8)
    manifold = narrow * texels * (trunk + up)
    high = FLOAT * texels * 16 * 4 * 2 * g.num_manifolds
    chunk = config.run.manifolds_per_chunk
    manifolds = min(chunk, g.num_manifolds) if chunk else g.num_manifolds
    pixels = config.portrait_size**2 + config.face_size**2
    lookup = FLOAT * pixels * g.num_manifolds * 8
    search = FLOAT * g.lowres_size**2 * (g.num_fine_samples + FLAT_SAMPLES) * 8
    return manifolds * manifold + high + lookup + search


def _discriminator(config: TrainConfig, name: str, narrow: int) -> float:
    """Bytes that a pair of pictures, real and generated, keeps in a discriminator's step, penalties included."""
    width, height = config.picture_size(name)
    channels = _discriminator_channels(config, name)
    floats, w, h = 0.0, width, height
    for inner, outer in zip(channels[:-1], channels[1:], strict=True):
        floats += w * h * (inner + 4 * outer)
        w, h = max(2, w // 2), max(2, h // 2)
    # Real, fake, and the graphs of their gradients, which R1 and R2 ask for.
    adversary = getattr(config.discriminators, name)
    passes = 2 + 2 * (adversary.r1_gamma > 0) + 2 * (adversary.r2_gamma > 0)
    return passes * narrow * floats

"""U before stage 2: an interpolation of phi's maps, rather than a random network.

The paper does not say how U starts. From here it begins as bilinear interpolation, a fair picture from the first step,
and everything in it can learn.
"""

import torch
from torch import Tensor

from networks.layers import sine, weight_and_bias
from networks.manifold.generator import Generator
from networks.manifold.radiance import RadianceGenerator, StyledRadiance
from networks.manifold.superresolution import OUT_CHANNELS, SLOPE, ManifoldSuperResolution
from training.sampling import InputSampler, random_generator

START_KEY = 0x51  # of its draws
PEOPLE, POINTS = 16, 4000  # that the logits are fitted to
LOGIT_MARGIN = 0.01  # 0 and 1 have no logit
SEEN = 0.02  # what colours count at least: those of transparent points are of no account
RIDGE = 1e-6  # of the mean square of phi's activations


@torch.no_grad()
def start_as_interpolation(generator: Generator, sampler: InputSampler, *, seed: int) -> float:
    """Make U a bilinear interpolation, x4, of phi's colour and opacity, in place.

    U ends with a sigmoid, so the logits of what is to pass are needed. They are linear, by regression, in phi's
    activations, which become phi's first four features (nobody else reads them), and in the maps of colour and opacity.

    Args:
        generator: on any device; U needs room for rgb and alpha, and behind its trunk for their negatives, which
            training.config checks.
        sampler: of latents.
        seed: of latents and points.

    Returns:
        root mean square error of rgb and alpha (0..1) where phi is opaque.
    """
    phi, device = generator.radiance, generator.manifolds.levels.device
    canonical, valid = generator.flat_crossings(generator.config.map_scale * generator.config.lowres_size)
    canonical, valid = canonical.reshape(-1, 3), valid.reshape(-1)
    latents = sampler.draw(PEOPLE, seed, START_KEY).to(device)
    random = random_generator(seed, START_KEY + 1)
    hidden, maps = [], []
    for i in range(PEOPLE):
        index = torch.randint(len(canonical), (POINTS,), generator=random).to(device)
        points = canonical[index][None]
        style = phi.style(torch.cat([latents.z_id[i : i + 1], latents.z_noise[i : i + 1]], -1))
        sample = phi(points, style)
        hidden.append(activations(points, phi.styled(style))[0])
        maps.append(torch.cat([sample.rgb[0], (sample.alpha[0] * valid[index])[:, None]], -1))
    seen = torch.cat(maps)  # [N, 4]
    logits, mix = fit_features(phi, torch.cat(hidden), seen)
    pass_features_through(generator.superresolution, mix)
    opaque = seen[:, 3:] > 0.5
    return ((torch.sigmoid(logits) - seen).square() * opaque).sum().div(4 * opaque.sum().clamp_min(1)).sqrt().item()


def activations(points: Tensor, styled: StyledRadiance) -> Tensor:
    """What the heads of sigma and feature read, side by side: [B, N, 7 C] for canonical points [B, N, 3]."""
    first, *others = styled.layers[:-1]
    seen, x = [], sine(points, *first)
    for layer in others:
        x = sine(x, *layer)
        seen.append(x)
    return torch.cat(seen, -1)


def fit_features(phi: RadianceGenerator, hidden: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Set phi's first four feature heads, in place, so that with the maps they make the logits of rgb and alpha.

    Args:
        hidden: activations [N, 7 C], those of all layers that have heads.
        maps: rgb and alpha [N, 4] of the same points, in 0..1.

    Returns:
        logits [N, 4], and the share of the maps: logits = features + maps @ share, [4, 4].
    """
    heads, maps = phi.to_feature, maps.double()
    design = torch.cat([hidden.double(), maps, torch.ones_like(maps[:, :1])], 1)
    targets = torch.logit(maps, eps=LOGIT_MARGIN)
    weights = torch.cat([maps[:, 3:].clamp_min(SEEN).expand(-1, 3), torch.ones_like(maps[:, :1])], 1)
    solutions = []
    for weight, target in zip(weights.T, targets.T, strict=True):
        weighted = design * weight[:, None]
        normal = weighted.T @ design
        normal.diagonal().add_(RIDGE * normal.trace() / len(normal))
        solutions.append(torch.linalg.solve(normal, weighted.T @ target))
    solution = torch.stack(solutions, 1)  # [7 C + 4 + 1, 4]
    of_hidden, mix, bias = solution.to(hidden.dtype).split([hidden.shape[1], OUT_CHANNELS, 1])
    for head, part in zip(heads, of_hidden.chunk(len(heads)), strict=True):
        head_weight, head_bias = weight_and_bias(head)
        head_weight[:OUT_CHANNELS] = part.T
        head_bias[:OUT_CHANNELS] = bias[0] / len(heads)
    return (design @ solution).to(hidden.dtype), mix


@torch.no_grad()
def pass_features_through(sr: ManifoldSuperResolution, mix: Tensor) -> None:
    """U = sigmoid of its first four features + maps @ ``mix`` [4, 4], x4 bilinear.

    LeakyReLU is linear on a pair (v, -v): leaky(v) - leaky(-v) = 1.2 v. Demodulation makes every filter's norm 1. What
    does not carry them keeps its random weights, behind weights that are 0 and learn.
    """
    for parameter in sr.trunk_conv.parameters():
        parameter.zero_()
    # Filters that carry nothing stay random: the zeros behind them learn from their activations.
    pairs, (first_up, second_up) = 2 * OUT_CHANNELS, sr.up_convs
    carrying = ((first_up, 4 * pairs), (second_up, 4 * pairs), (sr.hr_conv, pairs), (sr.output, OUT_CHANNELS))
    for conv, filters in (*carrying, (sr.conv_first, OUT_CHANNELS)):
        for part in weight_and_bias(conv):
            part[:filters] = 0.0
    sr.mapping.output.weight.zero_()  # everybody's style is 1
    sr.mapping.output.bias.fill_(1.0)
    line = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])  # x2 bilinear: the two sub-pixels of an axis
    norm = line[0].square().sum().item()  # of a bilinear filter
    gain = (1 + SLOPE) ** 3 / norm**2 / 2**1.5  # of a logit on its way: three pairs, three filters over a pair
    sr.conv_first.weight[:OUT_CHANNELS, :OUT_CHANNELS, 1, 1] = mix.T / gain
    for channel in range(OUT_CHANNELS):
        negative = channel + OUT_CHANNELS
        sr.conv_first.weight[channel, OUT_CHANNELS + channel, 1, 1] = 1 / gain
        for sign, out in ((1.0, channel), (-1.0, negative)):
            for sub in range(4):
                filter_ = sign * torch.outer(line[sub // 2], line[sub % 2])
                first, second = (weight_and_bias(conv)[0][4 * out + sub] for conv in sr.up_convs)
                first[channel] = filter_
                second[channel], second[negative] = filter_, -filter_
            sr.hr_conv.weight[out, channel, 1, 1], sr.hr_conv.weight[out, negative, 1, 1] = sign, -sign
        sr.output.weight[channel, channel], sr.output.weight[channel, negative] = 1, -1

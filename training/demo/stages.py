"""The stages of the fit, each of them plain regression with Adam: phi, then D^e; U is set to interpolate."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from tqdm import trange

from networks.face_model import FaceArrays
from networks.generator import Generator
from networks.superresolution import OUT_CHANNELS, ManifoldSuperResolution
from networks.tracking import MILLIMETRES
from torch_utils.misc import UserError
from training.data.synthetic.appearance import N_USED
from training.demo.expression_targets import ExpressionTargets, spread_expression
from training.demo.people import Sitter, Texels
from training.regression import Regression

SIREN_RATE = 4e-4
# A manifold is half opaque where sigma is 17.3 (networks.radiance); its logit, as U gives it, rises from there.
HALF_OPAQUE_SIGMA, SIGMA_TO_LOGIT = 17.3, 0.35
# Farther from what is opaque in anybody than this, canonical units, everybody's manifolds are empty.
EMPTY_BEYOND = 0.012
# A little noise on z_id, as standard deviation, moves a face by a fraction of a millimetre.
ID_JITTER = 0.04
# D^e starts out smooth over a whole face; lids need detail of a centimetre, so its first layer starts this much finer.
FINER = 4.0


def _latents(sitters: list[Sitter]) -> tuple[Tensor, Tensor, Tensor]:
    z_id, z_noise, betas = (torch.stack(part) for part in zip(*(s.latents for s in sitters), strict=True))
    return z_id, z_noise, betas


def _pick(sitter: Sitter, count: int, random: torch.Generator) -> Tensor:
    """Indices of a sitter's texels: seven of ten near the surface, the others far from it where there are such."""
    near = torch.randint(sitter.num_near, (7 * count // 10,), generator=random)
    first_far = min(sitter.num_near, len(sitter.texel) - 1)
    far = torch.randint(first_far, len(sitter.texel), (count - len(near),), generator=random)
    return torch.cat([near, far])


def _always_empty(sitters: list[Sitter], texels: Texels) -> Tensor:
    """Indices of valid texels that are empty in every picture: nothing may float there, whoever is drawn."""
    opaque = torch.cat([s.texel[s.alpha > 0] for s in sitters]).unique().long()
    tree = cKDTree(texels.canonical[opaque].numpy())
    valid = texels.valid.nonzero().squeeze(1)
    distance, _ = tree.query(texels.canonical[valid].numpy(), distance_upper_bound=EMPTY_BEYOND)
    return valid[torch.from_numpy(np.isinf(distance))]


def _vary(z_id: Tensor, z_noise: Tensor, random: torch.Generator) -> Tensor:
    """Latents [B, 160] that give the same pictures: phi must not know people by entries that change nothing."""
    z_id = z_id + ID_JITTER * torch.randn(z_id.shape, generator=random)
    unused = torch.randn(len(z_noise), z_noise.shape[1] - N_USED, generator=random)
    return torch.cat([z_id, z_noise[:, :N_USED], unused], -1)


def _field_loss(rgb: Tensor, alpha: Tensor, sitter_rgb: Tensor, sitter_alpha: Tensor, shell: Tensor) -> Tensor:
    """Squared error of colour where it shows, and of opacity everywhere; targets are bytes."""
    colour = (rgb - sitter_rgb.float() / 255).square().sum(-1) * shell
    return colour.mean() + (alpha - sitter_alpha.float() / 255).square().mean()


def fit_radiance(
    generator: Generator, sitters: list[Sitter], texels: Texels, *, steps: int, people: int, points: int, seed: int
) -> float:
    """phi on the manifolds: colour near the surface, opacity everywhere; returns the last mean loss."""
    random = torch.Generator().manual_seed(seed)
    phi = generator.radiance
    # A SIREN multiplies its weights by 30, so they want small steps; sigma reaches 100, so it wants large ones.
    rates = {
        SIREN_RATE: [phi.layers.parameters(), phi.colour_layer.parameters(), phi.mapping.parameters()],
        1e-3: [phi.to_rgb.parameters()],
        3e-2: [phi.to_sigma.parameters()],
    }
    regression = Regression(rates, steps)
    empty = _always_empty(sitters, texels)
    free_points = points // 10 if len(empty) else 0
    recent = []
    progress = trange(steps, desc="phi")
    for _ in progress:
        chosen = [sitters[i] for i in torch.randint(len(sitters), (people,), generator=random)]
        picked = [_pick(sitter, points, random) for sitter in chosen]
        index, rgb, alpha, shell = (
            torch.stack([getattr(s, name)[i] for s, i in zip(chosen, picked, strict=True)])
            for name in ("texel", "rgb", "alpha", "shell")
        )
        z_id, z_noise, _ = _latents(chosen)
        free = empty[torch.randint(max(1, len(empty)), (people, free_points), generator=random)]
        style = phi.style(_vary(z_id, z_noise, random))
        sample = phi(texels.canonical[torch.cat([index.long(), free], 1)], style)
        loss = _field_loss(sample.rgb[:, :points], sample.alpha[:, :points], rgb, alpha, shell)
        if free_points:
            loss = loss + sample.alpha[:, points:].square().mean()
        recent = [*recent[-49:], regression.step(loss)]
        progress.set_postfix(loss=f"{np.mean(recent):.5f}")
    return float(np.mean(recent))


@torch.no_grad()
def set_superresolution(
    generator: Generator, sitters: list[Sitter], texels: Texels, *, points: int, seed: int
) -> float:
    """U as a bilinear interpolation of phi's rgb and alpha; returns the mean square error of the colours before it.

    Ten minutes of training U on a CPU looked worse than this. Its input are phi's features, which become the logits of
    rgb (by linear regression on phi's hidden layers, since the colour layer has no feature head) and of alpha (linear
    in sigma).
    """
    random = torch.Generator().manual_seed(seed)
    phi = generator.radiance
    hidden, logits = [], []
    for sitter in sitters:
        index = _pick(sitter, points, random)
        where = texels.canonical[sitter.texel[index].long()][None]
        z_id, z_noise, _ = (part[None] for part in sitter.latents)
        style = phi.style(torch.cat([z_id, z_noise], -1))
        hidden.append(torch.cat([*phi.hidden(where, style)], -1)[0])
        logits.append(torch.logit(phi(where, style).rgb[0], eps=1e-3))
    hidden, logits = torch.cat(hidden).double(), torch.cat(logits).double()  # [N, 7 C], [N, 3]
    design = torch.nn.functional.pad(hidden, (0, 1), value=1.0)
    normal = design.T @ design
    normal.diagonal().add_(1e-6 * normal.trace() / len(normal))
    solution = torch.linalg.solve(normal, design.T @ logits).float()  # [7 C + 1, 3]
    for i, head in enumerate(phi.to_feature):
        width = head.in_features
        head.weight[:3] = solution[i * width : (i + 1) * width].T
        head.bias[:3] = solution[-1] / len(phi.to_feature)
        head.weight[3] = SIGMA_TO_LOGIT * phi.to_sigma[i].weight[0]
        head.bias[3] = SIGMA_TO_LOGIT * (phi.to_sigma[i].bias[0] - HALF_OPAQUE_SIGMA / len(phi.to_feature))
    _pass_features_through(generator.superresolution)
    predicted = torch.sigmoid(design.float() @ solution)
    return (predicted - torch.sigmoid(logits.float())).square().mean().item()


@torch.no_grad()
def _pass_features_through(sr: ManifoldSuperResolution) -> None:
    """U = sigmoid of its first four features, x4 bilinear.

    LeakyReLU is linear on a pair (v, -v): leaky(v) - leaky(-v) = 1.2 v. Demodulation makes every filter's norm 1.
    """
    if sr.conv_first.in_channels < 2 * OUT_CHANNELS or min(sr.style_dims) < 2 * OUT_CHANNELS:
        raise UserError("the demo's fit needs feature_dim >= 4, sr_features >= 8 and sr_up_channels >= 8")
    for parameter in sr.parameters():
        parameter.zero_()
    sr.mapping[-1].bias.fill_(1.0)  # the style of every person
    line = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])  # x2 bilinear: the two sub-pixels of an axis
    norm = line[0].square().sum().item()  # of a bilinear filter
    gain = 1.2**3 / norm**2 / 2**1.5  # of a logit on its way: three pairs, three filters over a pair
    for channel in range(OUT_CHANNELS):
        negative = channel + OUT_CHANNELS
        sr.conv_first.weight[channel, OUT_CHANNELS + channel, 1, 1] = 1 / gain
        for sign, out in ((1.0, channel), (-1.0, negative)):
            for sub in range(4):
                filters = sign * torch.outer(line[sub // 2], line[sub % 2])
                first, second = (conv.weight[4 * out + sub] for conv in sr.up_convs)
                first[channel] = filters
                second[channel], second[negative] = filters, -filters
            sr.hr_conv.weight[out, channel, 1, 1], sr.hr_conv.weight[out, negative, 1, 1] = sign, -sign
        sr.output.weight[channel, channel], sr.output.weight[channel, negative] = 1, -1


def fit_expression(
    generator: Generator, sitters: list[Sitter], face: FaceArrays, *, steps: int, people: int, points: int, seed: int
) -> float:
    """D^e to the 3DMM's displacements; returns the last root mean square error in canonical units."""
    targets = ExpressionTargets(face, seed)
    rng = np.random.default_rng(seed)
    d_e = generator.expression_deformation
    with torch.no_grad():
        d_e.layers[0].weight.mul_(FINER)
    rates = {SIREN_RATE: [d_e.layers.parameters(), d_e.mapping.parameters()], 1e-3: [d_e.output.parameters()]}
    regression = Regression(rates, steps)
    recent = []
    progress = trange(steps, desc="D^e")
    for _ in progress:
        chosen = [sitters[i] for i in rng.integers(len(sitters), size=people)]
        z_id, _, _ = _latents(chosen)
        z_exp = np.stack([spread_expression(rng) for _ in chosen])
        pairs = [targets.sample(z.numpy(), e, points) for z, e in zip(z_id, z_exp, strict=True)]
        where, expected = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        style = generator.expression_deformation.style(z_id, torch.from_numpy(z_exp))
        # In millimetres, so that Adam's epsilon does not matter.
        loss = (MILLIMETRES * (generator.expression_deformation(where, style) - expected)).square().sum(-1).mean()
        recent = [*recent[-49:], regression.step(loss)]
        progress.set_postfix(mm=f"{np.mean(recent) ** 0.5:.2f}")
    return float(np.mean(recent)) ** 0.5 / MILLIMETRES


def image_psnr(generator: Generator, sitters: list[Sitter]) -> float:
    """Mean PSNR (dB) of rendered against drawn pictures, all shots of all sitters."""
    scores = []
    for sitter in sitters:
        z_id, z_noise, betas = (part[None] for part in sitter.latents)
        with torch.inference_mode():
            maps = generator.build_manifolds(generator.style(z_id, z_noise, psi=1.0))
            for shot in sitter.shots:
                labels = (shot.expression[None], betas, shot.joint_eulers[None], shot.camera[None])
                frame = generator.render(maps, z_id, *labels)
                error = (frame.image - (shot.image[None].float() / 127.5 - 1)).square().mean()
                scores.append(10 * torch.log10(4 / error).item())
    return float(np.mean(scores))

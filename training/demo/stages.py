"""The stages of the fit, each of them plain regression with Adam: phi, then D^e, then U (with phi)."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from tqdm import trange

from networks.cameras import PORTRAIT_CAMERA, cast_rays
from networks.face_model import FaceArrays
from networks.generator import UPSCALE, Generator, ManifoldPoints, upsample_crossings
from networks.superresolution import OUT_CHANNELS, ManifoldSuperResolution
from torch_utils.misc import UserError
from training.demo.expression_targets import ExpressionTargets, spread_expression
from training.demo.people import Shot, Sitter, Texels

SIREN_RATE = 4e-4
# D^e starts out smooth over a whole face; lids need detail of a centimetre, so its first layer starts this much finer.
FINER = 4.0


def _optimizer(rates: dict[float, list[Iterable[Parameter]]], steps: int):
    """Adam with a learning rate per group, warmed up and annealed to 0 over ``steps``."""
    groups = [{"params": [p for part in parts for p in part], "lr": rate} for rate, parts in rates.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, list(rates), total_steps=steps, pct_start=0.1)


def _step(loss: Tensor, optimizer, schedule) -> float:
    """One update; returns the loss. Raises FloatingPointError when it is not finite."""
    value = loss.item()
    if not np.isfinite(value):
        raise FloatingPointError("the loss is not finite")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()
    return value


def _latents(sitters: list[Sitter]) -> tuple[Tensor, Tensor, Tensor]:
    z_id, z_noise, betas = (torch.stack(part) for part in zip(*(s.latents for s in sitters), strict=True))
    return z_id, z_noise, betas


def _pick(sitter: Sitter, count: int, random: torch.Generator) -> Tensor:
    """Indices of a sitter's texels: seven of ten near the surface, the others far from it where there are such."""
    near = torch.randint(sitter.num_near, (7 * count // 10,), generator=random)
    first_far = min(sitter.num_near, len(sitter.texel) - 1)
    far = torch.randint(first_far, len(sitter.texel), (count - len(near),), generator=random)
    return torch.cat([near, far])


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
    optimizer, schedule = _optimizer(rates, steps)
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
        style = generator.radiance.style(torch.cat([z_id, z_noise], -1))
        sample = phi(texels.canonical[index.long()], style)
        loss = _field_loss(sample.rgb, sample.alpha, rgb, alpha, shell)
        recent = [*recent[-49:], _step(loss, optimizer, schedule)]
        progress.set_postfix(loss=f"{np.mean(recent):.5f}")
    return float(np.mean(recent))


def _pass_features_through(sr: ManifoldSuperResolution) -> None:
    """Start U as a plain upsampling of phi's features: the logits of rgba on 2 x 2 sub-texels, then x2 bilinear.

    LeakyReLU is linear on a pair (v, -v): leaky(v) - leaky(-v) = 1.2 v. Demodulation makes every filter's norm 1.
    """
    features = 4 * OUT_CHANNELS
    if sr.conv_first.in_channels < OUT_CHANNELS + features or min(sr.style_dims) < 2 * OUT_CHANNELS:
        raise UserError("the demo's fit needs feature_dim >= 16, sr_features >= 16 and sr_up_channels >= 8")
    line = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])  # x2 bilinear: the two sub-pixels of an axis
    norm = 2**0.5 * line[0].square().sum()  # of a filter over a pair of channels
    gain = 1.2**3 / (norm * 2.0)  # of a logit on its way through the pairs of up_convs[1], hr_conv and output
    channels = torch.arange(OUT_CHANNELS)
    with torch.no_grad():
        sr.mapping[-1].weight.mul_(0.1)  # styles start at 1
        sr.trunk_conv.weight.zero_()
        sr.conv_first.weight[:features] = 0
        sr.conv_first.weight[range(features), range(OUT_CHANNELS, OUT_CHANNELS + features), 1, 1] = 1 / gain
        for channel in channels:
            for sign, out in ((1.0, channel), (-1.0, channel + OUT_CHANNELS)):
                for sub in range(4):
                    first, second = (conv.weight[4 * out + sub] for conv in sr.up_convs)
                    first.zero_()
                    first[4 * channel + sub, 1, 1] = sign
                    second.zero_()
                    second[channel] = sign * torch.outer(line[sub // 2], line[sub % 2])
                    second[channel + OUT_CHANNELS] = -second[channel]
                sr.hr_conv.weight[out] = 0
                sr.hr_conv.weight[out, channel, 1, 1] = sign
                sr.hr_conv.weight[out, channel + OUT_CHANNELS, 1, 1] = -sign
            sr.output.weight[channel] = 0
            sr.output.weight[channel, channel] = 1
            sr.output.weight[channel, channel + OUT_CHANNELS] = -1


def fit_superresolution(
    generator: Generator, sitters: list[Sitter], texels: Texels, *, steps: int, crop: int, seed: int
) -> float:
    """U with phi on crops of the maps, against the same texels; returns the last mean loss of U's part.

    ``crop``: side of a crop in phi's pixels.
    """
    _pass_features_through(generator.superresolution)
    random = torch.Generator().manual_seed(seed)
    size, count = generator.config.lowres_size, generator.config.num_manifolds
    with torch.no_grad():
        canonical, valid = generator.flat_crossings(size)
    canonical = canonical.transpose(0, 1).reshape(count, size, size, 3)
    valid = valid.T.reshape(count, size, size)
    phi = generator.radiance
    rates = {
        5e-4: [generator.superresolution.parameters()],
        2e-3: [phi.to_feature.parameters()],
        SIREN_RATE: [phi.layers.parameters(), phi.colour_layer.parameters(), phi.mapping.parameters()],
        3e-4: [phi.to_rgb.parameters()],
        3e-3: [phi.to_sigma.parameters()],
    }
    optimizer, schedule = _optimizer(rates, steps)
    recent = []
    progress = trange(steps, desc="U")
    for _ in progress:
        sitter = sitters[torch.randint(len(sitters), (), generator=random)]
        # Half of the crops lie about the face.
        middle = torch.randn(2, generator=random) * 4 + torch.tensor([0.58, 0.5]) * size
        anywhere = torch.rand(2, generator=random) * size
        centre = middle if torch.rand((), generator=random) < 0.5 else anywhere
        top, left = (centre - crop / 2).round().long().clamp(0, size - crop).tolist()
        window = (slice(None), slice(top, top + crop), slice(left, left + crop))
        z_id, z_noise, _ = (part[None] for part in sitter.latents)
        style = generator.style(z_id, z_noise, psi=1.0)
        sample = phi(canonical[window].reshape(1, -1, 3), style.radiance)
        alpha = (sample.alpha * valid[window].reshape(1, -1))[..., None]
        maps = torch.cat([sample.rgb, alpha, sample.feature], -1)
        maps = maps.reshape(1, count, crop, crop, -1).permute(0, 1, 4, 2, 3)
        high = generator.superresolution(maps, style.superresolution)[0]  # [K, 4, 4c, 4c]
        # The sitter's texels inside the crop, less a margin where U sees the crop's border.
        level, row, column = _texel_position(sitter.texel.long(), UPSCALE * size)
        row, column = row - UPSCALE * top, column - UPSCALE * left
        margin, end = UPSCALE * 2, UPSCALE * (crop - 2)
        inside = (row >= margin) & (row < end) & (column >= margin) & (column < end)
        predicted = high[level[inside], :, row[inside], column[inside]]
        targets = (sitter.rgb[inside], sitter.alpha[inside], sitter.shell[inside])
        loss = _field_loss(predicted[:, :3], predicted[:, 3], *targets)
        recent = [*recent[-49:], loss.item()]
        # phi's own colours and opacities stay what they are.
        index = _pick(sitter, 4000, random)
        own = phi(texels.canonical[sitter.texel[index].long()][None], style.radiance)
        loss = loss + _field_loss(own.rgb[0], own.alpha[0], *(part[index] for part in sitter[3:6]))
        _step(loss, optimizer, schedule)
        progress.set_postfix(loss=f"{np.mean(recent):.5f}")
    return float(np.mean(recent))


def _texel_position(texel: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Level, row and column of texels of maps of size^2."""
    return texel // (size * size), texel // size % size, texel % size


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
    optimizer, schedule = _optimizer(rates, steps)
    recent = []
    progress = trange(steps, desc="D^e")
    for _ in progress:
        chosen = [sitters[i] for i in rng.integers(len(sitters), size=people)]
        z_id, _, _ = _latents(chosen)
        z_exp = np.stack([spread_expression(rng) for _ in chosen])
        pairs = [targets.sample(z.numpy(), e, points) for z, e in zip(z_id, z_exp, strict=True)]
        where, expected = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        style = generator.expression_deformation.style(z_id, torch.from_numpy(z_exp))
        # In millimetres (1 canonical unit = 1177.5 mm), so that Adam's epsilon does not matter.
        loss = (1177.5 * (generator.expression_deformation(where, style) - expected)).square().sum(-1).mean()
        recent = [*recent[-49:], _step(loss, optimizer, schedule)]
        progress.set_postfix(mm=f"{np.mean(recent) ** 0.5:.2f}")
    return float(np.mean(recent)) ** 0.5 / 1177.5


def trace_shot(generator: Generator, sitter: Sitter, shot: Shot) -> ManifoldPoints:
    """Crossings of a shot's rays [1, R, K, .]; they do not depend on phi or U."""
    rays = cast_rays(shot.camera[None], PORTRAIT_CAMERA, generator.config.lowres_size)
    z_id, _, betas = (part[None] for part in sitter.latents)
    with torch.no_grad():
        return generator.trace(z_id, shot.expression[None], betas, shot.joint_eulers[None], rays, PORTRAIT_CAMERA)


def fit_images(generator: Generator, sitters: list[Sitter], *, steps: int, shots: int, seed: int) -> float:
    """U and phi on pictures: L1 of the image at both sizes, and U's maps against phi's; returns the last mean loss."""
    rng = np.random.default_rng(seed)
    size = generator.config.lowres_size
    rates = {3e-4: [generator.superresolution.parameters()], 0.2 * SIREN_RATE: [generator.radiance.parameters()]}
    optimizer, schedule = _optimizer(rates, steps)
    recent = []
    progress = trange(steps, desc="U")
    for _ in progress:
        sitter = sitters[rng.integers(len(sitters))]
        z_id, z_noise, _ = (part[None] for part in sitter.latents)
        maps = generator.build_manifolds(generator.style(z_id, z_noise, psi=1.0))
        down = F.interpolate(maps.high.flatten(0, 1), scale_factor=0.25, mode="bilinear", antialias=True)
        loss = 0.25 * (down - maps.low.flatten(0, 1).detach()).abs().mean()
        for index in rng.choice(len(sitter.shots), shots, replace=False):
            shot = sitter.shots[index]
            target = shot.image[None].float() / 127.5 - 1
            points = trace_shot(generator, sitter, shot)
            image, _, _ = generator.shade(
                maps.high, upsample_crossings(points, size), shot.camera[None], PORTRAIT_CAMERA
            )
            low, _, _ = generator.shade(maps.low, points, shot.camera[None], PORTRAIT_CAMERA)
            low_target = F.interpolate(target, size=(size, size), mode="area")
            loss = loss + ((image - target).abs().mean() + 0.5 * (low - low_target).abs().mean()) / shots
        recent = [*recent[-19:], _step(loss, optimizer, schedule)]
        progress.set_postfix(loss=f"{np.mean(recent):.4f}")
    return float(np.mean(recent))


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

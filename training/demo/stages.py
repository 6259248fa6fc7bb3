"""The stages of the fit, each of them plain regression with Adam: phi, then D^e, then U (with phi)."""

from collections.abc import Iterable

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from tqdm import trange

from networks.cameras import PORTRAIT_CAMERA, cast_rays
from networks.embedded.face import face_regions
from networks.face_model import FaceArrays
from networks.generator import UPSCALE, Generator, ManifoldPoints, upsample_crossings
from training.data.synthetic import sample_expression
from training.demo.people import Shot, Sitter, Texels

SIREN_RATE = 4e-4
# The 3DMM moves what lies this near to it, canonical units.
EXPRESSION_REACH = 0.03


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
    """Indices of a sitter's texels, three quarters of them near the surface."""
    near = torch.randint(sitter.num_near, (3 * count // 4,), generator=random)
    far = torch.randint(len(sitter.texel), (count - len(near),), generator=random)
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


def fit_superresolution(generator: Generator, sitters: list[Sitter], *, steps: int, crop: int, seed: int) -> float:
    """U (and phi's features) on crops of the maps, against the same texels; returns the last mean loss.

    ``crop``: side of a crop in phi's pixels.
    """
    random = torch.Generator().manual_seed(seed)
    size, count = generator.config.lowres_size, generator.config.num_manifolds
    with torch.no_grad():
        canonical, valid = generator.flat_crossings(size)
    canonical = canonical.transpose(0, 1).reshape(count, size, size, 3)
    valid = valid.T.reshape(count, size, size)
    rates = {
        2e-3: [generator.superresolution.parameters()],
        1e-3: [generator.radiance.to_feature.parameters()],
        0.3 * SIREN_RATE: [generator.radiance.layers.parameters()],
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
        sample = generator.radiance(canonical[window].reshape(1, -1, 3), style.radiance)
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
        recent = [*recent[-49:], _step(loss, optimizer, schedule)]
        progress.set_postfix(loss=f"{np.mean(recent):.5f}")
    return float(np.mean(recent))


def _texel_position(texel: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Level, row and column of texels of maps of size^2."""
    return texel // (size * size), texel // size % size, texel % size


class ExpressionTargets:
    """Where points of the expressive face come from in the neutral one (paper eq. 10).

    A point on the 3DMM goes back by -B_exp z_exp. Eyeballs and the inside of the mouth take no part: closing lids
    pass before the eye, and the gap of an open mouth comes from the dark line between the neutral lips, into which
    pairs of vertices on either side of that line are joined.
    """

    def __init__(self, face: FaceArrays, seed: int):
        regions = face_regions()
        hidden = sum(regions[name] for name in ("eye_white", "iris", "pupil", "mouth_interior", "teeth")) > 0.5
        self.rng = np.random.default_rng(seed)
        self.mean, self.id_basis, self.exp_basis = face.mean, face.id_basis, face.exp_basis
        self.outer = np.flatnonzero(~hidden)
        pairs = cKDTree(face.mean).query_pairs(1e-6, output_type="ndarray")
        moved = np.abs(face.exp_basis[pairs[:, 0]] - face.exp_basis[pairs[:, 1]]).max((1, 2))
        self.lips = pairs[moved > 1e-5]  # coincident in the neutral face, apart in an open mouth
        motion = np.linalg.norm(face.exp_basis[self.outer][:, :, :11], axis=1).max(1)
        self.weights = (0.1 * motion.max() + motion) / (0.1 * motion.max() + motion).sum()

    def sample(self, z_id: np.ndarray, z_exp: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """z_id [80], z_exp [64] -> points [count, 3] of the expressive face and their displacements [count, 3]."""
        n_lips, n_far = count // 8, count // 8
        index = self.rng.choice(self.outer, count - n_lips - n_far, p=self.weights)
        neutral = self.mean[index] + self.id_basis[index] @ z_id
        move = self.exp_basis[index] @ z_exp
        # Off the surface the displacement stays and fades, so that rays on their way in are bent early and gently.
        away = self.rng.standard_normal((len(index), 1)) * self.rng.choice([0.002, 0.006, 0.015], (len(index), 1))
        jitter = away * np.array([0.15, 0.15, 1.0]) * self.rng.choice([-1.0, 1.0], (len(index), 3))
        fade = np.exp(-((np.linalg.norm(jitter, axis=1, keepdims=True) / EXPRESSION_REACH) ** 2))
        points, targets = [neutral + move + jitter], [-move * fade]

        pair = self.lips[self.rng.integers(len(self.lips), size=n_lips)]
        t = self.rng.random((n_lips, 1, 1)) ** 0.7
        neutral_pair = self.mean[pair] + self.id_basis[pair] @ z_id  # [n, 2, 3]
        moved_pair = neutral_pair + self.exp_basis[pair] @ z_exp
        depth = self.rng.standard_normal((n_lips, 3)) * np.array([0.0, 0.0, 0.004])
        joined = [(1 - t[:, 0]) * both[:, 0] + t[:, 0] * both[:, 1] for both in (moved_pair, neutral_pair)]
        points.append(joined[0] + depth)
        targets.append(joined[1] - joined[0])

        far = self.rng.uniform((-0.2, -0.25, -0.2), (0.2, 0.2, 0.1), (n_far, 3))
        reach = np.linalg.norm(far - np.array([0.0, -0.03, -0.03]), axis=1, keepdims=True) > 0.12
        points.append(far[reach[:, 0]])
        targets.append(np.zeros((reach.sum(), 3)))
        points, targets = np.concatenate(points), np.concatenate(targets)
        wrap = np.arange(count) % len(points)
        return points[wrap].astype(np.float32), targets[wrap].astype(np.float32)


def fit_expression(
    generator: Generator, sitters: list[Sitter], face: FaceArrays, *, steps: int, people: int, points: int, seed: int
) -> float:
    """D^e to the 3DMM's displacements; returns the last root mean square error in canonical units."""
    targets = ExpressionTargets(face, seed)
    rng = np.random.default_rng(seed)
    d_e = generator.expression_deformation
    rates = {SIREN_RATE: [d_e.layers.parameters(), d_e.mapping.parameters()], 1e-3: [d_e.output.parameters()]}
    optimizer, schedule = _optimizer(rates, steps)
    recent = []
    progress = trange(steps, desc="D^e")
    for _ in progress:
        chosen = [sitters[i] for i in rng.integers(len(sitters), size=people)]
        z_id, _, _ = _latents(chosen)
        z_exp = np.stack([_spread_expression(rng) for _ in chosen])
        pairs = [targets.sample(z.numpy(), e, points) for z, e in zip(z_id, z_exp, strict=True)]
        where, expected = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        style = generator.expression_deformation.style(z_id, torch.from_numpy(z_exp))
        # In millimetres (1 canonical unit = 1177.5 mm), so that Adam's epsilon does not matter.
        loss = (1177.5 * (generator.expression_deformation(where, style) - expected)).square().sum(-1).mean()
        recent = [*recent[-49:], _step(loss, optimizer, schedule)]
        progress.set_postfix(mm=f"{np.mean(recent) ** 0.5:.2f}")
    return float(np.mean(recent)) ** 0.5 / 1177.5


def _spread_expression(rng: np.random.Generator) -> np.ndarray:
    """An expression of the prior, now and then neutral or exaggerated, so that keyframes outside it behave too."""
    expression = sample_expression(rng)
    if rng.random() < 0.1:
        expression = np.zeros_like(expression)
    if rng.random() < 0.25:
        expression[rng.integers(11)] += rng.uniform(-1.2, 1.2)
    if rng.random() < 0.15:
        expression[32] -= rng.uniform(0.4, 1.0)
    return expression.astype(np.float32)


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
    rates = {2e-3: [generator.superresolution.parameters()], 0.3 * SIREN_RATE: [generator.radiance.parameters()]}
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

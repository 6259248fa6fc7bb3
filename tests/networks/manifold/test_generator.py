"""The generator's own stages, and how they are put together."""

import dataclasses
import math

import pytest
import torch

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, cast_rays, sample_depths
from networks.compositing import composite
from networks.manifold import generator as generator_module
from networks.manifold.generator import (
    Generator,
    GeneratorConfig,
    ManifoldMaps,
    ManifoldPoints,
    upsample_crossings,
)
from networks.manifold.manifolds import Crossings, find_crossings, orthographic_points
from networks.manifold.maps import lookup_manifolds
from tests.networks.helpers import TINY_CONFIG, make_generator, make_inputs, max_error

SIZE = TINY_CONFIG.lowres_size
FLOAT = 1e-5  # float32 in sums of another order


@pytest.fixture(scope="module")
def generator() -> Generator:
    return make_generator()


def make_latents(batch: int = 1, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    z_id, z_noise = torch.randn(2, batch, 80, generator=torch.Generator().manual_seed(seed))
    return z_id, z_noise


def portrait_points(inputs, generator, size: int = SIZE) -> torch.Tensor:
    """Samples [B, H, W, S, 3] of the portrait's rays."""
    depths = sample_depths(PORTRAIT_CAMERA, generator.config.num_samples)
    return cast_rays(inputs["camera"], PORTRAIT_CAMERA, size).at(depths).unflatten(1, (size, size))


# ---- configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image_size": 44}, r"image_size: expected 4 x lowres_size \(10\), found 44"),
        ({"lowres_size": 8, "image_size": 32}, "lowres_size: expected an even number, at least 10, found 8"),
        ({"lowres_size": 11, "image_size": 44}, "lowres_size: expected an even number"),
        ({"num_samples": 4}, "num_samples: expected an even number, at least 6, found 4"),
        ({"num_samples": 7}, "num_samples: expected an even number"),
        ({"num_fine_samples": 7}, r"num_fine_samples: expected at least num_samples \(8\), found 7"),
        ({"first_level": 6.0}, r"first_level: expected more than last_level \(6.0\), found 6.0"),
        ({"sr_blocks": 0}, "sr_blocks: expected a whole number from 1 to 4096, found 0"),
        ({"mapping_dim": 10**6}, "mapping_dim: expected a whole number from 1 to 4096, found 1000000"),
        ({"radiance_dim": 16.0}, "radiance_dim: expected a whole number from 1 to 4096, found 16.0"),
        ({"sr_up_channels": (6, 0)}, "sr_up_channels: expected a whole number from 1 to 4096, found 0"),
        ({"sr_up_channels": (6, 4, 2)}, "sr_up_channels: expected 2 numbers, found 3"),
        ({"first_level": math.inf}, "first_level: expected a number from -10000 to 10000, found inf"),
        ({"last_level": math.nan}, "last_level: expected a number from -10000 to 10000, found nan"),
        ({"manifold_centre": (0.0, 0.0)}, "manifold_centre: expected 3 numbers, found 2"),
        (
            {"manifold_centre": (0.0, -math.inf, 0.0)},
            "manifold_centre: expected a number from -10000 to 10000, found -inf",
        ),
    ],
)
def test_sizes_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY_CONFIG, **change)


def test_defaults_are_the_released_sizes():
    config = GeneratorConfig()
    assert (config.image_size, config.num_manifolds, config.num_fine_samples) == (512, 24, 256)
    assert (config.first_level, config.last_level, config.manifold_centre) == (23.0, 8.0, (0.0, 0.0, -1.5))


def test_levels_fall_evenly(generator):
    assert generator.manifolds.levels.tolist() == [12.0, 9.0, 6.0]


# ---- a person -----------------------------------------------------------------------------------------------------


def test_truncation(generator):
    """psi 1 leaves a style alone, 0 gives everybody the mean, 0.25 lies a quarter of the way."""
    z_id, z_noise = make_latents(2)
    latent = torch.cat([z_id, z_noise], 1)

    def flat(psi: float) -> torch.Tensor:
        style = generator.style(z_id, z_noise, psi=psi)
        return torch.cat([*style.radiance, style.superresolution], 1)

    full = torch.cat([generator.radiance.mapping(latent), generator.superresolution.mapping(latent)], 1)
    assert torch.equal(flat(1.0), full)
    mean = torch.cat([generator.mean_frequency, generator.mean_phase, generator.mean_superresolution])
    assert torch.equal(flat(0.0), mean.expand(2, -1))
    assert max_error(flat(0.25), 0.75 * mean + 0.25 * full) < 1e-6


def test_mean_styles():
    generator = make_generator(seed=3)
    z_id, z_noise = make_latents(7)
    generator.set_mean_styles(z_id, z_noise)
    style = generator.style(z_id, z_noise, psi=1.0)
    assert max_error(generator.mean_frequency, style.radiance.frequency.mean(0)) < 1e-6
    assert max_error(generator.mean_phase, style.radiance.phase.mean(0)) < 1e-6
    assert max_error(generator.mean_superresolution, style.superresolution.mean(0)) < 1e-6
    assert generator.mean_phase.grad_fn is None


@pytest.mark.parametrize("centre_z, valid_share", [(-1.5, (0.3, 1.0)), (1.5, (0.0, 0.3))])
def test_flat_crossings_lie_on_their_levels(centre_z, valid_share):
    """Spheres behind the head are entered (valid); those around the near end of the rays are left first (not)."""
    generator = make_generator()
    generator.manifolds.centre[2] = centre_z
    canonical, valid = generator.flat_crossings(6)
    points = orthographic_points(6)[None]
    crossings = find_crossings(generator.manifolds(points), generator.manifolds.levels, either_direction=True)
    assert torch.equal(valid.bool(), crossings.valid[0])
    assert valid_share[0] <= valid.mean() <= valid_share[1]
    assert torch.equal(canonical, crossings.interpolate(points)[0])
    off = (generator.manifolds(canonical) - generator.manifolds.levels).abs()[crossings.weight[0] < 1]
    assert len(off) > 20 and off.max() < 0.1  # of a step of about 0.8: linear between samples


def test_flat_radiance_is_phi_at_the_flat_crossings(generator):
    """Map k, row i, column j is the radiance of manifold k over pixel (i, j); alpha is 0 where there is none."""
    style = generator.style(*make_latents(2), psi=1.0)
    maps = generator.flat_radiance(style.radiance)
    assert maps.shape == (2, 3, 4 + TINY_CONFIG.feature_dim, SIZE, SIZE)
    canonical, valid = generator.flat_crossings(SIZE)
    assert 0 < valid.mean() < 1
    for k, i, j in ((0, 0, 3), (1, 5, 2), (2, 9, 9)):
        ray = i * SIZE + j
        sample = generator.radiance(canonical[ray, k].expand(2, 1, 3), style.radiance)
        expected = torch.cat([sample.rgb, (sample.alpha * valid[ray, k])[..., None], sample.feature], -1)[:, 0]
        assert max_error(maps[:, k, :, i, j], expected) < FLOAT


def test_manifold_maps(generator):
    style = generator.style(*make_latents(2), psi=0.7)
    maps = generator.build_manifolds(style)
    flat = generator.flat_radiance(style.radiance)
    assert torch.equal(maps.low, flat[:, :, :4])
    assert max_error(maps.high, generator.superresolution(flat, style.superresolution)) < FLOAT


# ---- a frame ------------------------------------------------------------------------------------------------------


def test_the_mean_pose_is_the_identity_map(generator):
    inputs = make_inputs(2)
    points = portrait_points(inputs, generator)
    neutral = generator.neutral_pose_points(points, inputs["betas"], torch.zeros(2, 6, 3))
    assert max_error(neutral, points) < FLOAT


@torch.no_grad()
def test_turning_the_head_leaves_the_shoulders():
    """By smoothing alone may the shoulders move: less than a tenth of the face, which turns by 0.3 rad about y."""
    generator = make_generator(dataclasses.replace(TINY_CONFIG, num_samples=6))
    camera, joint_eulers = torch.full((1, 2), torch.pi / 2), torch.zeros(1, 6, 3)
    joint_eulers[0, 3, 1] = 0.3
    points = portrait_points({"camera": camera}, generator, 96)
    moved = (generator.neutral_pose_points(points, torch.zeros(1, 10), joint_eulers) - points).norm(dim=-1)
    x, y, _ = points.unbind(-1)
    face, shoulders = moved[(y > 0) & (y < 0.1)], moved[(y < -0.19) & (x.abs() > 0.15)]
    assert min(len(face), len(shoulders)) > 1000
    assert face.mean() > 0.03  # 0.3 rad at a lever of 0.1
    assert shoulders.mean() < 0.1 * face.mean()


def test_the_same_point_is_searched_and_looked_up(generator):
    neutral, displacement = torch.randn(2, 1, 5, 3)
    searched, looked_up = generator.canonical_points(neutral, displacement)
    assert torch.equal(searched, neutral + displacement) and torch.equal(looked_up, searched)


def make_still_generator() -> Generator:
    """Without displacements: canonical points are pose-neutral ones."""
    generator = make_generator()
    torch.nn.init.zeros_(generator.expression_deformation.output.weight)
    return generator


def test_crossings_of_unposed_rays_lie_where_their_depth_says():
    generator, inputs = make_still_generator(), make_inputs(2)
    rays = cast_rays(inputs["camera"], PORTRAIT_CAMERA, SIZE)
    points = generator.trace(
        inputs["z_id"], inputs["z_exp"], inputs["betas"], torch.zeros(2, 6, 3), rays, PORTRAIT_CAMERA
    )
    assert points.valid.mean() > 0.5
    along = rays.origins[:, :, None] + points.depth[..., None] * rays.directions[:, :, None]
    assert max_error(points.canonical, along) < FLOAT
    off = (generator.manifolds(points.canonical) - generator.manifolds.levels).abs() * points.valid
    assert off.max() < 0.2  # linear between samples
    assert torch.all(points.depth.diff(dim=-1)[points.valid[..., 1:] * points.valid[..., :-1] == 1] >= 0)  # nested


def test_upsampling_of_crossings_by_hand():
    """A ramp stays a ramp with its corners in place; validity is kept where 99 % of its support is valid."""
    size, large = 10, 40  # a fine pixel is 9/39 of a coarse one
    x = torch.linspace(0, 1, size).expand(size, size)
    canonical = torch.stack([x, x.T, x + x.T], -1).reshape(1, -1, 1, 3)
    valid = torch.ones(size, size)
    valid[0, 0] = 0
    points = ManifoldPoints(canonical, 2 * canonical[..., 0], valid.reshape(1, -1, 1))
    fine = upsample_crossings(points, size)
    x = torch.linspace(0, 1, large).expand(large, large)
    assert max_error(fine.canonical[0, :, 0], torch.stack([x, x.T, x + x.T], -1).reshape(-1, 3)) < FLOAT
    assert max_error(fine.depth[0, :, 0], 2 * x.reshape(-1)) < FLOAT
    expected = torch.ones(large, large)
    expected[:5, :5] = 0  # within a coarse pixel of the corner ...
    expected[4, 4] = 1  # ... but here only (3/39)^2 = 0.6 % comes from it
    assert torch.equal(fine.valid.reshape(large, large), expected)


def test_upsampling_keeps_people_and_manifolds_apart():
    values = torch.arange(6.0).reshape(2, 1, 3).expand(-1, 4, -1)
    fine = upsample_crossings(ManifoldPoints(values[..., None].expand(-1, -1, -1, 3), -values, 0 * values + 1), 2)
    assert fine.canonical.shape == (2, 64, 3, 3)
    assert max_error(fine.depth, -values[:, :1].expand(-1, 64, -1)) < FLOAT


def test_shading_is_lookup_and_compositing(generator):
    torch.manual_seed(0)
    maps = torch.rand(1, 3, 4, 7, 7)
    canonical, depth = 0.1 * torch.randn(1, 16, 3, 3), 2 + torch.rand(1, 16, 3)
    valid = torch.randint(2, (1, 16, 3)).float()
    image, alpha, mean_depth = generator.shade(
        maps, ManifoldPoints(canonical, depth, valid), torch.zeros(1, 2), PORTRAIT_CAMERA
    )
    rgba = lookup_manifolds(maps, canonical)
    rgba[..., 3] *= valid
    expected = composite(rgba, depth, depth)
    assert max_error(image[0], (2 * expected.rgb[0] - 1).T.reshape(3, 4, 4)) < FLOAT
    assert max_error(alpha[0].flatten(), expected.alpha[0]) < FLOAT
    assert max_error(mean_depth[0].flatten(), expected.depth[0]) < FLOAT


def test_shading_upscales_as_the_crossings_do(generator):
    """Random maps: a texel differs from the next by about 1, which shows where crossings differ by 1e-6 texels."""
    random = torch.Generator().manual_seed(0)
    canonical, depth = 0.1 * torch.randn(1, 64, 3, 3, generator=random), 2 + torch.rand(1, 64, 3, generator=random)
    points = ManifoldPoints(canonical, depth, (torch.rand(1, 64, 3, generator=random) > 0.3).float())
    maps, camera = torch.rand(1, 3, 4, 32, 32, generator=random), torch.zeros(1, 2)
    for scale in (2, 4):
        expected = generator.shade(maps, upsample_crossings(points, 8, scale), camera, PORTRAIT_CAMERA)
        ours = generator.shade(maps, points, camera, PORTRAIT_CAMERA, scale)
        assert all(max_error(a, b) < 1e-5 for a, b in zip(ours, expected, strict=True))


def test_a_known_picture():
    """Opaque red maps: red wherever a manifold is crossed, white elsewhere, depth that of the first crossing."""
    generator, inputs = make_still_generator(), make_inputs()
    red = torch.tensor([1.0, 0, 0, 1]).view(1, 1, 4, 1, 1)
    maps = ManifoldMaps(red.expand(1, 3, 4, SIZE, SIZE), red.expand(1, 3, 4, 4 * SIZE, 4 * SIZE))
    frame = generator.render(maps, **inputs)
    assert frame.image_lr.shape == (1, 3, SIZE, SIZE) and frame.image.shape == (1, 3, 4 * SIZE, 4 * SIZE)
    hit = frame.alpha > 0.5
    assert 0.2 < hit.float().mean() < 1
    assert max_error(frame.alpha, hit.float()) < FLOAT
    expected = torch.stack([torch.ones_like(frame.alpha)] + [1 - 2 * hit.float()] * 2, 1)
    assert max_error(frame.image, expected) < FLOAT
    rays = cast_rays(inputs["camera"], PORTRAIT_CAMERA, SIZE)
    inputs.pop("camera")
    points = upsample_crossings(generator.trace(**inputs, rays=rays, model=PORTRAIT_CAMERA), SIZE)
    first = torch.where(points.valid == 1, points.depth, torch.inf).amin(-1).reshape(frame.depth.shape)
    assert max_error(frame.depth[hit], first[hit]) < FLOAT
    assert frame.depth[~hit].abs().max() == 0


@pytest.mark.parametrize("model", [PORTRAIT_CAMERA, FACE_CAMERA])
def test_recording_gradients_changes_nothing(generator, monkeypatch, model):
    """Without gradients everything runs in chunks, here of odd sizes; with them in one piece."""
    inputs, latents = make_inputs(2), make_latents(2)

    def run() -> list[torch.Tensor]:
        maps = generator.build_manifolds(generator.style(*latents, psi=0.8))
        return [*maps, *generator.render(maps, **inputs, model=model)]

    whole = run()
    for points, manifolds in ((170, 2), (1 << 20, 8)):
        monkeypatch.setattr(generator_module, "POINTS_PER_CHUNK", {"cpu": points, "cuda": points})
        monkeypatch.setattr(generator_module, "MANIFOLDS_PER_CHUNK", {"cpu": manifolds, "cuda": manifolds})
        with torch.no_grad():
            for ours, expected in zip(run(), whole, strict=True):
                assert max_error(ours, expected.detach()) < 1e-4  # alpha amplifies float32 rounding of crossings


def test_people_of_a_batch_are_independent(generator):
    inputs, latents = make_inputs(2), make_latents(2)
    alone = {name: value[1:] for name, value in inputs.items()}
    with torch.no_grad():
        maps = generator.build_manifolds(generator.style(*latents, psi=1.0))
        both = generator.render(maps, **inputs)
        second = generator.render(ManifoldMaps(*(m[1:] for m in maps)), **alone)
    for ours, expected in zip(second, both, strict=True):
        assert max_error(ours, expected[1:]) < 1e-4


def test_every_parameter_learns(generator):
    inputs = make_inputs()
    maps = generator.build_manifolds(generator.style(*make_latents(), psi=1.0))
    frame = generator.render(maps, **inputs)
    torch.manual_seed(0)
    loss = sum((image * torch.randn_like(image)).sum() for image in (frame.image, frame.image_lr))
    names = dict(generator.named_parameters())
    gradients = torch.autograd.grad(loss, list(names.values()), allow_unused=True)
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().max() > 0, name


def test_depth_of_crossings_by_hand():
    crossings = Crossings(
        torch.tensor([[[0, 1]]]), torch.tensor([[[0.25, 1.0]]]), torch.ones(1, 1, 2, dtype=torch.bool)
    )
    depth = Generator._crossing_depth(crossings, torch.tensor([1.0, 2.0, 4.0]))
    assert depth.tolist() == [[[1.25, 4.0]]]

"""Each stage against the released code's outputs, fed with that code's input of the stage: a failure names the stage.

Tolerances are absolute. Most stages agree to float32 rounding; the bounds leave room for other BLAS libraries.
"""

import pytest
import torch

from networks.cameras import PORTRAIT_CAMERA, Rays, camera_frame, cast_rays, sample_depths
from networks.layers import WARP_SCALE
from networks.manifold.generator import ManifoldMaps, ManifoldPoints, upsample_crossings
from networks.manifold.manifolds import find_crossings
from networks.person.pose_deformation import apply_volume, inverse_lbs_volume, inverse_vertex_transforms
from tests.networks.golden import load_golden, load_mini_generator, requires_golden
from torch_utils.ops.nearest_vertex import nearest_vertices

pytestmark = requires_golden
SIZE, HR_SIZE, SAMPLES, LEVELS = 16, 64, 64, 8


def error(ours, golden) -> float:
    return (ours - golden).abs().max().item()


def psnr(ours, golden) -> float:
    return 10 * torch.log10(4 / (ours - golden).square().mean()).item()


@pytest.fixture(scope="module")
def generator():
    return load_mini_generator()


@pytest.fixture(scope="module")
def inputs():
    return load_golden("mini_inputs")


@pytest.fixture(scope="module")
def golden():
    return load_golden("mini_outputs")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def golden_points(golden) -> ManifoldPoints:
    canonical, target = golden["intersections_canonical"], golden["intersections_target"]
    depth = (target - golden["ray_origins"][:, :, None]).norm(dim=-1)
    return ManifoldPoints(canonical, depth, golden["is_valid"].squeeze(-1))


def test_rays(inputs, golden):
    _, origin = camera_frame(inputs["camera"], PORTRAIT_CAMERA.radius)
    rays = cast_rays(inputs["camera"], PORTRAIT_CAMERA, SIZE)
    assert error(origin, golden["camera_origin"]) < 1e-6
    assert error(rays.origins, golden["ray_origins"]) < 1e-6
    assert error(rays.directions, golden["ray_directions"]) < 1e-6
    assert error(rays.at(sample_depths(PORTRAIT_CAMERA, SAMPLES)), golden["target_points"]) < 1e-6


def test_body(generator, inputs, golden):
    body = generator.body(inputs["betas"], inputs["pose"])
    assert error(body.vertices, golden["posed_vertices"]) < 1e-5
    assert error(body.joint_transforms, golden["joint_relative_transforms"]) < 1e-5


def test_nearest_vertices(golden):
    people = zip(golden["knn_points"], golden["posed_vertices"], strict=True)
    index = torch.stack([nearest_vertices(points[None, None], vertices)[0, 0] for points, vertices in people])
    assert (index == golden["knn_index"]).float().mean() >= 0.999


def test_inverse_lbs_volume(generator, golden):
    inverse = inverse_vertex_transforms(generator.body.head_shoulder_weights, golden["joint_relative_transforms"])
    points = golden["knn_points"].reshape(2, SIZE // 2, SIZE // 2, SAMPLES // 2, 3)
    volume = inverse_lbs_volume(points, golden["posed_vertices"], inverse)
    assert error(volume, golden["inverse_transforms_half"]) < 1e-5


def test_pose_deformation_processor(generator, golden):
    smoothed = generator.pose_deformation(golden["inverse_transforms_half"])
    assert error(smoothed, golden["inverse_transforms_smoothed"]) < 1e-5


def test_neutral_pose_points(generator, inputs, golden):
    points = golden["target_points"].unflatten(1, (SIZE, SIZE))
    neutral = apply_volume(golden["inverse_transforms_smoothed"], points)
    assert error(neutral.reshape(2, -1, 3), golden["neutral_pose_points"]) < 1e-5
    neutral = generator.neutral_pose_points(points, inputs["betas"], inputs["pose"])  # the whole pose path
    assert error(neutral.reshape(2, -1, 3), golden["neutral_pose_points"]) < 1e-5


def test_expression_deformation(generator, inputs, golden):
    style = generator.expression_deformation.style(inputs["z_id"], inputs["z_exp"])
    displacement = generator.expression_deformation(golden["deform_input"].flatten(1, 2), style)
    assert error(displacement, golden["deform_offset"].flatten(1, 2)) < 1e-5


def test_manifold_scalar(generator, golden):
    searched, _ = generator.canonical_points(golden["deform_input"], golden["deform_offset"])
    s = generator.manifolds(searched)
    assert error(s, golden["levels_scalar"].squeeze(-1)) < 1e-4  # s reaches 33: 3e-6 relative
    assert error(generator.manifolds.levels, golden["levels"]) < 1e-5


def test_crossings(generator, golden):
    crossings = find_crossings(golden["levels_scalar"].squeeze(-1), generator.manifolds.levels)
    canonical = crossings.interpolate(golden["deform_input"] + golden["deform_offset"])
    assert (crossings.valid == golden["is_valid"].squeeze(-1).bool()).float().mean() >= 0.999
    assert error(canonical, golden["intersections_canonical"]) < 1e-4
    depths = sample_depths(PORTRAIT_CAMERA, 256)
    depth = generator._crossing_depth(crossings, depths)
    target = golden["ray_origins"][:, :, None] + golden["ray_directions"][:, :, None] * depth[..., None]
    assert error(target, golden["intersections_target"]) < 1e-4


def test_crossings_from_neutral_points(generator, inputs, golden):
    """D^e, M and the search in one, from the neutral points on."""
    neutral = golden["neutral_pose_points"].unflatten(1, (SIZE * SIZE, SAMPLES))
    points = generator.find_manifold_points(neutral, inputs["z_id"], inputs["z_exp"], PORTRAIT_CAMERA)
    valid = golden["is_valid"].squeeze(-1)
    assert (points.valid == valid).float().mean() >= 0.999
    both = ((points.valid == 1) & (valid == 1))[..., None]
    assert error(points.canonical * both, golden["intersections_canonical"] * both) < 1e-4


def test_orthographic_crossings(generator, golden):
    canonical, valid = generator.flat_crossings(SIZE)
    expected = golden["ortho_intersections_warped"][0] / WARP_SCALE
    assert error(canonical, expected) < 1e-4
    assert (valid == golden["ortho_is_valid"][0].squeeze(-1)).float().mean() >= 0.999


def test_styles(generator, inputs, golden):
    style = generator.style(inputs["z_id"], inputs["z_noise"], psi=1.0)
    assert error(style.radiance.frequency, golden["freq"]) < 1e-5
    assert error(style.radiance.phase, golden["phase"]) < 1e-5


def test_flat_radiance(generator, inputs, golden):
    style = generator.style(inputs["z_id"], inputs["z_noise"], psi=1.0)
    maps = generator.flat_radiance(style.radiance)[:, :, :4].flatten(0, 1)
    assert error(maps, golden["lr_manifolds"]) < 1e-3


def test_super_resolution(generator, inputs, golden):
    maps = generator.build_manifolds(generator.style(inputs["z_id"], inputs["z_noise"], psi=1.0))
    assert error(maps.high.flatten(0, 1), golden["hr_manifolds"]) < 1e-3


def test_compositing(generator, inputs, golden):
    points = golden_points(golden)
    low, high = (golden[name].unflatten(0, (2, LEVELS)) for name in ("lr_manifolds", "hr_manifolds"))
    image_lr, _, _ = generator.shade(low, points, inputs["camera"], PORTRAIT_CAMERA)
    assert error(image_lr, golden["image_lr"]) < 1e-5
    image, _, _ = generator.shade(high, upsample_crossings(points, SIZE), inputs["camera"], PORTRAIT_CAMERA)
    assert error(image, golden["image"]) < 1e-5


def test_released_depth(generator, inputs, golden):
    """The released depth map: distances of canonical crossings from the unshifted origin, 0/0 on empty pixels."""
    points = upsample_crossings(golden_points(golden), SIZE)
    distances = generator.sort_distances(points.canonical, points.depth, inputs["camera"], PORTRAIT_CAMERA)
    high = golden["hr_manifolds"].unflatten(0, (2, LEVELS))
    _, alpha, depth = generator.shade(high, points._replace(depth=distances), inputs["camera"], PORTRAIT_CAMERA)
    empty = golden["depth"].squeeze(1).isnan()
    assert torch.equal(empty, alpha == 0)
    assert error(depth[~empty], golden["depth"].squeeze(1)[~empty]) < 1e-5


def test_image(generator, inputs, golden):
    maps = generator.build_manifolds(generator.style(inputs["z_id"], inputs["z_noise"], psi=1.0))
    frame = generator.render(maps, inputs["z_id"], inputs["z_exp"], inputs["betas"], inputs["pose"], inputs["camera"])
    assert psnr(frame.image, golden["image"]) >= 45
    assert psnr(frame.image_lr, golden["image_lr"]) >= 45


def test_image_per_person(generator, inputs, golden):
    """A person of the batch rendered alone is the same picture."""
    alone = {name: value[1:] for name, value in inputs.items()}
    maps = generator.build_manifolds(generator.style(alone["z_id"], alone["z_noise"], psi=1.0))
    frame = generator.render(
        ManifoldMaps(*maps), alone["z_id"], alone["z_exp"], alone["betas"], alone["pose"], alone["camera"]
    )
    assert psnr(frame.image, golden["image"][1:]) >= 45


def test_rays_are_where_depth_says(golden):
    """Depth is measured along the ray: origin + depth * direction is the crossing in posed space."""
    points = golden_points(golden)
    rays = Rays(golden["ray_origins"], golden["ray_directions"])
    back = rays.origins[:, :, None] + points.depth[..., None] * rays.directions[:, :, None]
    assert error(back, golden["intersections_target"]) < 1e-6

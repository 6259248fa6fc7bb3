"""The fit of the demo model: its targets in closed form, and that every stage learns."""

import copy

import numpy as np
import pytest
import torch

from networks.body_assets import embedded_body, head_shoulder_vertices
from networks.face_model import embedded_face
from networks.generator import Generator, GeneratorConfig
from networks.priors import Latents
from networks.superresolution import ManifoldSuperResolution
from torch_utils.misc import UserError
from training.demo import people
from training.demo.expression_targets import ExpressionTargets
from training.demo.manifold_shape import MAX_SLOPE, MIN_HEIGHT, fit_manifolds, relief
from training.demo.people import (
    EDGE,
    Shot,
    Sitter,
    map_texels,
    opacity,
    sitter_from_dict,
    sitter_to_dict,
    synthetic_priors,
)
from training.demo.stages import (
    _always_empty,
    _pass_features_through,
    fit_expression,
    fit_radiance,
    image_psnr,
    set_superresolution,
)

CONFIG = GeneratorConfig(
    image_size=64, lowres_size=16, num_samples=16, num_fine_samples=16, num_manifolds=4, manifold_dim=32,
    mapping_dim=16, radiance_dim=32, feature_dim=16, expression_dim=32, sr_features=16, sr_blocks=1, sr_growth=4,
    sr_up_channels=(8, 8),
)  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    body = embedded_body()
    generator = Generator(CONFIG, body, torch.as_tensor(head_shoulder_vertices(body)))
    average = generator.body.canonical_vertices(torch.zeros(1, 10))[0].numpy()
    generator.fit_error = fit_manifolds(generator, average, steps=400, seed=0)
    return generator


def make_sitter(texels, colour=(0.2, 0.4, 0.6)) -> Sitter:
    """A stand-in person: everything behind z = -0.05 is opaque and of one colour; its picture is of that colour."""
    texel = texels.valid.nonzero().squeeze(1)[::3]
    inside = texels.canonical[texel, 2] < -0.05
    rgb = (torch.tensor(colour) * 255).round().byte()
    image = rgb[:, None, None].expand(3, 64, 64).contiguous()
    shot = Shot(torch.zeros(64), torch.zeros(6, 3), torch.tensor([np.pi / 2, np.pi / 2]).float(), image)
    return Sitter(
        latents=Latents(torch.zeros(80), torch.zeros(80), torch.zeros(10)),
        texel=texel.int(),
        num_near=len(texel),
        rgb=rgb.expand(len(texel), 3),
        alpha=inside.byte() * 255,
        shell=torch.ones(len(texel), dtype=torch.bool),
        shots=(shot,),
    )


def test_relief_of_one_point_is_a_blurred_cone():
    height = relief(np.array([[0.0, 0.0, 0.1]]))
    far = height([[0.15, 0.0], [0.2, 0.0]])
    assert far[0] - far[1] == pytest.approx(0.05 * MAX_SLOPE, rel=0.05)  # the cone's slope, off its blurred tip
    assert height([[0.0, 0.0]])[0] < 0.1
    assert relief(np.array([[0.0, 0.0, -0.2]]))([[0.25, 0.25]])[0] == pytest.approx(MIN_HEIGHT, abs=1e-6)


def test_manifolds_follow_the_relief(generator):
    # Half of the 800 steps and a narrow M: well below the 0.12 that the manifolds span.
    assert generator.fit_error < 0.03


def test_opacity():
    assert opacity(np.array([0.0, -EDGE, EDGE, -EDGE / 4])).tolist() == [0.5, 1.0, 0.0, 0.75]


def test_texels_are_where_the_lookup_reads(generator):
    texels = map_texels(generator)
    size = CONFIG.image_size
    x, y = texels.canonical[size * size + 2 * size + 3, :2].tolist()  # level 1, row 2, column 3
    # grid_sample with align_corners=False: pixel j's centre lies at (j + 0.5) * 2 / size - 1.
    assert x == pytest.approx(0.22 * (7 / size - 1), abs=1e-6)
    assert y == pytest.approx(0.22 * (5 / size - 1) - 0.02830771, abs=1e-6)


def test_expression_targets_lead_back_to_the_neutral_face():
    face = embedded_face()
    z_exp = np.zeros(64, np.float32)
    z_exp[0] = -1.0  # the jaw opens
    targets = ExpressionTargets(face, 0)
    points, displacement = targets.sample(np.zeros(80, np.float32), z_exp, 4000)
    assert points.shape == displacement.shape == (4000, 3)
    # The surface goes back by -B_exp z_exp, so no displacement exceeds the largest motion of a vertex.
    largest = np.linalg.norm(face.exp_basis[:, :, 0], axis=1).max()
    assert np.linalg.norm(displacement, axis=1).max() <= largest * 1.0001
    assert displacement[:, 1].max() > 0.8 * largest * 0.5  # lower lip and chin come back up
    # The gap of the open mouth closes into the line between the lips, whose vertices coincide in the neutral face.
    line = face.mean[targets.lips].reshape(-1, 3)
    gap = slice(4000 - 4000 // 8 - 4000 // 8, 4000 - 4000 // 8)
    back = (points + displacement)[gap]
    assert back[:, 1].min() >= line[:, 1].min() - 1e-6 and back[:, 1].max() <= line[:, 1].max() + 1e-6
    assert np.ptp(points[gap][:, 1]) > np.ptp(line[:, 1]) + 0.005


def test_neutral_expression_has_no_displacement():
    targets = ExpressionTargets(embedded_face(), 0)
    _, displacement = targets.sample(np.ones(80, np.float32), np.zeros(64, np.float32), 400)
    assert np.abs(displacement).max() == 0


def test_super_resolution_interpolates_features():
    """A logit in one texel spreads bilinearly, twice x2: by hand along a row."""
    sr = ManifoldSuperResolution(160, 16, 20, 16, 1, 4, (8, 8))
    _pass_features_through(sr)
    maps = torch.rand(1, 1, 20, 6, 6)
    maps[:, :, 4:] = 0
    maps[0, 0, 4, :, 3] = 2.0  # red's logit in the fourth column, in all rows
    with torch.inference_mode():
        logits = torch.logit(sr(maps, sr.style(torch.randn(1, 160))))
    first = [0.0, 0.5, 1.5, 1.5, 0.5, 0.0]  # columns 4 to 9 at x2
    second = [0.75 * first[i // 2] + 0.25 * first[i // 2 - 1 + 2 * (i % 2)] for i in range(2, 10)]  # columns 10 to 17
    assert torch.allclose(logits[0, 0, 0, 12, 10:18], torch.tensor(second), atol=1e-5)
    assert logits[0, 0, 1:].abs().max() < 1e-6  # the other channels stay at 0


def test_sitter_survives_plain_data(generator):
    sitter = make_sitter(map_texels(generator))
    back = sitter_from_dict(sitter_to_dict(sitter))
    assert torch.equal(back.alpha, sitter.alpha) and torch.equal(back.shots[0].image, sitter.shots[0].image)
    assert back.num_near == sitter.num_near and torch.equal(back.latents.betas, sitter.latents.betas)


def test_priors_are_the_sitters(generator):
    priors = synthetic_priors(20, seed=3)
    assert torch.equal(priors.id_shape, synthetic_priors(20, seed=3).id_shape)
    camera = priors.camera_pose[:, :2]
    assert ((camera - torch.pi / 2).abs() < 0.36).all()  # pitch and yaw about the frontal camera


def test_every_stage_learns(generator):
    texels = map_texels(generator)
    sitters = [make_sitter(texels)]
    before = image_psnr(generator, sitters)
    first = fit_radiance(generator, sitters, texels, steps=20, people=2, points=400, seed=0)
    last = fit_radiance(generator, sitters, texels, steps=300, people=2, points=400, seed=0)
    assert last < 0.5 * first
    assert set_superresolution(generator, sitters, texels, points=200, seed=0) < 1e-3
    assert image_psnr(generator, sitters) > before + 3


def test_radiance_of_people_who_fill_every_texel(generator):
    """Then there is no texel to keep empty."""
    texels = map_texels(generator)
    texel = texels.valid.nonzero().squeeze(1).int()
    opaque = {"rgb": torch.full((len(texel), 3), 255, dtype=torch.uint8), "shell": torch.ones(len(texel)).bool()}
    opaque["alpha"] = torch.full((len(texel),), 255, dtype=torch.uint8)
    sitters = [make_sitter(texels)._replace(texel=texel, num_near=len(texel), **opaque)]
    assert len(_always_empty(sitters, texels)) == 0
    settings = {"steps": 20, "people": 1, "points": 50, "seed": 0}
    assert np.isfinite(fit_radiance(copy.deepcopy(generator), sitters, texels, **settings))


def test_expression_stage_learns(generator):
    sitters = [make_sitter(map_texels(generator))]
    face = embedded_face()
    first = fit_expression(generator, sitters, face, steps=20, people=2, points=300, seed=0)
    last = fit_expression(generator, sitters, face, steps=150, people=2, points=300, seed=0)
    assert last < 0.9 * first


def test_manifolds_far_from_every_face_are_an_error():
    texels = np.full((5, 3), 9.0)
    with pytest.raises(UserError, match="--effort: expected enough that M lies near the body"):
        people.make_sitter(0, texels, np.arange(5), num_texels=10, num_shots=1, size=16)

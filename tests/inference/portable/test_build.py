"""Avatars of people: their motion by the method's own deformations, their pictures against exact frames."""

import asyncio
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from inference.fast.body import FastBody
from inference.pipeline import PortraitPipeline
from inference.portable.atlas import draw_atlas, pack, visible_cells
from inference.portable.avatar import POSED
from inference.portable.blendshapes import draw_expressions, inverse_expressions
from inference.portable.build import AvatarOptions
from inference.portable.skinning import SmoothedSkinning, portrait_view, settle, skinning_weights
from inference.released_checkpoint import ReleasedGenerator
from inference.viewer.messages import Shot
from inference.viewer.studio import Studio
from networks.cameras import PORTRAIT_CAMERA, cast_rays, sample_depths
from networks.manifold.generator import Generator
from networks.manifold.generator_config import GeneratorConfig
from networks.person.expressions import ARKIT
from networks.saved_model import SavedModel
from tests.networks.helpers import TINY_CONFIG, make_generator, make_inputs
from torch_utils.misc import UserError
from torch_utils.pixels import image_to_uint8

CONFIG = GeneratorConfig(**{
    **vars(TINY_CONFIG), "image_size": 160, "lowres_size": 40, "num_samples": 64, "num_fine_samples": 256,
    "num_manifolds": 4, "first_level": 10.0, "last_level": 7.0,
})  # fmt: skip

# Canonical units, half a pixel of 512^2: a random D^e has more detail than the nodes at which it is inverted.
INTERPOLATION = 4e-4


def make_smooth_generator(cls: type[Generator] = Generator) -> Generator:
    """Random D^e is noise of a wavelength that no trained one has: less of it, moving points by a millimetre or two."""
    generator = make_generator(CONFIG, cls=cls)
    generator.requires_grad_(False).expression_deformation.output.weight *= 0.1
    return generator


def make_person(generator):
    """With maps of blurred noise, which show where they are looked up; the innermost layer shows nothing."""
    person = PortraitPipeline(SavedModel(generator, None, {"face_model": ARKIT})).person(seed=0)
    random = torch.Generator().manual_seed(5)
    size = person.manifolds.high.shape[-1]
    noise = torch.rand(CONFIG.num_manifolds, 4, 12, 12, generator=random)
    high = torch.nn.functional.interpolate(noise, (size, size), mode="bicubic").clamp(0, 1)
    high[:, 3] *= 0.3
    high[-1, 3] = 0
    person.manifolds = person.manifolds._replace(high=high[None])
    return person


@pytest.fixture(scope="module")
def generator():
    return make_smooth_generator()


@pytest.fixture(scope="module")
def person(generator):
    return make_person(generator)


@pytest.fixture(scope="module")
def avatar(person):
    return person.avatar(metadata={"seed": 0})


def psnr(ours, expected):
    """Of images in -1..1, dB."""
    return -10 * torch.log10(((ours - expected) / 2).square().mean()).item()


def test_expressions_are_inverted(generator):
    """D^e carries y + E(y) back to y."""
    random = torch.Generator().manual_seed(1)
    points = 0.2 * torch.rand(500, 3, generator=random) - 0.1
    z_id, expressions = torch.randn(1, 80, generator=random), torch.randn(2, 64, generator=random)
    moved = inverse_expressions(generator, z_id, expressions, points).at(points)
    assert moved.shape == (2, 500, 3) and moved.norm(dim=-1).max() > 2e-3
    for one, z_exp in zip(moved, expressions, strict=True):
        style = generator.expression_deformation.style(z_id, z_exp[None])
        back = points + one + generator.expression_displacement((points + one)[None], style)[0]
        assert (back - points).norm(dim=-1).quantile(0.95) < INTERPOLATION


def test_weights_are_those_of_the_nearest_vertices_smoothed(generator):
    """Rows sum to 1; the upper half of the head follows the head, and every joint has its part."""
    body = FastBody(generator.body, torch.zeros(1, 10))
    weights = skinning_weights(generator, body)
    vertices = body.vertices(body.pose(torch.zeros(6, 3)))
    found = weights.at(vertices)
    torch.testing.assert_close(found.sum(1), torch.ones(len(vertices)))
    assert (found >= 0).all()
    head = vertices[:, 1] > vertices[body.weights[:, 4] > 0.99, 1].median()
    assert found[head].argmax(1).eq(4).all() and found[:, 1:].amax(0).min() > 0.05  # each joint moves something


def test_poses_are_those_of_the_methods_rays(generator):
    """What exact frames carry from the samples of rays to neutral pose is carried back to the samples: within a quarter
    of a pixel of 512^2 (2e-4) where the guess was ten pixels off. At the border D^p is interpolated less well."""
    inputs = make_inputs()
    camera, eulers = inputs["camera"], inputs["joint_eulers"]
    size = CONFIG.lowres_size
    with torch.inference_mode():
        rays = cast_rays(camera, PORTRAIT_CAMERA, size).at(sample_depths(PORTRAIT_CAMERA, CONFIG.num_samples))
        points = rays.unflatten(1, (size, size))
        neutral = generator.neutral_pose_points(points, inputs["betas"], eulers)
        inside = (0, slice(10, -10, 4), slice(10, -10, 4), slice(16, -16, 4))
        points, neutral = points[inside].reshape(-1, 3), neutral[inside].reshape(-1, 3)
        guess = points + 0.008 * torch.nn.functional.normalize(torch.randn_like(points), dim=-1)
        view = portrait_view(camera[0], size, points.device)
        volume = SmoothedSkinning(generator, FastBody(generator.body, inputs["betas"])).volume(eulers[0], view)
        posed = settle(volume, view, neutral, guess)
    assert (neutral - points).norm(dim=-1).mean() > 5e-3
    assert (posed - points).norm(dim=-1).quantile(0.9) < 2e-4


def test_an_avatar_of_a_person(avatar, generator):
    assert avatar.metadata["about"] == "synthetic person" and avatar.metadata["seed"] == 0
    assert len(avatar.layers) - 1 == CONFIG.num_manifolds - 1  # the innermost is transparent
    assert avatar.joint_names[1:] == POSED and avatar.joint_parents == (-1, 0, 0, 0, 1, 2, 3)
    joints = generator.body.canonical_joints(torch.zeros(1, 10))[0]
    torch.testing.assert_close(avatar.joint_positions[1:], joints[12:18], atol=0.02, rtol=0)
    assert set(avatar.morph_names) <= {*map(str, avatar.morph_names)} and len(avatar.morph_names) > 40
    corners = avatar.vertices[avatar.triangles.long()]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()  # each faces the front: none is folded over


def test_neutral_frames_from_many_sides(person):
    """At least 31 dB, of noise that shows every pixel of displacement; what differs are ragged outlines."""
    for camera in ((math.pi / 2, math.pi / 2), (1.4, 1.3), (1.6, 1.8)):
        layers, exact = (person.render(camera=camera, quality=quality) for quality in ("layers", "exact"))
        assert [part.shape for part in layers] == [part.shape for part in exact]
        assert psnr(layers.image, exact.image) > 31
        both = (layers.alpha > 0.5) & (exact.alpha > 0.5)
        assert (layers.depth - exact.depth)[both].abs().median() < 1e-3


def test_blendshapes_follow_the_expressions(person, avatar, generator):
    """D^e of an action carries the vertices at full amount to where D^e of the neutral face carries them at rest."""
    for name, column in (("jawOpen", 17), ("mouthSmileLeft", 23)):
        asked = torch.zeros(3, 64)
        asked[1:, column] = 1
        morph = avatar.morphs[avatar.morph_names.index(name)]
        places = torch.stack([avatar.vertices, avatar.vertices + morph, avatar.vertices])
        style = generator.expression_deformation.style(person.latents.z_id.expand(3, -1), asked)
        rest, full, still = places + generator.expression_displacement(places, style)
        assert (full - rest).norm(dim=-1).mean() < 0.3 * (still - rest).norm(dim=-1).mean()


def test_correctives_follow_expressions_of_many_actions(person, avatar, generator):
    """D^e carries vertices nearer to where it carries them at rest, over expressions that nothing was fitted to, by a
    fifth at least, though what a random D^e's single actions miss in sum has no few components that matter."""
    asked = torch.cat([torch.zeros(1, 64), draw_expressions(None, ARKIT, 4000)[-12:]])
    amounts = avatar.morph_amounts(asked)
    summed = torch.tensordot(amounts, avatar.morphs, 1)
    corrected = summed + torch.tensordot(avatar.corrective_amounts(amounts), avatar.correctives, 1)
    style = generator.expression_deformation.style(person.latents.z_id.expand(len(asked), -1), asked)
    off = []
    for moved in (summed, corrected):
        places = avatar.vertices + moved
        found = places + generator.expression_displacement(places, style)
        off.append((found[1:] - found[0]).square().sum(-1).mean().sqrt())
    assert off[1] < 0.8 * off[0]


def test_weights_of_the_released_convention_are_followed():
    """There M is asked an eighth of the way that radiance is looked up at."""
    person = make_person(make_smooth_generator(cls=ReleasedGenerator))
    layers, exact = (person.render(camera=(1.5, 1.45), quality=quality) for quality in ("layers", "exact"))
    assert psnr(layers.image, exact.image) > 30


def test_coarser_avatars_are_smaller(person, avatar):
    coarse = person.avatar(AvatarOptions(error=4e-3))
    assert len(coarse.vertices) < 0.7 * len(avatar.vertices)
    few = person.avatar(AvatarOptions(least_morph=1.0))
    assert few.morph_names == () and few.morphs.shape == (0, len(few.vertices), 3)


def test_people_without_layers_are_refused(person):
    empty = make_person(make_smooth_generator())
    empty.manifolds = empty.manifolds._replace(high=0 * empty.manifolds.high)
    with pytest.raises(UserError, match="expected a layer of opacity 0.00392 or more, found none"):
        empty.avatar()
    empty.manifolds.high[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="expected maps of finite numbers"):
        empty.avatar()
    with pytest.raises(ValueError, match="error: expected a positive number, found 0"):
        AvatarOptions(error=0)


def test_the_viewer_shows_layers(person, generator):
    """Made with the person, so that no frame waits for them."""
    pipe = PortraitPipeline(SavedModel(generator, None, {}))
    pipe.person = lambda seed, psi: person
    shot = Shot(0, 0.7, np.zeros(64), np.zeros((6, 3)), np.array([1.5, 1.6]))

    async def visit() -> bytes:
        studio = Studio(pipe, "layers")
        return await studio.draw(await studio.person((0, 0.7)), shot, "png")

    shown = torch.from_numpy(np.array(Image.open(io.BytesIO(asyncio.run(visit())))))
    expected = image_to_uint8(person.render(camera=shot.camera, quality="layers").image)
    assert torch.equal(shown, torch.as_tensor(expected))


def test_cells_are_visible_unless_transparent_or_hidden():
    maps = torch.zeros(3, 4, 32, 32)
    maps[0, 3, :, :16] = 1  # opaque on the left
    maps[1, 3] = 0.5
    maps[2, 3, 28:] = 0.001
    seen = visible_cells(maps, 16, 1 / 255)
    assert seen[0, :, :8].all() and not seen[0, :, 12:].any()
    assert not seen[1, :, :4].any() and seen[1, :, 8:].all()
    assert not seen[2].any()


def test_atlas_shows_each_layer_where_its_uv_says():
    """Boxes do not overlap, and every texel's centre reads its own colour."""
    random = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 4, 9, 7, generator=random)  # rows from the lowest
    wanted = [
        torch.tensor(part) for part in ([[0.0, 0.0], [7.0, 9.0]], [[2.2, 3.0], [4.0, 5.5]], [[6.5, 8.0], [7.0, 9.0]])
    ]
    boxes = pack(wanted, 7, 9)
    atlas = draw_atlas(maps, boxes)
    assert atlas.shape == (boxes.atlas[1], boxes.atlas[0], 4)
    for layer, (x, y) in ((0, (0, 0)), (0, (6, 8)), (1, (2, 3)), (1, (3, 4)), (2, (6, 8))):
        uv = boxes.uv(layer, torch.tensor([[x + 0.5, y + 0.5]]))[0]
        column, row = (int(part * n) for part, n in zip(uv, boxes.atlas, strict=True))
        assert atlas[row, column].tolist() == (255 * maps[layer, :, y, x]).round().int().tolist()


def test_colours_beside_nothing_opaque_are_not_kept():
    maps = torch.ones(1, 4, 5, 7)
    maps[0, 3] = 0
    maps[0, 3, 2, 1] = 1  # opaque in one texel: around it colours are blended in
    boxes = pack([torch.tensor([[0.0, 0.0], [7.0, 5.0]])], 7, 5)
    colours = draw_atlas(maps, boxes)[..., :3].amax(-1)
    row, column = (
        int(part * n)
        for part, n in zip(boxes.uv(0, torch.tensor([[1.5, 2.5]]))[0].flip(0), boxes.atlas[::-1], strict=True)
    )
    assert (colours[row - 1 : row + 2, column - 1 : column + 2] == 255).all() and (colours > 0).sum() == 9

"""The tri-grid generator against golden values, from noise to picture."""

import pytest
import torch

from networks.trigrid import camera_labels as labels
from networks.trigrid.config import TriGridConfig
from networks.trigrid.generator import Draws, TriGridGenerator
from networks.trigrid.superresolution import SuperResolution
from networks.trigrid.volume import march
from tests.networks.golden import requires_golden
from tests.networks.trigrid.golden import read_golden, weights_of

CONFIG = TriGridConfig(
    image_size=64, raw_size=12, latent_dim=16, style_dim=32, plane_size=16, channel_base=128, max_channels=12,
    superresolution_input=16, superresolution_channels=(8, 4), background_size=16, samples=12, importance_samples=12,
)  # fmt: skip
PICTURES = 1e-4  # float32 sums of some hundred terms


def golden_generator(golden: dict[str, torch.Tensor]) -> TriGridGenerator:
    generator = TriGridGenerator(CONFIG)
    # the golden background is narrower than half of the backbone
    generator.bcg_synthesis = type(generator.bcg_synthesis)(32, 16, 32, channel_base=64, max_channels=8)
    generator.load_state_dict(weights_of(golden, ""))
    return generator.requires_grad_(False)


@requires_golden
def test_predicted_poses():
    golden = read_golden("generator")
    generator = golden_generator(golden)
    pose = generator.predict_pose(golden["z"], golden["c"])
    torch.testing.assert_close(pose, golden["pose_predicted"], rtol=0, atol=1e-5)
    mirrored = generator.predict_pose(golden["z"], labels.mirror_label(golden["c"]))
    torch.testing.assert_close(mirrored, golden["pose_predicted_mirrored_camera"], rtol=0, atol=1e-5)
    torch.testing.assert_close(labels.mirror_pose(mirrored), pose, rtol=0, atol=1e-6)


def rendered(generator: TriGridGenerator, golden: dict[str, torch.Tensor], background_of: list[int]):
    ws = generator.style(golden["z"], golden["cond_c"], golden["cond_p"])
    draws = Draws(golden["stratified_uniform"][..., 0], golden["importance_uniform"])
    background = generator.background(ws[background_of])
    return generator.render(ws, generator.planes(ws), background, golden["c"], draws=draws)


@requires_golden
def test_people_at_rest():
    golden = read_golden("generator")
    found = rendered(golden_generator(golden), golden, [0, 1])
    for name in ("image", "raw", "mask", "depth"):
        wanted = golden["rest_image" if name == "image" else f"rest_image_{name}"]
        torch.testing.assert_close(getattr(found, name), wanted, rtol=0, atol=PICTURES)
    torch.testing.assert_close(found.background, golden["image_background"], rtol=0, atol=PICTURES)


@requires_golden
def test_another_background():
    golden = read_golden("generator")
    found = rendered(golden_generator(golden), golden, [1, 0])
    torch.testing.assert_close(found.background, golden["other_background"], rtol=0, atol=PICTURES)
    torch.testing.assert_close(found.image, golden["other_background_image"], rtol=0, atol=PICTURES)


@requires_golden
def test_coarse_samples_of_a_posed_frame():
    golden = read_golden("generator")
    generator = golden_generator(golden)
    ws = generator.style(golden["z"], golden["cond_c"], golden["cond_p"])
    density, colour = generator.radiance(generator.planes(ws), golden["coarse_canonical_points"])
    torch.testing.assert_close(density[..., None], golden["coarse_density"], rtol=0, atol=PICTURES)
    weights = march(colour, density, golden["coarse_depths"][..., 0]).weights
    torch.testing.assert_close(weights[..., None], golden["coarse_weights"], rtol=0, atol=1e-5)


@requires_golden
def test_a_first_block_that_keeps_the_size():
    golden = read_golden("superresolution256")
    network = SuperResolution(32, 32, 16, 32, (8, 4))
    network.load_state_dict(weights_of(golden, ""))
    arguments = (golden["features"], golden["rgb"], golden["ws"][:, -1])
    torch.testing.assert_close(network(*arguments), golden["image"], rtol=0, atol=PICTURES)
    torch.testing.assert_close(network(*arguments, "const"), golden["image_const_noise"], rtol=0, atol=PICTURES)


@pytest.mark.parametrize("image_size", [32, 64])
def test_a_part_is_enlarged_as_in_the_whole_picture(image_size):
    """But for its edge, which knows nothing of what lies beside it."""
    torch.manual_seed(0)
    network = SuperResolution(6, 8, 16, image_size, (8, 4)).requires_grad_(False)
    features, picture, w = torch.randn(1, 6, 16, 16), torch.randn(1, 3, 16, 16), torch.randn(1, 8)
    rows, factor, edge = slice(1, 16), image_size // 16, image_size // 4
    found = network.enlarge(features[..., rows, rows], picture[..., rows, rows], w)
    wanted = network(features, picture, w)[..., factor:, factor:]
    inner = slice(edge, -edge)
    torch.testing.assert_close(found[..., inner, inner], wanted[..., inner, inner], rtol=0, atol=1e-5)


def test_the_same_frame_again_without_draws():
    torch.manual_seed(0)
    generator = TriGridGenerator(CONFIG).requires_grad_(False)
    camera = labels.make_label(labels.orbit(torch.tensor([-1.0]), torch.tensor([1.5])))
    ws = generator.style(torch.randn(1, 16), camera, torch.zeros(1, 6))
    person = (ws, generator.planes(ws), generator.background(ws))
    one, again = (generator.render(*person, camera) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert one.image.shape == (1, 3, 64, 64) and one.raw.shape == (1, 3, 12, 12)


def test_a_deformation_moves_what_is_seen():
    """All of space moved by a shift is the picture of planes read elsewhere."""
    torch.manual_seed(0)
    generator = TriGridGenerator(CONFIG).requires_grad_(False)
    planes, points = generator.planes(torch.randn(1, 6, 32)), torch.rand(1, 5, 4, 3) * 0.6 - 0.3
    shift = torch.tensor([0.02, -0.01, 0.03])
    moved = generator.radiance(planes, points + shift)
    rays = labels.label_rays(labels.make_label(labels.orbit(torch.tensor([1.5]), torch.tensor([1.5]))), 3)
    found = generator.march(planes, rays, lambda at: at + shift)
    still = generator.march(planes, rays._replace(origins=rays.origins + shift), None)
    torch.testing.assert_close(found.colour, still.colour, rtol=0, atol=1e-4)
    assert moved[0].shape == (1, 5, 4) and moved[1].shape == (1, 5, 4, 32)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="near: expected less than far"):
        TriGridConfig(near=4.0)
    with pytest.raises(ValueError, match="superresolution_input: expected half or a quarter of image_size"):
        TriGridConfig(superresolution_input=100)

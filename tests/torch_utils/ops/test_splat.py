"""Gaussian splatting: by hand, golden values, the implementations against one another, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.splat import MAX_CHANNELS, rotation_matrices, splat, splat_axes
from torch_utils.ops.splat_ref import list_tiles, project_ref

GOLDEN = Path(__file__).resolve().parents[4] / "shared/golden/gaussian_avatar"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="needs the golden values")
LEAVES = ("means", "scales", "quaternions", "opacities", "colours", "background")
CAMERA = torch.eye(4)  # at the origin, looking along z
FLOAT = 1e-6  # a few roundings of numbers near 1 in float32


def golden(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    arrays = np.load(GOLDEN / f"{name}.npz")
    found = {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in found.items()}


def camera_of(data: dict[str, Tensor]) -> Tensor:
    return torch.cat([data["world_to_camera_rotation"], data["world_to_camera_translation"][:, None]], 1)


def one(depth: float, opacity: float, colour: float, *, sigma: float = 0.5, device: str = "cpu") -> dict[str, Tensor]:
    """A round Gaussian on the optical axis."""
    numbers = {"means": [[0, 0, depth]], "quaternions": [[2.0, 0, 0, 0]], "scales": [[sigma] * 3]}
    numbers |= {"opacities": [opacity], "colours": [[colour]]}
    return {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in numbers.items()}


def draw(*gaussians: dict[str, Tensor], size=(5, 5), focal=4.0, background=0.0, impl="auto"):
    parts = {name: torch.cat([g[name] for g in gaussians]) for name in gaussians[0]}
    device = parts["means"].device
    intrinsics = torch.tensor([focal, focal, size[1] / 2, size[0] / 2], device=device)
    return splat(**parts, world_to_camera=CAMERA.to(device), intrinsics=intrinsics, size=size, background=background,
                 impl=impl)  # fmt: skip


def make_scene(seed: int, *, count=60, channels=3, dtype=torch.float32, size=(23, 37)) -> dict:
    """Random ellipsoids before a turned camera; some behind it, some opaque, some equally far."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    means = 2 * draw(count, 3) - 1
    means[: count // 5] = means[0]
    means[count // 5 : count // 4, 2] -= 4
    quaternions = torch.randn(count, 4, generator=random, dtype=torch.float64)
    scales = 0.3 * (4 * draw(count, 3) - 3).exp()
    opacities, colours = (1.2 * draw(count) - 0.1).clamp(0, 1), draw(count, channels)
    world_to_camera = torch.eye(4, dtype=torch.float64)
    turn = torch.nn.functional.normalize(torch.tensor([1.0, 0.1, -0.05, 0.07], dtype=torch.float64), dim=0)
    world_to_camera[:3, :3] = rotation_matrices(turn)
    world_to_camera[2, 3] = 3
    intrinsics = torch.tensor([size[1] * 1.1, size[1] * 0.9, size[1] * 0.55, size[0] / 2], dtype=torch.float64)
    scene = {"means": means, "quaternions": quaternions, "scales": scales, "opacities": opacities, "colours": colours}
    scene |= {"world_to_camera": world_to_camera, "intrinsics": intrinsics}
    return {name: value.to(dtype) for name, value in scene.items()} | {"size": size}


def to(device: str, scene: dict) -> dict:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in scene.items()}


# ---- by hand ------------------------------------------------------------------------------------------------------


@over_implementations
def test_one_gaussian(impl, device):
    """f sigma / Z = 1 pixel, so the variance is 1.3; alpha o exp(-d^2 / 2.6); over a background of 2."""
    result = draw(one(2.0, 0.5, 3.0, device=device), background=2.0, impl=impl)
    x = torch.arange(5.0) - 2
    alpha = 0.5 * torch.exp(-(x[:, None] ** 2 + x**2) / 2.6)
    assert torch.allclose(result.alpha.cpu(), alpha, atol=FLOAT)
    assert torch.allclose(result.image[..., 0].cpu(), 2 + alpha, atol=FLOAT)
    assert torch.allclose(result.depth.cpu(), 2 * alpha, atol=FLOAT)


@over_implementations
def test_order_opacity_and_early_stop(impl, device):
    """0.99 is the most; nearest first, equal ones by index; what would leave less than 1e-4 is not drawn."""
    near, far = one(2.0, 1.0, 1.0, device=device), one(3.0, 0.5, 10.0, device=device)
    result = draw(far, near, impl=impl)
    assert result.image[2, 2, 0].item() == pytest.approx(0.99 + 0.01 * 0.5 * 10, abs=10 * FLOAT)
    same = one(2.0, 0.5, 10.0, device=device)
    assert draw(near, same, impl=impl).image[2, 2, 0].item() == pytest.approx(0.99 + 0.05, abs=10 * FLOAT)
    assert draw(same, near, impl=impl).image[2, 2, 0].item() == pytest.approx(5 + 0.495, abs=10 * FLOAT)
    # 0.01 is left, then 0.0001 would be, which rounds to less than 1e-4; a fainter third is behind the stop.
    stopped = draw(near, near, one(2.5, 0.9, 7.0, device=device), impl=impl)
    assert stopped.image[2, 2, 0].item() == pytest.approx(0.99, abs=FLOAT)


@over_implementations
def test_what_is_not_drawn(impl, device):
    """At z <= 0.2, and fainter than 1/255; nor beyond the tiles of 3 sigma, though alpha there may be 0.005."""
    for depth, opacity in ((0.2, 0.9), (-2.0, 0.9), (2.0, 0.0039)):
        assert not draw(one(depth, opacity, 1.0, device=device), impl=impl).alpha.any()
    # Variance 16.3: 3 sigma, rounded up, are 13 pixels. From 2.8 they end before column 16, from 4 they do not.
    for u, beyond in ((2.8, 0.0), (4.0, math.exp(-(12**2) / 32.6))):
        wide = one(2e4, 1.0, 1.0, sigma=2.0, device=device)  # far away, so that it is seen from its front
        wide["means"][0, 0] = (u - 20) / 2
        alpha = draw(wide, size=(1, 41), focal=4e4, impl=impl).alpha[0].tolist()
        assert alpha[15] == pytest.approx(math.exp(-((15 - u) ** 2) / 32.6), abs=1e-4)
        assert alpha[16] == pytest.approx(beyond, abs=1e-4) and not any(alpha[20:])


@over_implementations
def test_nothing_and_many_channels(impl, device):
    """No Gaussians: the background alone. More channels than are blended at a time; each is drawn for itself."""
    scene = to(device, make_scene(1, channels=MAX_CHANNELS + 3))
    whole = splat(**scene, impl=impl)
    single = splat(**{**scene, "colours": scene["colours"][:, -1:]}, impl=impl)
    assert whole.image.shape == (23, 37, MAX_CHANNELS + 3)
    assert torch.allclose(whole.image[..., -1:], single.image, atol=FLOAT)
    assert torch.allclose(whole.depth, single.depth, atol=FLOAT)
    none = {name: value[:0] if name in LEAVES else value for name, value in scene.items()}
    none["means"] = none["means"].clone().requires_grad_()
    result = splat(**none, background=0.25, impl=impl)
    assert torch.equal(result.image, torch.full_like(result.image, 0.25)) and not result.alpha.any()
    result.depth.sum().backward()
    assert none["means"].grad.shape == (0, 3)


# ---- golden values --------------------------------------------------------------------------------------------------


def golden_splat(name: str, impl: str, device: str, dtype: torch.dtype):
    data = to(device, golden(name, dtype))
    leaves = {key: data[key].clone().requires_grad_() for key in LEAVES}
    quaternions = leaves["quaternions"]
    if name == "splat":  # the other file has quaternions as they are
        quaternions = torch.nn.functional.normalize(quaternions, dim=-1)
    axes = rotation_matrices(quaternions) * leaves["scales"][:, None]
    width, height = data["size"].tolist()
    result = splat_axes(leaves["means"], axes, leaves["opacities"][:, 0], leaves["colours"], camera_of(data),
                        data["intrinsics"], (height, width), leaves["background"], impl=impl)  # fmt: skip
    return data, leaves, result


@needs_golden
@over_implementations
@pytest.mark.parametrize("name", ["splat", "splat_edges"])
def test_golden_pictures_and_gradients(impl, device, name):
    """The published kernels' picture, and the exact derivative of it."""
    for dtype, forward, backward in ((torch.float64, 1e-9, 1e-8), (torch.float32, 1e-5, 1e-3)):
        if dtype == torch.float64 and impl != "ref":
            continue
        data, leaves, result = golden_splat(name, impl, device, dtype)
        for part in ("image", "alpha", "depth"):
            assert (getattr(result, part) - data[part]).abs().max() < forward
        cotangents = [data[f"cotangent_{part}"] for part in ("image", "alpha", "depth")]
        for key, grad in zip(leaves, torch.autograd.grad(result, list(leaves.values()), cotangents), strict=True):
            expected = data[f"grad_exact_{key}"].reshape(grad.shape)
            assert (grad - expected).abs().max() < backward * expected.abs().max(), key


@needs_golden
@pytest.mark.parametrize("name", ["splat", "splat_edges"])
def test_golden_projection_and_lists(name):
    data = golden(name, torch.float64)
    quaternions = data["quaternions"]
    if name == "splat":
        quaternions = torch.nn.functional.normalize(quaternions, dim=-1)
    axes = rotation_matrices(quaternions) * data["scales"][:, None]
    width, height = data["size"].tolist()
    found = project_ref(data["means"], axes, camera_of(data), data["intrinsics"], (height, width))
    assert torch.allclose(axes @ axes.mT, data["covariance3d"], atol=1e-9)
    front = data["camera_depths"] > 0.2
    assert torch.allclose(found.means2d[front], data["means2d"][front], atol=1e-9)
    assert torch.allclose(found.conics[front], data["conics"][front], atol=1e-9)
    covariance = data["covariance2d"].flatten(1)[:, [0, 1, 3]]
    assert torch.allclose(found.covariances2d[front], covariance[front], rtol=1e-9)
    assert torch.equal(found.radii, data["radii"].int())
    drawn = data["radii"] > 0
    assert torch.equal(found.rectangles[drawn], data["tile_rectangles"][drawn])
    starts, entries = list_tiles(found.depths, found.rectangles, -(-width // 16), -(-height // 16))
    assert torch.equal(starts.diff(), data["tile_list_lengths"].long())
    assert torch.equal(entries, data["tile_lists"])


# ---- implementations agree ----------------------------------------------------------------------------------------


@over_compiled
@given(st.integers(0, 999), st.sampled_from([1, 3, 5]), st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(max_examples=5, deadline=None)
def test_implementations_agree(impl, device, seed, channels, size):
    """Alpha may cross 1/255 by rounding: such a pixel moves by 1/255 of a colour, so few may."""
    scene = make_scene(seed, channels=channels, size=size)
    expected, ours = splat(**scene, impl="ref"), splat(**to(device, scene), impl=impl)
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape
        off = (a.cpu() - b).abs()
        assert off.max() < 0.03 and (off > 2e-5).float().mean() < 0.01


@over_compiled
def test_gradients_agree(impl, device):
    """Random cotangents; a tolerance of 1e-3 of the largest, as sums run over hundreds of pixels."""
    scene = make_scene(4, size=(33, 40))
    names = [name for name in LEAVES if name in scene]
    gradients = []
    for which, where in (("ref", "cpu"), (impl, device)):
        leaves = {name: scene[name].to(where).requires_grad_() for name in names}
        result = splat(**{**to(where, scene), **leaves}, background=0.5, impl=which)
        random = torch.Generator().manual_seed(0)
        cotangents = [torch.randn(part.shape, generator=random).to(where) for part in result]
        gradients.append([g.cpu() for g in torch.autograd.grad(result, list(leaves.values()), cotangents)])
    for name, expected, ours in zip(names, *gradients, strict=True):
        assert (ours - expected).abs().max() < 1e-3 * expected.abs().max(), name


def test_the_same_every_time_on_a_cpu():
    """On one thread and on several, forward and backward, to the bit."""
    scene, runs, threads = make_scene(5, count=400, size=(64, 64)), [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            leaves = {name: scene[name].clone().requires_grad_() for name in LEAVES if name in scene}
            result = splat(**{**scene, **leaves}, impl="cpp")
            loss = result.image.square().sum() + result.depth.sum()
            runs.append([result.image.detach(), *torch.autograd.grad(loss, list(leaves.values()))])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


def test_gradcheck():
    """Of plain torch in float64, away from alpha's thresholds: wide and half transparent, all within the picture."""
    random = torch.Generator().manual_seed(0)
    means = torch.rand(4, 3, generator=random, dtype=torch.float64) * 0.4 + torch.tensor([0, 0, 2.0])
    quaternions = torch.randn(4, 4, generator=random, dtype=torch.float64)
    scales = 2 + torch.rand(4, 3, generator=random, dtype=torch.float64)
    opacities = 0.3 + 0.4 * torch.rand(4, generator=random, dtype=torch.float64)
    colours = torch.rand(4, 2, generator=random, dtype=torch.float64)
    leaves = [part.requires_grad_() for part in (means, quaternions, scales, opacities, colours)]
    intrinsics = torch.tensor([3.0, 4, 2.5, 2], dtype=torch.float64)
    assert gradcheck(lambda *parts: splat(*parts, CAMERA.double(), intrinsics, (4, 5), 0.3), leaves)


# ---- odd input ----------------------------------------------------------------------------------------------------


@over_implementations
def test_wrong_input(impl, device):
    right = to(device, make_scene(8))

    def wrong(error, message, **changes):
        with pytest.raises(error, match=message):
            splat(**{**right, "impl": impl, **changes})

    wrong(ValueError, r"means: expected shape \[N, 3\], found \[60, 2\]", means=right["means"][:, :2])
    wrong(ValueError, r"quaternions: expected shape \[60, 4\], found \[60, 3\]", quaternions=right["scales"])
    wrong(ValueError, r"scales: expected shape \[60, 3\]", scales=right["scales"][:5])
    wrong(ValueError, r"opacities: expected shape \[60\], found \[60, 1\]", opacities=right["opacities"][:, None])
    wrong(ValueError, r"colours: expected shape \[60, C\] with C >= 1, found", colours=right["colours"][:, :0])
    wrong(ValueError, r"world_to_camera: expected shape \[4, 4\]", world_to_camera=torch.eye(3, device=device))
    wrong(ValueError, r"intrinsics: expected shape \[4\]", intrinsics=torch.eye(3, device=device))
    wrong(ValueError, "size: expected height and width from 1", size=(0, 4))
    wrong(TypeError, "colours: expected torch.float32.*, found torch.float16", colours=right["colours"].half())
    for odd in (math.nan, math.inf):
        means = right["means"].clone()
        means[3, 1] = odd
        wrong(ValueError, "means.*: expected finite numbers", means=means)
    wrong(ValueError, "impl: expected one of", impl="fast")

"""Layers of triangles by hand, and the implementations against one another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.rasterize_layers import rasterize_layers

RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 51)  # opaque; a fifth


def whole(*numbers):
    return torch.tensor(numbers, dtype=torch.int32)


def make_quad(left, right, top, bottom, distance):
    """Corners of a rectangle, and two triangles that are counter-clockwise from the front."""
    corners = [[left, top, distance], [right, top, distance], [right, bottom, distance], [left, bottom, distance]]
    return torch.tensor(corners), torch.tensor([[0, 2, 1], [0, 3, 2]], dtype=torch.int32)


def make_two_layers(device):
    """Far away an opaque red square over pixels 1 to 6, nearer a blue one over 3 to 8 of which a fifth is there."""
    behind, triangles = make_quad(1.0, 6.0, 1.0, 6.0, 4.0)
    before, _ = make_quad(3.0, 8.0, 3.0, 8.0, 2.0)
    uv = torch.tensor([[0.25, 0.5]] * 4 + [[0.75, 0.5]] * 4)
    atlas = torch.tensor([[RED, RED, BLUE, BLUE]], dtype=torch.uint8)
    parts = torch.cat([behind, before]), uv, torch.cat([triangles, triangles + 4]), whole(0, 2, 4), atlas
    return [part.to(device) for part in parts]


@over_implementations
def test_by_hand(impl, device):
    """White, red, blue over white, blue over red; edges included."""
    rgb, alpha, depth = rasterize_layers(*make_two_layers(device), (10, 11), impl=impl)
    assert rgb.shape == (3, 10, 11) and alpha.shape == depth.shape == (10, 11)
    expected = {
        (0, 0): (1, 1, 1, 0, 0), (1, 1): (1, 0, 0, 1, 4), (6, 2): (1, 0, 0, 1, 4), (7, 2): (1, 1, 1, 0, 0),
        (8, 8): (0.8, 0.8, 1, 0.2, 2), (9, 8): (1, 1, 1, 0, 0), (4, 5): (0.8, 0, 0.2, 1, 0.2 * 2 + 0.8 * 4),
        (3, 3): (0.8, 0, 0.2, 1, 3.6), (6, 6): (0.8, 0, 0.2, 1, 3.6),
    }  # fmt: skip
    for (y, x), values in expected.items():
        found = torch.cat([rgb[:, y, x], alpha[y, x, None], depth[y, x, None]]).cpu()
        torch.testing.assert_close(found, torch.tensor(values).float(), atol=1e-6, rtol=0)
    assert alpha.sum().item() == pytest.approx(36 + 0.2 * (36 - 16), abs=1e-4)


@over_implementations
def test_texture_follows_perspective(impl, device):
    """A square that recedes from distance 1 to 3, textured by a ramp: at a share s of the way across the screen it is
    (s / 3) / ((1 - s) + s / 3) of the way along the texture, and 3 / (3 - 2 s) away."""
    positions = torch.tensor([[0.0, 0, 1], [8, 0, 3], [8, 8, 3], [0, 8, 1]])
    uv = torch.tensor([[0.5, 0], [255.5, 0], [255.5, 1], [0.5, 1]]) / torch.tensor([256.0, 1])
    ramp = torch.arange(256, dtype=torch.uint8)
    atlas = torch.stack([ramp, 255 - ramp, 0 * ramp, 0 * ramp + 255], -1)[None]
    scene = (positions, uv, torch.tensor([[0, 2, 1], [0, 3, 2]], dtype=torch.int32), whole(0, 2), atlas)
    rgb, _, depth = rasterize_layers(*(part.to(device) for part in scene), (9, 9), impl=impl)
    share = torch.arange(9) / 8
    along = (share / 3) / ((1 - share) + share / 3)
    for row in (0, 4, 8):
        torch.testing.assert_close(rgb[0, row].cpu(), along, atol=2e-5, rtol=0)
        torch.testing.assert_close(rgb[1, row].cpu(), 1 - along, atol=2e-5, rtol=0)
        torch.testing.assert_close(depth[row].cpu(), 3 / (3 - 2 * share), atol=2e-5, rtol=0)


@over_implementations
def test_the_nearest_triangle_of_a_layer_that_faces_the_camera(impl, device):
    """Of one layer: the nearer one wins in whatever order, backs are not seen, and there is no blending between."""
    near, triangles = make_quad(0.0, 4.0, 0.0, 4.0, 1.0)
    far, _ = make_quad(0.0, 4.0, 0.0, 4.0, 2.0)
    uv = torch.tensor([[0.25, 0.5]] * 4 + [[0.75, 0.5]] * 4)
    atlas = torch.tensor([[RED, RED, BLUE, BLUE]], dtype=torch.uint8)
    for order in ((0, 4), (4, 0)):
        mesh = torch.cat([triangles + start for start in order])
        scene = [part.to(device) for part in (torch.cat([far, near]), uv, mesh, whole(0, 4), atlas)]
        rgb, alpha, depth = rasterize_layers(*scene, (5, 5), impl=impl)
        torch.testing.assert_close(rgb[:, 2, 2].cpu(), torch.tensor([0.8, 0.8, 1.0]))
        assert depth[2, 2].item() == pytest.approx(1.0)
        backs = mesh.clone()
        backs[mesh[:, 0] >= 4] = backs[mesh[:, 0] >= 4].flip(1)
        scene[2] = backs.to(device)
        rgb, alpha, depth = rasterize_layers(*scene, (5, 5), impl=impl)
        assert rgb[:, 2, 2].tolist() == [1, 0, 0] and depth[2, 2].item() == pytest.approx(2.0)


@over_implementations
def test_what_is_not_in_front_or_not_finite_is_left_out(impl, device):
    scene = make_two_layers(device)
    expected = rasterize_layers(*scene, (10, 11), impl=impl)
    for bad in (0.0, float("nan"), float("inf")):
        strange = torch.cat([scene[0], scene[0][:3]])
        strange[-1, 2 if bad == 0 else 0] = bad
        triangles = torch.cat([scene[2], whole(8, 10, 9)[None].to(device)])
        uv, layers = torch.cat([scene[1], scene[1][:3]]), torch.tensor([0, 2, 5], dtype=torch.int32, device=device)
        found = rasterize_layers(strange, uv, triangles, layers, scene[4], (10, 11), impl=impl)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), bad
    behind = torch.cat([scene[0], scene[0] * torch.tensor([1.0, 1, -1], device=device)])
    triangles = torch.cat([scene[2], scene[2] + 8, scene[2].flip(1) + 8])
    layers = torch.tensor([0, 2, 12], dtype=torch.int32, device=device)
    found = rasterize_layers(behind, scene[1].repeat(2, 1), triangles, layers, scene[4], (10, 11), impl=impl)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), "behind the camera"
    nothing = scene[2][:0], torch.zeros(3, dtype=torch.int32, device=device)
    rgb, alpha, depth = rasterize_layers(scene[0], scene[1], *nothing, scene[4], (3, 2), impl=impl)
    assert (rgb == 1).all() and (alpha == 0).all() and (depth == 0).all()


def make_floor(device):
    """A strip 2 wide, 1 below the camera, from 3 behind it to 6 before it; pictures of 9 x 9, focal length 4 pixels.

    Its texture's rows are as far away as they say, from -3 to 6.
    """
    places = torch.tensor([[-1.0, 1, -3], [1, 1, -3], [1, 1, 6], [-1, 1, 6]])  # right, down, away
    positions = torch.cat([4 + 4 * places[:, :2] / places[:, 2:], places[:, 2:]], 1)
    uv = torch.tensor([[0.5, 0], [0.5, 0], [0.5, 1], [0.5, 1]])
    ramp = torch.arange(90).to(torch.uint8)
    atlas = torch.stack([ramp, 0 * ramp, 0 * ramp, 0 * ramp + 255], -1)[:, None]
    scene = positions, uv, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32), whole(0, 2), atlas
    return [part.to(device) for part in scene]


@over_implementations
def test_what_reaches_behind_the_camera_is_cut(impl, device):
    """Row 4 + r sees the floor at a distance of 4 / r, and there 4 / z pixels to either side; no row from 4 up does."""
    scene = make_floor(device)
    rgb, alpha, depth = (part.cpu() for part in rasterize_layers(*scene, (9, 9), impl=impl))
    assert (alpha[:5] == 0).all() and (depth[:5] == 0).all()
    for row in range(1, 5):
        distance = 4 / row
        seen = (torch.arange(9) - 4).abs() <= 4 / distance
        assert torch.equal(alpha[4 + row], seen.float())
        torch.testing.assert_close(depth[4 + row], distance * seen, atol=1e-4, rtol=0)
        texel = 10 * (distance + 3) - 0.5
        torch.testing.assert_close(255 * rgb[0, 4 + row, 4], torch.tensor(texel), atol=0.02, rtol=0)
    scene[2] = scene[2].flip(1)
    assert (rasterize_layers(*scene, (9, 9), impl=impl).alpha == 0).all(), "from below"


@over_implementations
def test_layers_behind_enough_are_not_seen(impl, device):
    """Four layers of which half is there: a quarter is seen through two, an eighth through three."""
    quads = [make_quad(0.0, 2.0, 0.0, 2.0, 5.0 - layer) for layer in range(4)]
    positions = torch.cat([corners for corners, _ in quads])
    triangles = torch.cat([mesh + 4 * layer for layer, (_, mesh) in enumerate(quads)])
    uv, atlas = torch.full((16, 2), 0.5), torch.tensor([[(0, 0, 0, 128)]], dtype=torch.uint8)
    scene = [part.to(device) for part in (positions, uv, triangles, whole(0, 2, 4, 6, 8), atlas)]
    open_ = 1 - 128 / 255
    for least, layers in ((0.2, 3), (0.3, 2), (0.001, 4)):
        _, alpha, _ = rasterize_layers(*scene, (3, 3), least_transmittance=least, impl=impl)
        torch.testing.assert_close(alpha.cpu(), torch.full((3, 3), 1 - open_**layers), atol=1e-6, rtol=0)


def make_scene(seed, layers, nodes, height, width):
    """Wavy grids of random opacity and texture, partly outside of the picture, some of them folded over."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-3, height + 2, nodes), torch.linspace(-3, width + 2, nodes), indexing="ij")
    grid = torch.stack([x, y, torch.full_like(x, 2)], -1).reshape(-1, 3)
    step = max(height, width) / nodes
    noise = torch.randn(layers, nodes * nodes, 3, generator=random) * torch.tensor([0.3 * step, 0.3 * step, 0.05])
    index = torch.arange(nodes * nodes, dtype=torch.int32).view(nodes, nodes)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    mesh = torch.stack([torch.stack([a, c, b], -1), torch.stack([a, d, c], -1)]).reshape(-1, 3)
    triangles = torch.cat([mesh + layer * nodes * nodes for layer in range(layers)])
    uv = 1.2 * torch.rand(layers * nodes * nodes, 2, generator=random) - 0.1
    atlas = torch.randint(0, 256, (7, 5, 4), generator=random, dtype=torch.uint8)
    starts = (torch.arange(layers + 1) * len(mesh)).int()
    return (grid + noise).reshape(-1, 3), uv, triangles, starts, atlas


@over_compiled
@given(st.integers(0, 999), st.integers(1, 4), st.integers(2, 7), st.integers(1, 70), st.integers(1, 50))
@settings(max_examples=15, deadline=None)
def test_implementations_agree(impl, device, seed, layers, nodes, height, width):
    """Where rounding decides which of two triangles a pixel sees, neighbours on an edge agree, those of a fold do not:
    so all but one pixel in a hundred, within rounding of perspective and of the texture's steps."""
    scene = make_scene(seed, layers, nodes, height, width)
    scene[0][::17, 2] *= -1  # behind the camera
    expected = rasterize_layers(*scene, (height, width), impl="ref")
    ours = rasterize_layers(*(part.to(device) for part in scene), (height, width), impl=impl)
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.shape == theirs.shape
        wrong = (mine.cpu() - theirs).abs() > 2e-3
        assert wrong.float().mean() <= 0.01 or wrong.sum() <= 1


@over_implementations
def test_errors(impl, device):
    positions, uv, triangles, layers, atlas = make_two_layers(device)
    with pytest.raises(ValueError, match=r"positions: expected shape \[V, 3\], found \[8, 2\]"):
        rasterize_layers(positions[:, :2], uv, triangles, layers, atlas, (4, 4), impl=impl)
    with pytest.raises(ValueError, match=r"uv: expected shape \[8, 2\], found \[7, 2\]"):
        rasterize_layers(positions, uv[:7], triangles, layers, atlas, (4, 4), impl=impl)
    with pytest.raises(TypeError, match=r"triangles: expected torch.int32, found torch.int64"):
        rasterize_layers(positions, uv, triangles.long(), layers, atlas, (4, 4), impl=impl)
    with pytest.raises(ValueError, match="layers: expected at least one layer"):
        rasterize_layers(positions, uv, triangles, layers[:1], atlas, (4, 4), impl=impl)
    with pytest.raises(TypeError, match=r"atlas: expected torch.uint8, found torch.float32"):
        rasterize_layers(positions, uv, triangles, layers, atlas.float(), (4, 4), impl=impl)
    with pytest.raises(ValueError, match="atlas: expected 1 to 2147483647 texels"):
        rasterize_layers(positions, uv, triangles, layers, atlas[:0], (4, 4), impl=impl)
    with pytest.raises(ValueError, match="size: expected two positive whole numbers"):
        rasterize_layers(positions, uv, triangles, layers, atlas, (0, 4), impl=impl)
    with pytest.raises(ValueError, match="least_transmittance: expected more than 0"):
        rasterize_layers(positions, uv, triangles, layers, atlas, (4, 4), least_transmittance=0, impl=impl)
    with pytest.raises(ValueError, match="expected one device"):
        rasterize_layers(positions, uv.to("meta"), triangles, layers, atlas, (4, 4), impl=impl)

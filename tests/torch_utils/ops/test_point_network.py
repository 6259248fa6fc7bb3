"""Networks at points by hand, gradients against finite differences, and the implementations against one another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.point_network import MAX_WIDTH, point_network

Network = tuple[list[tuple[Tensor, Tensor]], list[Tensor | None], Tensor]


def make_points(seed: int, *shape: int, device: str = "cpu") -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device).requires_grad_()


def make_network(
    seed: int, width: int, layers: int, outputs: int, heads, *, people: int = 1, inputs: int = 3, device: str = "cpu"
) -> Network:
    """Arguments of an order that FiLM-SIRENs have: some 10 in the first layer, a few behind."""
    random = torch.Generator().manual_seed(seed)

    def draw(scale: float, *shape: int) -> Tensor:
        return (scale * torch.randn(*shape, generator=random)).to(device).requires_grad_()

    sizes = [inputs] + [width] * (layers - 1)
    pairs = [
        (draw((1 if i else 4) * 1.5 / n**0.5, people, n, width), draw(1, people, 1, width)) for i, n in enumerate(sizes)
    ]
    return pairs, [draw(width**-0.5, outputs, width) if i in heads else None for i in range(layers)], draw(1, outputs)


def parts(network: Network) -> list[Tensor]:
    layers, heads, shift = network
    return [part for layer in layers for part in layer] + [head for head in heads if head is not None] + [shift]


def values_and_gradients(points: Tensor, network: Network, cotangent: Tensor, **options) -> list[Tensor]:
    result = point_network(points, *network, **options)
    return [result, *torch.autograd.grad(result, [points, *parts(network)], cotangent.to(result.device))]


def relative(ours: Tensor, expected: Tensor) -> float:
    return ((ours - expected).norm() / expected.norm().clamp_min(1e-9)).item()


# ---- by hand -------------------------------------------------------------------------------------------------------


@over_implementations
def test_by_hand(impl, device):
    """Readouts of both layers, one person's weights for two; sine and ReLU."""
    points = torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]]], device=device)
    first = torch.tensor([[[1.0, 10], [100, 0]]], device=device), torch.tensor([[[0.0, 0.5]]], device=device)
    second = torch.tensor([[[2.0, 0], [0, -1]]], device=device), torch.tensor([[[0.0, 1]]], device=device)
    heads = [torch.tensor([[1.0, 0]], device=device), torch.tensor([[0.0, 10]], device=device)]
    shift = torch.tensor([5.0], device=device)
    ours = point_network(points, [first, second], heads, shift, impl=impl)
    expected = [
        5 + math.sin(201) + 10 * math.sin(1 - math.sin(10.5)),
        5 + math.sin(-100) + 10 * math.sin(1 - math.sin(0.5)),
    ]
    assert ours.shape == (2, 1, 1) and ours.flatten().tolist() == pytest.approx(expected, abs=1e-5)
    ours = point_network(points, [first, second], heads, shift, impl=impl, activation="relu")
    assert ours.flatten().tolist() == [5 + 201 + 10 * 0, 5 + 0 + 10 * 0.5]
    assert point_network(points, [first], [None], shift, impl=impl).tolist() == [[[5.0]], [[5.0]]]


@over_implementations
def test_each_person_has_weights_of_their_own(impl, device):
    network = make_network(0, 16, 2, 2, (0, 1), people=3, device=device)
    points = make_points(0, 3, 70, 3, device=device)
    together = point_network(points, *network, impl=impl)
    for person in range(3):
        layers = [(weight[person : person + 1], bias[person : person + 1]) for weight, bias in network[0]]
        alone = point_network(points[person : person + 1], layers, *network[1:], impl=impl)
        assert (together[person] - alone[0]).abs().max() < 1e-5


@over_implementations
@pytest.mark.parametrize("most", [1.0, 100.0, 1e4])
def test_sines_and_cosines(impl, device, most):
    """Within 1e-6 of float64's, around multiples of pi / 2 as well; NaN and infinity are NaN."""
    quarters = (torch.arange(-100, 101) * (math.pi / 2) * min(1, most / 160)).float()
    x = torch.cat([torch.linspace(-most, most, 20_001), quarters])
    one = torch.ones(1, 1, 1, device=device)
    points = x[None, :, None].to(device).requires_grad_()
    ours = point_network(points, [(one, 0 * one)], [one[0]], torch.zeros(1, device=device), impl=impl)
    (cosine,) = torch.autograd.grad(ours.sum(), points)
    assert (ours[0, :, 0].detach().cpu().double() - x.double().sin()).abs().max() < 1e-6
    assert (cosine[0, :, 0].cpu().double() - x.double().cos()).abs().max() < 1e-6
    odd = torch.tensor([[[math.nan], [math.inf], [-math.inf]]], device=device)
    assert point_network(odd, [(one, 0 * one)], [one[0]], torch.zeros(1, device=device), impl=impl).isnan().all()


# ---- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["sine", "relu"])
def test_gradcheck(activation):
    network = make_network(1, 4, 3, 2, (0, 2), people=2)
    tensors = [part.detach().double().requires_grad_() for part in (make_points(1, 2, 5, 3), *parts(network))]

    def function(points, *flat):
        layers = [(flat[2 * i], flat[2 * i + 1]) for i in range(3)]
        return point_network(points, layers, [flat[6], None, flat[7]], flat[8], activation=activation)

    assert torch.autograd.gradcheck(function, tensors)


@over_compiled
@given(
    st.integers(0, 999), st.integers(1, 3), st.integers(0, 120), st.integers(1, 40), st.integers(1, 4),
    st.integers(1, 5), st.sampled_from(["sine", "relu"]), st.data(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_implementations_agree(impl, device, seed, people, count, width, layers, outputs, activation, data):
    """Values and all gradients, at sizes that are no multiple of anything; some points have no gradient."""
    heads = data.draw(st.sets(st.integers(0, layers - 1), min_size=1))
    own = data.draw(st.sampled_from([1, people]))
    cotangent = make_points(seed + 1, people, count, outputs).detach()
    cotangent[:, :: data.draw(st.integers(1, 3))] = 0
    found = []
    for where, which in (("cpu", "ref"), (device, impl)):
        network = make_network(seed, width, layers, outputs, heads, people=own, device=where)
        points = make_points(seed, people, count, 3, device=where)
        result = point_network(points, *network, activation=activation, impl=which)
        tensors = [points, *parts(network)]
        gradients = torch.autograd.grad(result, tensors, cotangent.to(where), allow_unused=True)
        found.append(
            [result, *(torch.zeros_like(t) if g is None else g for t, g in zip(tensors, gradients, strict=True))]
        )
    for expected, ours in zip(*found, strict=True):
        assert ours.shape == expected.shape
        error = (ours.cpu() - expected).abs().max() if ours.numel() else 0
        # A layer triples the roundings of the one before; sums over points have some more.
        assert error < 2e-4 * max(1, expected.abs().max() if ours.numel() else 0)


@over_compiled
@pytest.mark.parametrize("width", [64, 96, MAX_WIDTH])
def test_real_sizes(impl, device, width):
    """phi: nine layers, eight of them with heads. Many points take several parts of a sum."""
    count = 2500 if width == 64 else 60
    cotangent = make_points(3, 2, count, 4).detach()
    cotangent[1, 100:2000] = 0
    found = [
        values_and_gradients(
            make_points(2, 2, count, 3, device=where),
            make_network(2, width, 9, 4, range(1, 9), people=2, device=where),
            cotangent, impl=which,
        )
        for where, which in (("cpu", "ref"), (device, impl))
    ]  # fmt: skip
    for expected, ours in zip(*found, strict=True):
        assert relative(ours.cpu(), expected) < 2e-5  # float32 through nine sines


@over_implementations
def test_bf16(impl, device):
    """Rounding factors to 8 bits: within a few of them, and what it gives is float32."""
    cotangent = make_points(5, 2, 300, 4).detach()
    arguments = make_points(4, 2, 300, 3, device=device), make_network(4, 64, 3, 4, (1, 2), people=2, device=device)
    exact = values_and_gradients(*arguments, cotangent, impl="ref")
    rounded = values_and_gradients(*arguments, cotangent, impl=impl, bf16=True)
    for expected, ours in zip(exact, rounded, strict=True):
        assert ours.dtype == torch.float32
        assert relative(ours, expected) < 4 * 2**-8


@over_implementations
def test_frozen_parts(impl, device):
    """Gradients of the points alone, and of the weights alone, are the same as together."""
    points, network = make_points(6, 1, 60, 3, device=device), make_network(6, 16, 2, 3, (1,), device=device)
    cotangent = make_points(7, 1, 60, 3).detach()
    _, to_points, *to_parts = values_and_gradients(points, network, cotangent, impl=impl)
    for part in parts(network):
        part.requires_grad_(False)
    (alone,) = torch.autograd.grad(point_network(points, *network, impl=impl), points, cotangent.to(device))
    assert torch.equal(alone, to_points)
    for part in parts(network):
        part.requires_grad_(True)
    result = point_network(points.detach(), *network, impl=impl)
    for ours, expected in zip(torch.autograd.grad(result, parts(network), cotangent.to(device)), to_parts, strict=True):
        assert torch.equal(ours, expected)


@over_implementations
def test_threads_do_not_matter(impl, device):
    """The same sums in the same order, to the bit."""
    if impl == "ref":
        pytest.skip("plain torch splits its sums by threads")
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            points = make_points(8, 2, 3000, 3, device=device)
            network = make_network(8, 16, 2, 3, (1,), people=2, device=device)
            found.append(values_and_gradients(points, network, torch.ones(2, 3000, 3), impl=impl))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@over_implementations
def test_layouts(impl, device):
    """Strided tensors are as good as packed ones, with as many heads as there may be."""
    layers, heads, shift = make_network(9, MAX_WIDTH, 2, 64, (0, 1), device=device)
    points = make_points(9, 2, 50, 3, device=device).detach()
    expected = point_network(points, layers, heads, shift, impl=impl)
    strided = [(w.transpose(1, 2).contiguous().transpose(1, 2), b.repeat_interleave(2, 2)[..., ::2]) for w, b in layers]
    turned = [None if head is None else head.T.contiguous().T for head in heads]
    ours = point_network(points.transpose(1, 2).contiguous().transpose(1, 2), strided, turned, shift, impl=impl)
    assert (ours - expected).abs().max() < 1e-5


def test_what_is_too_wide_is_plain_torch():
    network = make_network(10, MAX_WIDTH + 1, 2, 3, (1,))
    points = make_points(10, 1, 5, 3)
    assert torch.equal(point_network(points, *network), point_network(points, *network, impl="ref"))
    with pytest.raises(ValueError, match="inputs, width, outputs: expected at most 256, as many, 64, found 3, 257"):
        point_network(points, *network, impl="cpp")
    double = [(weight.double(), bias.double()) for weight, bias in network[0]]
    with pytest.raises(TypeError, match="points: expected torch.float32, found torch.float64"):
        point_network(points.double(), double, network[1], network[2], impl="cpp")


@over_implementations
def test_errors(impl, device):
    points = torch.zeros(2, 5, 3, device=device)
    layers, heads, shift = make_network(0, 4, 2, 3, (1,), people=2, device=device)

    def wrong(message, points=points, layers=layers, heads=heads, shift=shift, **options):
        with pytest.raises(ValueError, match=message):
            point_network(points, layers, heads, shift, **{"impl": impl, **options})

    wrong("activation: expected sine or relu, found 'tanh'", activation="tanh")
    wrong(r"points: expected shape \[B, N, I\], found \[5, 3\]", points=points[0])
    wrong("layers and heads: expected as many, at least one, found 1 and 2", layers=layers[:1])
    wrong("layers and heads: .* found 0 and 0", layers=[], heads=[])
    wrong(r"layers\[0\]: expected weight \[2, 3, 4\] and bias \[2, 1, 4\], or 1 for 2, found", layers=[layers[1]] * 2)
    wrong(r"layers\[1\]: expected weight \[2, 4, 4\]", layers=[layers[0]] * 2)
    wrong(r"layers\[0\]: .* found \[2, 3, 4\] and \[2, 4\]", layers=[(layers[0][0], layers[0][1][:, 0]), layers[1]])
    wrong(r"shift: expected shape \[O\]", shift=shift[None])
    wrong(r"heads\[1\]: expected shape \[2, 4\], found \[3, 4\]", shift=shift[:2])
    wrong("points: expected one device|points and points|layers", points=points.to("meta"))
    wrong("impl: expected one of", impl="fast")

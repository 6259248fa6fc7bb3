"""Fast frames against the generator's own, stage by stage and as pictures."""

import copy
import functools
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from inference.fast.body import FastBody
from inference.fast.renderer import (
    CAMERA,
    MIN_ALPHA,
    FastRenderer,
    FrameMaps,
    Motion,
    _apply,
)
from inference.fast.smoothing import after_upsampling, normalised_filter, separated
from inference.keyframes import load_expressions
from inference.pipeline import PortraitPipeline
from inference.released_checkpoint import ReleasedGenerator
from networks.cameras import cast_rays, sample_depths
from networks.compositing import Frame
from networks.manifold.generator import Generator, ManifoldMaps
from networks.manifold.generator_config import GeneratorConfig
from networks.person.body_model import BodyModel
from networks.person.expressions import columns_of
from networks.person.pose_deformation import KERNEL, inverse_vertex_transforms
from networks.saved_model import SavedModel
from tests.inference.small_demo import small_demo
from tests.networks.helpers import TINY_CONFIG, make_body, make_generator, make_inputs, max_error
from torch_utils.ops.smooth_volume import smooth_volume

ROOT = Path(__file__).resolve().parents[3]
# Small enough for seconds, but sampled as finely as real models: interpolation has to have something to interpolate.
CONFIG = GeneratorConfig(**{
    **vars(TINY_CONFIG), "image_size": 160, "lowres_size": 40, "num_samples": 64, "num_fine_samples": 256,
    "num_manifolds": 6, "first_level": 18.0, "last_level": 8.0,
})  # fmt: skip


def make_smooth_generator(config: GeneratorConfig = CONFIG, cls: type[Generator] = Generator) -> Generator:
    """Random D^e is noise of a wavelength that no trained one has: less of it, moving points by up to 5e-4."""
    generator = make_generator(config, cls=cls)
    generator.requires_grad_(False).expression_deformation.output.weight *= 0.05
    return generator


def psnr(ours: Tensor, expected: Tensor) -> float:
    """Of images in -1..1, dB."""
    return -10 * torch.log10(((ours - expected) / 2).square().mean()).item()


def both(generator: Generator, inputs: dict[str, Tensor]) -> tuple[Frame, Frame]:
    """Fast and exact frame of a person with maps of blurred noise, which show where they are looked up.

    Layers are translucent: a crossing that is found by one and missed by the other is seen in 8 x 8 pixels.
    """
    with torch.inference_mode():
        style = generator.style(inputs["z_id"], torch.zeros(1, 80), psi=1.0)
        maps = generator.build_manifolds(style)
        random = torch.Generator().manual_seed(5)
        noise = torch.rand(1, CONFIG.num_manifolds, 4, 12, 12, generator=random)
        size = maps.high.shape[-1]
        high = torch.nn.functional.interpolate(noise.flatten(0, 1), (size, size), mode="bicubic").clamp(0, 1)
        high[:, 3] *= 0.3
        maps = maps._replace(high=high[None])
        exact = generator.render(maps, **inputs)
        return draw(FastRenderer(generator), maps, inputs), exact


def draw(fast: FastRenderer, maps: ManifoldMaps, inputs: dict[str, Tensor]) -> Frame:
    person = fast.person(maps, inputs["z_id"], inputs["betas"])
    return fast.render(person, inputs["z_exp"], inputs["joint_eulers"], inputs["camera"])


@pytest.fixture(scope="module")
def generator() -> Generator:
    return make_smooth_generator()


@pytest.fixture(scope="module")
def fast(generator) -> FastRenderer:
    return FastRenderer(generator)


# ---- stages -------------------------------------------------------------------------------------------------------


def test_one_filter_for_upsampling_and_filtering():
    """At the even upsampled cells, away from the border, exactly as one after the other."""
    random = torch.Generator().manual_seed(0)
    volume, weight = torch.randn(12, 11, 10, 16, generator=random), torch.rand(9, 9, 5, 16, generator=random)
    channels_first = volume.permute(3, 0, 1, 2)[None]
    upsampled = torch.nn.functional.interpolate(channels_first, scale_factor=2, mode="trilinear")[0]
    expected = smooth_volume(upsampled.permute(1, 2, 3, 0), weight)[::2, ::2, ::2]  # centres 4, 4, 2 and so on
    ours = smooth_volume(volume, after_upsampling(weight))  # centres at cells 3, 3, 2, which are upsampled 6, 6, 4
    assert max_error(ours[:6, :6, :6], expected[1:7, 1:7, 1:7]) < 1e-4


def test_filters_that_are_products_are_taken_one_axis_after_another():
    """Mean filters, upsampled or not; one number changed by a hundredth, and it is no product any more."""
    random = torch.Generator().manual_seed(0)
    volume = torch.randn(10, 11, 7, 16, generator=random)
    weight = torch.ones(16, 1, *KERNEL)
    for whole in (normalised_filter(weight), after_upsampling(normalised_filter(weight))):
        parts = separated(whole)
        assert [part.shape[:3].numel() for part in parts] == list(whole.shape[:3])
        found = functools.reduce(smooth_volume, parts, volume)
        torch.testing.assert_close(found, smooth_volume(volume, whole), atol=1e-5, rtol=0)
    weight[3, 0, 2, 4, 4] = 1.01
    assert len(separated(normalised_filter(weight))) == 1


def test_filters_keep_constants():
    weight = torch.rand(16, 1, 5, 9, 9, generator=torch.Generator().manual_seed(0))
    for taps in (normalised_filter(weight), after_upsampling(normalised_filter(weight))):
        assert max_error(taps.sum((0, 1, 2)), torch.ones(16)) < 1e-5


def test_neutral_points(generator, fast):
    """Of the nodes: exact inside, and within a tenth of a pixel of 512^2 (8e-5) at the border."""
    inputs = make_inputs()
    size = CONFIG.lowres_size
    with torch.inference_mode():
        rays = cast_rays(inputs["camera"], CAMERA, size)
        points = rays.at(sample_depths(CAMERA, CONFIG.num_samples)).unflatten(1, (size, size))
        expected = generator.neutral_pose_points(points, inputs["betas"], inputs["joint_eulers"])[0, ::2, ::2, ::2]
        nodes = points[0, ::2, ::2, ::2]
        body = FastBody(generator.body, inputs["betas"])
        motion = Motion.of(body, inputs["z_exp"], inputs["joint_eulers"], inputs["camera"])
        transforms = fast._transforms(nodes, body, motion)
        ours = _apply(transforms, nodes).reshape(expected.shape)
    error = (ours - expected).norm(dim=-1)
    assert error[3:-3, 3:-3, 2:-2].max() < 2e-6
    assert error.max() < 8e-4


def test_crossings(generator, fast):
    """All but a few of the crossings, as valid, within a third of a pixel of 512^2 (7.8e-4) of where they should be."""
    inputs = make_inputs()
    with torch.inference_mode():
        rays = cast_rays(inputs["camera"], CAMERA, CONFIG.lowres_size)
        expected = generator.trace(**{k: v for k, v in inputs.items() if k != "camera"}, rays=rays, model=CAMERA)
        ours = fast.trace(**inputs)
    assert 0.1 < expected.valid.mean() < 1
    assert (ours.valid == expected.valid).float().mean() > 0.99
    error = (ours.canonical - expected.canonical).norm(dim=-1)[(ours.valid * expected.valid).bool()]
    assert error.quantile(0.9) < 2.6e-4


@pytest.mark.parametrize("to_mean_shape", [False, True])
def test_the_body(generator, to_mean_shape):
    """As the body model and D^p's input have it, for any shape and pose; skinning weights need not add up to 1."""
    random = torch.Generator().manual_seed(0)
    body = BodyModel(make_body(), generator.body.head_shoulder_index, to_mean_shape=to_mean_shape)
    body.lbs_weights *= 1 + 0.001 * torch.rand(len(body.lbs_weights), 1, generator=random)
    body.posedirs.normal_(0, 0.01, generator=random)
    betas, eulers = torch.randn(1, 10, generator=random), 0.4 * torch.randn(1, 6, 3, generator=random)
    expected = body(betas, eulers)
    inverse = inverse_vertex_transforms(body.head_shoulder_weights, expected.joint_transforms, body.own_shape(betas))
    ours = FastBody(body, betas)
    pose = ours.pose(eulers[0])
    assert max_error(ours.vertices(pose), expected.vertices[0]) < 1e-6
    assert max_error(ours.inverse_transforms(pose), inverse[0].flatten(1)) < 2e-6


def test_faint_texels_are_left_out():
    maps = torch.rand(1, 2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    maps[:, :, 3, :9] = MIN_ALPHA / 2
    ours = FrameMaps.of(maps)
    assert not ours.rgba[:, :, :9, :, 3].any()
    assert torch.equal(ours.rgba[:, :, 9:], maps.permute(0, 1, 3, 4, 2)[:, :, 9:].half())
    assert ours.occupied[0, 0].tolist() == [[0, 0], [1, 1]]


# ---- on a GPU -----------------------------------------------------------------------------------------------------


class SynchronisingCalls(TorchDispatchMode):
    """Collects the operators for whose results, or for whose copies, a host has to wait for a GPU."""

    waiting = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "lift_fresh", "linalg_inv_ex", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            torch.is_tensor(i) and i.dtype == torch.bool for arg in args if isinstance(arg, list | tuple) for i in arg
        )
        if by_mask or name.startswith(self.waiting):
            self.found.append(name)
        return func(*args, **(kwargs or {}))

    def __init__(self):
        super().__init__()
        self.found: list[str] = []


@pytest.mark.parametrize("cls", [Generator, ReleasedGenerator])
def test_a_frame_waits_for_nothing(cls):
    """What a frame does on the device, run here on a CPU: no operator that would stop a recording."""
    generator = make_smooth_generator(cls=cls)
    fast, inputs = FastRenderer(generator), make_inputs()
    with torch.inference_mode():
        maps = generator.build_manifolds(generator.style(inputs["z_id"], torch.zeros(1, 80), psi=1.0))
        person = fast.person(maps, inputs["z_id"], inputs["betas"])
        motion = Motion.of(person.body, inputs["z_exp"], inputs["joint_eulers"], inputs["camera"])
        motion = motion.unpack(motion.pack())
        with SynchronisingCalls() as calls:
            expected = fast._draw(person, motion)
        assert "nonzero" in calls.found  # a CPU leaves out where no ray is
        fast._culls = False
        with SynchronisingCalls() as calls:
            frame = fast._draw(person, motion)
    assert calls.found == []
    assert psnr(frame.image, expected.image) > 60


def test_motion_travels_as_one_row():
    body = FastBody(make_generator().body, torch.zeros(1, 10))
    inputs = make_inputs()
    motion = Motion.of(body, inputs["z_exp"], inputs["joint_eulers"], inputs["camera"])
    assert motion.pack().shape == (64 + 2 + 9 + 3 + 54 + 2 * 7 * 16,)
    assert all(torch.equal(a, b) for a, b in zip(motion.unpack(motion.pack()), motion, strict=True))


@pytest.mark.requires_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_recorded_frames(recwarn):
    """A replayed frame is the CPU's, whatever was drawn before; it is recorded, waits for nothing, keeps nothing."""
    generator = make_smooth_generator()
    fast, on_gpu = FastRenderer(generator), FastRenderer(copy.deepcopy(generator).cuda())
    maps = ManifoldMaps(*(torch.rand(1, CONFIG.num_manifolds, 4, size, size) for size in (40, 160)))
    z_id, betas = torch.zeros(1, 80), torch.zeros(1, 10)
    maps_there = ManifoldMaps(*(part.cuda() for part in maps))
    people = fast.person(maps, z_id, betas), on_gpu.person(maps_there, z_id.cuda(), betas.cuda())
    moves = [[make_inputs(seed=seed)[name] for name in ("z_exp", "joint_eulers", "camera")] for seed in (1, 2, 1)]
    first = on_gpu.render(people[1], *moves[0])  # step by step: people of a blend have no other frame
    assert people[1].recording is None
    on_gpu.render(people[1], *moves[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        frames = [on_gpu.render(people[1], *move) for move in moves]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not recwarn.list
    for frame, move in zip([first, *frames], [moves[0], *moves], strict=True):
        assert psnr(frame.image.cpu(), fast.render(people[0], *move).image) > 45
    person = weakref.ref(people[1])
    del people
    assert person() is None


# ---- pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cls, changes",
    [
        (Generator, {}),
        (Generator, {"pose": "nearest"}),
        (Generator, {"canonical_shape": "mean"}),
        (Generator, {"canonical_shape": "mean", "canonical_face": "open"}),
        (Generator, {"pose": "none", "expression": False}),
        (ReleasedGenerator, {}),
    ],
)
def test_frames(cls, changes):
    config = GeneratorConfig(**{**vars(CONFIG), **changes})
    ours, exact = both(make_smooth_generator(config, cls), make_inputs())
    assert exact.image.std() > 0.05
    assert psnr(ours.image, exact.image) > 40
    assert psnr(ours.image_lr, exact.image_lr) > 40
    assert (ours.alpha - exact.alpha).square().mean() < 3e-4
    seen = (ours.alpha > 0.5) & (exact.alpha > 0.5)
    assert (ours.depth - exact.depth)[seen].abs().median() < 5e-4


def test_without_a_compiler(generator, fast):
    """The plain-torch form finds the same crossings, up to rounding, but for some that hardly touch a level."""
    plain = FastRenderer(generator, impl="ref")
    ours, expected = (renderer.trace(**make_inputs()) for renderer in (plain, fast))
    assert (ours.valid == expected.valid).float().mean() > 0.998
    error = (ours.canonical - expected.canonical).norm(dim=-1)[(ours.valid * expected.valid).bool()]
    assert error.quantile(0.99) < 1e-5


def test_a_frame_does_not_depend_on_others(generator, fast):
    """On those before, or on those that another thread draws meanwhile."""
    with torch.inference_mode():
        style = generator.style(torch.zeros(1, 80), torch.zeros(1, 80), psi=1.0)
        maps = generator.build_manifolds(style)
    person = fast.person(maps, torch.zeros(1, 80), torch.zeros(1, 10))
    moves = [[make_inputs(seed=seed)[name] for name in ("z_exp", "joint_eulers", "camera")] for seed in (1, 2)]
    alone = [fast.render(person, *move) for move in moves]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda move: fast.render(person, *move), 3 * moves))
    for frame, expected in zip(together, 3 * alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(frame, expected, strict=True))


def test_quality_is_an_argument_of_render():
    person = PortraitPipeline(SavedModel(make_generator(), None, {})).person(seed=0)
    exact, fast = (person.render(quality=quality) for quality in ("exact", "fast"))
    assert torch.equal(person.render().image, exact.image)
    assert [part.shape for part in fast] == [part.shape for part in exact]
    assert 20 < psnr(fast.image, exact.image) < 60  # 100 rays, a few of which miss a crossing
    with pytest.raises(ValueError, match="quality: expected one of fast, exact, layers, found 'best'"):
        person.render(quality="best")


def test_the_demo():
    """At least 40 dB on the shipped keyframes, from the front and from a side; 42 where lids have met."""
    pipe = small_demo()
    person = pipe.person(seed=1, psi=0.7)
    expressions = load_expressions(ROOT / "keyframes/expression.npz", pipe.face_model)
    poses = np.load(ROOT / "keyframes/pose.npy")
    for i, yaw in ((3, 1.57), (7, 1.9)):
        motion = (expressions[i], poses[i], (1.5, yaw))
        fast, exact = (person.render(*motion, quality=quality) for quality in ("fast", "exact"))
        assert psnr(fast.image, exact.image) > 40
    blink = np.zeros(64, np.float32)
    blink[list(columns_of("eyeBlink"))] = 1
    fast, exact = (person.render(blink, poses[0], (1.5, 1.57), quality=quality) for quality in ("fast", "exact"))
    assert psnr(fast.image, exact.image) > 42  # measured: 43.1

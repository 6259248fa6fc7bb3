"""The pipeline a user calls."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.arguments import FRONTAL_CAMERA
from inference.pipeline import PortraitPipeline
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from tests.inference.released_files import write_released_file
from tests.inference.small_demo import small_demo
from tests.networks.helpers import TINY_CONFIG, make_body_dict, make_generator, make_priors_dict, max_error
from torch_utils import checkpoint, tensor_file
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError

SIZE = TINY_CONFIG.image_size
NEAR, FAR = 1.675, 2.116


def make_pipeline(*, priors: bool = True) -> PortraitPipeline:
    rows = LabelPriors.from_dict(make_priors_dict(), "here") if priors else None
    return PortraitPipeline(SavedModel(make_generator(), rows, {"source": "made up"}))


@pytest.fixture(scope="module")
def pipe() -> PortraitPipeline:
    return make_pipeline()


@pytest.fixture(scope="module")
def person(pipe):
    return pipe.person(seed=0)


@pytest.fixture
def released(tmp_path) -> dict[str, str]:
    return write_released_file(tmp_path)


# ---- people -------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_person(pipe, person):
    again = pipe.person(seed=0).render()
    for ours, expected in zip(again, person.render(), strict=True):
        assert torch.equal(ours, expected)
    assert max_error(pipe.person(seed=1).render().image, again.image) > 0.01


def test_seeds_draw_by_themselves(pipe):
    """From a generator of their own: nothing else that draws random numbers matters."""
    torch.manual_seed(99)
    first = pipe.sample_latents(7)
    torch.randn(13)
    for ours, expected in zip(pipe.sample_latents(7), first, strict=True):
        assert torch.equal(ours, expected)
    table = pipe.priors.id_shape
    assert (table == torch.cat([first.z_id, first.betas])).all(-1).any()  # z_id and betas of one row
    assert [part.shape for part in first] == [(80,), (80,), (10,)]


def test_given_latents_replace_the_seed_s(pipe):
    drawn = pipe.sample_latents(3)
    person = pipe.person(seed=3, z_noise=np.full(80, 0.5))
    assert torch.equal(person.latents.z_id[0], drawn.z_id) and torch.equal(person.latents.betas[0], drawn.betas)
    assert torch.equal(person.latents.z_noise[0], torch.full((80,), 0.5))
    same = pipe.person(**drawn._asdict())
    assert torch.equal(same.render().image, pipe.person(seed=3).render().image)
    alone = pipe.person(betas=[1.0] * 10).latents
    assert alone.betas.tolist() == [[1.0] * 10] and alone.z_id.abs().max() == alone.z_noise.abs().max() == 0


def test_psi_zero_is_the_mean_person(pipe):
    """Maps are the same for everybody; faces still differ by D^e, so the latents do."""
    first, second = (pipe.person(seed=seed, psi=0.0) for seed in (0, 1))
    for ours, expected in zip(first.manifolds, second.manifolds, strict=True):
        assert torch.equal(ours, expected)
    halfway = pipe.person(seed=0, psi=0.5).manifolds.low
    assert max_error(halfway, first.manifolds.low) > 1e-3
    assert max_error(halfway, pipe.person(seed=0).manifolds.low) > 1e-3


def test_without_priors():
    """Identities are normal, bodies average."""
    pipe = make_pipeline(priors=False)
    latents = pipe.sample_latents(0)
    assert pipe.priors is None
    assert latents.betas.tolist() == [0.0] * 10
    assert latents.z_id.std().item() == pytest.approx(1, abs=0.3)
    assert not torch.equal(latents.z_id, latents.z_noise)
    assert pipe.person(seed=0).render().image.std() > 0.05


@pytest.mark.parametrize(
    "latents, message",
    [
        ({"z_id": [0.0] * 79}, r"z_id: expected shape \[80\], found \[79\]"),
        ({"z_noise": np.zeros((1, 80))}, r"z_noise: expected shape \[80\], found \[1, 80\]"),
        ({"betas": torch.zeros(300)}, r"betas: expected shape \[10\], found \[300\]"),
        ({"betas": [math.nan] * 10}, "betas: expected finite numbers"),
        ({"seed": 1, "z_id": [math.inf] * 80}, "z_id: expected finite numbers"),
    ],
)
def test_odd_latents(pipe, latents, message):
    with pytest.raises(ValueError, match=message):
        pipe.person(**latents)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"seed": 1 << 64}, "seed: expected a 64-bit integer, found one of 65 bits"),
        ({"seed": -(1 << 63) - 1}, "seed: expected a 64-bit integer"),
        ({"seed": 1.0}, "seed: expected an integer, found float 1.0"),
        ({"seed": "3"}, "seed: expected an integer, found str '3'"),
        ({"seed": 1, "psi": math.nan}, "psi: expected a finite number, found nan"),
        ({"seed": 1, "psi": -math.inf}, "psi: expected a finite number, found -inf"),
    ],
)
def test_odd_seeds_and_truncations(pipe, options, message):
    with pytest.raises(ValueError, match=message):
        pipe.person(**options)


def test_any_64_bit_integer_is_a_seed(pipe):
    for seed in (0, 2**64 - 1, -(2**63)):
        assert pipe.sample_latents(seed).z_id.isfinite().all()
    for seed in (np.int64(7), torch.tensor(7)):
        assert torch.equal(pipe.sample_latents(seed).z_noise, pipe.sample_latents(7).z_noise)


# ---- frames -------------------------------------------------------------------------------------------------------


def test_frame_shapes_and_ranges(person):
    frame = person.render(expression=torch.ones(64), joint_eulers=0.1 * torch.ones(6, 3), camera=(1.4, 1.8))
    assert frame.image.shape == (3, SIZE, SIZE) and frame.image_lr.shape == (3, SIZE // 4, SIZE // 4)
    assert frame.depth.shape == frame.alpha.shape == (SIZE, SIZE)
    assert frame.image.min() >= -1 - 1e-5 and frame.image.max() <= 1 + 1e-5
    assert frame.alpha.min() >= 0 and frame.alpha.max() <= 1 + 1e-5
    seen = frame.alpha > 0
    assert 0.2 < seen.float().mean() < 1
    assert frame.depth[seen].min() > NEAR and frame.depth[seen].max() < FAR
    assert frame.depth[~seen].abs().max() == 0
    assert torch.equal(frame.image[:, ~seen], torch.ones_like(frame.image[:, ~seen]))  # white
    assert not frame.image.requires_grad


def test_defaults_are_neutral_and_frontal(person):
    frame = person.render(expression=np.zeros(64), joint_eulers=np.zeros((6, 3)), camera=[math.pi / 2, math.pi / 2])
    assert torch.equal(person.render().image, frame.image)
    assert pytest.approx((math.pi / 2, math.pi / 2)) == FRONTAL_CAMERA


@pytest.mark.parametrize(
    "change", [{"expression": torch.ones(64)}, {"joint_eulers": 0.2 * torch.ones(6, 3)}, {"camera": (1.4, 1.7)}]
)
def test_everything_given_changes_the_picture(person, change):
    assert max_error(person.render(**change).image, person.render().image) > 0.01


def test_frames_do_not_depend_on_each_other(person):
    first = person.render(camera=(1.5, 1.5)).image
    person.render(expression=torch.ones(64), camera=(1.7, 1.2))
    assert torch.equal(person.render(camera=(1.5, 1.5)).image, first)


@pytest.mark.parametrize(
    "motion, message",
    [
        ({"expression": [0.0] * 63}, r"expression: expected shape \[64\], found \[63\]"),
        ({"expression": torch.zeros(1, 64)}, r"expression: expected shape \[64\], found \[1, 64\]"),
        ({"joint_eulers": torch.zeros(18)}, r"joint_eulers: expected shape \[6, 3\], found \[18\]"),
        ({"camera": (1.5,)}, r"camera: expected shape \[2\], found \[1\]"),
        ({"camera": (1.5, math.nan)}, "camera: expected finite numbers, found NaN or infinity"),
        ({"joint_eulers": np.full((6, 3), np.inf)}, "joint_eulers: expected finite numbers"),
        (
            {"joint_eulers": np.full((6, 3), 30)},
            r"joint_eulers: expected -6.283 to 6.283 radians, found 30 \(degrees\?\)",
        ),
        ({"camera": (80, 90)}, r"camera: expected 0 to 3.142 radians, found 80 \(degrees\?\)"),
        ({"camera": (1.5, 90)}, r"camera: expected -25.13 to 25.13 radians, found 90 \(degrees\?\)"),
    ],
)
def test_odd_motion(person, motion, message):
    with pytest.raises(ValueError, match=message):
        person.render(**motion)


# ---- files --------------------------------------------------------------------------------------------------------


def test_our_own_file_draws_the_same_picture(pipe, tmp_path):
    model = SavedModel(pipe.generator, pipe.priors, pipe.metadata)
    save_checkpoint(tmp_path / "model.safetensors", pack_model(model))
    again = PortraitPipeline.from_checkpoint(tmp_path / "model.safetensors")
    assert again.metadata == {"source": "made up"}
    assert type(again.generator).__name__ == "Generator"
    assert torch.equal(again.person(seed=2).render().image, pipe.person(seed=2).render().image)
    with pytest.raises(UserError, match="model.safetensors is not in the released layout; its config is inside"):
        PortraitPipeline.from_checkpoint(tmp_path / "model.safetensors", "SSHQ512_inf")
    for option in ({"body_model": make_body_dict()}, {"head_shoulder_index": [1, 2]}):
        with pytest.raises(
            UserError, match="model.safetensors: a body model can be given only for a file in the released"
        ):
            PortraitPipeline.from_checkpoint(tmp_path / "model.safetensors", **option)


def test_a_released_file_needs_a_config(released):
    pipe = PortraitPipeline.from_checkpoint(**released)
    assert type(pipe.generator).__name__ == "ReleasedGenerator"
    assert not pipe.generator.training and not any(p.requires_grad for p in pipe.generator.parameters())
    assert pipe.person(seed=0).render().image.std() > 0.05
    with pytest.raises(UserError, match=r"released.pt: a file in the released layout needs --config"):
        PortraitPipeline.from_checkpoint(released["path"])


def test_a_body_and_an_index_for_a_released_file(released, tmp_path):
    arrays = make_body_dict()
    arrays["v_template"] = arrays["v_template"] * np.float32(1.1)
    np.savez(tmp_path / "body.npz", **arrays)
    for body_model in (arrays, tmp_path / "body.npz", str(tmp_path / "body.npz")):
        pipe = PortraitPipeline.from_checkpoint(**released, body_model=body_model, head_shoulder_index=[80, 75, 95])
        assert torch.equal(pipe.generator.body.v_template, torch.from_numpy(arrays["v_template"]))
        assert pipe.generator.body.head_shoulder_index.tolist() == [80, 75, 95]
    with pytest.raises(UserError, match="head_shoulder_index: expected distinct vertex indices in 0..143"):
        PortraitPipeline.from_checkpoint(**released, body_model=arrays, head_shoulder_index=[1, 144])
    with pytest.raises(UserError, match="nothing.npy: no such file"):
        PortraitPipeline.from_checkpoint(**released, head_shoulder_index=tmp_path / "nothing.npy")
    with pytest.raises(UserError, match="body_model: no array 'v_template'"):
        PortraitPipeline.from_checkpoint(**released, body_model={"weights": np.zeros(3)})


def test_an_index_is_checked_against_the_file_s_own_body(released):
    with pytest.raises(UserError, match="head_shoulder_index: expected distinct vertex indices in 0..143"):
        PortraitPipeline.from_checkpoint(**released, head_shoulder_index=[1, 144])
    with pytest.raises(UserError, match="head_shoulder_index: .* should be an array of numbers, found <U1"):
        PortraitPipeline.from_checkpoint(**released, head_shoulder_index=["a"])


def test_a_released_file_can_be_packed_again(released, tmp_path):
    """The released convention travels with the weights."""
    pipe = PortraitPipeline.from_checkpoint(**released)
    save_checkpoint(tmp_path / "again.safetensors", pack_model(SavedModel(pipe.generator, None, {})))
    again = PortraitPipeline.from_checkpoint(tmp_path / "again.safetensors")
    assert type(again.generator) is type(pipe.generator)
    assert torch.equal(again.person(seed=1).render().image, pipe.person(seed=1).render().image)


def test_a_file_is_read_once(pipe, tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "model.safetensors", pack_model(SavedModel(pipe.generator, None, {})))
    read = []
    monkeypatch.setattr(
        checkpoint, "read_tensor_file", lambda path: read.append(path) or tensor_file.read_tensor_file(path)
    )
    PortraitPipeline.from_checkpoint(tmp_path / "model.safetensors")
    assert read == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:99", "mps", ""])
def test_devices_that_are_not_there(pipe, device, tmp_path):
    with pytest.raises(UserError, match="--device"):
        PortraitPipeline.from_checkpoint(tmp_path / "not even read.pt", device=device)
    with pytest.raises(UserError, match="--device"):
        PortraitPipeline(SavedModel(pipe.generator, None, {}), device)


def test_another_file_with_a_config(tmp_path):
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="other.pt: expected a checkpoint of this project .*conv.weight"):
        PortraitPipeline.from_checkpoint(tmp_path / "other.pt", "SSHQ512_inf")


def test_files_that_are_not_checkpoints(tmp_path, released):
    cut = tmp_path / "cut.pt"
    cut.write_bytes(Path(released["path"]).read_bytes()[:-1000])
    with pytest.raises(UserError, match="cut.pt: truncated or damaged checkpoint"):
        PortraitPipeline.from_checkpoint(cut)
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="other.pt: expected a checkpoint of this project .*conv.weight"):
        PortraitPipeline.from_checkpoint(tmp_path / "other.pt")
    with pytest.raises(UserError, match="none.pt: no such checkpoint file"):
        PortraitPipeline.from_checkpoint(tmp_path / "none.pt")


def test_states_and_folders_of_runs_point_to_latest(tmp_path):
    for name in ("state.safetensors", "state.pt"):
        save_checkpoint(tmp_path / name, {"discriminators": {"a": torch.zeros(1)}, "generator": {}})
        message = f"{name}: expected a model, found the state that a training run goes on with; see {tmp_path}/latest"
        with pytest.raises(UserError, match=message):
            PortraitPipeline.from_checkpoint(tmp_path / name)
    (tmp_path / "latest").write_bytes(b"x")
    with pytest.raises(UserError, match=f"found a folder; see {tmp_path}/latest"):
        PortraitPipeline.from_checkpoint(tmp_path)


def test_rounded_products_hold_45_db():
    """phi of the shipped model in bfloat16, where the pipeline rounds, against float32: two of its manifolds. It has no
    U; bm_person measures one that has learned."""
    generator, random = small_demo(96).generator, torch.Generator().manual_seed(0)
    with torch.inference_mode():
        style = generator.style(*(0.7 * torch.randn(2, 1, 80, generator=random)), psi=1.0)
        found = []
        for rounded in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
                found.append(generator.flat_radiance(style.radiance)[:, 5:7, :4])
    exact, ours = ((part[:, :, :3] * part[:, :, 3:], part[:, :, 3:]) for part in found)
    assert exact[1].max() > 0.5 and found[1].dtype == torch.float32
    for expected, seen in zip(exact, ours, strict=True):
        assert -10 * torch.log10((seen - expected).square().mean()) > 45

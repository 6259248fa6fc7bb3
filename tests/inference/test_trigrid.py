"""A tri-grid model through the pipeline and the programs that all models share."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

import gen_video
from inference import sheet
from inference.pipeline import PortraitPipeline
from inference.trigrid import TriGridPipeline
from networks.saved_model import SavedModel, pack_model
from tests.networks.helpers import make_generator
from tests.networks.trigrid.test_portrait import make_portrait
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError
from torch_utils.pixels import image_to_uint8


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "trigrid.safetensors"
    save_checkpoint(path, pack_model(SavedModel(make_portrait(), None, {})))
    return path


@pytest.fixture(scope="module")
def pipe(checkpoint):
    return PortraitPipeline.from_checkpoint(checkpoint)


def test_from_checkpoint_finds_out_by_itself(pipe):
    assert isinstance(pipe, TriGridPipeline) and pipe.image_size == 32
    assert pipe.controls == (False, False, True)  # expression, shoulders, all round


def test_a_seed_is_a_person(pipe):
    one, again, other = (pipe.person(seed=seed).render().image for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(one, pipe.person(z=pipe.sample_latents(3).z).render().image)


def test_heads_turn_before_cameras_all_round(pipe):
    person = pipe.person(seed=1)
    eulers = torch.zeros(6, 3)
    eulers[3, 1] = 0.4
    still, turned, behind = person.render(), person.render(joint_eulers=eulers), person.render(camera=(1.57, -1.57))
    assert not torch.equal(still.image, turned.image) and not torch.equal(still.image, behind.image)
    assert behind.image.shape == (3, 32, 32) and behind.alpha.shape == (32, 32)
    shoulders = torch.zeros(6, 3)
    shoulders[1, 0] = 0.3
    assert torch.equal(person.render(joint_eulers=shoulders).image, still.image)


def test_expressions_are_refused(pipe, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="no expressions"):
        pipe.person(seed=1).render(expression=torch.ones(64))
    with pytest.raises(UserError, match="--exp_path: expected none, for .* has no expressions, found rand"):
        gen_video.main(["--ckpt", str(checkpoint), "--exp_path", "rand", "--output_dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({}, "expected seed or z"), ({"seed": 1, "betas": torch.ones(10)}, "betas: expected seed or z"),
     ({"z": torch.ones(3)}, "z: expected shape"), ({"seed": 1, "psi": float("nan")}, "psi")],
)  # fmt: skip
def test_latents_that_do_not_fit(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe.person(**arguments)


def test_what_only_manifolds_have(pipe):
    for ask in (lambda: pipe.surfaces, lambda: pipe.fast_renderer, lambda: pipe.person(seed=0).avatar()):
        with pytest.raises(UserError, match="expected a .* of manifolds"):
            ask()


def test_a_video_of_a_turn(checkpoint, tmp_path):
    words = "--seeds 0,1 --grid --cam_path none --cam_yaw_range 3.14 --cam_cycle 3 --ext png --depth --lr"
    gen_video.main([*words.split(), "--ckpt", str(checkpoint), "--output_dir", str(tmp_path)])
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found[:3] == [f"video_grid_0-1_depth_00{i}.png" for i in range(3)] and len(found) == 9


def test_blended_people(checkpoint, tmp_path):
    words = f"--ckpt {checkpoint} --seeds 0,1 --seeds_interval 2 --ext png --output_dir {tmp_path}"
    gen_video.main(words.split())
    assert len(list(tmp_path.iterdir())) == 4


def test_a_sheet_has_the_sides_and_no_expressions(checkpoint, tmp_path):
    out = tmp_path / "sheet.png"
    sheet.main(["--ckpt", str(checkpoint), "--seeds", "0,1", "--out", str(out)])
    columns = 1 + 4 + 3 + 3  # neutral, head, camera, all round
    with Image.open(out) as picture:
        assert picture.width >= columns * 32
    with pytest.raises(UserError, match="--smoothing: expected a model of manifolds"):
        sheet.main(["--ckpt", str(checkpoint), "--smoothing", "--out", str(out)])


def test_once_round(checkpoint, tmp_path):
    """Four frames: front, the person's left, back, right; a model of manifolds has no back."""
    words = "--seeds 0 --cam_yaw_range 360 --cam_cycle 4 --exp_path none --psi 1 --ext png"
    gen_video.main([*words.split(), "--ckpt", str(checkpoint), "--output_dir", str(tmp_path)])
    person = PortraitPipeline.from_checkpoint(checkpoint).person(seed=0)
    for i, yaw in enumerate((math.pi / 2, 0.0, -math.pi / 2, -math.pi)):
        expected = image_to_uint8(person.render(camera=(math.pi / 2, yaw)).image)
        with Image.open(tmp_path / f"video_0_rgb_{i:03d}.png") as picture:
            # Cameras of a motion are doubles: half a grey level of rounding, and sines of a turn.
            assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 2
    save_checkpoint(tmp_path / "front.safetensors", pack_model(SavedModel(make_generator(), None, {})))
    with pytest.raises(UserError, match="--cam_yaw_range: expected 0 to pi, for .* has no back of the head, found 360"):
        gen_video.main([*words.split(), "--ckpt", str(tmp_path / "front.safetensors"), "--output_dir", str(tmp_path)])

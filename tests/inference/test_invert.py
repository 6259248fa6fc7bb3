"""From a photo to a person of a model, of either representation."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

import gen_video
from inference import invert, mesh, sheet
from inference.inversion import manifolds, trigrid
from inference.inversion.likeness import face_distance, load_distance
from inference.inversion.manifolds import ManifoldInversion
from inference.inversion.stages import Steps, descend, rate
from inference.inversion.trigrid import TriGridInversion, in_frame
from inference.pipeline import PortraitPipeline, pipeline_of
from networks.compositing import composite
from networks.manifold import generator
from networks.manifold.maps import lookup_manifolds
from networks.person.face_recon import FaceReconConfig, SmallFaceRecon, _empty_landmarks
from networks.saved_model import SavedModel, pack_model
from tests.inference.made_photos import tracked
from tests.networks.helpers import TINY_CONFIG, make_generator, max_error
from tests.networks.trigrid.test_portrait import make_portrait
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError

FEW = Steps(latents=12, styles=8, weights=8)


def manifold_model(**changes) -> PortraitPipeline:
    return PortraitPipeline(SavedModel(make_generator(dataclasses.replace(TINY_CONFIG, **changes)), None, {}))


def trigrids(**changes) -> PortraitPipeline:
    return pipeline_of(SavedModel(make_portrait(**changes), None, {}))


@pytest.fixture(scope="module")
def photo():
    """Somebody else's portrait, in red."""
    frame = manifold_model().person(z_noise=torch.randn(80, generator=torch.Generator().manual_seed(5))).render()
    red = torch.stack([frame.image[0] * 0 + 1, frame.image[1] - 0.8, frame.image[2] - 0.8]).clamp(-1, 1)
    return tracked(red, frame.alpha)


def error_of(stage, photo) -> float:
    image = pipeline_of(stage.model).person().render(photo.expression * 0, photo.joint_eulers, photo.camera).image
    return (image - photo.picture(image.shape[-1])[0]).square().mean().item()


@pytest.mark.parametrize(
    ("superresolution", "steps", "share"),  # of the first error, of what styles alone leave; a random U hardly styles
    [(False, Steps(latents=12, styles=20, weights=20), 0.9), (True, Steps(latents=1, styles=5, weights=6), 1.0)],
)
def test_every_stage_comes_nearer_to_the_photo(photo, superresolution, steps, share):
    pipe = manifold_model(superresolution=superresolution)
    before = {name: value.clone() for name, value in pipe.generator.state_dict().items()}
    stages = list(ManifoldInversion(pipe, photo, None).stages(steps))
    assert [stage.name for stage in stages] == ["tracked", "latents", "styles", "weights"]
    errors = [error_of(stage, photo) for stage in stages]
    assert errors[2] < share * errors[0] and errors[3] < errors[2], errors
    for name, value in pipe.generator.state_dict().items():
        assert torch.equal(value, before[name]), name  # the model stays as it is
    tuned = stages[-1].model.generator.state_dict()
    geometry = ("body.", "manifolds.", "expression_deformation.", "pose_deformation.")
    for name in (name for name in tuned if name.startswith(geometry)):
        assert torch.equal(tuned[name], before[name]), name  # so that tracked poses mean what they meant


def test_what_is_compared_with_the_photo_is_what_frames_show(photo, monkeypatch):
    """Where D^e tears, too: there, pixels have crossings of their own."""
    pipe, always = manifold_model(canonical_face="open", superresolution=False), torch.arange(40, 300)[None]
    for module in (generator, manifolds):
        monkeypatch.setattr(module, "torn_pixels", lambda *_: always)
    seen = ManifoldInversion(pipe, photo, None).high
    person = pipe.person(z_noise=torch.zeros(80))
    frame = person.render(photo.expression, photo.joint_eulers, photo.camera)
    rgba = lookup_manifolds(person.manifolds.high, seen.points.canonical)
    rgba = torch.cat([rgba[..., :3], (rgba[..., 3] * seen.points.valid)[..., None]], -1)
    drawn = composite(rgba, seen.order, seen.points.depth)
    assert max_error(2 * drawn.rgb[0].T.view_as(frame.image) - 1, frame.image) < 1e-4  # sums in another order


def test_stages_can_be_left_out(photo):
    stages = ManifoldInversion(manifold_model(), photo, None).stages(Steps(latents=0, styles=0, weights=0))
    assert [stage.name for stage in stages] == ["tracked"]


def test_a_tri_grid_comes_nearer_to_the_photo(photo):
    pipe = trigrids()
    stages = list(TriGridInversion(pipe, photo, None).stages(Steps(latents=5, styles=25, weights=15)))
    assert [stage.name for stage in stages] == ["tracked", "latents", "styles", "weights"]
    errors = [error_of(stage, photo) for stage in stages]
    assert errors[2] < 0.9 * errors[0] and errors[3] < errors[2], errors
    tuned, before = stages[-1].model.generator.state_dict(), pipe.generator.state_dict()
    for name in (name for name in tuned if name.startswith(("trigrid.pose_branch.", "trigrid.backbone.mapping."))):
        assert torch.equal(tuned[name], before[name]), name


def test_what_a_photo_hides_of_a_tri_grid_stays(photo, monkeypatch):
    """Radiance there moves less than half as far as without holding it."""
    pipe, moved = trigrids(), []
    pipe.generator.trigrid.decoder.net[-1].bias[0] = 20.0  # a block of fog, of which the photo shows the front
    for weight in (0.0, 30.0):
        monkeypatch.setattr(trigrid, "HIDDEN", weight)
        inversion = TriGridInversion(pipe, photo, None)
        stages = inversion.stages(Steps(latents=0, styles=0, weights=15))
        ws = next(stages).model.person["ws"]
        hidden = inversion._hidden(ws)
        alone = hidden.rows(~hidden.twin)
        assert (alone.before[:, 3] > 0.1).sum() > 100
        next(stages)
        moved.append((inversion._radiance(inversion.portraits.person_of(ws), alone.places) - alone.before).abs().mean())
    assert moved[1] < 0.5 * moved[0], moved


def test_photos_keep_their_place_before_the_portrait_camera(photo):
    """A model whose cameras are the portrait camera: the frame is the same, to the difference of edges and centres."""
    placed = in_frame(photo, make_portrait(orbit="portrait")).placement
    np.testing.assert_allclose(placed.matrix, photo.placement.matrix, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(placed.shift, photo.placement.shift, atol=1e-4)


def test_360phq_s_cameras_see_less_of_the_same_photo(photo):
    """8.783 degrees from 2.7 m are +-0.2074 m between the edges of 32 pixels; 12 degrees from 2.2313 m are +-0.2345 m
    between the centres of the border pixels: things appear larger. Depth within the body makes up the rest."""
    placed = in_frame(photo, make_portrait(orbit="phq", near=2.25, far=3.3)).placement
    factor = placed.matrix[0, 0] / photo.placement.matrix[0, 0]
    assert factor == pytest.approx(0.2345 / 0.2074 * 32 / 31, rel=0.03)


def test_rates_rise_and_fall():
    assert rate(0, 100) == pytest.approx(0.1) and rate(50, 100) == 1.0
    assert rate(99, 100) == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.02))


def test_descent_and_its_failure():
    """A parabola's lowest point; a loss that is no number ends in one line."""
    x = torch.tensor([4.0])
    descend("here", [(0.3, [x])], 60, lambda _: (x - 1).square().sum())
    assert x.item() == pytest.approx(1.0, abs=0.05) and not x.requires_grad and x.grad is None
    with pytest.raises(UserError, match="here: the loss is not finite at step 0"):
        descend("here", [(0.1, [x])], 2, lambda _: x.sum() / 0)


def test_the_face_net_s_distance():
    torch.manual_seed(0)
    net = SmallFaceRecon(FaceReconConfig(image_size=32, widths=(4, 6, 8), hidden_dim=4), _empty_landmarks()).eval()
    a, b = torch.rand(2, 1, 3, 40, 40)
    assert face_distance(net, a, a).item() == 0 and face_distance(net, a, b).item() > 0
    a.requires_grad_(True)
    face_distance(net, a, b).sum().backward()
    assert a.grad is not None and a.grad.abs().sum() > 0


def test_without_perceptual_distance():
    assert load_distance("none", torch.device("cpu")) == ("none", None)


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_checkpoint(path, pack_model(SavedModel(make_generator(), None, {"face_model": "arkit"})))
    return path


@pytest.fixture(scope="module")
def me(model, photo, tmp_path_factory):
    """What the program wrote of a photo."""
    folder = tmp_path_factory.mktemp("me")
    Image.new("RGB", (64, 64)).save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invert, "track_photo", lambda picture, person, face: photo)
        words = f"{folder / 'photo.png'} --ckpt {model} --out {folder / 'out'} --perceptual none --device cpu"
        invert.main([*words.split(), "--latents", "2", "--styles", "2", "--weights", "2"])
    return folder / "out"


def test_the_person_s_files(me, photo):
    names = {"person.safetensors", "steps.png", "photo.png", "expression.npz", "pose.npy", "camera.npy"}
    assert {path.name for path in me.iterdir()} == names
    with Image.open(me / "photo.png") as picture:
        assert picture.size == (40, 40)
    np.testing.assert_allclose(np.load(me / "camera.npy"), photo.camera[None], atol=1e-6)
    pipe = PortraitPipeline.from_checkpoint(me / "person.safetensors")
    assert pipe.one_person and set(pipe.metadata["photo"]["psnr"]) == {"tracked", "latents", "styles", "weights"}
    one, again = (pipe.person(seed, psi=psi).render().image for seed, psi in ((0, 0.7), (None, 1.0)))
    assert torch.equal(one, again)  # nobody else, whatever the truncation


def test_others_are_refused(me):
    pipe = PortraitPipeline.from_checkpoint(me / "person.safetensors")
    with pytest.raises(UserError, match="expected seed 0, for this is a model of one person, found seed 3"):
        pipe.person(3)
    with pytest.raises(UserError, match="found betas"):
        pipe.person(betas=torch.zeros(10))
    with pytest.raises(UserError, match="found seed 1"):
        gen_video.main(["--ckpt", str(me / "person.safetensors"), "--seeds", "0,1", "--output_dir", str(me.parent)])


def test_programs_take_the_person(me, tmp_path):
    ckpt = ["--ckpt", str(me / "person.safetensors"), "--device", "cpu"]
    still = ["--exp_path", str(me / "expression.npz"), "--cam_path", str(me / "camera.npy")]
    gen_video.main([*ckpt, *still, "--n_interval", "2", "--ext", "png", "--output_dir", str(tmp_path)])
    assert (tmp_path / "video_0_rgb_001.png").exists()
    sheet.main([*ckpt, "--out", str(tmp_path / "sheet.png")])
    mesh.main([*ckpt, "--resolution", "24", "--quality", "exact", "--out", str(tmp_path / "me.ply")])
    assert (tmp_path / "sheet.png").exists() and (tmp_path / "me.ply").exists()


def test_a_tri_grid_s_person_comes_back(photo, tmp_path):
    *_, last = TriGridInversion(trigrids(), photo, None).stages(Steps(latents=0, styles=1, weights=1))
    save_checkpoint(tmp_path / "me.safetensors", pack_model(last.model))
    pipe = PortraitPipeline.from_checkpoint(tmp_path / "me.safetensors")
    expected = pipeline_of(last.model).person().render().image
    assert pipe.one_person and max_error(pipe.person().render().image, expected) == 0
    with pytest.raises(UserError, match="expected seed 0"):
        pipe.person(2)


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "message"),
    [([1.0], "person: expected tensors of finite numbers by name, found list"),
     ({"ws": torch.tensor([float("nan")])}, "person: expected tensors of finite numbers"),
     ({"ws": torch.zeros(1, 2, 3)}, "expected a person of manifolds, found one without z_id")],
)  # fmt: skip
def test_damaged_people(person, message, tmp_path):
    data = pack_model(SavedModel(make_generator(), None, {})) | {"person": person}
    save_checkpoint(tmp_path / "odd.safetensors", data)
    with pytest.raises(UserError, match=message):
        PortraitPipeline.from_checkpoint(tmp_path / "odd.safetensors").person()


def test_models_that_photos_cannot_be_given(me, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    save_checkpoint(
        tmp_path / "bfm.safetensors", pack_model(SavedModel(make_generator(), None, {"face_model": "basel"}))
    )
    for ckpt, message in (
        (tmp_path / "bfm.safetensors", "expected a checkpoint of the face model arkit, found one of basel"),
        (me / "person.safetensors", "expected a model of many people, found one of one person"),
    ):
        with pytest.raises(UserError, match=message):
            invert.main([str(tmp_path / "photo.png"), "--ckpt", str(ckpt), "--out", str(tmp_path / "me")])


def test_a_photo_of_nobody(model, tmp_path):
    Image.new("RGB", (96, 96), (90, 120, 60)).save(tmp_path / "wall.png")
    with pytest.raises(UserError, match=r"wall\.png: expected a face in the photo, found none"):
        invert.main([str(tmp_path / "wall.png"), "--ckpt", str(model), "--out", str(tmp_path / "me")])
    assert not list((tmp_path / "me").iterdir())

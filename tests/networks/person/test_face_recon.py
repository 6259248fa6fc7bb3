"""Face reconstruction: Deng et al.'s layout and crop, the small net, files."""

import math

import numpy as np
import pytest
import torch
from scipy.io import savemat

from networks.cameras import FACE_CAMERA, project
from networks.person.face_model import FaceModel, default_face
from networks.person.face_recon import (
    DEEP3D_SIZE,
    Deep3DFaceRecon,
    Deep3DNet,
    FaceReconConfig,
    FaceReconstructor,
    SmallFaceRecon,
    load_face_recon,
    pack_face_recon,
)
from networks.person.tracking import FaceFrame
from tests.networks.helpers import max_error
from tests.networks.person.test_face_model import make_bfm
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError

SCALE, ORIGIN = 0.085, (0.01, -0.02, 0.03)  # of the face model in canonical space
TINY = FaceReconConfig(image_size=16, widths=(4, 8), hidden_dim=8)


@pytest.fixture(scope="module")
def face():
    return default_face()


@pytest.fixture(scope="module")
def deep3d(face):
    torch.manual_seed(0)
    return Deep3DFaceRecon(face, FaceFrame(SCALE, np.eye(3), np.array(ORIGIN))).eval()


@pytest.fixture
def small(face):
    torch.manual_seed(0)
    model = SmallFaceRecon(TINY, face).eval()
    with torch.no_grad():  # it starts silent
        torch.nn.init.normal_(model.output.weight)
    return model


# ---- Deng et al. 2019 -----------------------------------------------------------------------------------------------


def test_published_names_and_shapes(deep3d):
    """What `epoch_20.pth` holds under 'net_recon'."""
    shapes = {name: tuple(value.shape) for name, value in deep3d.net.state_dict().items()}
    assert len(shapes) == 318 + 14  # ResNet-50 without its last layer, 7 heads
    assert shapes["backbone.conv1.weight"] == (64, 3, 7, 7)
    assert shapes["backbone.layer1.0.downsample.1.running_var"] == (256,)
    assert shapes["backbone.layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    heads = [shapes[f"final_layers.{i}.weight"] for i in range(7)]
    assert heads == [(n, 2048, 1, 1) for n in (80, 64, 80, 3, 27, 2, 1)]
    assert not any(name.startswith("backbone.fc") for name in shapes)


def test_coefficients_are_the_first_two_heads(deep3d):
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        found, everything = deep3d.coefficients(image), deep3d.net(deep3d.aligned_crop(image))
        assert everything.shape == (2, 257)
        assert torch.equal(found.z_id, everything[:, :80]) and torch.equal(found.z_exp, everything[:, 80:144])
        assert torch.equal(deep3d.landmarks(image), deep3d.landmark_face(found.z_id, found.z_exp))


def make_ramps(size: int) -> torch.Tensor:
    """A picture whose red is its x and whose green is its y, -1..1 between the centres of the border pixels."""
    x = torch.linspace(-1, 1, size, dtype=torch.float64)
    return torch.stack([x.expand(size, size), x.flip(0)[:, None].expand(size, size), torch.zeros(size, size)])[None]


@pytest.mark.parametrize("camera", [(math.pi / 2, math.pi / 2), (1.4, 1.8), (1.7, 1.2)])
def test_aligned_crop_is_deng_et_al_s(deep3d, camera):
    """The face model's origin lies at (112, 112) of the crop, and 102 pixels are one of its units at that distance."""
    crop_of = Deep3DFaceRecon.aligned_crop
    deep3d = deep3d.double()
    camera = torch.tensor([camera], dtype=torch.float64)
    crop = crop_of(deep3d, make_ramps(200), camera)[0] * 2 - 1  # [3, 224, 224]: where each pixel comes from
    deep3d.float()
    origin = torch.tensor([[ORIGIN]], dtype=torch.float64)
    x, y, distance = project(origin, camera, FACE_CAMERA)[0, 0].tolist()
    unit = SCALE / distance / math.tan(math.radians(6))  # of the face model, seen at the origin
    pixels = (torch.arange(DEEP3D_SIZE, dtype=torch.float64) + 0.5 - 112) / 102  # in units from the origin
    # The origin is kept in float32. Beyond its border the picture goes on as it ends.
    assert max_error(crop[0], (x + unit * pixels).clamp(-1, 1).expand(224, 224)) < 1e-6
    assert max_error(crop[1], (y - unit * pixels).clamp(-1, 1)[:, None].expand(224, 224)) < 1e-6


def test_crops_are_in_0_to_1_and_differentiable(deep3d):
    white = torch.ones(1, 3, 20, 20)
    assert max_error(deep3d.aligned_crop(white), torch.ones(1, 3, 224, 224)) < 1e-6  # float32
    assert max_error(deep3d.aligned_crop(-white), torch.zeros(1, 3, 224, 224)) < 1e-6
    image = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: deep3d.aligned_crop(x.expand(-1, 3, -1, -1))[..., ::32, ::32], image, fast_mode=True
    )


def test_deep3d_weights_load(tmp_path):
    """As Deep3DFaceRecon saves them: the net, the optimizer and its schedule."""
    torch.manual_seed(0)
    net = Deep3DNet()
    path, bfm_file = tmp_path / "epoch_20.pth", tmp_path / "BFM_model_front.mat"
    savemat(bfm_file, make_bfm())
    torch.save({"net_recon": net.state_dict(), "opt_00": {"state": {}}, "sched_00": {"gamma": 0.2}}, path)
    model = load_face_recon(path, bfm_file=bfm_file)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    crop = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(model.net(crop), net.eval()(crop))
    with pytest.raises(UserError, match=r"BFM_none\.mat: no such file: expected a face model"):
        load_face_recon(path, bfm_file=tmp_path / "BFM_none.mat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_layers.6.bias": None}, "1 missing: final_layers.6.bias"),
        ({"backbone.fc.weight": torch.zeros(257, 2048)}, "1 unexpected: backbone.fc.weight"),
        ({"final_layers.1.bias": torch.zeros(63)}, r"final_layers.1.bias \(expected \[64\], found \[63\]\)"),
    ],
)
def test_deep3d_weights_that_do_not_fit(tmp_path, change, message, deep3d):
    bfm_file, path = tmp_path / "bfm.mat", tmp_path / "epoch_20.pth"
    savemat(bfm_file, make_bfm())
    state = {name: value for name, value in (deep3d.net.state_dict() | change).items() if value is not None}
    torch.save({"net_recon": state}, path)
    with pytest.raises(UserError, match=rf"epoch_20.pth: net_recon: weights do not fit Deep3DNet: .*{message}"):
        load_face_recon(path, bfm_file=bfm_file)


# ---- The small net --------------------------------------------------------------------------------------------------


def test_an_untrained_net_finds_the_mean_face_seen_from_the_front(face):
    model = SmallFaceRecon(TINY, face).eval()
    found = model.coefficients(torch.randn(2, 3, 16, 16))
    assert found.z_id.shape == (2, 80) and found.z_exp.shape == (2, 64)
    assert max_error(found.camera, torch.full((2, 2), math.pi / 2)) == 0.0
    expected = torch.from_numpy(face.mean[face.landmarks]).expand(2, -1, -1)
    assert max_error(model.landmarks(torch.randn(2, 3, 16, 16)), expected) == 0.0


def test_landmarks_are_those_of_the_coefficients(face, small):
    image = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        found = small.coefficients(image)
        expected = FaceModel(face).landmark_points(found.z_id, found.z_exp)
        assert max_error(small.landmarks(image), expected) < 1e-6  # float32, 0.1 units


def test_any_size(small):
    """A picture that is smooth says the same at 16, 40 and 64 pixels."""
    image = torch.nn.functional.interpolate(torch.randn(1, 3, 3, 3), (64, 64), mode="bicubic")
    with torch.no_grad():
        sizes = [torch.nn.functional.interpolate(image, (s, s), mode="bilinear", antialias=True) for s in (16, 40, 64)]
        landmarks = [small.landmarks(picture) for picture in sizes]
    spread = (landmarks[2] - small.landmarks(torch.zeros(1, 3, 16, 16))).abs().max()
    assert max_error(landmarks[0], landmarks[2]) < 1e-6  # the net itself resizes alike
    assert max_error(landmarks[1], landmarks[2]) < 0.1 * spread


def test_gradients_reach_the_picture(small):
    image = torch.randn(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(small.double().landmarks, image, fast_mode=True)


def test_the_interface_alone_is_no_net(face):
    with pytest.raises(TypeError, match="abstract class FaceReconstructor"):
        FaceReconstructor(face)


def test_round_trip(tmp_path, small):
    """Half precision is good for three digits."""
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, pack_face_recon(small, {"what": "a test"}))
    model, image = load_face_recon(path, bfm_file=tmp_path / "none"), torch.randn(2, 3, 16, 16)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        expected = small.landmarks(image)
        size = (expected - small.landmark_face.mean).abs().max()
        assert max_error(model.landmarks(image), expected) < 5e-3 * size
    assert torch.equal(model.landmark_face.mean, small.landmark_face.mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"face_recon": 3}, "expected a face reconstruction net .* found face_recon"),
        ({"face_recon": {"state": {}}}, "face_recon: expected a mapping 'config', found NoneType"),
        ({"face_recon": {"config": {"size": 3}, "state": {}}}, "face_recon: config: unknown key 'size'"),
        ({"face_recon": {"config": {"widths": [4, 8, 8]}, "state": {}}}, "weights do not fit SmallFaceRecon"),
    ],
)
def test_bad_files(tmp_path, change, message):
    save_checkpoint(tmp_path / "bad.safetensors", change)
    with pytest.raises(UserError, match=message) as caught:
        load_face_recon(tmp_path / "bad.safetensors")
    assert str(tmp_path / "bad.safetensors") in str(caught.value)


def test_bad_config():
    with pytest.raises(ValueError, match="image_size: expected a multiple of 16, found 40"):
        FaceReconConfig(image_size=40)

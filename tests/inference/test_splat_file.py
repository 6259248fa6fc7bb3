"""A frame as a file of Gaussians, read back as viewers read it."""

import numpy as np
import pytest
import torch

from inference import splat_file
from inference.portable.gltf import METRES
from inference.splat_file import COLUMNS, SH_C0, ellipsoids, parse_actions, splat_glb
from networks.gaussian.avatar import View, pack_avatar
from networks.person.expressions import expression
from networks.saved_model import SavedModel, pack_model
from tests.inference.portable.gltf_reader import Gltf
from tests.inference.portable.khronos import validation
from tests.networks.gaussian.made_up import make_avatar, make_view
from tests.networks.helpers import make_generator
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError
from torch_utils.ops.splat import rotation_matrices, splat


def read_ply(path) -> dict[str, np.ndarray]:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert [line.split()[-1] for line in lines[3:]] == list(COLUMNS)
    rows = np.frombuffer(body, "<f4").reshape(int(lines[2].split()[-1]), len(COLUMNS))
    return dict(zip(COLUMNS, rows.T, strict=True))


def test_ellipsoids_of_sheared_axes():
    """The same covariance, by a unit quaternion and positive scales."""
    axes = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0))
    quaternions, scales = ellipsoids(axes)
    assert torch.allclose(quaternions.norm(dim=-1), torch.ones(20), atol=1e-5)
    again = rotation_matrices(quaternions) * scales[:, None]
    assert torch.allclose(again @ again.mT, axes @ axes.mT, atol=1e-4)


def test_a_viewer_draws_the_same(tmp_path, capsys):
    """Gaussians too faint to be seen are left out; what is read back and splatted is the avatar's own picture."""
    avatar = make_avatar("static")
    with torch.no_grad():
        avatar.canonical["colour"].uniform_(0, 1)
        avatar.canonical["other"][:, 0] = torch.linspace(-8, 4, len(avatar.maps.pixels))
        avatar.canonical["other"][:, 1:].add_(0.3 * torch.randn(len(avatar.maps.pixels), 7))
    save_checkpoint(tmp_path / "latest", pack_avatar(avatar, {"face_model": "arkit"}))
    splat_file.main(
        ["--ckpt", str(tmp_path / "latest"), "--out", str(tmp_path / "a.ply"), "--expression", "browDownLeft=0.5"]
    )
    found = {name: torch.from_numpy(value.copy()) for name, value in read_ply(tmp_path / "a.ply").items()}

    def columns(*names: str) -> torch.Tensor:
        return torch.stack([found[name] for name in names], -1)

    assert len(found["x"]) < len(avatar.maps.pixels) and f"{len(found['x'])} Gaussians" in capsys.readouterr().out
    view: View = make_view()
    scales = columns("scale_0", "scale_1", "scale_2").exp()
    shapes = (columns("x", "y", "z"), columns("rot_0", "rot_1", "rot_2", "rot_3"), scales)
    colours = 0.5 + SH_C0 * columns("f_dc_0", "f_dc_1", "f_dc_2")
    drawn = splat(*shapes, found["opacity"].sigmoid(), colours, *view, 1.0)
    pose = avatar.pose(torch.from_numpy(expression(browDownLeft=0.5)).float(), torch.zeros(6, 3))
    with torch.no_grad():
        expected = avatar(pose, view.origin, project=True).draw(view, 1.0)
    assert torch.allclose(drawn.image, expected.image, atol=2e-3)  # alphas near 1/255 may fall to either side


def test_gltf(tmp_path):
    """KHR_gaussian_splatting, read back by its own rules: covariances, opacities and colours, in metres."""
    avatar = make_avatar("static")
    with torch.no_grad():
        avatar.canonical["colour"].uniform_(-0.1, 1.1)
        avatar.canonical["other"][:, 0] = torch.linspace(-8, 4, len(avatar.maps.pixels))
        avatar.canonical["other"][:, 1:].add_(0.3 * torch.randn(len(avatar.maps.pixels), 7))
        expected = avatar.driven(avatar.pose(torch.zeros(64), torch.zeros(6, 3)), make_view().origin)
    save_checkpoint(tmp_path / "latest", pack_avatar(avatar, {"face_model": "arkit", "source": "a ball"}))
    splat_file.main(["--ckpt", str(tmp_path / "latest"), "--out", str(tmp_path / "a.glb")])
    glb = Gltf((tmp_path / "a.glb").read_bytes())
    assert glb.document["extensionsUsed"] == ["KHR_gaussian_splatting"] and glb.primitive["mode"] == 0
    assert glb.primitive["extensions"]["KHR_gaussian_splatting"]["colorSpace"] == "srgb_rec709_display"
    assert glb.document["asset"]["extras"]["source"] == "a ball"

    def attribute(name: str) -> torch.Tensor:
        return torch.from_numpy(glb.attribute(f"KHR_gaussian_splatting:{name}").copy())

    seen = expected.opacities >= 1 / 255
    assert seen.sum() < len(seen)
    assert torch.allclose(attribute("OPACITY"), expected.opacities[seen])
    assert torch.allclose(0.5 + SH_C0 * attribute("SH_DEGREE_0_COEF_0"), expected.colours[seen], atol=1e-6)
    means = torch.from_numpy(glb.attribute("POSITION").copy())
    assert torch.allclose(means, METRES * expected.means[seen], atol=1e-6)
    axes = rotation_matrices(attribute("ROTATION").roll(1, 1)) * attribute("SCALE")[:, None]
    wanted = METRES**2 * (expected.axes @ expected.axes.mT)[seen]
    assert torch.allclose(axes @ axes.mT, wanted, atol=1e-7)  # of squares up to 1e-3
    shown = torch.from_numpy(glb.attribute("COLOR_0").copy()).float() / 255
    assert torch.allclose(shown[:, :3], expected.colours[seen].clamp(0, 1), atol=0.003)  # half a step of a byte


def test_the_validator_knows_all_but_the_extension():
    avatar = make_avatar("static")
    with torch.no_grad():
        gaussians = avatar.driven(avatar.pose(torch.zeros(64), torch.zeros(6, 3)), make_view().origin)
    said = validation(splat_glb(gaussians, {}))
    assert all("KHR_gaussian_splatting" in one["message"] + one["pointer"] for one in said)


def test_bad_input(tmp_path):
    assert parse_actions(["jawOpen=0.5"]).tolist() == expression(jawOpen=0.5).tolist()
    for word in ("jawOpen", "jawOpen=wide", "tail=1"):
        with pytest.raises(UserError, match=f"--expression: expected ACTION=AMOUNT, e.g. jawOpen=0.5, found '{word}'"):
            parse_actions([word])
    with pytest.raises(UserError, match="--out: expected a name that ends in .ply or .glb, found a.splat"):
        splat_file.main(["--ckpt", "x", "--out", "a.splat"])
    save_checkpoint(tmp_path / "people", pack_model(SavedModel(make_generator(), None, {})))
    with pytest.raises(UserError, match="expected an avatar of python -m training.avatar, found a generator of people"):
        splat_file.main(["--ckpt", str(tmp_path / "people"), "--out", str(tmp_path / "a.ply")])

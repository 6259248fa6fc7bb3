"""Label priors: columns, draws that keep rows together, checks."""

import math

import numpy as np
import pytest
import torch

from networks.person.priors import LabelPriors
from tests.networks.helpers import make_priors_dict
from torch_utils.misc import UserError


def make_priors() -> LabelPriors:
    return LabelPriors.from_dict(make_priors_dict(), "here")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(values: torch.Tensor, table: torch.Tensor) -> list[int]:
    """Which row of ``table`` each of ``values`` is."""
    same = (values[:, None] == table[None]).all(-1)
    assert same.any(1).all()
    return same.float().argmax(1).tolist()


def test_latents_come_from_one_row():
    priors = make_priors()
    latents = priors.sample_latents(200, seeded())
    assert (latents.z_id.shape, latents.z_noise.shape, latents.betas.shape) == ((200, 80), (200, 80), (200, 10))
    rows = rows_of(latents.z_id, priors.id_shape[:, :80])
    assert rows == rows_of(latents.betas, priors.id_shape[:, 80:])
    assert set(rows) == set(range(12))  # 200 draws of 12 rows miss one with probability 3e-7
    assert latents.z_noise.mean().item() == pytest.approx(0, abs=0.04)  # 16000 draws: 5 standard errors
    assert latents.z_noise.std().item() == pytest.approx(1, abs=0.03)


def test_pose_and_camera_come_from_one_row():
    priors = make_priors()
    joint_eulers, camera = priors.sample_pose_camera(50, seeded())
    rows = rows_of(camera, priors.camera_pose[:, :2])
    for row, eulers in zip(rows, joint_eulers, strict=True):
        assert torch.equal(eulers, priors.camera_pose[row, 2:].reshape(6, 3))  # joint by joint


def test_expressions_are_rows():
    priors = make_priors()
    assert len(set(rows_of(priors.sample_expressions(200, seeded()), priors.expression))) == 12


@pytest.mark.parametrize("draw", ["sample_latents", "sample_expressions", "sample_pose_camera"])
def test_a_seed_gives_the_same_draw(draw):
    def flat(seed: int) -> torch.Tensor:
        drawn = getattr(make_priors(), draw)(5, seeded(seed))
        return drawn if torch.is_tensor(drawn) else torch.cat([part.flatten(1) for part in drawn], 1)

    assert torch.equal(flat(3), flat(3))
    assert not torch.equal(flat(3), flat(4))


def test_jitter_spreads_around_the_rows():
    """Noise of 0.1 of each column's spread; a row and its draws stay together, z_noise is untouched."""
    priors = make_priors()
    plain = priors.sample_expressions(5000, seeded())
    shaken = priors.sample_expressions(5000, seeded(), jitter=0.1)
    noise = (shaken - plain) / priors.expression.std(0, correction=0)  # the same rows were picked
    assert noise.mean().item() == pytest.approx(0, abs=1e-3)  # 320,000 draws: 5 standard errors
    assert noise.std(0).tolist() == pytest.approx([0.1] * 64, rel=0.06)  # 5000 draws a column: 6 standard errors
    joint_eulers, camera = priors.sample_pose_camera(3, seeded(), jitter=0.1)
    assert joint_eulers.shape == (3, 6, 3) and camera.shape == (3, 2)
    assert (camera - priors.sample_pose_camera(3, seeded())[1]).abs().max() > 0
    assert priors.sample_latents(2000, seeded(), jitter=0.1).z_noise.std().item() == pytest.approx(1, abs=0.01)


def test_half_precision_keeps_angles():
    """Within 0.001 radians wherever an angle may be."""
    angles = torch.linspace(-math.pi, math.pi, 20_000).view(-1, 20)
    priors = LabelPriors(angles, torch.zeros(1, 90), torch.zeros(1, 64))
    again = LabelPriors.from_dict(priors.to_dict(half=True), "here")
    assert (again.camera_pose - angles).abs().max() < 1e-3


def test_to_dict_and_back():
    priors = make_priors()
    for half, dtype in ((False, torch.float32), (True, torch.float16)):
        stored = priors.to_dict(half=half)
        assert all(value.dtype == dtype for value in stored.values())
        again = LabelPriors.from_dict(stored, "here")
        for name, value in again._asdict().items():
            if value is None:  # optional rows
                assert getattr(priors, name) is None
                continue
            assert value.dtype == torch.float32
            assert torch.equal(value, getattr(priors, name))  # short enough for half precision


def test_rows_of_faces_alone_are_optional():
    generator = torch.Generator().manual_seed(0)
    priors = make_priors()
    z_id, z_exp = priors.sample_faces(5, generator)  # without such rows, those of people serve
    assert all((priors.id_shape[:, :80] == row).all(1).any() for row in z_id)
    assert all((priors.expression == row).all(1).any() for row in z_exp)
    faces = {"face_id": torch.full((3, 80), 0.5), "face_expression": torch.full((2, 64), -0.25)}
    again = LabelPriors.from_dict(LabelPriors.from_dict({**make_priors_dict(), **faces}, "here").to_dict(), "here")
    z_id, z_exp = again.sample_faces(4, generator)
    assert torch.equal(z_id, torch.full((4, 80), 0.5)) and torch.equal(z_exp, torch.full((4, 64), -0.25))
    with pytest.raises(UserError, match=r"here: priors: face_id: expected floats \[N, 80\], found .* \[3, 64\]"):
        LabelPriors.from_dict({**make_priors_dict(), "face_id": torch.zeros(3, 64)}, "here")


def test_numpy_arrays_are_taken():
    arrays = {name: value.double().numpy() for name, value in make_priors_dict().items()}
    assert torch.equal(LabelPriors.from_dict(arrays, "here").expression, make_priors().expression)


@pytest.mark.parametrize("name, width", [("camera_pose", 20), ("id_shape", 90), ("expression", 64)])
def test_odd_arrays_are_named(name, width):
    good = make_priors_dict()
    bad = {
        rf"here: priors: {name}: expected floats \[N, {width}\], found torch.float32 \[12, 5\]": torch.zeros(12, 5),
        rf"here: priors: {name}: expected floats \[N, {width}\], found .* \[0, {width}\]": torch.zeros(0, width),
        rf"here: priors: {name}: expected floats \[N, {width}\], found .* \[{width}\]": torch.zeros(width),
        rf"here: priors: {name}: expected floats \[N, {width}\], found torch.int64": torch.ones(2, width).long(),
        rf"here: priors: {name}: expected finite numbers": torch.full((2, width), math.nan),
        rf"here: priors: {name}: expected finite": np.full((2, width), np.inf),
        rf"here: priors: {name}: expected floats \[N, {width}\], found str": "a",
        rf"here: priors: {name}: expected floats \[N, {width}\], found NoneType": None,
        rf"here: priors: {name}: expected floats \[N, {width}\], found list": [[1.0], [1.0, 2.0]],
        rf"here: priors: {name}: expected floats \[N, {width}\], found Tensor": torch.zeros(2, width, device="meta"),
    }
    for message, array in bad.items():
        with pytest.raises(UserError, match=message):
            LabelPriors.from_dict({**good, name: array}, "here")
    for odd in ([1], "abc", torch.zeros(2)):
        with pytest.raises(UserError, match=f"here: priors: expected a mapping of arrays, found {type(odd).__name__}"):
            LabelPriors.from_dict(odd, "here")
    del good[name]
    with pytest.raises(UserError, match=f"here: priors: missing array '{name}'"):
        LabelPriors.from_dict(good, "here")

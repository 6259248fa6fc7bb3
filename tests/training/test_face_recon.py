"""Training of the small face reconstruction net."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from networks.person.face_model import FaceModel, default_face, default_face_skin
from networks.person.face_recon import FaceCoefficients, FaceReconConfig, SmallFaceRecon, load_face_recon
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError, run_cli
from training import face_recon
from training.data.storage import DatasetWriter
from training.data.synthetic.portrait import make_portrait

TINY = FaceReconConfig(image_size=16, widths=(8, 16), hidden_dim=16)
SHIPPED = Path(__file__).resolve().parents[2] / "ckpts" / "face_recon_synth.safetensors"


def make_faces(count: int, *, seed: int = 0, size: int = 16) -> face_recon.Faces:
    """Noise with labels that show in it: the first channel's mean is the first identity coefficient."""
    random = torch.Generator().manual_seed(seed)
    z_id, z_exp = torch.randn(count, 80, generator=random), torch.randn(count, 64, generator=random)
    image = (127.5 + 60 * z_id[:, :1, None, None].clamp(-2, 2)).expand(-1, 3, size, size)
    camera = torch.pi / 2 + 0.1 * torch.randn(count, 2, generator=random)
    return face_recon.Faces(image.to(torch.uint8), z_id, z_exp, camera)


@pytest.fixture(scope="module")
def people():
    return [face_recon.draw_person(index, seed=7, shots=2, size=24) for index in range(2)]


def test_a_person_is_drawn_with_its_labels(people):
    one, other = people
    assert one.image.shape == (2, 3, 24, 24) and one.image.dtype == torch.uint8
    assert torch.equal(one.z_id[0], one.z_id[1]) and not torch.equal(one.z_id, other.z_id)
    assert not torch.equal(one.z_exp[0], one.z_exp[1]) and not torch.equal(one.image[0], one.image[1])
    assert (one.camera - torch.pi / 2).abs().max() < 0.8
    again = face_recon.draw_person(0, seed=7, shots=2, size=24)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))


def test_faces_of_a_data_set(tmp_path):
    sizes = {"image_size": 32, "face_size": 16}
    with DatasetWriter(tmp_path / "set", **sizes, name="set", made_by="a test") as writer:
        for index in range(2):
            portrait = make_portrait(0, index, size=32, face_size=16)
            writer.add(index, portrait.image_png, portrait.face_png, portrait.labels, portrait.mask_png)
        writer.finish()
    faces = face_recon.read_faces(str(tmp_path / "set"))
    assert faces.image.shape == (2, 3, 16, 16) and faces.image[0, :, 0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(faces.z_exp[1], portrait.labels["z_exp"])
    np.testing.assert_array_equal(faces.camera[1], portrait.labels["face_camera"])
    (tmp_path / "set" / "faces" / "000001.png").write_bytes(portrait.face_png[:100])
    with pytest.raises(UserError, match="face 1: damaged or cut short"):
        face_recon.read_faces(str(tmp_path / "set"))
    (tmp_path / "set" / "faces" / "000001.png").unlink()
    with pytest.raises(UserError, match="faces/000001.png is missing"):
        face_recon.read_faces(str(tmp_path / "set"))


def test_surface_loss_counts_in_means():
    """Predicting the mean costs 1 for each of the five terms, the truth nothing."""
    train, face = make_faces(50), default_face()
    loss = face_recon.SurfaceLoss(SmallFaceRecon(TINY, face), face, train)
    mean = FaceCoefficients(*(part.mean(0).expand_as(part) for part in train[1:]))
    assert loss(mean, train).item() == pytest.approx(5.0, abs=1e-4)
    assert loss(FaceCoefficients(*train[1:]), train).item() == 0.0


def test_surface_errors_are_those_of_the_vertices():
    train, face = make_faces(3), default_face()
    loss, model = face_recon.SurfaceLoss(SmallFaceRecon(TINY, face), face, train), FaceModel(face)
    found = FaceCoefficients(torch.zeros(3, 80), torch.zeros(3, 64), train.camera + 0.2)
    identity, expression, landmarks, actions, camera = loss.errors(found, train)
    neutral = torch.zeros(3, 64)
    skin, mean = default_face_skin(), torch.from_numpy(face.mean)
    by_identity, by_both = model(train.z_id, neutral) - mean, model(train.z_id, train.z_exp) - mean
    # float32 sums over some 10,000 coordinates
    assert identity.item() == pytest.approx(by_identity[:, skin].square().sum(-1).mean().item(), rel=1e-4)
    moved = (by_both - by_identity)[:, skin]
    assert expression.item() == pytest.approx(moved.square().sum(-1).mean().item(), rel=1e-4)
    assert landmarks.item() == pytest.approx(model.landmarks(by_both).square().sum((1, 2)).mean().item(), rel=1e-4)
    z_exp = train.z_exp.double()
    asked_for = z_exp.std(0) > 0
    in_deviations = (z_exp / z_exp.std(0))[:, asked_for]
    assert actions.item() == pytest.approx(in_deviations.square().sum(1).mean().item(), rel=1e-4)
    assert camera.item() == pytest.approx(0.04, rel=1e-4)


def test_fit_learns_and_repeats_itself():
    train = make_faces(64)
    args = argparse.Namespace(steps=90, batch_size=16, lr=3e-3, seed=3, precision="fp32")
    model = face_recon.fit(train, TINY, args, torch.device("cpu"))
    found = model.coefficients(face_recon.to_network(train.image)).z_id[:, 0]
    assert torch.corrcoef(torch.stack([found, train.z_id[:, 0]]))[0, 1] > 0.9  # what shows in the picture
    again = face_recon.fit(train, TINY, args, torch.device("cpu"))
    assert torch.equal(found, again.coefficients(face_recon.to_network(train.image)).z_id[:, 0])


def test_evaluation_in_millimetres():
    """A net that knows nothing is as good as the mean; landmarks of 1 unit are 1177.5 mm away."""
    faces = make_faces(4)
    faces = faces._replace(z_id=torch.zeros(4, 80), z_exp=torch.zeros(4, 64), camera=torch.full((4, 2), torch.pi / 2))
    model = SmallFaceRecon(TINY, default_face()).eval()
    figures = face_recon.evaluate(model, faces, faces)
    assert figures.pop("actions") == {} and set(figures.values()) == {0.0}
    held_out = faces._replace(camera=faces.camera + torch.tensor([0.3, 0.4]))
    figures = face_recon.evaluate(model, faces, held_out)
    assert figures["camera_degrees"] == pytest.approx(np.rad2deg(0.5), rel=1e-5)
    assert abs(face_recon.MILLIMETRES - 1177.5) < 0.1


def test_actions_are_compared_one_by_one(monkeypatch):
    """Found twice as large, turned round, and as a constant: r of 1, -1 and 0; what is never asked for has none."""
    faces = make_faces(4)
    asked, found = torch.zeros(4, 64), torch.zeros(4, 64)
    asked[:, :3] = torch.tensor([0.0, 0.2, 0.4, 0.6])[:, None]
    found[:, 0], found[:, 1], found[:, 2], found[:, 3] = 2 * asked[:, 0] + 1, -asked[:, 1], 0.5, torch.arange(4)
    model = SmallFaceRecon(TINY, default_face()).eval()
    monkeypatch.setattr(model, "coefficients", lambda image: FaceCoefficients(faces.z_id, found, faces.camera))
    actions = face_recon.evaluate(model, faces, faces._replace(z_exp=asked))["actions"]
    assert actions == {"eyeBlinkLeft": 1.0, "eyeLookDownLeft": -1.0, "eyeLookInLeft": 0.0}


def test_degraded_faces_keep_their_size():
    image = face_recon.to_network(make_faces(2, size=32).image)
    first, second = (face_recon.degrade(image, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == image.shape and torch.equal(first, second) and not torch.equal(first, image)


def test_command(tmp_path, monkeypatch, capsys, people):
    monkeypatch.setattr(face_recon, "draw_faces", lambda args: make_faces(40))
    monkeypatch.setattr(sys, "argv", ["face_recon", "--out", str(tmp_path / "a.pt"), "--steps", "2", "--device", "cpu"])
    face_recon.main()
    assert "landmarks_mm:" in capsys.readouterr().out
    data = load_checkpoint(tmp_path / "a.pt")
    assert data["metadata"]["made_by"].endswith(
        "--people 1200 --shots 4 --steps 2 --batch_size 32 --lr 0.002 --seed 0 --precision fp32"
    )
    assert load_face_recon(tmp_path / "a.pt").landmarks(torch.zeros(1, 3, 64, 64)).shape == (1, 68, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--people 0", "--people: expected a whole number from 1 to 100000000, found 0"),
        ("--lr nan", "--lr: expected a number from 1e-12 to 10, found nan"),
        ("--seed -1", "--seed: expected a whole number from 0 to 9223372036854775807, found -1"),
        ("--device gpu", "--device: expected auto, cpu, cuda or cuda:N, found 'gpu'"),
        ("--data nowhere", "nowhere"),
        ("--steps many", "--steps: expected a whole number from 1 to 10000000, found many"),
    ],
)
def test_bad_input(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["face_recon", *arguments.split()])
    with pytest.raises(SystemExit) as exit_info:
        run_cli(face_recon.main)
    error = capsys.readouterr().err
    assert exit_info.value.code == 2 and error.count("\n") == 1 and message in error


def test_too_few_pictures(monkeypatch):
    monkeypatch.setattr(face_recon, "draw_faces", lambda args: make_faces(8))
    monkeypatch.setattr(sys, "argv", ["face_recon"])
    with pytest.raises(UserError, match="expected at least 40 pictures, found 8"):
        face_recon.main()


@pytest.mark.skipif(not SHIPPED.exists(), reason="ckpts/face_recon_synth.safetensors is not there")
def test_the_shipped_net_sees_faces_it_never_saw():
    """People of another seed: landmarks nearer than the mean face's by a third, the camera within 6 degrees."""
    model = load_face_recon(SHIPPED)
    parts = [face_recon.draw_person(index, seed=1234, shots=2, size=96) for index in range(8)]
    faces = face_recon.Faces(*(torch.cat(part) for part in zip(*parts, strict=True)))
    with torch.no_grad():
        asked = model.landmark_face(faces.z_id, faces.z_exp)
        found = model.coefficients(face_recon.to_network(faces.image))
        error = (model.landmark_face(found.z_id, found.z_exp) - asked).norm(dim=-1).mean()
    of_mean = (asked - model.landmark_face.mean).norm(dim=-1).mean()
    assert error < of_mean * 2 / 3
    assert torch.rad2deg((found.camera - faces.camera).norm(dim=-1).mean()) < 6

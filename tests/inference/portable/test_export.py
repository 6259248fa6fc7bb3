"""From a checkpoint to a .glb file by the command line, and what it refuses."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from inference.avatar import AvatarPerson
from inference.keyframes import interpolate, load_keyframes
from inference.motions import KEYFRAMES, MOTIONS
from inference.pipeline import PortraitPipeline
from inference.portable.__main__ import main
from inference.portable.export import export_avatar
from inference.portable.gltf import METRES
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from tests.inference.portable.gltf_reader import Gltf
from tests.networks.helpers import make_generator, make_priors_dict
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError, file_sha256


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    """A tiny model of ARKit's actions, and keyframes beside it."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    priors = LabelPriors.from_dict(make_priors_dict(), "made up")
    save_checkpoint(path, pack_model(SavedModel(make_generator(), priors, {"what": "made up", "face_model": "arkit"})))
    np.save(path.with_name("pose.npy"), np.zeros((3, 6, 3)))
    np.save(path.with_name("nan.npy"), np.full((1, 6, 3), math.nan))
    return path


def test_a_person_becomes_a_file(ckpt, tmp_path, capsys):
    out = tmp_path / "new" / "person.glb"
    main(["--ckpt", str(ckpt), "--seed", "3", "--out", str(out)])
    said = capsys.readouterr().out
    assert f"wrote {out}: " in said and "motions: Expressions and poses (4.8 s), Talk (8.0 s), " in said
    file = Gltf(out.read_bytes())
    avatar = PortraitPipeline.from_checkpoint(ckpt).person(seed=3, psi=0.7).avatar()
    np.testing.assert_allclose(file.vertices(), METRES * avatar.vertices.numpy(), atol=1e-6)
    assert [motion["name"] for motion in file.document["animations"]] == [motion.title for motion in MOTIONS]
    extras = file.document["asset"]["extras"]
    assert extras["about"] == "synthetic person" and extras["model"] == "made up"
    assert (extras["seed"], extras["psi"], extras["checkpoint"]) == (3, 0.7, "tiny.safetensors")
    assert extras["checkpoint_sha256"] == file_sha256(ckpt)


def test_one_motion_of_keyframe_files(ckpt, tmp_path):
    out = tmp_path / "person.glb"
    main(["--ckpt", str(ckpt), "--pose_path", str(KEYFRAMES / "headpose.npy"), "--n_interval", "2", "--fps", "10",
          "--texture", "webp", "--error", "2", "--out", str(out)])  # fmt: skip
    file = Gltf(out.read_bytes())
    [animation] = file.document["animations"]
    [head] = [c for c in animation["channels"] if c["target"]["node"] == file.node("head")]
    seconds = file.accessor(animation["samplers"][head["sampler"]]["input"])
    frames = interpolate(load_keyframes(KEYFRAMES / "headpose.npy", "pose"), "pose", 2)
    assert animation["name"] == "headpose" and len(seconds) == len(frames) + 1
    assert seconds[-1] == pytest.approx(len(frames) / 10)
    assert Image.open(io.BytesIO(file.view(file.document["images"][0]["bufferView"]))).format == "WEBP"


def test_no_motion(ckpt, tmp_path):
    main(["--ckpt", str(ckpt), "--exp_path", "none", "--out", str(tmp_path / "person.glb")])
    assert "animations" not in Gltf((tmp_path / "person.glb").read_bytes()).document


def test_a_vrm_file(ckpt, tmp_path, capsys):
    main(["--ckpt", str(ckpt), "--seed", "3", "--out", str(tmp_path / "person.vrm")])
    file = Gltf((tmp_path / "person.vrm").read_bytes())
    assert file.document["extensions"]["VRMC_vrm"]["meta"]["name"] == "Synthetic person 3"
    assert "motions" not in capsys.readouterr().out


BAD_INPUT = {
    "moving vrm": ("--out {dir}/person.vrm --pose_path {here}/pose.npy", "--format vrm: expected no keyframes"),
    "format": ("--format fbx", r"--format: expected glb or vrm, found 'fbx'"),
    "ply": ("--format ply", r"--format ply: a mesh of one frame is written by python -m inference\.mesh"),
    "name": ("--out {dir}/person.obj", r"--out: expected glb or vrm, found '.*person\.obj'"),
    "another name": ("--format glb --out {dir}/person.vrm", r"--out: expected a name that ends in \.glb"),
    "folder": ("--out {dir}/file/person.glb", "cannot write there: "),
    "nan": ("--pose_path {here}/nan.npy", "nan.npy: pose keyframes: expected finite numbers, found nan"),
    "lengths": ("--pose_path {here}/pose.npy --exp_path {keyframes}/expression.npz", "of different lengths"),
    "checkpoint": ("--ckpt {dir}/file", "file: "),
    "texture": ("--texture jpeg", "--texture: invalid choice: 'jpeg'"),
    "error": ("--error 0", "--error: expected a number from 0.01 to 50, found 0"),
    "page": ("page --glb {dir}/file --out {dir}/site", r"file: expected a \.glb file"),
    "page of a model": ("page --glb {here}/tiny.safetensors --out {dir}/site", r"tiny\.safetensors: expected a \.glb"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(ckpt, tmp_path, case):
    words, complaint = BAD_INPUT[case]
    (tmp_path / "file").write_text("a file")
    named = words.format(dir=tmp_path, here=ckpt.parent, keyframes=KEYFRAMES).split()
    if named[0] != "page":
        named = ["--ckpt", str(ckpt), "--out", str(tmp_path / "person.glb"), *named]
    with pytest.raises(UserError, match=complaint) as info:
        main(named)
    assert "\n" not in str(info.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_people_of_another_kind_are_refused():
    pipe = SimpleNamespace(generator=None, face_model="arkit")
    with pytest.raises(UserError, match="expected a person of layers, radiance manifolds, found one without"):
        export_avatar(pipe, AvatarPerson(None, 8), [], {})


@pytest.mark.parametrize(("value", "complaint"), [(math.nan, "finite numbers"), (0.0, "expected a layer")])
def test_people_without_layers_are_refused(ckpt, tmp_path, monkeypatch, value, complaint):
    make = PortraitPipeline.person

    def broken(self, **asked):
        person = make(self, **asked)
        person.manifolds = person.manifolds._replace(high=torch.full_like(person.manifolds.high, value))
        return person

    monkeypatch.setattr(PortraitPipeline, "person", broken)
    with pytest.raises(UserError, match=complaint):
        main(["--ckpt", str(ckpt), "--out", str(tmp_path / "person.glb")])
    assert list(tmp_path.iterdir()) == []

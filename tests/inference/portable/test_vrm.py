"""Avatars as VRM files: a humanoid in T-pose whose mesh is the avatar's once the arms hang, and expressions."""

import dataclasses

import numpy as np
import pytest
import torch

from inference.portable.avatar import POSED
from inference.portable.gltf import METRES
from inference.portable.vrm import BONES, PRESETS, to_vrm
from tests.inference.portable.gltf_reader import Gltf
from tests.inference.portable.made_up import make_avatar
from tests.networks.helpers import make_generator
from torch_utils.misc import UserError

# https://github.com/vrm-c/vrm-specification, VRMC_vrm-1.0, humanoid
REQUIRED = {
    "hips", "spine", "head", "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg", "rightFoot",
    "leftUpperArm", "leftLowerArm", "leftHand", "rightUpperArm", "rightLowerArm", "rightHand",
}  # fmt: skip
UPRIGHT = dict.fromkeys(POSED, [0.0, 0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def body():
    return make_generator().body


@pytest.fixture(scope="module")
def file(body):
    joints = body.canonical_joints(torch.zeros(1, 10))[0]
    avatar = dataclasses.replace(make_avatar(), joint_positions=joints[[9, 12, 13, 14, 15, 16, 17]])
    return Gltf(to_vrm(avatar, joints.numpy()).glb)


def vrm(file):
    return file.document["extensions"]["VRMC_vrm"]


def test_it_rests_in_smpl_s_own_t_pose(body, file):
    bones = vrm(file)["humanoid"]["humanBones"]
    assert set(bones) >= REQUIRED and "VRMC_vrm" in file.document["extensionsUsed"]
    worlds = file.worlds({})
    rest = body.to_canonical(body.rest_joints(torch.zeros(1, 10)), torch.zeros(1, 10))[0].numpy()
    for name, (joint, _) in BONES.items():
        found = worlds[bones[name]["node"]][:3, 3] - worlds[bones["hips"]["node"]][:3, 3]
        np.testing.assert_allclose(found, METRES * (rest[joint] - rest[0]), atol=1e-5, err_msg=name)


def test_with_hanging_arms_it_is_the_avatar(file):
    np.testing.assert_allclose(file.vertices(turns=UPRIGHT), METRES * make_avatar().vertices.numpy(), atol=1e-6)
    assert np.abs(file.vertices() - file.vertices(turns=UPRIGHT)).max() > 0.005  # the head is not bowed in T-pose


def test_expressions(file):
    found = vrm(file)["expressions"]
    names = file.mesh["extras"]["targetNames"]  # jawOpen, mouthSmileLeft, browInnerUp
    assert found["preset"]["aa"]["morphTargetBinds"] == [{"node": 0, "index": names.index("jawOpen"), "weight": 0.6}]
    surprised = {names[bind["index"]]: bind["weight"] for bind in found["preset"]["surprised"]["morphTargetBinds"]}
    assert surprised == {"jawOpen": 0.5, "browInnerUp": 1.0}
    assert set(found["custom"]) == set(names)
    assert "blink" not in found["preset"] and set(found["preset"]) < set(PRESETS)  # nothing here would close the eyes


def test_what_it_says_of_itself(file):
    meta = vrm(file)["meta"]
    assert {"name", "authors", "licenseUrl"} <= set(meta) and "nobody is shown" in meta["copyrightInformation"]
    assert "animations" not in file.document


def test_who_cannot_be_one(body):
    joints = body.canonical_joints(torch.zeros(1, 10))[0].numpy()
    unnamed = dataclasses.replace(make_avatar(), morph_names=("expression_00", "expression_01", "expression_02"))
    with pytest.raises(UserError, match="expected a model whose expressions are named facial actions"):
        to_vrm(unnamed, joints)
    still = dataclasses.replace(make_avatar(), joint_names=("root", *(f"joint{i}" for i in range(6))))
    with pytest.raises(UserError, match="expected a body that moves, found no joint neck"):
        to_vrm(still, joints)

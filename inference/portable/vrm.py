"""A portable avatar as a VRM 1.0 file: the glTF file with a humanoid's bones and VRM's expressions.

VRM asks for a whole humanoid that rests in T-pose. SMPL's other joints become its other bones, which move nothing; the
joints that turn rest in SMPL's own T-pose, so that sleeves, drawn with hanging arms, are drawn out until arms hang.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from inference.portable.avatar import POSED, ROOT, LayeredAvatar
from inference.portable.gltf import METRES, Avatar, Texture, make_contents
from networks.person.body_model import MEAN_POSE, euler_to_matrix
from networks.person.expressions import columns_of
from networks.person.open_body.actions import ACTIONS
from torch_utils.misc import UserError

# VRM's bones: SMPL's joint, and the bone above; parents first.
BONES: dict[str, tuple[int, str | None]] = {
    "hips": (0, None), "spine": (3, "hips"), "chest": (6, "spine"), "upperChest": (9, "chest"),
    "leftUpperLeg": (1, "hips"), "leftLowerLeg": (4, "leftUpperLeg"), "leftFoot": (7, "leftLowerLeg"),
    "rightUpperLeg": (2, "hips"), "rightLowerLeg": (5, "rightUpperLeg"), "rightFoot": (8, "rightLowerLeg"),
    "neck": (12, "upperChest"), "head": (15, "neck"),
    "leftShoulder": (13, "upperChest"), "leftUpperArm": (16, "leftShoulder"), "leftLowerArm": (18, "leftUpperArm"),
    "leftHand": (20, "leftLowerArm"), "rightShoulder": (14, "upperChest"), "rightUpperArm": (17, "rightShoulder"),
    "rightLowerArm": (19, "rightUpperArm"), "rightHand": (21, "rightLowerArm"),
}  # fmt: skip
# Those that are joints of the avatar.
OWN = {
    "upperChest": ROOT, "neck": "neck", "head": "head", "leftShoulder": "left_collar", "rightShoulder": "right_collar",
    "leftUpperArm": "left_shoulder", "rightUpperArm": "right_shoulder",
}  # fmt: skip
# VRM's preset expressions by facial actions (networks/person/expressions.py).
PRESETS: dict[str, Mapping[str, float]] = {
    "happy": {"mouthSmile": 0.9, "cheekSquint": 0.5},
    "angry": {"browDown": 1.0, "noseSneer": 0.6, "mouthPress": 0.6},
    "sad": {"mouthFrown": 0.8, "browInnerUp": 0.9},
    "relaxed": {"mouthSmile": 0.4, "eyeSquint": 0.3},
    "surprised": {"jawOpen": 0.5, "browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 0.8},
    "aa": {"jawOpen": 0.6},
    "ih": {"jawOpen": 0.2, "mouthStretch": 0.4},
    "ou": {"mouthPucker": 0.8, "jawOpen": 0.1},
    "ee": {"mouthStretch": 0.7, "mouthLowerDown": 0.3, "jawOpen": 0.1},
    "oh": {"mouthFunnel": 0.7, "jawOpen": 0.4},
    "blink": {"eyeBlink": 1.0},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "lookUp": {"eyeLookUp": 1.0},
    "lookDown": {"eyeLookDown": 1.0},
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
}
_EYES_TURN = {"inputMaxValue": 30.0, "outputScale": 1.0}  # degrees at which a look expression is at its full
_WAYS = ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")


def to_vrm(avatar: LayeredAvatar, joints: np.ndarray, *, image_size: int = 256, texture: Texture = "png") -> Avatar:
    """An avatar as a VRM file, without motions.

    Args:
        avatar: who.
        joints: SMPL's [24, 3] of the person in the avatar's rest pose, canonical units.
        image_size: as for :func:`inference.portable.gltf.to_glb`.
        texture: as there.

    Raises:
        UserError: the avatar has not the joints of a body, or no expression has a facial action's name.
    """
    missing = [name for name in OWN.values() if name not in avatar.joint_names]
    if missing:
        raise UserError(f"--format vrm: expected a body that moves, found no joint {missing[0]}")
    # Programs that play VRM know of no correctives.
    alone = dataclasses.replace(avatar, correctives=avatar.correctives[:0], correction=avatar.correction[:0])
    contents = make_contents(alone, (), image_size, texture)
    if not set(contents.targets) & set(ACTIONS):
        raise UserError("--format vrm: expected a model whose expressions are named facial actions, found one without")
    bones = _add_bones(contents.document, avatar, METRES * joints)
    contents.document["extensionsUsed"].append("VRMC_vrm")
    contents.document["extensions"] = {
        "VRMC_vrm": {
            "specVersion": "1.0",
            "meta": _meta(avatar),
            "humanoid": {"humanBones": {name: {"node": node} for name, node in bones.items()}},
            "expressions": _expressions(contents.targets),
            "lookAt": {
                "type": "expression", "offsetFromHeadBone": [0.0, 0.06, 0.0],
                **{f"rangeMap{way}": _EYES_TURN for way in _WAYS},
            },
        }
    }  # fmt: skip
    return contents.pack(avatar)


def _meta(avatar: LayeredAvatar) -> dict[str, Any]:
    """Names alone: what others may do with it is for its maker to say, and VRM's defaults allow least."""
    name = f"Synthetic person {avatar.metadata.get('seed', '')}".strip()
    return {
        "name": name,
        "authors": ["a model (AniPortraitGAN, open)"],
        "licenseUrl": "https://vrm.dev/licenses/1.0/",
        "copyrightInformation": "A synthetic person: nobody is shown.",
    }


def _add_bones(document: dict[str, Any], avatar: LayeredAvatar, places: np.ndarray) -> dict[str, int]:
    """Makes a humanoid of the joints' nodes, places [24, 3] in metres; returns the node of every bone."""
    nodes = document["nodes"]
    bones = {bone: 1 + avatar.joint_names.index(joint) for bone, joint in OWN.items()}
    for node in bones.values():
        nodes[node].pop("children", None)
    for bone, (joint, parent) in BONES.items():
        if bone not in bones:
            bones[bone] = len(nodes)
            nodes.append({"name": bone})
        above = np.zeros(3) if parent is None else places[BONES[parent][0]]
        nodes[bones[bone]]["translation"] = (places[joint] - above).tolist()
        if parent is not None:
            nodes[bones[parent]].setdefault("children", []).append(bones[bone])
    for name, turn in zip(POSED, euler_to_matrix(torch.tensor(MEAN_POSE, dtype=torch.float64)), strict=True):
        back = Rotation.from_matrix(turn.T.numpy())  # to T-pose
        nodes[1 + avatar.joint_names.index(name)]["rotation"] = back.as_quat().tolist()
    scene = document["scenes"][document["scene"]]
    scene["nodes"] = [bones["hips"] if node == bones["upperChest"] else node for node in scene["nodes"]]
    document["skins"][0]["skeleton"] = bones["hips"]
    return bones


def _expressions(targets: list[str]) -> dict[str, Any]:
    """VRM's presets, and each action by its own name, as trackers of faces drive them; looks override no blink."""

    def binds(amounts: Mapping[str, float]) -> list[dict[str, Any]]:
        found = {ACTIONS[column]: amount for name, amount in amounts.items() for column in columns_of(name)}
        named = [(targets.index(name), amount) for name, amount in found.items() if name in targets]
        return [{"node": 0, "index": index, "weight": amount} for index, amount in named]

    preset = {name: {"morphTargetBinds": binds(amounts)} for name, amounts in PRESETS.items() if binds(amounts)}
    custom = {name: {"morphTargetBinds": binds({name: 1.0})} for name in targets if name in ACTIONS}
    return {"preset": preset, "custom": custom}

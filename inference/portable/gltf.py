"""A portable avatar as a glTF 2.0 file: one mesh of one primitive, a skin, blendshapes, motions, a camera.

Triangles lie far to near in the index buffer and blend in that order, which glTF does not promise and every engine
that draws a primitive by one call keeps (docs/portable.md). Lengths are metres; y is up and the face looks along +z, as
glTF wants it. Joints rest without rotation, so that a joint's pose is the node's rotation.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import roma
import torch
from PIL import Image

from inference.portable.avatar import POSED, LayeredAvatar
from inference.portable.binary import INDICES, VERTICES, Binary, smallest_type, to_container
from inference.portable.clips import Clip
from networks.cameras import FACE_RADIUS, FRONTAL, PORTRAIT_CAMERA, SMPL_SCALE, camera_frame

Texture = Literal["png", "webp"]
TEXTURES = get_args(Texture)
METRES = SMPL_SCALE * FACE_RADIUS  # a canonical unit
# Of a vertex, in metres. A blendshape that moves none by the first, a twentieth of a pixel of the portrait camera at
# 256^2, is left out; of the others, vertices that move by less than a share of the most and less than half a pixel of
# 384^2: D^e moves all of a person by a little.
LEAST_MOVE, LEAST_SHARE, UNSEEN = 1e-4, 0.4, 7e-4
SYNTHETIC = "synthetic person"
# IPTC's word for a picture that a model made, as labels of synthetic media name it.
DIGITAL_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CAMERA_NODE = "portrait_camera"
CORRECTIVE = "corrective_"  # blendshapes of this name follow from the others
_CLAMP, _LINEAR = 33071, 9729
_WEBP = {"quality": 95, "method": 4, "exact": True}  # exact: colours beside the opaque are blended, too


class Avatar(NamedTuple):
    """A file, and what is in it."""

    glb: bytes
    targets: list[str]  # blendshapes
    still: list[str]  # those that move nothing, left out
    size: str  # layers, vertices and triangles, in words


class Contents(NamedTuple):
    """What a file is made of."""

    document: dict[str, Any]  # glTF, but for its buffer
    binary: Binary
    targets: list[str]  # blendshapes

    def pack(self, avatar: LayeredAvatar) -> Avatar:
        """The file of ``avatar``."""
        document = {**self.document, "accessors": self.binary.accessors, "bufferViews": self.binary.views}
        document["buffers"] = [{"byteLength": len(self.binary.data)}]
        still = [name for name in avatar.morph_names if name not in self.targets]
        parts = {"layers": len(avatar.layers) - 1, "vertices": len(avatar.vertices), "triangles": len(avatar.triangles)}
        size = ", ".join(f"{count:,} {what}" for what, count in parts.items())
        return Avatar(to_container(document, self.binary.data), self.targets, still, size)


def to_glb(
    avatar: LayeredAvatar, clips: Sequence[Clip] = (), *, image_size: int = 256, texture: Texture = "png"
) -> Avatar:
    """An avatar as a GLB file.

    Args:
        avatar: who.
        clips: motions that it can play, by different names.
        image_size: pixels a side of the person's pictures: the camera frames its picture as they are framed.
        texture: what the atlas is stored as. WebP loses a little, and is asked of the loader (EXT_texture_webp).
    """
    return make_contents(avatar, clips, image_size, texture).pack(avatar)


def make_contents(avatar: LayeredAvatar, clips: Sequence[Clip], image_size: int, texture: Texture) -> Contents:
    """See :func:`to_glb`. Node 0 is the mesh's, then come the joints' in the avatar's order, then the camera's."""
    moves = METRES * torch.cat([avatar.morphs, avatar.correctives]).numpy()  # [T + K, V, 3]
    lengths = np.linalg.norm(moves, axis=-1)  # [T + K, V]
    most = lengths.max(1, initial=0, keepdims=True)
    moved = lengths > (LEAST_SHARE * most).clip(LEAST_MOVE, UNSEEN)
    kept = np.flatnonzero(moved.any(1))
    count = len(avatar.morph_names)
    named = (*avatar.morph_names, *(f"{CORRECTIVE}{i}" for i in range(len(avatar.correctives))))
    names = [named[i] for i in kept]
    binary = Binary()
    targets = [{"POSITION": binary.sparse(moves[i], np.flatnonzero(moved[i]))} for i in kept]
    primitive = _primitive(avatar, binary)
    mesh: dict[str, Any] = {"name": "person", "primitives": [primitive]}
    if targets:
        primitive["targets"] = targets
        extras: dict[str, Any] = {"targetNames": names}
        if kept[-1] >= count:
            extras["correctives"] = _correction(avatar, kept[kept >= count] - count)
        mesh |= {"weights": [0.0] * len(names), "extras": extras}
    document: dict[str, Any] = {
        "asset": _asset(avatar), "scene": 0, **_nodes(avatar, binary), "meshes": [mesh], "cameras": [_lens(image_size)],
        **_material(avatar.atlas.numpy(), binary, texture),
    }  # fmt: skip
    animations = [_animation(clip, avatar, kept, binary) for clip in clips]
    if any(animations):
        document["animations"] = [animation for animation in animations if animation]
    return Contents(document, binary, [name for name in names if not name.startswith(CORRECTIVE)])


def _correction(avatar: LayeredAvatar, kept: np.ndarray) -> dict[str, Any]:
    """How much of each corrective: quadratic forms in 1 and the amounts of ``of``, cut to -1..1."""
    forms = avatar.correction[kept].double().numpy()
    return {"of": list(avatar.morph_names), "forms": [np.round(form, 4).tolist() for form in forms]}


def _asset(avatar: LayeredAvatar) -> dict[str, Any]:
    extras = {"about": SYNTHETIC, "digitalSourceType": DIGITAL_SOURCE, **avatar.metadata}
    copyright = "A synthetic person: nobody is shown. Label what you publish as synthetic."
    return {"version": "2.0", "generator": "AniPortraitGAN, open", "copyright": copyright, "extras": extras}


def _primitive(avatar: LayeredAvatar, binary: Binary) -> dict[str, Any]:
    weights, joints = _influences(avatar)
    attributes = {
        "POSITION": binary.accessor(METRES * avatar.vertices.numpy(), VERTICES, bounds=True),
        "TEXCOORD_0": binary.accessor(avatar.uv.numpy(), VERTICES),
        "JOINTS_0": binary.accessor(joints, VERTICES),
        "WEIGHTS_0": binary.accessor(weights, VERTICES),
    }
    corners = smallest_type(avatar.triangles.numpy().reshape(-1), len(avatar.vertices))
    return {"attributes": attributes, "indices": binary.accessor(corners, INDICES), "material": 0}


def _influences(avatar: LayeredAvatar) -> tuple[np.ndarray, np.ndarray]:
    """Weights [V, 4] that sum to 1 as glTF counts, the largest first, and their joints, 0 where nothing weighs."""
    weights = avatar.weights.double().numpy()
    order = np.argsort(-weights, 1, kind="stable")
    weights = np.take_along_axis(weights, order, 1)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    joints = np.take_along_axis(avatar.joints.numpy(), order, 1)
    return weights, np.where(weights > 0, joints, 0).astype(np.uint8)


def _nodes(avatar: LayeredAvatar, binary: Binary) -> dict[str, Any]:
    """The mesh's node, the joints', the camera's; the skin that ties mesh and joints; the scene of all."""
    places = METRES * avatar.joint_positions.double().numpy()  # [J, 3]
    nodes: list[dict[str, Any]] = [{"name": "person", "mesh": 0, "skin": 0}]
    for name, parent, place in zip(avatar.joint_names, avatar.joint_parents, places, strict=True):
        offset = place - places[parent] if parent >= 0 else place
        nodes.append({"name": name, "translation": offset.tolist()})
    for child, parent in enumerate(avatar.joint_parents):
        if parent >= 0:
            nodes[1 + parent].setdefault("children", []).append(1 + child)
    roots = [1 + joint for joint, parent in enumerate(avatar.joint_parents) if parent < 0]
    translation, rotation = camera_poses(np.full((1, 2), FRONTAL))
    orbit = (METRES * np.array(PORTRAIT_CAMERA.offset)).tolist()  # what it looks at
    camera = {
        "name": CAMERA_NODE, "camera": 0, "translation": translation[0].tolist(), "rotation": rotation[0].tolist(),
        "extras": {"target": orbit},
    }  # fmt: skip
    nodes.append(camera)
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(places), 1, 1))
    inverse[:, 3, :3] = -places  # column by column
    skin = {"name": "body", "joints": list(range(1, 1 + len(places))), "inverseBindMatrices": binary.accessor(inverse)}
    if len(roots) == 1:
        skin["skeleton"] = roots[0]
    scene = {"name": SYNTHETIC, "nodes": [0, *roots, len(nodes) - 1], "extras": {"about": SYNTHETIC}}
    return {"scenes": [scene], "nodes": nodes, "skins": [skin]}


def _lens(image_size: int) -> dict[str, Any]:
    """The portrait camera. Its angle lies between the centres of the outer pixels, glTF's between their edges."""
    half = math.tan(math.radians(PORTRAIT_CAMERA.fov_degrees) / 2) * image_size / (image_size - 1)
    near, far = METRES * PORTRAIT_CAMERA.near, METRES * PORTRAIT_CAMERA.far
    perspective = {"aspectRatio": 1.0, "yfov": 2 * math.atan(half), "znear": near / 2, "zfar": 2 * far}
    return {"name": "portrait", "type": "perspective", "perspective": perspective}


def camera_poses(camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [F, 3] in metres and rotations [F, 4] (xyzw) of the portrait camera at ``camera`` [F, 2] (pitch, yaw)."""
    rotation, origin = camera_frame(torch.from_numpy(camera).double(), PORTRAIT_CAMERA.radius)
    place = METRES * (origin + torch.tensor(PORTRAIT_CAMERA.offset, dtype=torch.float64))
    return place.float().numpy(), roma.rotmat_to_unitquat(rotation).float().numpy()


def _material(atlas: np.ndarray, binary: Binary, texture: Texture) -> dict[str, Any]:
    """An unlit material of the atlas. Texels are not blurred into smaller pictures, where layers would run together."""
    file = io.BytesIO()
    Image.fromarray(atlas).save(file, texture, **(_WEBP if texture == "webp" else {"compress_level": 6}))
    image = {"name": "atlas", "mimeType": f"image/{texture}", "bufferView": binary.view(file.getvalue())}
    source: dict[str, Any] = {"source": 0}
    extensions, required = ["KHR_materials_unlit"], []
    if texture == "webp":
        source = {"extensions": {"EXT_texture_webp": source}}
        required.append("EXT_texture_webp")
    material = {
        "name": "layers", "alphaMode": "BLEND", "extensions": {"KHR_materials_unlit": {}},
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0},
    }  # fmt: skip
    found: dict[str, Any] = {
        "materials": [material], "textures": [{"sampler": 0, **source}], "images": [image],
        "samplers": [{"magFilter": _LINEAR, "minFilter": _LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}],
        "extensionsUsed": extensions + required,
    }  # fmt: skip
    return found | ({"extensionsRequired": required} if required else {})


def _animation(clip: Clip, avatar: LayeredAvatar, kept: np.ndarray, binary: Binary) -> dict[str, Any] | None:
    """A clip, without what rests in it; None where all does."""
    tracks: list[tuple[int, str, np.ndarray, np.ndarray]] = []  # node, what of it, values [F + 1, ...], those at rest
    if clip.expression is not None and len(kept):
        named = avatar.morph_amounts(torch.from_numpy(clip.expression).float())
        amounts = torch.cat([named, avatar.corrective_amounts(named)], -1).numpy()[:, kept]
        tracks.append((0, "weights", amounts, np.zeros(len(kept))))
    if clip.joint_eulers is not None:
        turns = roma.euler_to_unitquat("ZYX", torch.from_numpy(clip.joint_eulers).reshape(-1, 3))
        for name, turn in zip(POSED, turns.view(-1, len(POSED), 4).unbind(1), strict=True):
            if name not in avatar.joint_names:
                continue  # a person whose body does not move
            tracks.append((1 + avatar.joint_names.index(name), "rotation", turn.numpy(), np.array([0, 0, 0, 1.0])))
    if clip.camera is not None:
        rest = camera_poses(np.full((1, 2), FRONTAL))
        for path, values, still in zip(("translation", "rotation"), camera_poses(clip.camera), rest, strict=True):
            tracks.append((1 + len(avatar.joint_names), path, values, still[0]))
    tracks = [track for track in tracks if not np.allclose(track[2], track[3], rtol=0, atol=1e-6)]
    if not tracks:
        return None
    times = binary.accessor(clip.seconds, bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    for node, path, values, _ in tracks:
        values = values.astype(np.float32)
        output = binary.accessor(values.reshape(-1) if path == "weights" else values)
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})
    return {"name": clip.name, "channels": channels, "samplers": samplers}

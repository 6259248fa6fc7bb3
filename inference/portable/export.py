"""From a person of a pipeline to a file that leaves the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from inference.person import Person
from inference.pipeline import PortraitPipeline
from inference.portable.build import AvatarOptions
from inference.portable.clips import Clip
from inference.portable.gltf import Avatar, Texture, to_glb
from inference.portable.vrm import to_vrm
from networks.person.expressions import ARKIT, coefficient_names
from networks.person.open_body.actions import ACTIONS
from torch_utils.misc import UserError

Format = Literal["glb", "vrm"]
FORMATS = get_args(Format)


def export_avatar(
    pipe: PortraitPipeline,
    person: Person,
    clips: Sequence[Clip],
    source: Mapping[str, Any],
    *,
    options: AvatarOptions | None = None,
    texture: Texture = "png",
    form: Format = "glb",
) -> Avatar:
    """A person as a GLB or VRM file; takes seconds.

    Args:
        pipe: that made the person.
        clips: motions to go along.
        source: where the person comes from, plain data.
        options: how closely the meshes follow the person.
        texture: what the atlas is stored as.
        form: ``vrm`` carries no motions.

    Raises:
        UserError: the person has no layers to speak of, or maps that are not finite; see also ``to_vrm``.
    """
    if not isinstance(person, Person):
        raise UserError("portable avatar: expected a person of layers, radiance manifolds, found one without")
    avatar, size = person.avatar(options, source), pipe.generator.config.image_size
    if form == "vrm":
        joints = pipe.generator.body.canonical_joints(person.latents.betas)[0].cpu().numpy()
        found = to_vrm(avatar, joints, image_size=size, texture=texture)
    else:
        found = to_glb(avatar, clips, image_size=size, texture=texture)
    names = ACTIONS if pipe.face_model == ARKIT else coefficient_names(pipe.face_model)
    return found._replace(still=[name for name in names if name not in found.targets])

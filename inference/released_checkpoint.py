"""The released checkpoint: its names, its buffers and its oddities. Nothing else in the project knows of them.

What differs from a model trained here (the released code's behaviour, which its weights depend on):

1. M is fed coordinates that were warped twice: folded into M's first layer on loading.
2. D^e's displacement is added to warped coordinates for M but to unwarped ones for the radiance lookup.
3. Crossings are sorted by the distance of the *canonical* crossing from the camera origin without its offset.
4. SMPL's buffers are inside; the head-and-shoulder vertices and the label arrays are separate files.
5. D^p's filters appear twice.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from networks.cameras import CameraModel, camera_frame
from networks.layers import WARP_SCALE
from networks.manifold.generator import Generator, GeneratorConfig
from networks.person.body_assets import BodyArrays, body_from_dict, check_index, head_shoulder_vertices
from networks.person.expressions import BASEL
from networks.person.priors import LABEL_FILES, LabelPriors
from networks.saved_model import SavedModel
from torch_utils.checkpoint import load_weights
from torch_utils.config import config_from_dict, find_config, load_yaml
from torch_utils.misc import UserError

CONFIG_FOLDER = Path(__file__).resolve().parent.parent / "configs"
# One of the released names, as an example in messages.
_SIGNATURE = "radiance_net.network.0.layer.weight"
_RENAMES = (
    (r"radiance_net\.network\.(\d+)\.layer\.", r"radiance.layers.\1."),
    (r"radiance_net\.color_layer_sine\.0\.layer\.", r"radiance.colour_layer."),
    (r"radiance_net\.output_sigma\.", r"radiance.to_sigma."),
    (r"radiance_net\.output_color\.", r"radiance.to_rgb."),
    (r"radiance_net\.output_feature\.", r"radiance.to_feature."),
    (r"radiance_net\.mapping_network\.network\.", r"radiance.mapping."),
    (r"sample_net\.network\.(\d+)\.", lambda m: f"manifolds.hidden.{int(m[1]) // 2}."),
    (r"sample_net\.output_layer\.", r"manifolds.output."),
    (r"deform_net\.network\.(\d+)\.layer\.", r"expression_deformation.layers.\1."),
    (r"deform_net\.final_layer\.", r"expression_deformation.output."),
    (r"deform_net\.mapping_network\.network\.", r"expression_deformation.mapping."),
    (
        r"sr_net\.RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\.",
        lambda m: f"superresolution.trunk.{m[1]}.{int(m[2]) - 1}.convs.{int(m[3]) - 1}.",
    ),
    (r"sr_net\.(conv_first|trunk_conv)\.", r"superresolution.\1."),
    (r"sr_net\.upconvs\.", r"superresolution.up_convs."),
    (r"sr_net\.HRconv\.", r"superresolution.hr_conv."),
    (r"sr_net\.conv_last\.", r"superresolution.output."),
    (r"sr_net\.mapping_network\.network\.", r"superresolution.mapping."),
    (r"smoother\.conv_block(\d)\.weight$", r"pose_deformation.weight\1"),
)
_BODY_NAMES = {
    "v_template": "v_template", "shapedirs": "shapedirs", "posedirs": "posedirs", "J_regressor": "J_regressor",
    "lbs_weights": "lbs_weights", "weights": "lbs_weights", "faces": "faces", "faces_tensor": "faces", "f": "faces",
    "parents": "parents", "kintree_table": "kintree_table",
}  # fmt: skip
# Where names that end like SMPL's would be weights.
_NETWORKS = ("radiance_net", "sr_net", "deform_net", "sample_net")
# SMPL's kinematic tree, for files that leave it out.
_SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
_FACE_LABEL_FILES = {"face_id": "id_face_sampler.npy", "face_expression": "expression_face.npy"}
_MEAN_SAMPLES = 10_000


class ReleasedGenerator(Generator):
    """The generator with oddities 2 and 3, for released weights."""

    convention: ClassVar[str] = "released"

    def canonical_points(self, neutral: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """Oddity 2: s at warp(x) + d, radiance at x + d."""
        return neutral + displacement / WARP_SCALE, neutral + displacement

    def sort_distances(self, canonical: Tensor, depth: Tensor, camera: Tensor, model: CameraModel) -> Tensor:
        """Oddity 3."""
        _, origin = camera_frame(camera, model.radius)
        return (canonical - origin[:, None, None]).norm(dim=-1)


# The classes that weights in our own format may be for: a file names one by its convention.
GENERATORS = (Generator, ReleasedGenerator)


def released_state(data: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The state dict in the released layout within ``data`` (itself or one level down); None if there is none."""
    for candidate in (data, *data.values()):
        if isinstance(candidate, Mapping):
            state = {str(name).removeprefix("module."): value for name, value in candidate.items()}
            if any(name.startswith(("radiance_net.", "sample_net.")) for name in state):
                return state
    return None


def rename_weights(state: Mapping[str, Tensor], manifold_centre: Sequence[float]) -> dict[str, Tensor]:
    """Released names -> ours, with oddity 1 folded; buffers of the renderer (oddities 4, 5) are left out.

    Args:
        state: in the released layout.
        manifold_centre: c of the config, [3], which M subtracts from warped coordinates.
    """
    weights = {}
    for name, value in state.items():
        if name.startswith("renderer."):
            continue
        for pattern, replacement in _RENAMES:
            renamed, count = re.subn("^" + pattern, replacement, name)
            if count:
                weights[renamed] = value.detach().float() if torch.is_tensor(value) else value
                break
    weight, bias = weights.get("manifolds.hidden.0.weight"), weights.get("manifolds.hidden.0.bias")
    if torch.is_tensor(weight) and torch.is_tensor(bias) and weight.shape == (bias.numel(), 3):
        # W (warp(warp(x)) - c) + b = k W (warp(x) - c) + b + (k - 1) W c, with k = WARP_SCALE.
        centre = weight.new_tensor(manifold_centre)
        weights["manifolds.hidden.0.weight"] = WARP_SCALE * weight
        weights["manifolds.hidden.0.bias"] = bias + (WARP_SCALE - 1) * weight @ centre
    return weights


def released_body(state: Mapping[str, Tensor], where: str) -> BodyArrays:
    """SMPL's arrays among the renderer's buffers (oddity 4), whatever module holds them."""
    arrays: dict[str, Any] = {}
    for name, value in state.items():
        ours = _BODY_NAMES.get(name.rsplit(".", 1)[-1])
        if ours and torch.is_tensor(value) and not name.startswith(_NETWORKS):
            arrays.setdefault(ours, value)
    if "kintree_table" not in arrays:
        arrays.setdefault("parents", np.array(_SMPL_PARENTS))
    return body_from_dict(arrays, where)


def load_released(
    data: Mapping[str, Any],
    config: GeneratorConfig,
    where: str,
    *,
    body: BodyArrays | None = None,
    head_shoulder_index: Tensor | Sequence[int] | str | Path | None = None,
    priors: LabelPriors | None = None,
) -> SavedModel:
    """A generator from a file in the released layout.

    Args:
        data: the loaded file.
        config: sizes, which the file does not carry.
        where: the file's name, for messages.
        body: SMPL's arrays; the file's own by default.
        head_shoulder_index: [V'] vertex indices or a .npy of them; chosen by rule by default.
        priors: to draw identities from; the means for truncation are taken over them, or over N(0, 1).

    Raises:
        UserError: missing or misshapen weights or arrays, by name.
    """
    state = released_state(data)
    if state is None:
        raise UserError(f"{where}: expected weights in the released layout (such as {_SIGNATURE}), found none")
    if body is None:
        body = released_body(state, where)
    if head_shoulder_index is None:
        index = head_shoulder_vertices(body)
    elif isinstance(head_shoulder_index, str | Path):
        source = str(head_shoulder_index)
        index = check_index(load_array(source), len(body.v_template), source)
    else:
        index = check_index(head_shoulder_index, len(body.v_template), "head_shoulder_index")
    generator = ReleasedGenerator(config, body, torch.from_numpy(index))
    kept = {n: v for n, v in generator.state_dict().items() if n.startswith(("body.", "mean_"))}
    load_weights(generator, {**rename_weights(state, config.manifold_centre), **kept}, where)
    random = torch.Generator().manual_seed(0)
    if priors is None:
        z_id, z_noise = torch.randn(2, _MEAN_SAMPLES, 80, generator=random)
    else:
        z_id, z_noise, _ = priors.sample_latents(_MEAN_SAMPLES, random)
    generator.set_mean_styles(z_id, z_noise)
    return SavedModel(generator.eval(), priors, {"source": "released checkpoint", "face_model": BASEL})


def load_config(name: str) -> GeneratorConfig:
    """A generator's config by name (``SSHQ512_inf``: configs/SSHQ512_inf.yaml) or by path."""
    path = find_config(name, CONFIG_FOLDER, "--config")
    return config_from_dict(GeneratorConfig, load_yaml(path), str(path))


def load_labels(folder: str | Path) -> LabelPriors:
    """The released label arrays (oddity 4) in ``folder``, those of faces alone where they are there.

    Raises:
        UserError: names a missing or odd file.
    """
    faces = {name: file for name, file in _FACE_LABEL_FILES.items() if (Path(folder) / file).exists()}
    arrays = {name: load_array(Path(folder) / file) for name, file in {**LABEL_FILES, **faces}.items()}
    return LabelPriors.from_dict(arrays, str(folder))


def load_array(path: str | Path) -> Tensor:
    """A .npy file of numbers of any width and byte order -> float32 or int64; raises UserError."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # a damaged header may raise anything
        raise UserError(f"{path}: expected a .npy array of numbers, found something else ({error})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: expected a .npy array of numbers, found {getattr(array, 'dtype', type(array).__name__)}"
        )
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))

"""Files in the released layout, made from an explicit table of its names."""

from pathlib import Path

import torch
import yaml
from torch import Tensor

from networks.manifold.generator import GeneratorConfig
from tests.networks.helpers import TINY_CONFIG, make_body_dict, make_generator
from torch_utils.config import config_to_dict

WARP = 2 / 0.24


def released_names(config: GeneratorConfig = TINY_CONFIG) -> dict[str, str]:
    """Released name -> ours, for every weight of the networks."""
    layers = {}
    for i in range(8):
        layers[f"radiance_net.network.{i}.layer"] = f"radiance.layers.{i}"
    for i in range(7):
        layers[f"radiance_net.output_sigma.{i}"] = f"radiance.to_sigma.{i}"
        layers[f"radiance_net.output_color.{i}"] = f"radiance.to_rgb.{i}"
        layers[f"radiance_net.output_feature.{i}"] = f"radiance.to_feature.{i}"
    layers["radiance_net.color_layer_sine.0.layer"] = "radiance.colour_layer"
    for released, ours in (
        ("radiance_net", "radiance"), ("deform_net", "expression_deformation"), ("sr_net", "superresolution"),
    ):  # fmt: skip
        for i in (0, 2, 4, 6):
            layers[f"{released}.mapping_network.network.{i}"] = f"{ours}.mapping.{i}"
    for released, ours in ((0, 0), (2, 1), (4, 2)):
        layers[f"sample_net.network.{released}"] = f"manifolds.hidden.{ours}"
    layers["sample_net.output_layer"] = "manifolds.output"
    for i in range(3):
        layers[f"deform_net.network.{i}.layer"] = f"expression_deformation.layers.{i}"
    layers["deform_net.final_layer"] = "expression_deformation.output"
    for block in range(config.sr_blocks):
        for dense in (1, 2, 3):
            for conv in (1, 2, 3, 4, 5):
                ours = f"superresolution.trunk.{block}.{dense - 1}.convs.{conv - 1}"
                layers[f"sr_net.RRDB_trunk.{block}.RDB{dense}.conv{conv}"] = ours
    layers |= {
        "sr_net.conv_first": "superresolution.conv_first", "sr_net.trunk_conv": "superresolution.trunk_conv",
        "sr_net.upconvs.0": "superresolution.up_convs.0", "sr_net.upconvs.1": "superresolution.up_convs.1",
        "sr_net.HRconv": "superresolution.hr_conv", "sr_net.conv_last": "superresolution.output",
    }  # fmt: skip
    names = {f"{a}.{part}": f"{b}.{part}" for a, b in layers.items() for part in ("weight", "bias")}
    names["smoother.conv_block1.weight"] = "pose_deformation.weight1"
    names["smoother.conv_block2.weight"] = "pose_deformation.weight2"
    return names


def make_released_state(seed: int = 0) -> dict[str, Tensor]:
    """Random weights, SMPL's buffers as smplx registers them, and D^p's filters a second time."""
    ours = make_generator(seed=seed).state_dict()
    state = {released: ours[name].clone() for released, name in released_names().items()}
    state["sample_net.network.0.weight"] /= WARP  # so that coordinates warped twice meet the levels
    torch.nn.init.normal_(state["sample_net.network.0.bias"], 0, 0.1)
    body = {name: torch.from_numpy(value) for name, value in make_body_dict().items()}
    buffers = {
        "v_template": body["v_template"], "shapedirs": body["shapedirs"],
        "posedirs": body["posedirs"].reshape(-1, 207).T.contiguous(), "J_regressor": body["J_regressor"],
        "lbs_weights": body["weights"], "parents": body["kintree_table"][0], "faces_tensor": body["f"],
    }  # fmt: skip
    state |= {f"renderer.smpl_model.{name}": value for name, value in buffers.items()}
    for i in (1, 2):
        state[f"renderer.smooth_layer.conv_block{i}.weight"] = state[f"smoother.conv_block{i}.weight"]
    return state


def write_released_file(folder: Path) -> dict[str, str]:
    """released.pt and its configuration in ``folder`` -> the first arguments of ``from_checkpoint``."""
    torch.save(make_released_state(), folder / "released.pt")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config_to_dict(TINY_CONFIG)))
    return {"path": str(folder / "released.pt"), "config": str(folder / "tiny.yaml")}

"""Snapshots as 3DPortraitGAN's training writes them: pickles of whole modules, with source code inside."""

import collections
import pickle
import sys
import types
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from networks.trigrid.discriminator import PoseAwareDiscriminator
from networks.trigrid.portrait import TriGridPortrait
from tests.networks.helpers import make_body
from tests.networks.trigrid.test_portrait import make_portrait

SOURCE = "raise SystemExit('code from the file ran')"
PLAIN = {"ImportanceRenderer", "AlignedSMPL", "SMPL", "OSGDecoder", "GPoseBranch", "DPoseBranch"}


class _Persistent:
    """Pickled as StyleGAN's persistence pickles: a call of its own with source and state."""

    def __init__(self, class_name: str, state: dict[str, Any]):
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        function = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name, "state": self.state}
        return function, (meta,)


@contextmanager
def theirs():
    """Their modules, as far as pickles name them."""
    persistence, util, renderer = (types.ModuleType(name) for name in (
        "torch_utils.persistence", "dnnlib.util", "training.volumetric_rendering.renderer"))  # fmt: skip

    def _reconstruct_persistent_obj(meta):
        exec(meta["module_src"])

    class EasyDict(dict):
        pass

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    EasyDict.__module__, EasyDict.__qualname__, util.EasyDict = util.__name__, "EasyDict", EasyDict
    for name in PLAIN:
        kind = type(name, (), {"__module__": renderer.__name__, "__qualname__": name})
        setattr(renderer, name, kind)
    parents = (types.ModuleType("dnnlib"), types.ModuleType("training.volumetric_rendering"))
    modules = {module.__name__: module for module in (*parents, persistence, util, renderer)}
    sys.modules.update(modules)
    try:
        yield util.EasyDict, renderer
    finally:
        for name in modules:
            del sys.modules[name]


def module_of(state: dict[str, Tensor], names: dict[str, str], renderer, where: str = "", **attributes: Any) -> Any:
    """A pickled module from a flat state; ``names``: classes of the modules at some places."""
    here: dict[str, Tensor] = {name: value for name, value in state.items() if "." not in name}
    below: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if "." in name:
            first, rest = name.split(".", 1)
            below.setdefault(first, {})[rest] = value
    buffers = ("w_avg", "noise_const", "resample_filter", "v_template", "dataset_label_std", "parents", "faces_tensor")
    tables = {"training": False, "_parameters": collections.OrderedDict(), "_buffers": collections.OrderedDict()}
    for name, value in here.items():
        kept = name in buffers or not value.is_floating_point()
        tables["_buffers" if kept else "_parameters"][name] = value if kept else nn.Parameter(value)
    tables["_parameters"]["bias_of_nothing"] = None
    tables["_modules"] = collections.OrderedDict(
        (name, module_of(part, names, renderer, f"{where}{name}.")) for name, part in below.items()
    )
    tables |= attributes
    kind = names.get(where.rstrip("."), "Module")
    if kind not in PLAIN:
        return _Persistent(kind, tables)
    plain = getattr(renderer, kind)()
    plain.__dict__.update(tables)
    return plain


def released_state(portrait: TriGridPortrait) -> dict[str, Tensor]:
    """A generator's state under their names, body and leftovers included."""
    state = dict(portrait.trigrid.state_dict())
    for name in list(state):
        if name.endswith("conv1.weight"):
            state[name.replace("weight", "resample_filter")] = torch.ones(4, 4) / 16
    smpl, body = "renderer.aligned_SMPL.model.", make_body()._asdict()
    body["posedirs"] = body["posedirs"].reshape(-1, 207).T  # as smplx keeps them
    for ours, array in body.items():
        name = {"faces": "faces_tensor"}.get(ours, ours)
        state[smpl + name] = torch.from_numpy(np.array(array))
    leftovers = {f"{smpl}betas": torch.zeros(4, 10), f"{smpl}transl": torch.zeros(4, 3),
                 "renderer.shaped_smpl": torch.zeros(4, 9, 3), "dataset_label_std": torch.zeros(25)}  # fmt: skip
    return state | leftovers


def write_snapshot(path: Path, *, drop: tuple[str, ...] = (), enlarger: str = "SuperresolutionHybrid4X"):
    """A snapshot of a tiny generator and discriminator. Returns them."""
    portrait = make_portrait(rest_pose="t_pose", orbit="phq", near=2.35, far=3.3)
    torch.manual_seed(1)
    judge = PoseAwareDiscriminator(32, channel_base=128, max_channels=8, pose_widths=(6, 5), group=4)
    names = {"superresolution": enlarger, "renderer": "ImportanceRenderer", "renderer.aligned_SMPL": "AlignedSMPL",
             "renderer.aligned_SMPL.model": "SMPL", "decoder": "OSGDecoder", "pose_branch": "GPoseBranch"}  # fmt: skip
    state = {name: value for name, value in released_state(portrait).items() if name not in drop}
    config = portrait.config
    with theirs() as (easy, renderer):
        rendering = easy(depth_resolution=config.samples, depth_resolution_importance=config.importance_samples,
                         ray_start=2.25, ray_end=3.3, box_warp=1.0)  # fmt: skip
        generator = module_of(
            state, names, renderer, img_resolution=config.image_size, neural_rendering_resolution=config.raw_size,
            rendering_kwargs=rendering, _init_kwargs=easy(thickness=config.thickness, batch_size=4),
        )  # fmt: skip
        discriminator = module_of(dict(judge.state_dict()), {"pose_branch": "DPoseBranch"}, renderer)
        data = {"training_set_kwargs": easy(path="set.zip"), "G": None, "D": None, "G_ema": generator,
                "D_ema": discriminator, "augment_pipe": None}  # fmt: skip
        path.write_bytes(pickle.dumps(data))
    return portrait, judge

"""From a picture of the face camera to morphable-face coefficients (paper section 3.3, eq. 9).

Two nets stand behind one interface: the published ResNet-50 of Deng et al. 2019, whose weights a user brings, and a
small one for the open face, trained by ``python -m training.face_recon``. Both are differentiable in the picture.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from networks.cameras import FACE_CAMERA, FRONTAL, project
from networks.person.face_model import NUM_EXPRESSION, NUM_IDENTITY, FaceArrays, FaceModel, at_landmarks, load_bfm
from networks.person.tracking import FaceFrame
from networks.person.tracking_files import bfm_frame
from torch_utils.assets import FACE_FILES, face_model_file
from torch_utils.bounds import Range, check_ranges
from torch_utils.checkpoint import check_format, in_single_precision, load_raw, load_weights
from torch_utils.config import config_from_dict, config_to_dict
from torch_utils.misc import UserError

FACE_RECON_FILE = Path(__file__).parents[2] / "ckpts" / "face_recon_synth.safetensors"  # that of the open face
KIND = "face_recon"  # the key under which our own format keeps the small net


class FaceCoefficients(NamedTuple):
    z_id: Tensor  # [B, 80]
    z_exp: Tensor  # [B, 64]
    camera: Tensor | None  # [B, 2] (pitch, yaw) in the head's frame, radians, where the net tells


class FaceReconstructor(nn.Module, ABC):
    """The common interface.

    Args:
        face: the morphable face whose coefficients are found; only its 68 landmarks are kept, as ``landmark_face``:
            z_id [B, 80], z_exp [B, 64] -> [B, 68, 3] canonical units.
    """

    def __init__(self, face: FaceArrays):
        super().__init__()
        self.landmark_face = FaceModel(at_landmarks(face))

    @abstractmethod
    def coefficients(self, image: Tensor, camera: Tensor | None = None) -> FaceCoefficients:
        """Coefficients of the faces in pictures of the face camera.

        Args:
            image: [B, 3, H, H] in -1..1, any size.
            camera: [B, 2] (pitch, yaw) of the face camera where it is known, radians; frontal by default.
        """

    @abstractmethod
    def features(self, image: Tensor, camera: Tensor | None = None) -> Tensor:
        """What the coefficients are read from [B, C]; arguments as of coefficients."""

    def landmarks(self, image: Tensor, camera: Tensor | None = None) -> Tensor:
        """Landmarks [B, 68, 3] of the faces without their pose, canonical units; arguments as of coefficients."""
        found = self.coefficients(image, camera)
        return self.landmark_face(found.z_id, found.z_exp)


# ---- Deng et al. 2019 -----------------------------------------------------------------------------------------------

DEEP3D_SIZE = 224  # pixels of their aligned crop
DEEP3D_RESCALE = 102.0  # pixels in it of a unit of their face model
DEEP3D_HEADS = (NUM_IDENTITY, NUM_EXPRESSION, 80, 3, 27, 2, 1)  # id, exp, texture, angles, light, x and y, z: 257


class Deep3DNet(nn.Module):
    """ResNet-50 with a 1x1 convolution for each group of its 257 outputs; state-dict names as published."""

    def __init__(self):
        super().__init__()
        self.backbone = torchvision.models.resnet50(weights=None)
        width = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.final_layers = nn.ModuleList(nn.Conv2d(width, outputs, 1) for outputs in DEEP3D_HEADS)

    def forward(self, crop: Tensor) -> Tensor:
        """Aligned crops [B, 3, 224, 224] in 0..1 -> coefficients [B, 257]."""
        feature = self.backbone(crop)[:, :, None, None]  # [B, 2048, 1, 1]
        return torch.cat([layer(feature) for layer in self.final_layers], 1).flatten(1)


class Deep3DFaceRecon(FaceReconstructor):
    """Deng et al.'s net on pictures of our face camera.

    Args:
        face: the Basel face model.
        frame: how the model's own coordinates lie in canonical space.
    """

    origin: Tensor

    def __init__(self, face: FaceArrays, frame: FaceFrame):
        super().__init__(face)
        self.net = Deep3DNet()
        self.scale = frame.scale
        self.register_buffer("origin", torch.as_tensor(frame.shift, dtype=torch.float32), persistent=False)  # [3]

    def aligned_crop(self, image: Tensor, camera: Tensor | None = None) -> Tensor:
        """Their aligned crop out of our face picture: [B, 3, H, H] in -1..1 -> [B, 3, 224, 224] in 0..1.

        Their alignment fits a scaled orthographic camera to five landmarks, puts the origin of the face model at the
        crop's centre and makes one of its units 102 pixels. Our camera is known, so nothing is fitted: the origin is
        projected, and a unit at its distance spans ``focal * scale / distance`` of our picture's half-width.
        """
        if camera is None:
            camera = image.new_full((len(image), 2), FRONTAL)
        centre, distance = project(self.origin.expand(len(image), 1, 3), camera, FACE_CAMERA)[:, 0].split([2, 1], -1)
        focal = 1 / math.tan(math.radians(FACE_CAMERA.fov_degrees) / 2)
        half_width = DEEP3D_SIZE / 2 / DEEP3D_RESCALE * focal * self.scale / distance  # [B, 1]
        # Crops are measured between pixel edges (their 112 is the middle), our pictures between pixel centres.
        zero = torch.zeros_like(half_width)
        x_row = torch.cat([half_width, zero, centre[:, :1]], -1)
        y_row = torch.cat([zero, half_width, -centre[:, 1:]], -1)  # rows run down
        matrix = torch.stack([x_row, y_row], 1).to(image.dtype)  # [B, 2, 3]
        grid = F.affine_grid(matrix, [len(image), 3, DEEP3D_SIZE, DEEP3D_SIZE], align_corners=False)
        crop = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return (crop + 1) / 2

    def features(self, image: Tensor, camera: Tensor | None = None) -> Tensor:
        """See the base class; C = 2048."""
        return self.net.backbone(self.aligned_crop(image, camera))

    def coefficients(self, image: Tensor, camera: Tensor | None = None) -> FaceCoefficients:
        """See the base class. The crop depends on the camera: give it where it is known."""
        z_id, z_exp, _ = self.net(self.aligned_crop(image, camera)).split([NUM_IDENTITY, NUM_EXPRESSION, 113], -1)
        return FaceCoefficients(z_id, z_exp, None)


Size = Annotated[int, Range(1, 4096)]

# ---- The open face ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FaceReconConfig:
    """Sizes of the small net."""

    image_size: Size = 96  # pictures are resized to it
    widths: tuple[Size, ...] = (32, 64, 128, 192)  # channels of the stages; each halves the picture
    hidden_dim: Size = 256

    def __post_init__(self):
        check_ranges(self)
        if self.image_size % 2 ** len(self.widths):
            raise ValueError(f"image_size: expected a multiple of {2 ** len(self.widths)}, found {self.image_size}")


class _Stage(nn.Module):
    """Half the resolution: a strided convolution, then a residual pair."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.down = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.down(x)))
        y = F.relu(self.norms[1](self.conv1(x)))
        return F.relu(x + self.norms[2](self.conv2(y)))


class SmallFaceRecon(FaceReconstructor):
    """A small residual net for one morphable face; where it looks is part of what it learns, so it keeps the layout
    of its last feature map instead of averaging it."""

    def __init__(self, config: FaceReconConfig, face: FaceArrays):
        super().__init__(face)
        self.config = config
        self.stages = nn.Sequential(*(_Stage(*pair) for pair in zip((3, *config.widths), config.widths, strict=False)))
        last = config.image_size // 2 ** len(config.widths)
        self.hidden = nn.Linear(config.widths[-1] * last * last, config.hidden_dim)
        self.output = nn.Linear(config.hidden_dim, NUM_IDENTITY + NUM_EXPRESSION + 2)
        nn.init.zeros_(self.output.weight)  # it starts from the mean face, seen from the front
        nn.init.zeros_(self.output.bias)

    def features(self, image: Tensor, camera: Tensor | None = None) -> Tensor:
        """See the base class; C = ``config.hidden_dim``."""
        size = self.config.image_size
        if image.shape[-1] != size:
            image = F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return F.relu(self.hidden(self.stages(image).flatten(1)))

    def coefficients(self, image: Tensor, camera: Tensor | None = None) -> FaceCoefficients:
        """See the base class; the camera is found, not used."""
        found = self.output(self.features(image))
        z_id, z_exp, camera = found.split([NUM_IDENTITY, NUM_EXPRESSION, 2], -1)
        return FaceCoefficients(z_id, z_exp, camera + FRONTAL)


# ---- Files ----------------------------------------------------------------------------------------------------------


def pack_face_recon(model: SmallFaceRecon, metadata: dict[str, Any]) -> dict[str, Any]:
    """Plain data for :func:`torch_utils.checkpoint.save_checkpoint`, weights in half precision."""
    state = {
        # The landmarks are known to tenths of millimetres, and they tell which face the net is for.
        name: value.half() if value.is_floating_point() and not name.startswith("landmark_face.") else value.clone()
        for name, value in model.state_dict().items()
    }
    return {KIND: {"config": config_to_dict(model.config), "state": state}, "metadata": metadata}


def load_face_recon(path: str | Path, *, bfm_file: str | Path | None = None) -> FaceReconstructor:
    """A frozen face reconstruction net: gradients flow to the picture, not to weights.

    Args:
        path: our own format, or Deep3DFaceRecon's ``epoch_*.pth``.
        bfm_file: the Basel face model, which the latter is for; by default that in smpl_models/.

    Raises:
        UserError: the file is neither, its weights do not fit, or the face model is missing.
    """
    data = load_raw(path)
    if isinstance(data.get("net_recon"), dict):
        bfm_file = face_model_file(bfm_file) or FACE_FILES[0]
        face = load_bfm(bfm_file)  # which has checked the file
        deep3d = Deep3DFaceRecon(face, bfm_frame(bfm_file, face))
        load_weights(deep3d.net, data["net_recon"], f"{path}: net_recon")
        model: FaceReconstructor = deep3d
    elif isinstance(data.get(KIND), dict):
        check_format(data, path)
        model = _unpack(data[KIND], path)
    else:
        found = ", ".join(map(str, list(data)[:5])) or "nothing"
        raise UserError(
            f"{path}: expected a face reconstruction net (this project's '{KIND}' or Deep3DFaceRecon's 'net_recon'), "
            f"found {found}"
        )
    return model.eval().requires_grad_(False)


def _unpack(data: dict[str, Any], path: str | Path) -> SmallFaceRecon:
    for key in ("config", "state"):
        if not isinstance(data.get(key), dict):
            raise UserError(f"{path}: {KIND}: expected a mapping '{key}', found {type(data.get(key)).__name__}")
    config = config_from_dict(FaceReconConfig, data["config"], f"{path}: {KIND}: config")
    model = SmallFaceRecon(config, _empty_landmarks())
    load_weights(model, in_single_precision(data["state"]), f"{path}: {KIND}")
    return model


def _empty_landmarks() -> FaceArrays:
    """A face of 68 landmarks whose numbers a file will fill in."""
    mean, id_basis, exp_basis = (np.zeros(shape, np.float32) for shape in ((68, 3), (68, 3, 80), (68, 3, 64)))
    return FaceArrays(mean, id_basis, exp_basis, np.zeros((0, 3), np.int64), np.arange(68))

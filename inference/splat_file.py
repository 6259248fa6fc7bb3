"""One frame of an avatar as Gaussians for other viewers: `python -m inference.splat_file --ckpt ... --out a.ply`.

Without view dependence, colours RGB, quaternions unit ones, y up, +z out of the face. A ``.ply`` has the layout of 3D
Gaussian splatting (Kerbl et al. 2023), which every viewer reads, in canonical units; a ``.glb`` is glTF with Khronos'
KHR_gaussian_splatting, in metres.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.arguments import FRONTAL_CAMERA
from inference.avatar import AvatarPipeline
from inference.pipeline import PortraitPipeline
from inference.portable.binary import VERTICES, Binary, to_container
from inference.portable.gltf import METRES
from networks.cameras import PORTRAIT_CAMERA, pinhole
from networks.gaussian.avatar import Gaussians
from networks.gaussian.skinning import matrix_to_quaternion
from networks.person.expressions import ARKIT, carried, expression
from torch_utils.misc import CliParser, UserError, atomic_path, run_cli

EXTENSION, POINTS = "KHR_gaussian_splatting", 0  # glTF's name and mode
SH_C0 = 0.28209479177387814  # the constant spherical harmonic
LEAST_OPACITY = 1 / 255  # fainter ones are drawn nowhere
COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


def ellipsoids(axes: Tensor) -> tuple[Tensor, Tensor]:
    """Half axes [N, 3, 3], also sheared ones, as quaternions [N, 4] (w, x, y, z) and scales [N, 3]."""
    variances, directions = torch.linalg.eigh(axes.double() @ axes.double().mT)
    directions = directions * torch.linalg.det(directions).sign()[:, None, None]  # turns, no mirror images
    return matrix_to_quaternion(directions).float(), variances.clamp(min=1e-20).sqrt().float()


def splat_columns(gaussians: Gaussians) -> np.ndarray:
    """[N', 17] float32 by COLUMNS, of those that are seen: opacities as logits, scales as logarithms."""
    seen = gaussians.opacities >= LEAST_OPACITY
    means, axes, opacities, colours, _ = (part[seen] for part in gaussians)
    quaternions, scales = ellipsoids(axes)
    logits = opacities.clamp(max=1 - 1e-6).logit()[:, None]
    parts = (means, torch.zeros_like(means), (colours - 0.5) / SH_C0, logits, scales.log(), quaternions)
    return torch.cat(parts, -1).cpu().numpy().astype("<f4")


def splat_glb(gaussians: Gaussians, metadata: Mapping[str, Any]) -> bytes:
    """The same as a GLB file: a primitive of points, which programs without the extension show as such."""
    seen = gaussians.opacities >= LEAST_OPACITY
    means, axes, opacities, colours, _ = (part[seen].cpu() for part in gaussians)
    quaternions, scales = ellipsoids(axes)
    shown = torch.cat([colours.clamp(0, 1), opacities[:, None]], -1)
    attributes = {
        "POSITION": METRES * means, "COLOR_0": (255 * shown).round().to(torch.uint8),
        f"{EXTENSION}:ROTATION": torch.nn.functional.normalize(quaternions, dim=-1).roll(-1, 1),  # x y z w
        f"{EXTENSION}:SCALE": METRES * scales, f"{EXTENSION}:OPACITY": opacities,
        f"{EXTENSION}:SH_DEGREE_0_COEF_0": (colours - 0.5) / SH_C0,
    }  # fmt: skip
    binary = Binary()
    indices = {name: binary.accessor(values.numpy(), VERTICES, bounds=name == "POSITION")
               for name, values in attributes.items()}  # fmt: skip
    binary.accessors[indices["COLOR_0"]]["normalized"] = True
    kind = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective",
            "sortingMethod": "cameraDistance"}  # fmt: skip
    primitive = {"mode": POINTS, "attributes": indices, "extensions": {EXTENSION: kind}}
    document = {
        "asset": {"version": "2.0", "generator": "AniPortraitGAN, open", "extras": dict(metadata)},
        "extensionsUsed": [EXTENSION], "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "person", "mesh": 0}], "meshes": [{"name": "person", "primitives": [primitive]}],
        "accessors": binary.accessors, "bufferViews": binary.views, "buffers": [{"byteLength": len(binary.data)}],
    }  # fmt: skip
    return to_container(document, binary.data)


def write_splat_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Writes the file."""
    rows = splat_columns(gaussians)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {name}" for name in COLUMNS] + ["end_header\n"]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join(header).encode("ascii") + rows.tobytes())


def parse_actions(words: Sequence[str]) -> np.ndarray:
    """``["jawOpen=0.5"]`` -> [64] of facial actions. Raises UserError."""
    amounts = {}
    for word in words:
        name, _, amount = word.partition("=")
        try:
            amounts[name] = float(amount)
            expression(**{name: amounts[name]})
        except (KeyError, ValueError):
            raise UserError(f"--expression: expected ACTION=AMOUNT, e.g. jawOpen=0.5, found {word!r}") from None
    return expression(**amounts)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m inference.splat_file", description="Write a frame of an avatar as Gaussians.")
    parser.add_argument("--ckpt", required=True, help="avatar: OUTDIR/latest, or a linear one")
    parser.add_argument("--out", required=True, help="file to write, .ply or .glb")
    parser.add_argument("--expression", nargs="+", default=[], metavar="ACTION=AMOUNT", help="ARKit's actions, 0..1")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    args = parser.parse_args(argv)
    if not args.out.endswith((".ply", ".glb")):
        raise UserError(f"--out: expected a name that ends in .ply or .glb, found {args.out}")
    actions = parse_actions(args.expression)
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, device=args.device)
    if not isinstance(pipe, AvatarPipeline):
        raise UserError(f"{args.ckpt}: expected an avatar of python -m training.avatar, found a generator of people")
    face = carried(actions[None], ARKIT, pipe.face_model, "--expression")[0] if args.expression else actions
    avatar = pipe.avatar
    camera = pinhole(torch.tensor(FRONTAL_CAMERA, device=pipe.device), PORTRAIT_CAMERA, 2)[0]
    with torch.inference_mode():
        pose = avatar.pose(torch.from_numpy(face).float().to(pipe.device), torch.zeros(6, 3, device=pipe.device))
        gaussians = avatar.driven(pose, -camera[:3, :3].T @ camera[:3, 3])
    if args.out.endswith(".glb"):
        with atomic_path(args.out) as temporary:
            temporary.write_bytes(splat_glb(gaussians, {"source": pipe.metadata.get("source")}))
    else:
        write_splat_ply(args.out, gaussians)
    count = int((gaussians.opacities >= LEAST_OPACITY).sum())
    print(f"{args.out}: {count:,} Gaussians")


if __name__ == "__main__":
    run_cli(main)

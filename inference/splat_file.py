"""One frame of an avatar as Gaussians for other viewers: `python -m inference.splat_file --ckpt ... --out a.ply`.

The layout is that of 3D Gaussian splatting (Kerbl et al. 2023) without view dependence: what every viewer reads.
Colours are RGB, quaternions unit ones, canonical units, y up, +z out of the face.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inference.avatar import AvatarPipeline
from inference.pipeline import FRONTAL_CAMERA, PortraitPipeline
from networks.cameras import PORTRAIT_CAMERA, pinhole
from networks.gaussian.avatar import Gaussians
from networks.gaussian.skinning import matrix_to_quaternion
from networks.person.expressions import ARKIT, carried, expression
from torch_utils.misc import CliParser, UserError, atomic_path, run_cli

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


def write_splat_ply(path: str | Path, gaussians: Gaussians) -> int:
    """Writes the file; returns how many Gaussians it has."""
    rows = splat_columns(gaussians)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {name}" for name in COLUMNS] + ["end_header\n"]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join(header).encode("ascii") + rows.tobytes())
    return len(rows)


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
    parser.add_argument("--ckpt", required=True, help="avatar: OUTDIR/latest of python -m training.avatar")
    parser.add_argument("--out", required=True, help="file to write, .ply")
    parser.add_argument("--expression", nargs="+", default=[], metavar="ACTION=AMOUNT", help="ARKit's actions, 0..1")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    args = parser.parse_args(argv)
    if not args.out.endswith(".ply"):
        raise UserError(f"--out: expected a name that ends in .ply, found {args.out}")
    actions = parse_actions(args.expression)
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, device=args.device)
    if not isinstance(pipe, AvatarPipeline):
        raise UserError(f"{args.ckpt}: expected an avatar of python -m training.avatar, found a generator of people")
    face = carried(actions[None], ARKIT, pipe.face_model, "--expression")[0] if args.expression else actions
    avatar = pipe.avatar
    camera = pinhole(torch.tensor(FRONTAL_CAMERA, device=pipe.device), PORTRAIT_CAMERA, 2)[0]
    with torch.inference_mode():
        pose = avatar.pose(torch.from_numpy(face).float().to(pipe.device), torch.zeros(6, 3, device=pipe.device))
        gaussians = avatar(pose, -camera[:3, :3].T @ camera[:3, 3], project=True)
    count = write_splat_ply(args.out, gaussians)
    print(f"{args.out}: {count:,} Gaussians")


if __name__ == "__main__":
    run_cli(main)

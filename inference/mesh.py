"""`python -m inference.mesh --seed 3 --out person.ply`: the surface of a posed person as a coloured triangle mesh.

Marching cubes of the opacity that views of the person accumulate (inference.mesh_field); of tri-grids, whose density is
known everywhere, of the opacity from all sides (inference.density_mesh).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from inference.density_mesh import Colour, extract_head
from inference.keyframes import SHAPES, KeyframeFile, Kind, load_file
from inference.mesh_field import Mesh, Still, extract_mesh
from inference.pipeline import DEMO, PortraitPipeline
from inference.portable.gltf import METRES
from inference.textured import write_textured
from inference.trigrid import TriGridPipeline
from networks.cameras import FRONTAL
from networks.person.expressions import carried
from torch_utils.bounds import MAX_FRAMES, real_number, whole_number
from torch_utils.misc import CliParser, UserError, atomic_path, resolve_device, run_cli

RESOLUTIONS = (16, 512)

EPILOG = """\
space: metres, y up, +z out of the face, x to the person's left, of the posed person as gen_video.py renders it.
extent: of manifolds what the portrait camera sees, and cameras up to 0.45 radians to its sides and 0.25 above and
  below. They are a front: no camera sees the back, and the mesh is open there, at the bottom and where arms leave the
  picture. Of tri-grids the whole head, neck and shoulders, closed.
file: .ply has a colour a vertex; .obj, of tri-grids, a texture, with .mtl and .png beside it.
backdrop: a model of people before white may paint the white, as a surface beside them; it is left out.
keyframes: --exp_path, --pose_path and --cam_path take the files of gen_video.py; --row says which keyframe.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(
        prog="python -m inference.mesh",
        description=__doc__.split(": ", 1)[1],
        epilog=EPILOG,
    )
    parser.add_argument("--ckpt", default=str(DEMO), help="checkpoint (default: ckpts/demo.safetensors)")
    parser.add_argument("--config", help="name in configs/ or .yaml file; only for checkpoints in the released layout")
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=0, help="the person (default: 0)")
    parser.add_argument("--psi", type=real_number(0, 2), default=0.7, help="truncation, 0 to 1 (default: 0.7)")
    parser.add_argument("--exp_path", help="expression keyframes [N,64] or .csv (default: neutral)")
    parser.add_argument("--pose_path", help="pose keyframes [N,6,3] (default: neutral)")
    parser.add_argument("--cam_path", help="camera keyframes [N,2]: the camera in the middle (default: frontal)")
    parser.add_argument(
        "--row", type=whole_number(0, MAX_FRAMES), default=0, help="row of the keyframe files (default: 0)"
    )
    parser.add_argument(
        "--resolution",
        type=whole_number(*RESOLUTIONS),
        default=160,
        help="voxels along the longest side (default: 160)",
    )
    quality_help = "as in gen_video.py: how crossings are found (default: fast)"
    parser.add_argument("--quality", choices=("fast", "exact"), default="fast", help=quality_help)
    parser.add_argument("--backdrop", action="store_true", help="keep white surfaces that reach the mesh's edge")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .ply or .obj")
    args = parser.parse_args(argv)
    if args.out.suffix.lower() not in (".ply", ".obj"):
        raise UserError(f"--out: expected a name that ends in .ply or .obj, found '{args.out}'")
    paths: dict[Kind, str | None] = {"expression": args.exp_path, "pose": args.pose_path, "camera": args.cam_path}
    files = {kind: load_file(path, kind) for kind, path in paths.items() if path is not None}
    parts = {kind: keyframe(files.get(kind), kind, args.row, paths[kind]) for kind in SHAPES}
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, config=args.config, device=resolve_device(args.device))
    _check(args, pipe)
    if "expression" in files:
        spoken, where = files["expression"].face_model, str(paths["expression"])
        parts["expression"] = carried(parts["expression"], spoken, pipe.face_model, where)
    still = Still(*(torch.from_numpy(part).float() for part in parts.values()))
    with atomic_path(args.out) as temporary:  # a folder that cannot be written to is refused before the work
        try:
            mesh, colour = _extract(args, pipe, still)
        except ValueError as error:
            raise UserError(f"--seed {args.seed}: expected a surface to mesh, found none: {error}") from error
        if colour is None or args.out.suffix.lower() == ".ply":
            write_ply(temporary, mesh)
        else:
            write_textured(temporary, args.out, METRES * mesh.vertices, mesh.faces, colour)
    print(f"wrote {args.out}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles")


def _extract(args: argparse.Namespace, pipe: PortraitPipeline, still: Still) -> tuple[Mesh, Colour | None]:
    """The mesh and, of tri-grids, what colours its surface has between vertices. Raises ValueError: there is none."""
    if isinstance(pipe, TriGridPipeline):
        built = pipe.person(seed=args.seed, psi=args.psi).built
        return extract_head(pipe.portraits, built, still.joint_eulers, args.resolution, still.expression)
    person = pipe.person(seed=args.seed, psi=args.psi)
    return extract_mesh(pipe, person, still, args.resolution, args.quality, backdrop=args.backdrop), None


def _check(args: argparse.Namespace, pipe: PortraitPipeline) -> None:
    """UserError for what a model does not have."""
    if not pipe.controls.all_round:
        if args.out.suffix.lower() == ".obj":
            raise UserError(f"--out: expected a name that ends in .ply (textures are of tri-grids), found '{args.out}'")
        return
    for option in ("exp_path", "cam_path", "backdrop"):
        if getattr(args, option):
            what = "has no expressions" if option == "exp_path" else "is meshed from all sides, without cameras"
            raise UserError(f"--{option}: expected none, for {args.ckpt} {what}")


def keyframe(file: KeyframeFile | None, kind: Kind, row: int, where: str | None) -> np.ndarray:
    """One row of a keyframe file, of a file with a single row that one; neutral or frontal without a file."""
    if file is None:
        return np.full(SHAPES[kind], FRONTAL if kind == "camera" else 0.0)
    row = 0 if len(file.rows) == 1 else row
    if not 0 <= row < len(file.rows):
        raise UserError(f"--row: expected a whole number from 0 to {len(file.rows) - 1} for {where}, found {row}")
    return file.rows[row]


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write a mesh as binary PLY (Turk 1994) with a colour per vertex."""
    vertices = np.zeros(len(mesh.vertices), [("position", "<f4", 3), ("colour", "u1", 3)])
    vertices["position"], vertices["colour"] = METRES * mesh.vertices, mesh.colours
    faces = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    header = [
        "ply", "format binary_little_endian 1.0",
        "comment metres, y up, +z out of the face",
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {colour}" for colour in ("red", "green", "blue")),
        f"element face {len(faces)}", "property list uchar int vertex_indices",
        "end_header",
    ]  # fmt: skip
    path.write_bytes("\n".join([*header, ""]).encode() + vertices.tobytes() + faces.tobytes())


if __name__ == "__main__":
    run_cli(main)

"""What a fast frame costs a GPU at least: its operations and bytes, counted, over what a GPU does in a second.

    python -m tests.benchmarks.bm_floor                # the released size, an H200-class GPU
    python -m tests.benchmarks.bm_floor --tflops 19.5 --terabytes 1.56     # an A100

Counted is what inference/fast/renderer.py computes, with every array read and written once; float32 outside the tensor
cores. Launches, caches missed and threads that wait come on top: it is a floor, not a forecast. Needs no GPU.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from inference.fast.grids import FIELD_SPACING, HALF_REACH, displacement_grid
from networks.manifold.generator_config import GeneratorConfig
from networks.person.pose_deformation import GRID_STRIDE, KERNEL
from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, run_cli

VERTICES = 3690  # of head and shoulders, of the open body; SMPL's are about as many
ACTIVE = 0.3  # of the nodes of D^e are near a manifold: the demo's share


class Stage(NamedTuple):
    name: str
    operations: float  # multiplications and additions
    bytes: float


def nodes(spacing: Sequence[float]) -> int:
    return math.prod(round(2 * HALF_REACH / along) + 1 for along in spacing)


def stages(config: GeneratorConfig) -> list[Stage]:
    """Of one frame of one person."""
    layers, width = config.num_manifolds, config.expression_dim
    rays, pixels, samples = config.lowres_size**2, config.image_size**2, config.num_samples
    cells = rays * samples // GRID_STRIDE**3
    taps = KERNEL[0] * KERNEL[1] * KERNEL[2]
    # D^p's second filter with the upsampling before it: see inference/fast/smoothing.py.
    merged = 1
    for k in KERNEL:
        merged *= 2 * (k // 4 + 1)
    deformed = nodes(displacement_grid(config)[0])
    active = ACTIVE * deformed
    trilinear = 7 * 3  # interpolations of an addition, a subtraction and a multiplication
    texel, number = 4 * 2, 4  # bytes of RGBA in half precision, and of a float32
    crossings = rays * layers
    return [
        Stage("skinning", VERTICES * 2 * (54 * 3 + 2 * 7 * 16), VERTICES * number * (54 * 3 + 7 + 3 + 16)),
        Stage("nearest vertices", cells * VERTICES * 8, cells * 8 + VERTICES * 3 * number),
        Stage("D^p", cells * 16 * 2 * (taps + merged), cells * 16 * number * 4),
        Stage("D^e", active * 2 * (3 * width + 2 * width**2 + 4 * width), deformed * 4 * number),
        Stage(
            "march",
            rays * samples * (12 * 4 + 24 + 4 * trilinear) + rays * config.num_fine_samples * (9 + trilinear),
            number * (cells * 16 + deformed * 4 + nodes((FIELD_SPACING,) * 3) + crossings * 5),
        ),
        Stage(
            "compositing",
            (pixels + rays) * layers * (4 * 7 + 16 * 2 + 10),
            crossings * 4 * number + layers * (pixels + rays) * texel + (pixels + rays) * 5 * number,
        ),
    ]


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_floor")
    parser.add_argument("--tflops", type=float, default=67.0, help="float32 operations a second, 1e12 (default: H200)")
    parser.add_argument("--terabytes", type=float, default=4.8, help="memory, 1e12 bytes a second (default: H200)")
    add_record(parser)
    args = parser.parse_args()
    for name in ("tflops", "terabytes"):
        if not 0 < getattr(args, name) < float("inf"):
            raise UserError(f"--{name}: expected a positive number, found {getattr(args, name):g}")
    total = 0.0
    print(f"{'':18s} {'Gop':>8s} {'MB':>8s} {'us':>8s}   limited by")
    for stage in stages(GeneratorConfig()):
        compute, memory = stage.operations / args.tflops / 1e12, stage.bytes / args.terabytes / 1e12
        total += max(compute, memory)
        limit = "operations" if compute > memory else "memory"
        row = f"{stage.operations / 1e9:8.2f} {stage.bytes / 1e6:8.1f} {1e6 * max(compute, memory):8.1f}"
        print(f"{stage.name:18s} {row}   {limit}")
    print(f"a frame: at least {1e6 * total:.0f} us, at most {1 / total:,.0f} frames a second")
    if args.record:
        record("bm_floor", {"floor of a frame, us": 1e6 * total})


if __name__ == "__main__":
    run_cli(main)

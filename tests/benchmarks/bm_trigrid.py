"""Frames of a tri-grid: what its deformation costs, by triangle frames and by smoothed skinning.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_trigrid

Weights are random. Frames of all kinds are drawn in turn, in one run; figures are medians. The share of the search is
its own time within a frame by triangle frames; `--brute 0.01` also searches a hundredth of the points in plain torch,
which looks at every triangle.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import torch

from networks.cameras import FRONTAL
from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.trigrid.camera_labels import label_rays
from networks.trigrid.config import TriGridConfig
from networks.trigrid.portrait import TriGridPortrait
from tests.benchmarks.records import add_record, record
from torch_utils.bounds import real_number, whole_number
from torch_utils.misc import CliParser, run_cli
from torch_utils.ops.nearest_triangle import nearest_triangles

SIZES = {
    "256": TriGridConfig(image_size=256, superresolution_channels=(128, 64), rest_pose="mean"),
    "64": TriGridConfig(  # configs/portrait360_tiny.yaml
        image_size=64, raw_size=24, latent_dim=64, style_dim=64, plane_size=32, plane_features=16, channel_base=1024,
        max_channels=64, colour_features=16, superresolution_input=32, superresolution_channels=(24, 16),
        background_size=16, samples=10, importance_samples=8, rest_pose="mean",
    ),
    "tiny": TriGridConfig(
        image_size=32, raw_size=10, latent_dim=8, style_dim=8, plane_size=8, plane_features=4, channel_base=64,
        max_channels=8, colour_features=4, superresolution_input=16, superresolution_channels=(4, 4),
        background_size=8, samples=10, importance_samples=4, rest_pose="mean",
    ),
}  # fmt: skip
KINDS = ("none", "frames", "smoothed")


def seconds_of(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_trigrid")
    parser.add_argument("--size", choices=SIZES, default="256", help="pixels a side (default: %(default)s)")
    parser.add_argument("--frames", type=whole_number(1, 1000), default=3, help="of each kind (default: %(default)s)")
    parser.add_argument("--brute", type=real_number(0, 1), default=0.0, help="share of points for plain torch")
    add_record(parser)
    args = parser.parse_args()
    body, config = default_body(), SIZES[args.size]
    index = torch.as_tensor(head_shoulder_vertices(body))
    models = {}
    for kind in KINDS:
        torch.manual_seed(0)
        models[kind] = TriGridPortrait(replace(config, pose=kind), body, index).eval()
    person = models["none"].person(torch.randn(1, config.latent_dim))
    eulers = torch.zeros(1, 6, 3)
    eulers[:, 0, 1] = eulers[:, 3, 1] = 0.2
    front = torch.full((1, 2), FRONTAL)

    # The search alone: a frame's points, coarse and fine, among the posed body's triangles.
    by_frames = models["frames"]
    space = by_frames.space
    corners = by_frames.body.metric_vertices(space.rotations_of(by_frames.body, eulers))[0][space.faces]
    depths = torch.linspace(config.near, config.far, config.samples + config.importance_samples)
    points = label_rays(by_frames.camera_label(front), config.raw_size).at(depths)[0]

    times: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "search")}
    for turn in range(args.frames + 1):
        for kind, model in models.items():
            times[kind].append(seconds_of(lambda model=model: model.render(person, eulers, front)))
        times["search"].append(seconds_of(lambda: nearest_triangles(points, corners, limit=config.thickness)))
        if turn == 0:  # warm-up: ops are built
            times = {kind: [] for kind in times}
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    print(f"{args.size}, {torch.get_num_threads()} threads, torch {torch.__version__}; {len(points)} rays")
    for kind in KINDS:
        print(f"  {kind:9s} {medians[kind]:.3f} s a frame, {medians[kind] / medians['none']:.2f} x one at rest")
    figures = {f"{kind}: s": value for kind, value in medians.items()}
    figures["search: share of a frame"] = medians["search"] / medians["frames"]
    print(f"  the search: {figures['search: share of a frame']:.0%} of a frame by triangle frames")
    if args.brute:
        some = points[:: max(1, round(1 / args.brute))].contiguous()
        brute = seconds_of(lambda: nearest_triangles(some, corners, limit=config.thickness, impl="ref"))
        brute *= len(points) / len(some)
        share = brute / (medians["frames"] - medians["search"] + brute)
        print(f"  in plain torch: {brute / medians['search']:.0f} x as long, {share:.0%} of a frame")
        figures["search in plain torch: share of a frame"] = share
    if args.record:
        record("bm_trigrid", figures, torch.device("cpu"))


if __name__ == "__main__":
    run_cli(main)

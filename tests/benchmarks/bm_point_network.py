"""phi, D^e and M, forward and backward: compiled, compiled with products in bfloat16, and plain torch with and without.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_point_network

The variants take turns in one process; seconds are the processor's, the least of all turns. Every point has a gradient.
Relative errors are of the gradient of the points, against plain torch in float32.
"""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, run_cli
from torch_utils.ops.point_network import Activation, point_network


class Size(NamedTuple):
    people: int
    points: int  # of each
    width: int
    layers: int
    outputs: int
    activation: Activation = "sine"
    shared: bool = False  # one network for all people

    def make(self, share: float) -> tuple[list[Tensor], dict]:
        """Everything that has gradients, and the op's arguments with fewer or more points."""
        random = torch.Generator().manual_seed(0)

        def draw(scale: float, *shape: int) -> Tensor:
            return (scale * torch.randn(*shape, generator=random)).requires_grad_()

        weights = 1 if self.shared else self.people
        rows = [3] + [self.width] * (self.layers - 1)
        layers = [
            (draw(1.5 / n**0.5 if i else 10.0, weights, n, self.width), draw(1.0, weights, 1, self.width))
            for i, n in enumerate(rows)
        ]
        first = 1 if self.layers > 3 else self.layers - 1  # phi reads all layers but the first one, others the last one
        heads = [draw(self.width**-0.5, self.outputs, self.width) if i >= first else None for i in range(self.layers)]
        points, shift = draw(0.5, self.people, max(1, round(share * self.points)), 3), draw(1.0, self.outputs)
        tensors = [points, *(part for layer in layers for part in layer), *(h for h in heads if h is not None), shift]
        return tensors, {"points": points, "layers": layers, "heads": heads, "shift": shift}


SIZES = {
    "phi, 64 wide": Size(4, 20_000, 64, 9, 4),
    "phi, 96 wide": Size(4, 10_000, 96, 9, 4),
    "phi, 256 wide": Size(1, 10_000, 256, 9, 4),
    "D^e, 48 wide": Size(4, 50_000, 48, 3, 3),
    "D^e, 128 wide": Size(4, 10_000, 128, 3, 3),
    "M, 32 wide": Size(1, 200_000, 32, 3, 1, "relu", shared=True),
}
VARIANTS = {
    "plain torch": {"impl": "ref"},
    "plain torch, bf16": {"impl": "ref", "bf16": True},
    "compiled": {"impl": "cpp"},
    "compiled, bf16": {"impl": "cpp", "bf16": True},
}


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_point_network")
    parser.add_argument("--repeats", type=int, default=4, help="turns (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the points (default: all)")
    add_record(parser)
    args = parser.parse_args()
    for name in ("repeats", "share"):
        if getattr(args, name) <= 0:
            raise UserError(f"--{name}: expected a positive number, found {getattr(args, name)}")
    figures: dict[str, float] = {}
    for name, size in SIZES.items():
        tensors, arguments = size.make(args.share)
        seconds: dict[str, list[tuple[float, float]]] = {}
        gradients: dict[str, Tensor] = {}
        for _ in range(args.repeats):
            for variant, options in VARIANTS.items():
                if size.activation == "sine" or "bf16" not in options:
                    *spent, gradients[variant] = turn(tensors, arguments, {**options, "activation": size.activation})
                    seconds.setdefault(variant, []).append((spent[0], spent[1]))
        print(f"{name}: {size.people} x {len(arguments['points'][0])} points")
        least = {variant: [min(part) for part in zip(*spent, strict=True)] for variant, spent in seconds.items()}
        exact = gradients["plain torch"]
        for variant, (forward, backward) in least.items():
            ratio = sum(least["plain torch"]) / (forward + backward)
            error = ((gradients[variant] - exact).norm() / exact.norm()).item()
            each = f"{1e3 * forward:7.1f} + {1e3 * backward:7.1f} ms"
            print(f"  {variant:18s} {each}, {ratio:5.2f} x as fast, error {error:.1e}")
            figures[f"{name}, {variant}, ms"] = 1e3 * (forward + backward)
    if args.record:
        record("bm_point_network", figures)


def turn(tensors: list[Tensor], arguments: dict, options: dict) -> tuple[float, float, Tensor]:
    """Seconds forward and backward, and the gradient of the points."""
    start = time.process_time()
    result = point_network(**arguments, **options)
    middle = time.process_time()
    gradients = torch.autograd.grad(result, tensors, torch.ones_like(result))
    return middle - start, time.process_time() - middle, gradients[0]


if __name__ == "__main__":
    run_cli(main)

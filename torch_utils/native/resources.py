"""What the kernels take of a GPU, as its assembler says: registers, and numbers that do not fit into them."""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from torch_utils.misc import UserError
from torch_utils.native.cuda import compile_ops

# Turing to Blackwell.
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
_KERNEL = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.S
)


class Usage(NamedTuple):
    registers: int  # a thread
    spilled: int  # bytes a thread writes and reads for want of registers


# More registers leave too few threads to hide what memory takes. None may spill, but that some keep a few numbers while
# they call the division that they need: how many, CUDA 12 and 13 decide otherwise.
DIVIDING = Usage(96, 32)
MOST = {"": Usage(96, 0), "find_crossings": DIVIDING, "composite_manifolds": DIVIDING, "_double": Usage(128, 32)}


def usage(architecture: str) -> dict[str, Usage]:
    """Of every kernel, compiled for an architecture such as ``90``. Raises BuildError."""
    log = compile_ops(f"sm_{architecture}", "--ptxas-options=-v").log
    return {name: Usage(int(used), int(stores) + int(loads)) for name, stores, loads, used in _KERNEL.findall(log)}


def check(architectures: Sequence[str]) -> None:
    """Compiles all kernels for all of them, prints what they take, and holds them to their limits.

    Raises:
        BuildError: one does not compile.
        UserError: one takes more registers than it may, or spills.
    """
    found = {}
    for architecture in architectures:
        start = time.perf_counter()
        found[architecture] = usage(architecture)
        seconds, number = time.perf_counter() - start, len(found[architecture])
        most = max(used.registers for used in found[architecture].values())
        print(f"sm_{architecture}: {number} kernels in {seconds:.1f} s, at most {most} registers", flush=True)
    for architecture, kernels in found.items():
        for name, used in kernels.items():
            registers, spilled = next(most for part, most in reversed(MOST.items()) if part in name)
            if used.registers > registers or used.spilled > spilled:
                raise UserError(
                    f"{name} on sm_{architecture}: expected at most {registers} registers and {spilled} bytes spilled, "
                    f"found {used.registers} and {used.spilled}"
                )

"""A frame as a CUDA graph: recorded once, replayed with new numbers, with one launch instead of hundreds."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from traceback import extract_tb
from typing import Generic, TypeVar

import torch
from torch import Tensor

Outputs = TypeVar("Outputs", bound=tuple[Tensor, ...])


class Recording(Generic[Outputs]):
    """A function of one tensor of numbers, whose shapes depend on nothing else, recorded on its device.

    Where it cannot be recorded it is called as it is, and one warning says why.

    Args:
        function: numbers on the device -> a NamedTuple of tensors. What it reads beside the numbers stays where it is.
        numbers: [N] on the CPU, to record it with.
        device: a CUDA device.
    """

    def __init__(self, function: Callable[[Tensor], Outputs], numbers: Tensor, device: torch.device):
        self._function, self._device = function, device
        self._inputs = numbers.to(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.cuda.device(device):
            self._warm_up()
            try:
                graph = torch.cuda.CUDAGraph()
                # A stream of its own: torch's own one for recordings belongs to the device that was recorded first.
                # Another thread may be waiting for frames meanwhile: only what this one does is recorded.
                with torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
                    self._outputs = function(self._inputs)
                self._graph = graph
            except RuntimeError as error:
                _warn_once(_cause(error))

    def _warm_up(self) -> None:
        """Builds and loads what the first call needs, on a stream of its own as recording demands."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._function(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, numbers: Tensor) -> Outputs:
        """The function of other numbers [N] on the CPU; results of their own. Returns before the GPU is done."""
        # Nobody holds the pinned copy, and yet it lasts: torch records an event behind the copy to the GPU, and gives
        # its memory to nobody else before that event has come.
        self._inputs.copy_(numbers.pin_memory(), non_blocking=True)
        if self._graph is None:
            return self._function(self._inputs)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return type(self._outputs)(*(part.clone() for part in self._outputs))


def _cause(error: BaseException) -> str:
    """What went wrong first, and where: the end of a failed recording complains once more, of nothing in particular."""
    while error.__context__ is not None:
        error = error.__context__
    torch_folder = str(Path(torch.__file__).parent)
    places = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith(torch_folder)]
    return f"{str(error).splitlines()[0]}, at {places[-1].filename}:{places[-1].lineno}"


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"a frame cannot be recorded as a CUDA graph ({reason}); it is drawn step by step", stacklevel=3)

"""Being asked to stop: SIGTERM and Ctrl-C are noted, so that the step can be finished and saved."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import torch

from torch_utils.distributed import World, mean_over_processes


class StopRequest:
    """Attributes:
    signal: the number of the signal that came, or None.
    """

    def __init__(self):
        self.signal: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handlers for the block; a second Ctrl-C interrupts at once.

        A second SIGTERM does not: schedulers and launchers may send one each.
        """

        def note(number: int, _) -> None:
            if self.signal is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.signal = number

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def of_any(self, world: World) -> bool:
        """Whether any process was asked to stop; all of them get the same answer."""
        if world.size == 1:
            return self.signal is not None
        asked = torch.tensor([float(self.signal is not None)], device=world.device)
        return bool(mean_over_processes(asked).item() > 0)

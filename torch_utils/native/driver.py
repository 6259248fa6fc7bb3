"""The few functions of CUDA's driver that load and start kernels; all others are torch's.

Bound by ctypes: the driver comes with the GPU, and these functions have kept their form since CUDA 4.
"""

import ctypes
import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch_utils.native.cache import BuildError

CValue = ctypes._SimpleCData  # a pointer or a number

# All that is called, and nothing is ever released: what torch uses, too, stays torch's.
FUNCTIONS = (
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDevicePrimaryCtxRetain",  # torch's own context; it is there as soon as a tensor is
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuStreamSynchronize",  # once, after the first kernel
)


class DriverError(RuntimeError):
    """What the driver refused, and the driver's name for why."""


class Driver:
    """The functions, called by name; each raises DriverError unless it succeeds."""

    def __init__(self, library: ctypes.CDLL):
        self._functions = {name: getattr(library, name) for name in FUNCTIONS}

    def __call__(self, name: str, *arguments) -> None:
        code = self._functions[name](*arguments)
        if code != 0:
            raise DriverError(f"{self._text('cuGetErrorName', code)} ({self._text('cuGetErrorString', code)})")

    def _text(self, function: str, code: int) -> str:
        text = ctypes.c_char_p()
        self._functions[function](ctypes.c_int(code), ctypes.byref(text))
        return text.value.decode() if text.value else f"CUDA error {code}"


@functools.cache
def driver() -> Driver:
    """Raises BuildError: there is no driver, or one that lacks a function."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return Driver(ctypes.CDLL(name))
    except (OSError, AttributeError) as error:
        raise BuildError(f"CUDA ops: the driver cannot be used: {error}") from error


class Module:
    """Kernels of one image on one device.

    Raises:
        DriverError: the driver cannot load the image: as a rule it is older than the image needs.
    """

    def __init__(self, image: bytes, names: Sequence[str], device: int):
        self._driver = driver()
        ordinal, self._context, module = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._driver("cuDeviceGet", ctypes.byref(ordinal), ctypes.c_int(device))
        self._driver("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), ordinal)
        self._kernels: dict[str, ctypes.c_void_p] = {}
        with self._current():
            self._driver("cuModuleLoadData", ctypes.byref(module), image)
            for name in names:  # all of them now: none can be fetched while a graph is recorded
                self._kernels[name] = ctypes.c_void_p()
                self._driver("cuModuleGetFunction", ctypes.byref(self._kernels[name]), module, name.encode())

    @contextmanager
    def _current(self) -> Iterator[None]:
        """This thread's context is the device's, and then what it was: perhaps none, or another device's."""
        self._driver("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._driver("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def launch(self, name: str, blocks: int, threads: int, arguments: Sequence[CValue], stream: int) -> None:
        """Starts ``blocks`` of ``threads`` each on a stream of the device, and waits for nothing."""
        pointers = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        sizes = [ctypes.c_uint(size) for size in (blocks, 1, 1, threads, 1, 1, 0)]  # the last: shared memory
        with self._current():
            self._driver("cuLaunchKernel", self._kernels[name], *sizes, ctypes.c_void_p(stream), pointers, None)

    def wait(self, stream: int) -> None:
        """Until all that was started on a stream is done."""
        with self._current():
            self._driver("cuStreamSynchronize", ctypes.c_void_p(stream))

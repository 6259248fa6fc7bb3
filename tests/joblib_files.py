"""joblib.dump's file layout, written without joblib: `numpy_pickle.NumpyArrayWrapper` and raw numbers behind it."""

import io
import pickle
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np

ALIGNMENT = 16


class NumpyArrayWrapper:
    """Stands for joblib's own class, under whose name it is written."""


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


class _Pickler(pickle._Pickler):
    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.raw = file

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if type(obj) is not np.ndarray:
            super().save(obj, save_persistent_id)
            return
        fortran = obj.flags.f_contiguous and not obj.flags.c_contiguous
        wrapper = NumpyArrayWrapper()
        wrapper.subclass, wrapper.shape, wrapper.order, wrapper.dtype = type(obj), obj.shape, "CF"[fortran], obj.dtype
        wrapper.allow_mmap, wrapper.numpy_array_alignment_bytes = not obj.dtype.hasobject, ALIGNMENT
        super().save(wrapper)
        if self.proto >= 4:
            self.framer.commit_frame(force=True)
        if obj.dtype.hasobject:
            pickle.dump(obj, self.raw, protocol=5)
            return
        padding = ALIGNMENT - (self.raw.tell() + 1) % ALIGNMENT
        self.raw.write(bytes([padding]) + b"\xff" * padding + obj.tobytes("F" if fortran else "C"))


def joblib_bytes(value: Any, *, compress: bool = False, protocol: int = 4) -> bytes:
    module = types.ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = NumpyArrayWrapper
    sys.modules |= {"joblib": types.ModuleType("joblib"), "joblib.numpy_pickle": module}
    try:
        file = io.BytesIO()
        _Pickler(file, protocol).dump(value)
    finally:
        del sys.modules["joblib"], sys.modules["joblib.numpy_pickle"]
    return zlib.compress(file.getvalue(), 3) if compress else file.getvalue()


def joblib_dump(value: Any, path: Path, *, compress: bool = False) -> Path:
    path.write_bytes(joblib_bytes(value, compress=compress))
    return path

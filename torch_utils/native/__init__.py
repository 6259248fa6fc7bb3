"""How the sources of torch_utils/ops/csrc become functions: ``cpp.py`` for CPUs, ``cuda.py`` for GPUs."""

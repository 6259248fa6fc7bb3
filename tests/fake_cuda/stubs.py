"""C text of the functions that torch's CUDA libraries import and runtime.cpp lacks, of cuBLAS, cuDNN, NCCL ...

Names come from the libraries themselves, so the stubs fit any torch.
"""

import re
import subprocess
from pathlib import Path

LIBRARIES = ("libtorch_cuda.so", "libc10_cuda.so", "libtorch_python.so", "libtorch_cpu.so", "libtorch_cuda_linalg.so")
VENDORS = re.compile(r"lib(cudart|cublas|cublasLt|cudnn|cufft|cusolver|cusparse|curand|cusparseLt|nccl)\.")
# What these give back beside success; a0, a1 ... are the arguments.
SPECIAL = {
    "cublasGetMathMode": "*(int*)a1 = 0;",
    "cublasGetPointerMode_v2": "*(int*)a1 = 0;",
    "cublasLtGetVersion": "return (void*)130100;",
    "cublasLtMatmulAlgoInit": "",
    "cublasLtMatmulAlgoGetHeuristic": "memset(a8, 0, 96); *(int*)a9 = 1;",
    "cudnnBackendCreateDescriptor": "static char object[4096]; *(void**)a1 = object;",
    # type 15: engine configurations, 3: int64, 2: bool; a4 how many there are, a5 where they go
    "cudnnBackendGetAttribute": "long type = (int)(long)a2;"
    " if (a4) *(long long*)a4 = type == 15 || type == 3 || type == 2;"
    " if (a5 && (long)a3 > 0 && (type == 3 || type == 2)) memset(a5, 0, type == 3 ? 8 : 1);",
    "cudnnGetVersion": "return (void*)(long)CUDNN;",
    "cudnnGetCudartVersion": "return (void*)13000;",
    "cufftCreate": "*(int*)a0 = 1;",
    "cufftXtMakePlanMany": "*(size_t*)a12 = 1 << 20;",
    "ncclCommSplit": "static char object[4096]; *(void**)a3 = object;",
    "ncclCommGetAsyncError": "*(int*)a1 = 0;",
    "ncclGetVersion": "*(int*)a0 = 23007;",
}
TEXTS = re.compile(r"^(cudnn|cusparse|nccl)Get(Error|Last)\w*$|^cudnnGetLastErrorString$")
CREATES = re.compile(r"Create(_v2|WithFlags)?$|Init$|^ncclCommInitRank")
PRODUCTS = re.compile(r"^cublas(Gemm|[HD]gemm|[SD]gemv)|^cudnnBackendExecute$|^cufftXtExec$")


def imported(torch_lib: Path) -> set[str]:
    """Names of vendors' functions that torch's libraries want."""
    found = set()
    for path in (torch_lib / name for name in LIBRARIES):
        if path.exists():
            text = subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True, text=True).stdout
            for name, library in re.findall(r"^\s*[Uw] (\w+)(?:@(\S+))?$", text, re.MULTILINE):
                if VENDORS.match(library) or name.startswith("nccl"):
                    found.add(name)
    return found


def driver_functions(cuda_h: str) -> set[str]:
    """Every name like a function's in cuda.h: the driver's, whatever their versions are called."""
    return set(re.findall(r"\bcu[A-Z]\w+\b", cuda_h))


def stubs(names: set[str], runtime: str, cudnn: int) -> str:
    """C text of ``names`` but for those that ``runtime`` (runtime.cpp) has.

    Weak symbols: CUDA's headers rename some of those that it has.
    """
    lines = ["#include <stddef.h>", "#include <string.h>", f"#define CUDNN {cudnn}", "void fake_note(const char*);"]
    lines += ["void fake_product(const char*);"]
    arguments = ", ".join(f"void* a{i}" for i in range(14))
    for name in sorted(names - set(re.findall(r"\b(_*(?:cu|nccl)\w+)\(", runtime))):
        note = f'fake_{"product" if PRODUCTS.match(name) else "note"}("{name}");'
        if name in SPECIAL:
            body = SPECIAL[name]
        elif TEXTS.match(name):
            body = 'return (void*)"fake";'
        elif CREATES.search(name) and not name.startswith(("cuda", "cuC", "cuD")):
            body = "static char object[4096]; *(void**)a0 = object;"
        else:
            body = ""
        lines.append(f"__attribute__((weak)) void* {name}({arguments}) {{ {note} {body} return 0; }}")
    return "\n".join(lines) + "\n"

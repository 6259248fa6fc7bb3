// The CUDA build of the op: see manifold_composite.h.
#include "manifold_composite.h"

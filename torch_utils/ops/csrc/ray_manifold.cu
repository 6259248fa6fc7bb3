// The CUDA build of the op: see ray_manifold.h.
#include "ray_manifold.h"

// The CUDA build of the op: see rasterize_layers.h.
#include "rasterize_layers.h"

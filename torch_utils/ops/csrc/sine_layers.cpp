// The CPU build of the op: see sine_layers.h. A GPU has cuBLAS for its products.
#include "sine_layers.h"

// The CPU build of the op: see point_network.h. A GPU has cuBLAS for its products.
#include "point_network.h"

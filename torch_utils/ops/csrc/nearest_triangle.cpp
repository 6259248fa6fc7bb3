// The CPU build of the op: see nearest_triangle.h.
#include "nearest_triangle.h"

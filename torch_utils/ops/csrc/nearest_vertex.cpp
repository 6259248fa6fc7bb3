// The CPU build of the op: see nearest_vertex.h.
#include "nearest_vertex.h"

// The CPU build of the op: see splat.h.
#include "splat.h"

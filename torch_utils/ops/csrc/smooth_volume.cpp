// The CPU build of the op: see smooth_volume.h.
#include "smooth_volume.h"

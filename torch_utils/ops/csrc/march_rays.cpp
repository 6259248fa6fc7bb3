// The CPU build of the op: see march_rays.h.
#include "march_rays.h"

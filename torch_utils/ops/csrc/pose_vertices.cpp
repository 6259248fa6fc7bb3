// The CPU build of the op: see pose_vertices.h.
#include "pose_vertices.h"

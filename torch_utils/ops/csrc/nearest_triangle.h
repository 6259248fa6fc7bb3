// The triangle nearest to every point: what Python calls (torch_utils/ops/nearest_triangle.py).
//
// Triangles lie in the leaves of a binary tree of boxes, node n above nodes 2n and 2n + 1. A point goes down the nearer
// child first, and leaves out what is farther than the nearest triangle so far. Points of a run follow one another in
// space: on a CPU each begins with the triangle of the one before it.
#pragma once

#include "for_each.h"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace nearest_triangle {

constexpr int LEAF = 4;     // triangles of a leaf
constexpr int DEEPEST = 32;  // levels of a tree

// Squared distance of p from the triangle a, b, c (corners, 9 numbers). Cases as in Ericson, Real-Time Collision
// Detection, 5.1.5: beyond a corner, beyond an edge, above the inside.
HOST_DEVICE float squared_distance(const float* p, const float* corners) {
    float ab[3], ac[3], ap[3], bp[3], cp[3];
    for (int k = 0; k < 3; ++k) {
        ab[k] = corners[3 + k] - corners[k], ac[k] = corners[6 + k] - corners[k];
        ap[k] = p[k] - corners[k], bp[k] = p[k] - corners[3 + k], cp[k] = p[k] - corners[6 + k];
    }
    const auto dot = [](const float* x, const float* y) { return x[0] * y[0] + x[1] * y[1] + x[2] * y[2]; };
    const float d1 = dot(ab, ap), d2 = dot(ac, ap), d3 = dot(ab, bp), d4 = dot(ac, bp), d5 = dot(ab, cp), d6 = dot(ac, cp);
    const float va = d3 * d6 - d5 * d4, vb = d5 * d2 - d1 * d6, vc = d1 * d4 - d3 * d2;
    float v, w;  // the nearest point is a + v ab + w ac
    if (d1 <= 0 && d2 <= 0) v = 0, w = 0;
    else if (d3 >= 0 && d4 <= d3) v = 1, w = 0;
    else if (vc <= 0 && d1 >= 0 && d3 <= 0) v = d1 > d3 ? d1 / (d1 - d3) : 0, w = 0;
    else if (d6 >= 0 && d5 <= d6) v = 0, w = 1;
    else if (vb <= 0 && d2 >= 0 && d6 <= 0) v = 0, w = d2 > d6 ? d2 / (d2 - d6) : 0;
    else if (va <= 0 && d4 >= d3 && d5 >= d6) {
        const float along = d4 - d3, back = d5 - d6;
        w = along + back > 0 ? along / (along + back) : 0, v = 1 - w;
    } else {
        const float all = va + vb + vc;
        v = vb / all, w = vc / all;
    }
    float sum = 0;
    for (int k = 0; k < 3; ++k) {
        const float off = ap[k] - v * ab[k] - w * ac[k];
        sum += off * off;
    }
    return sum;
}

struct Search {
    const float* points;   // [N, 3]
    const float* corners;  // [LEAF * leaves, 3, 3]
    const float* boxes;    // [2 * leaves, 2, 3] low and high; that of node 0 is not looked at
    int64_t leaves, count, run;
    float limit;        // squared
    int64_t* triangle;  // [N] a row of corners, or -1
    float* squared;     // [N]

    HOST_DEVICE float from_box(const float* p, int64_t node) const {
        const float* box = boxes + 6 * node;
        float sum = 0;
        for (int k = 0; k < 3; ++k) {
            const float below = box[k] - p[k], above = p[k] - box[3 + k];
            const float off = below > 0 ? below : above > 0 ? above : 0;
            sum += off * off;
        }
        return sum;
    }

    // Whether there is a triangle nearer than `least`; then that is its squared distance.
    HOST_DEVICE bool look(const float* p, int64_t row, float& least) const {
        const float found = squared_distance(p, corners + 9 * row);
        const bool is_nearer = found < least;
        least = is_nearer ? found : least;
        return is_nearer;
    }

    HOST_DEVICE int64_t nearest(const float* p, int64_t first, float& least) const {
        int64_t stack[DEEPEST], best = -1;
        float far[DEEPEST];
        int height = 0;
        if (first >= 0 && look(p, first, least)) best = first;
        stack[height] = 1, far[height++] = from_box(p, 1);
        while (height > 0) {
            const int64_t node = stack[--height];
            if (!(far[height] < least)) continue;
            if (node >= leaves) {
                for (int64_t row = LEAF * (node - leaves), end = row + LEAF; row < end; ++row)
                    if (look(p, row, least)) best = row;
                continue;
            }
            const float left = from_box(p, 2 * node), right = from_box(p, 2 * node + 1);
            const bool is_left = left <= right;
            stack[height] = 2 * node + is_left, far[height++] = is_left ? right : left;
            stack[height] = 2 * node + !is_left, far[height++] = is_left ? left : right;
        }
        return best;
    }

    HOST_DEVICE void operator()(int64_t at) const {
        int64_t before = -1;
        for (int64_t i = at * run; i < (at + 1) * run && i < count; ++i) {
            float least = limit;
            before = nearest(points + 3 * i, before, least);
            triangle[i] = before, squared[i] = least;
        }
    }
};

}  // namespace nearest_triangle

ENTRY void nearest_triangles(const float* points, const float* corners, const float* boxes, int64_t leaves, int64_t count,
                             int64_t run, double limit, int64_t* triangle, float* squared, THREADS) {
    const nearest_triangle::Search search{points, corners, boxes, leaves, count, run, float(limit), triangle, squared};
    for_each((count + run - 1) / run, 16, threads, search);
}

// Vertices of a layered person to a pose and to the screen: what Python calls (torch_utils/ops/pose_vertices.py).
// The rules are those of torch_utils/ops/pose_vertices_ref.py.
//
// A node's 16 entries lie side by side: on a CPU they are one vector of AVX-512, two of AVX2. A thread has a vertex.
#pragma once

#include "lanes.h"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace pose_vertices {

using lanes::Lanes;
using lanes::LANES;

constexpr int64_t ENTRIES = 16;
constexpr int64_t PARTS = (12 + LANES - 1) / LANES;  // vectors that hold a transform: its last row is not looked at
constexpr int INFLUENCES = 4;                        // joints a vertex

// An affine transform, as sums of those of joints or nodes are made.
struct Transform {
    Lanes part[PARTS] = {};

    HOST_DEVICE void add(const float* entries, float weight) {
        const Lanes weights = lanes::all(weight);
        for (int64_t i = 0; i < PARTS; ++i) part[i] = lanes::multiply_add(lanes::load(entries + i * LANES), weights, part[i]);
    }

    HOST_DEVICE void write(float* entries) const {
        for (int64_t i = 0; i < PARTS; ++i) lanes::store(part[i], entries + i * LANES);
    }
};

HOST_DEVICE void carry(const float* entries, const float* point, float* to) {
    for (int i = 0; i < 3; ++i) {
        const float* row = entries + 4 * i;
        to[i] = row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3];
    }
}

// A pinhole camera and the volume that its rays cross, every so many pixels.
struct View {
    const float* camera;  // [12] its right, up and backward axes, then its place
    float focal, middle;  // pixels
    float per_pixel, per_unit, near;
    const float* volume;  // [H, W, S, 16] or null
    int64_t size[3];

    // x and y in pixels, and the distance along the optical axis; returns the distance itself.
    HOST_DEVICE float project(const float* point, float* screen) const {
        float local[3], from[3];
        for (int i = 0; i < 3; ++i) from[i] = point[i] - camera[9 + i];
        for (int i = 0; i < 3; ++i)
            local[i] = camera[3 * i] * from[0] + camera[3 * i + 1] * from[1] + camera[3 * i + 2] * from[2];
        const float scale = focal / -local[2];
        screen[0] = middle + scale * local[0], screen[1] = middle - scale * local[1], screen[2] = -local[2];
        return sqrtf(local[0] * local[0] + local[1] * local[1] + local[2] * local[2]);
    }

    HOST_DEVICE static void between(float at, int64_t size, int64_t& low, float& beyond) {
        const float last = float(size - 1);
        at = at > 0 ? (at < last ? at : last) : 0.0f;  // NaN: 0
        low = int64_t(at);
        low = low < size - 2 ? low : size - 2;
        beyond = at - float(low);
    }

    // The transform at a point, trilinearly between nodes; outside the volume its border's.
    HOST_DEVICE void look_up(const float* point, float* entries) const {
        float screen[3], beyond[3];
        int64_t low[3];
        const float distance = project(point, screen);
        between(screen[1] * per_pixel, size[0], low[0], beyond[0]);
        between(screen[0] * per_pixel, size[1], low[1], beyond[1]);
        between((distance - near) * per_unit, size[2], low[2], beyond[2]);
        Transform sum;
        for (int row = 0; row < 2; ++row)
            for (int column = 0; column < 2; ++column) {
                const float* node = volume + (((low[0] + row) * size[1] + low[1] + column) * size[2] + low[2]) * ENTRIES;
                const float across = (row ? beyond[0] : 1 - beyond[0]) * (column ? beyond[1] : 1 - beyond[1]);
                sum.add(node, across * (1 - beyond[2]));
                sum.add(node + ENTRIES, across * beyond[2]);
            }
        sum.write(entries);
    }
};

struct Poser {
    const float* rest;        // [V, 3]
    const float* neutral;     // [V, 3] or null
    const uint8_t* joints;    // [V, 4]
    const float* weights;     // [V, 4]
    const float* transforms;  // [J, 16]
    View view;
    int64_t rounds;
    float enough;  // squared
    float *posed, *screen;  // [V, 3]

    HOST_DEVICE void operator()(int64_t v) const {
        Transform sum;
        for (int i = 0; i < INFLUENCES; ++i)
            sum.add(transforms + ENTRIES * int64_t(joints[INFLUENCES * v + i]), weights[INFLUENCES * v + i]);
        float entries[ENTRIES], point[3];
        sum.write(entries);
        carry(entries, rest + 3 * v, point);
        if (view.volume != nullptr) invert(neutral + 3 * v, point);
        view.project(point, screen + 3 * v);
        for (int i = 0; i < 3; ++i) posed[3 * v + i] = point[i];
    }

    // Moves a point to where the volume carries it to `target`.
    HOST_DEVICE void invert(const float* target, float* point) const {
        float entries[ENTRIES], there[3], missing[3], error = enough;
        for (int64_t round = 0; round < rounds && !(error < enough); ++round) {
            view.look_up(point, entries);
            carry(entries, point, there);
            error = 0;
            for (int i = 0; i < 3; ++i) missing[i] = target[i] - there[i], error += missing[i] * missing[i];
            // Back through the transform's turn, which is nearly a rotation.
            for (int i = 0; i < 3; ++i)
                point[i] += entries[i] * missing[0] + entries[4 + i] * missing[1] + entries[8 + i] * missing[2];
        }
    }
};
}  // namespace pose_vertices

ENTRY void pose_vertices_float(const float* rest, const float* neutral, const uint8_t* joints, const float* weights,
                               const float* transforms, const float* camera, double focal, double middle,
                               double per_pixel, double per_unit, double near, const float* volume, int64_t height,
                               int64_t width, int64_t samples, int64_t rounds, double enough, float* posed,
                               float* screen, int64_t count, THREADS) {
    const pose_vertices::View view{camera, float(focal), float(middle), float(per_pixel), float(per_unit), float(near),
                                   volume, {height, width, samples}};
    const float most = float(enough);
    for_each(count, 256, threads,
             pose_vertices::Poser{rest, neutral, joints, weights, transforms, view, rounds, most * most, posed, screen});
}

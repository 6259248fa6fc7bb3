// From posed-space rays to the manifolds' crossings in one pass: what Python calls (torch_utils/ops/march_rays.py).
// The rules are those of torch_utils/ops/march_rays_ref.py.
#pragma once

#include "for_each.h"

namespace march_rays {

constexpr int CHANNELS = 4;  // of the displacements' nodes
// Fine samples that are stepped over where both ends lie between the same two levels; elsewhere the step is halved.
constexpr int HALVINGS = 2;
constexpr int64_t STEP = 1 << HALVINGS;
// Samples that are kept: those around any STEP + 1 fine samples in a row, which are at most as far apart.
constexpr int64_t KEPT = 8;

HOST_DEVICE float mix(float near, float far, float weight) { return near + (far - near) * weight; }

// Values at the nodes of a box, interpolated trilinearly; outside, the box's border counts.
struct Grid {
    const float* values;       // [Z, Y, X, C]
    const float* box;          // lowest x, y, z; nodes per canonical unit along x, y, z
    int64_t depth, height, width;

    template <int C>
    HOST_DEVICE void read(const float* point, float* result) const {
        int64_t low_x, low_y, low_z;
        const float x = locate(point, 0, width, low_x), y = locate(point, 1, height, low_y);
        const float z = locate(point, 2, depth, low_z);
        const float* corner = values + ((low_z * height + low_y) * width + low_x) * C;
        const int64_t up = width * C, back = height * width * C;
        float node[8][C];
        for (int i = 0; i < 8; ++i) {
            const float* from = corner + (i & 4 ? back : 0) + (i & 2 ? up : 0) + (i & 1 ? C : 0);
            if constexpr (C == 4)
                read_four(from, node[i]);
            else
                for (int c = 0; c < C; ++c) node[i][c] = from[c];
        }
        for (int c = 0; c < C; ++c) {
            const float front = mix(mix(node[0][c], node[1][c], x), mix(node[2][c], node[3][c], x), y);
            const float rear = mix(mix(node[4][c], node[5][c], x), mix(node[6][c], node[7][c], x), y);
            result[c] = mix(front, rear, z);
        }
    }

    // The node below and the fraction of the way to the next; NaN is the first node.
    HOST_DEVICE float locate(const float* point, int axis, int64_t nodes, int64_t& low) const {
        const float position = (point[axis] - box[axis]) * box[3 + axis], last = float(nodes - 1);
        const float inside = position > 0 ? (position < last ? position : last) : 0.0f;
        low = int64_t(inside);
        low = low < nodes - 1 ? low : nodes - 2;
        return inside - float(low);
    }
};

// What carries posed points to where s is searched, the same for all rays.
struct Deformation {
    const float *origins, *directions;  // [R, 3]
    const float* transforms;            // [H', W', S', 16] at every stride-th pixel and sample
    Grid displacement;                  // D^e of neutral points (4 numbers, the last unused)
    int64_t width, node_columns, node_samples, stride, samples;
    float near, far, search_scale, lookup_scale;
};

// One of the rays.
struct Ray {
    const Deformation& deformation;
    const float *origin, *direction;
    const float* corner[4];  // node columns around the ray
    float weight[4];
    float spacing;  // from a sample to the next

    HOST_DEVICE Ray(const Deformation& deformation, int64_t ray)
        : deformation(deformation), origin(deformation.origins + 3 * ray), direction(deformation.directions + 3 * ray),
          spacing((deformation.far - deformation.near) / float(deformation.samples - 1)) {
        const int64_t stride = deformation.stride, column = deformation.node_samples * 16;
        int64_t y, x, row, down, node_column, right;
        divide(ray, deformation.width, y, x);
        divide(y, stride, row, down);
        divide(x, stride, node_column, right);
        const float* nodes = deformation.transforms + (row * deformation.node_columns + node_column) * column;
        for (int i = 0; i < 4; ++i) {
            const bool lower = i / 2, further = i % 2;
            const float vertical = float(down) / float(stride), horizontal = float(right) / float(stride);
            corner[i] = nodes + ((lower && down ? deformation.node_columns : 0) + (further && right ? 1 : 0)) * column;
            weight[i] = (lower ? vertical : 1 - vertical) * (further ? horizontal : 1 - horizontal);
        }
    }

    HOST_DEVICE void transform_at(int64_t node, float* entry) const {
#ifdef __CUDACC__
        float around[4][12];
        for (int i = 0; i < 4; ++i)
            for (int c = 0; c < 12; c += 4) read_four(corner[i] + node * 16 + c, around[i] + c);
#else  // read as they are used, which is quicker there
        const int64_t at = node * 16;
        const float* around[4] = {corner[0] + at, corner[1] + at, corner[2] + at, corner[3] + at};
#endif
        for (int c = 0; c < 12; ++c)
            entry[c] = around[0][c] * weight[0] + around[1][c] * weight[1] + around[2][c] * weight[2] +
                       around[3][c] * weight[3];
    }

    // Sample i, so much of the way between two nodes' transforms, displaced by D^e for the search and, if that is not
    // null, for the lookup.
    ALWAYS_INLINE void carry(int64_t i, const float* low, const float* high, float along, float* searched,
                           float* looked_up) const {
        const float distance = deformation.near + spacing * float(i);
        float point[3], entry[12], neutral[3], shift[CHANNELS];
        for (int c = 0; c < 3; ++c) point[c] = origin[c] + direction[c] * distance;
        for (int c = 0; c < 12; ++c) entry[c] = mix(low[c], high[c], along);
        for (int c = 0; c < 12; c += 4)
            neutral[c / 4] = entry[c] * point[0] + entry[c + 1] * point[1] + entry[c + 2] * point[2] + entry[c + 3];
        deformation.displacement.read<CHANNELS>(neutral, shift);
        for (int c = 0; c < 3; ++c) searched[c] = neutral[c] + deformation.search_scale * shift[c];
        if (looked_up == nullptr) return;
        for (int c = 0; c < 3; ++c) looked_up[c] = neutral[c] + deformation.lookup_scale * shift[c];
    }
};

// Fine sample j: between samples i and i + 1.
struct Between {
    int64_t i;
    float weight;

    HOST_DEVICE Between(int64_t samples, float per_fine, int64_t j) {
        const float position = per_fine * float(j);
        i = int64_t(position);
        i = i < samples - 1 ? i : samples - 2;
        weight = position - float(i);
    }
};

// Samples from a fine one to the next.
HOST_DEVICE float samples_per_fine(int64_t samples, int64_t fine) { return float(samples - 1) / float(fine - 1); }

#ifndef __CUDACC__
// On a CPU a ray is one thread's, and what it does not meet is not computed.
struct FineSample {
    float point[3], s;
};

// What all rays share.
struct Scene {
    Deformation deformation;
    Grid field;           // s of canonical points
    const float* levels;  // [K] falling
    int64_t fine, count;
    float min_step;
};

// A ray's samples in canonical space, made one after the other as they are asked for.
struct Samples {
    const Scene& scene;
    Ray ray;
    float per_fine;
    float low[12], high[12];  // transforms at the nodes before and after the last sample
    // Neutral points displaced by D^e, for the search and for the lookup: the latter only where that is not the same.
    float searched[KEPT][3], looked_up[KEPT][3];
    bool one_scale;
    int64_t made = 0;
    int64_t node = 0, phase = 0;  // the node before the next sample, and how many samples it is from there

    Samples(const Scene& scene, int64_t ray)
        : scene(scene), ray(scene.deformation, ray),
          per_fine(samples_per_fine(scene.deformation.samples, scene.fine)),
          one_scale(scene.deformation.search_scale == scene.deformation.lookup_scale) {
        this->ray.transform_at(0, high);
    }

    void make_next() {
        const int64_t i = made++, stride = scene.deformation.stride;
        if (phase == 0) {
            memcpy(low, high, sizeof low);
            if (node + 1 < scene.deformation.node_samples) ray.transform_at(node + 1, high);
        }
        const float along = float(phase) / float(stride);
        if (++phase == stride) phase = 0, ++node;
        ray.carry(i, low, high, along, searched[i % KEPT], one_scale ? nullptr : looked_up[i % KEPT]);
    }

    void fine_point(int64_t j, const float (*samples)[3], float* point) {
        const Between at(scene.deformation.samples, per_fine, j);
        while (made < at.i + 2) make_next();
        const float *near = samples[at.i % KEPT], *far = samples[(at.i + 1) % KEPT];
        for (int c = 0; c < 3; ++c) point[c] = mix(near[c], far[c], at.weight);
    }

    FineSample fine(int64_t j) {
        FineSample sample;
        fine_point(j, searched, sample.point);
        scene.field.read<1>(sample.point, &sample.s);
        return sample;
    }
};

struct March {
    Scene scene;
    float *canonical, *depth, *valid;  // [R, K, 3], [R, K], [R, K]

    void operator()(int64_t ray) const {
        Samples samples(scene, ray);
        uint64_t missing = ~uint64_t(0) >> (64 - scene.count);
        FineSample start = samples.fine(0);
        for (int64_t i = 0; i + 1 < scene.fine && missing;) {
            const int64_t end = i + STEP < scene.fine ? i + STEP : scene.fine - 1;
            const FineSample last = samples.fine(end);
            search<HALVINGS>(ray, samples, i, start, end, last, missing);
            i = end;
            start = last;
        }
        if (missing == 0) return;
        const int64_t j = scene.fine - 2;
        const FineSample before = samples.fine(j), last = samples.fine(j + 1);
        for (int64_t k = 0; k < scene.count; ++k)
            if (missing >> k & 1) write(ray, k, samples, j, before, last, 1.0f, 0.0f);
    }

    // The levels that s falls through from fine sample i to `end`: by halves, near to far, while a level lies between.
    template <int DEPTH>
    void search(int64_t ray, Samples& samples, int64_t i, const FineSample& first, int64_t end,
                            const FineSample& last, uint64_t& missing) const {
        if (between_levels(first.s, last.s)) return;
        if constexpr (DEPTH > 0) {
            if (end - i > 1) {
                const int64_t middle = (i + end) / 2;
                const FineSample half = samples.fine(middle);
                search<DEPTH - 1>(ray, samples, i, first, middle, half, missing);
                search<DEPTH - 1>(ray, samples, middle, half, end, last, missing);
                return;
            }
        }
        record(ray, samples, i, first, last, missing);
    }

    // Whether both values lie strictly between the same two levels.
    bool between_levels(float a, float b) const {
        const float least = a < b ? a : b, most = a < b ? b : a;
        for (int64_t k = 0; k < scene.count; ++k)
            if (scene.levels[k] <= most) return scene.levels[k] < least;
        return true;
    }

    // The levels that s falls through between fine sample j and the next, unless they were found before.
    void record(int64_t ray, Samples& samples, int64_t j, const FineSample& near, const FineSample& far,
                            uint64_t& missing) const {
        for (int64_t k = 0; k < scene.count && scene.levels[k] >= far.s; ++k) {
            if (scene.levels[k] > near.s || !(missing >> k & 1)) continue;
            missing &= ~(uint64_t(1) << k);
            const float fall = near.s - far.s;
            const float weight = fall <= scene.min_step ? 1.0f : (near.s - scene.levels[k]) / fall;
            write(ray, k, samples, j, near, far, weight, 1.0f);
        }
    }

    void write(int64_t ray, int64_t k, Samples& samples, int64_t j, const FineSample& near,
                           const FineSample& far, float weight, float is_valid) const {
        const float *first = near.point, *second = far.point;
        float points[2][3];
        if (!samples.one_scale) {
            samples.fine_point(j, samples.looked_up, points[0]);
            samples.fine_point(j + 1, samples.looked_up, points[1]);
            first = points[0], second = points[1];
        }
        const int64_t out = ray * scene.count + k;
        for (int c = 0; c < 3; ++c) canonical[3 * out + c] = mix(first[c], second[c], weight);
        const float start = scene.deformation.near, way = scene.deformation.far - start;
        depth[out] = start + way / float(scene.fine - 1) * (float(j) + weight);
        valid[out] = is_valid;
    }
};
#else
// On a GPU there is a thread for each sample, then for each fine sample, then for each ray (ray_manifold.h), then for
// each crossing.
struct Carry {
    Deformation deformation;
    float *searched, *looked_up;  // [R, S, 3] neutral points displaced by D^e; the second may be null

    HOST_DEVICE void operator()(int64_t at) const {
        int64_t ray, i, node, phase;
        divide(at, deformation.samples, ray, i);
        divide(i, deformation.stride, node, phase);
        const Ray of(deformation, ray);
        float low[12], high[12];
        of.transform_at(node, low);
        of.transform_at(node + 1 < deformation.node_samples ? node + 1 : node, high);
        of.carry(i, low, high, float(phase) / float(deformation.stride), searched + 3 * at,
                 looked_up == nullptr ? nullptr : looked_up + 3 * at);
    }
};

struct FineScalars {
    const float* searched;  // [R, S, 3]
    Grid field;
    int64_t samples, fine;
    float* s;  // [R, F]

    HOST_DEVICE void operator()(int64_t at) const {
        int64_t ray, j;
        divide(at, fine, ray, j);
        const Between between(samples, samples_per_fine(samples, fine), j);
        const float* near = searched + 3 * (ray * samples + between.i);
        float point[3];
        for (int c = 0; c < 3; ++c) point[c] = mix(near[c], near[3 + c], between.weight);
        field.read<1>(point, s + at);
    }
};

struct AtCrossings {
    const float* looked_up;  // [R, S, 3]
    const int64_t* index;    // [R, K] of fine samples
    const float* weight;     // [R, K]
    const bool* is_valid;    // [R, K]
    int64_t samples, fine, count;
    float near, far;
    float *canonical, *depth, *valid;  // [R, K, 3], [R, K], [R, K]

    HOST_DEVICE void operator()(int64_t at) const {
        int64_t ray, k;
        divide(at, count, ray, k);
        const int64_t j = index[at];
        float points[2][3];
        for (int end = 0; end < 2; ++end) {
            const Between between(samples, samples_per_fine(samples, fine), j + end);
            const float* sample = looked_up + 3 * (ray * samples + between.i);
            for (int c = 0; c < 3; ++c) points[end][c] = mix(sample[c], sample[3 + c], between.weight);
        }
        for (int c = 0; c < 3; ++c) canonical[3 * at + c] = mix(points[0][c], points[1][c], weight[at]);
        depth[at] = near + (far - near) / float(fine - 1) * (float(j) + weight[at]);
        valid[at] = is_valid[at] ? 1.0f : 0.0f;
    }
};
#endif
}  // namespace march_rays

#define DEFORMATION_PARAMETERS                                                                                         \
    const float *origins, const float *directions, const float *transforms, const float *displacement,                 \
        const float *displacement_box, int64_t displacement_depth, int64_t displacement_height,                        \
        int64_t displacement_width, int64_t width, int64_t node_columns, int64_t node_samples, int64_t stride,         \
        int64_t rays, int64_t samples, double near, double far, double search_scale, double lookup_scale
#define DEFORMATION                                                                                                    \
    march_rays::Deformation {                                                                                          \
        origins, directions, transforms,                                                                               \
            {displacement, displacement_box, displacement_depth, displacement_height, displacement_width}, width,      \
            node_columns, node_samples, stride, samples, float(near), float(far), float(search_scale),                 \
            float(lookup_scale)                                                                                        \
    }
#define FIELD_PARAMETERS                                                                                               \
    const float *field, const float *field_box, int64_t field_depth, int64_t field_height, int64_t field_width
#define FIELD                                                                                                          \
    { field, field_box, field_depth, field_height, field_width }

#ifndef __CUDACC__
ENTRY void march_rays_float(DEFORMATION_PARAMETERS, FIELD_PARAMETERS, const float* levels, int64_t fine, int64_t count,
                            double min_step, float* canonical, float* depth, float* valid, THREADS) {
    const march_rays::Scene scene{DEFORMATION, FIELD, levels, fine, count, float(min_step)};
    for_each(rays, 32, threads, march_rays::March{scene, canonical, depth, valid});
}
#else
ENTRY void carry_samples_float(DEFORMATION_PARAMETERS, float* searched, float* looked_up, THREADS) {
    for_each(rays * samples, 0, threads, march_rays::Carry{DEFORMATION, searched, looked_up});
}

ENTRY void fine_scalars_float(const float* searched, FIELD_PARAMETERS, int64_t rays, int64_t samples, int64_t fine,
                              float* s, THREADS) {
    for_each(rays * fine, 0, threads, march_rays::FineScalars{searched, FIELD, samples, fine, s});
}

ENTRY void at_crossings_float(const float* looked_up, const int64_t* index, const float* weight, const bool* is_valid,
                              int64_t rays, int64_t samples, int64_t fine, int64_t count, double near, double far,
                              float* canonical, float* depth, float* valid, THREADS) {
    const march_rays::AtCrossings crossings{looked_up,   index,      weight,    is_valid, samples, fine, count,
                                            float(near), float(far), canonical, depth,    valid};
    for_each(rays * count, 0, threads, crossings);
}
#endif

#undef DEFORMATION_PARAMETERS
#undef DEFORMATION
#undef FIELD_PARAMETERS
#undef FIELD

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
        const float* behind = corner + back;
        for (int c = 0; c < C; ++c) {
            const float front = mix(mix(corner[c], corner[C + c], x), mix(corner[up + c], corner[up + C + c], x), y);
            const float rear = mix(mix(behind[c], behind[C + c], x), mix(behind[up + c], behind[up + C + c], x), y);
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

// What all rays share.
struct Scene {
    const float *origins, *directions;  // [R, 3]
    const float* transforms;            // [H', W', S', 16] at every stride-th pixel and sample
    Grid displacement, field;           // D^e of neutral points (4 numbers, the last unused); s of canonical points
    const float* levels;                // [K] falling
    int64_t width, node_columns, node_samples, stride;
    int64_t samples, fine, count;
    float near, far, search_scale, lookup_scale, min_step;
};

struct FineSample {
    float point[3], s;
};

// A ray's samples in canonical space, made one after the other as they are asked for.
struct Samples {
    const Scene& scene;
    const float *origin, *direction;
    const float* corner[4];  // node columns around the ray
    float weight[4];
    float spacing, per_fine;  // from a sample to the next along the ray, and samples from a fine one to the next
    float low[12], high[12];  // transforms at the nodes before and after the last sample
    // Neutral points displaced by D^e, for the search and for the lookup: the latter only where that is not the same.
    float searched[KEPT][3], looked_up[KEPT][3];
    bool one_scale;
    int64_t made = 0;
    int64_t node = 0, phase = 0;  // the node before the next sample, and how many samples it is from there

    HOST_DEVICE Samples(const Scene& scene, int64_t ray)
        : scene(scene), origin(scene.origins + 3 * ray), direction(scene.directions + 3 * ray),
          spacing((scene.far - scene.near) / float(scene.samples - 1)),
          per_fine(float(scene.samples - 1) / float(scene.fine - 1)),
          one_scale(scene.search_scale == scene.lookup_scale) {
        const int64_t y = ray / scene.width, x = ray % scene.width, column = scene.node_samples * 16;
        const int64_t right = x % scene.stride, down = y % scene.stride;
        const float* nodes = scene.transforms + (y / scene.stride * scene.node_columns + x / scene.stride) * column;
        for (int i = 0; i < 4; ++i) {
            const bool lower = i / 2, further = i % 2;
            const float vertical = float(down) / float(scene.stride), horizontal = float(right) / float(scene.stride);
            corner[i] = nodes + ((lower && down ? scene.node_columns : 0) + (further && right ? 1 : 0)) * column;
            weight[i] = (lower ? vertical : 1 - vertical) * (further ? horizontal : 1 - horizontal);
        }
        transform_at(0, high);
    }

    HOST_DEVICE void transform_at(int64_t node, float* entry) const {
        for (int64_t c = 0, at = node * 16; c < 12; ++c, ++at)
            entry[c] = corner[0][at] * weight[0] + corner[1][at] * weight[1] + corner[2][at] * weight[2] +
                       corner[3][at] * weight[3];
    }

    HOST_DEVICE void make_next() {
        const int64_t i = made++;
        if (phase == 0) {
            memcpy(low, high, sizeof low);
            if (node + 1 < scene.node_samples) transform_at(node + 1, high);
        }
        const float along = float(phase) / float(scene.stride);
        if (++phase == scene.stride) phase = 0, ++node;
        const float distance = scene.near + spacing * float(i);
        float point[3], entry[12], neutral[3], shift[CHANNELS];
        for (int c = 0; c < 3; ++c) point[c] = origin[c] + direction[c] * distance;
        for (int c = 0; c < 12; ++c) entry[c] = mix(low[c], high[c], along);
        for (int c = 0; c < 12; c += 4)
            neutral[c / 4] = entry[c] * point[0] + entry[c + 1] * point[1] + entry[c + 2] * point[2] + entry[c + 3];
        scene.displacement.read<CHANNELS>(neutral, shift);
        for (int c = 0; c < 3; ++c) {
            searched[i % KEPT][c] = neutral[c] + scene.search_scale * shift[c];
            if (!one_scale) looked_up[i % KEPT][c] = neutral[c] + scene.lookup_scale * shift[c];
        }
    }

    // Fine sample j: linear between the samples around it.
    HOST_DEVICE void fine_point(int64_t j, const float (*samples)[3], float* point) {
        const float position = per_fine * float(j);
        int64_t i = int64_t(position);
        i = i < scene.samples - 1 ? i : scene.samples - 2;
        while (made < i + 2) make_next();
        const float *near = samples[i % KEPT], *far = samples[(i + 1) % KEPT];
        for (int c = 0; c < 3; ++c) point[c] = mix(near[c], far[c], position - float(i));
    }

    HOST_DEVICE FineSample fine(int64_t j) {
        FineSample sample;
        fine_point(j, searched, sample.point);
        scene.field.read<1>(sample.point, &sample.s);
        return sample;
    }
};

struct March {
    Scene scene;
    float *canonical, *depth, *valid;  // [R, K, 3], [R, K], [R, K]

    HOST_DEVICE void operator()(int64_t ray) const {
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
    HOST_DEVICE void search(int64_t ray, Samples& samples, int64_t i, const FineSample& first, int64_t end,
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
    HOST_DEVICE bool between_levels(float a, float b) const {
        const float least = a < b ? a : b, most = a < b ? b : a;
        for (int64_t k = 0; k < scene.count; ++k)
            if (scene.levels[k] <= most) return scene.levels[k] < least;
        return true;
    }

    // The levels that s falls through between fine sample j and the next, unless they were found before.
    HOST_DEVICE void record(int64_t ray, Samples& samples, int64_t j, const FineSample& near, const FineSample& far,
                            uint64_t& missing) const {
        for (int64_t k = 0; k < scene.count && scene.levels[k] >= far.s; ++k) {
            if (scene.levels[k] > near.s || !(missing >> k & 1)) continue;
            missing &= ~(uint64_t(1) << k);
            const float fall = near.s - far.s;
            const float weight = fall <= scene.min_step ? 1.0f : (near.s - scene.levels[k]) / fall;
            write(ray, k, samples, j, near, far, weight, 1.0f);
        }
    }

    HOST_DEVICE void write(int64_t ray, int64_t k, Samples& samples, int64_t j, const FineSample& near,
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
        depth[out] = scene.near + (scene.far - scene.near) / float(scene.fine - 1) * (float(j) + weight);
        valid[out] = is_valid;
    }
};
}  // namespace march_rays

EXPORT int march_rays_float(const float* origins, const float* directions, const float* transforms,
                            const float* displacement, const float* displacement_box, int64_t displacement_depth,
                            int64_t displacement_height, int64_t displacement_width, const float* field,
                            const float* field_box, int64_t field_depth, int64_t field_height, int64_t field_width,
                            const float* levels, int64_t width, int64_t node_columns, int64_t node_samples,
                            int64_t stride, int64_t rays, int64_t samples, int64_t fine, int64_t count, double near,
                            double far, double search_scale, double lookup_scale, double min_step, float* canonical,
                            float* depth, float* valid, int64_t place, void* stream) {
    const march_rays::Grid shift{displacement, displacement_box, displacement_depth, displacement_height,
                                 displacement_width};
    const march_rays::Grid scalars{field, field_box, field_depth, field_height, field_width};
    const march_rays::Scene scene{origins, directions, transforms, shift, scalars, levels, width, node_columns,
                                  node_samples, stride, samples, fine, count, float(near), float(far),
                                  float(search_scale), float(lookup_scale), float(min_step)};
    return for_each(rays, 32, {place, stream}, march_rays::March{scene, canonical, depth, valid});
}

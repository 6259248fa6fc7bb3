// Where rays cross the manifolds: the per-ray core, and what Python calls (torch_utils/ops/ray_manifold.py).
// The rules are those of torch_utils/ops/ray_manifold_ref.py, to the bit.
#pragma once

#include "for_each.h"

namespace ray_manifold {

// Where a sample lies among falling levels: those before `above` are > s, those before `reached` are >= s.
// A NaN lies below all levels and has reached none, so that no interval which it bounds crosses anything.
struct Place {
    int64_t above, reached;
};

// The place of s, sought from that of the sample before: along a monotone ray all of it together is O(K).
template <typename T>
HOST_DEVICE Place find_place(T s, int64_t above, const T* level, int64_t count) {
    while (above < count && !(level[above] <= s)) ++above;
    while (above > 0 && level[above - 1] <= s) --above;
    int64_t reached = above;
    while (reached < count && level[reached] == s) ++reached;
    return s == s ? Place{above, reached} : Place{count, 0};
}

// The first crossing of every level along every ray, in one pass over its samples.
template <typename T>
struct Find {
    const T* s;           // [N, S]
    const T* levels;      // [K] falling, NaN last; K <= 64
    const int64_t* slot;  // [K] where each level stood before sorting; null: where it is
    int64_t samples, count;
    bool either_direction;
    T min_step;
    int64_t* index;  // [N, K], as are the next two
    T* weight;
    bool* valid;

    HOST_DEVICE void operator()(int64_t ray) const {
        const T* s = this->s + ray * samples;
        int64_t numbers = count;  // levels that are not NaN
        while (numbers > 0 && levels[numbers - 1] != levels[numbers - 1]) --numbers;
        uint64_t found = 0;
        Place near = find_place(s[0], int64_t(0), levels, numbers);
        for (int64_t i = 0; i + 1 < samples; ++i) {
            const T next = s[i + 1];
            // Most samples lie strictly between the same two levels as the one before.
            if (near.above == near.reached && (near.above == numbers || next > levels[near.above]) &&
                (near.above == 0 || next < levels[near.above - 1]))
                continue;
            const Place far = find_place(next, near.above, levels, numbers);
            for (int64_t k = near.above; k < far.reached; ++k) record(ray, k, i, s, true, found);
            if (either_direction)
                for (int64_t k = far.above; k < near.reached; ++k) record(ray, k, i, s, false, found);
            near = far;
        }
        for (int64_t k = 0; k < count; ++k)
            if (!(found >> k & 1)) write(ray, k, samples - 2, T(1), false);
    }

    HOST_DEVICE void record(int64_t ray, int64_t k, int64_t i, const T* s, bool falls, uint64_t& found) const {
        if (found >> k & 1) return;
        found |= uint64_t(1) << k;
        const T step = s[i] - s[i + 1];
        const bool flat = step <= min_step && -step <= min_step;
        write(ray, k, i, flat ? T(1) : (s[i] - levels[k]) / step, falls);
    }

    HOST_DEVICE void write(int64_t ray, int64_t k, int64_t i, T w, bool is_valid) const {
        const int64_t out = ray * count + (slot == nullptr ? k : slot[k]);
        index[out] = i;
        weight[out] = w;
        valid[out] = is_valid;
    }
};

// With w = (near - level) / (near - far): dw / dnear = (1 - w) / step, dw / dfar = w / step, step = near - far.
template <typename T>
struct FindBackward {
    const T* s;       // [N, S]
    const T* levels;  // [K] as the caller gave them
    const int64_t* index;
    const T* weight;
    const T* grad_weight;  // [N, K]
    int64_t samples, count;
    bool either_direction;
    T min_step;
    T* grad_s;  // [N, S], zeros

    HOST_DEVICE void operator()(int64_t ray) const {
        for (int64_t k = 0; k < count; ++k) {
            const int64_t at = ray * count + k, i = ray * samples + index[at];
            const T near = s[i], far = s[i + 1], level = levels[k], step = near - far;
            // Where nothing was found the last sample stands in, whatever s is.
            const bool found = (near >= level && level >= far) || (either_direction && near <= level && level <= far);
            if (!found || (step <= min_step && -step <= min_step)) continue;
            grad_s[i] += grad_weight[at] * (1 - weight[at]) / step;
            grad_s[i + 1] += grad_weight[at] * weight[at] / step;
        }
    }
};

HOST_DEVICE int64_t clamp_index(int64_t index, int64_t samples) {
    return index < 0 ? 0 : index > samples - 2 ? samples - 2 : index;
}

// Values at crossings: near + (far - near) * weight.
template <typename T>
struct Interpolate {
    const T* values;       // [N, S, C]
    const int64_t* index;  // [N, K]
    const T* weight;       // [N, K]
    int64_t samples, count, channels;
    T* result;  // [N, K, C]

    HOST_DEVICE void operator()(int64_t ray) const {
        for (int64_t at = ray * count; at < (ray + 1) * count; ++at) {
            const T* near = values + (ray * samples + clamp_index(index[at], samples)) * channels;
            for (int64_t c = 0; c < channels; ++c)
                result[at * channels + c] = near[c] + (near[channels + c] - near[c]) * weight[at];
        }
    }
};

template <typename T>
struct InterpolateBackward {
    const T* values;
    const int64_t* index;
    const T* weight;
    const T* grad;  // [N, K, C]
    int64_t samples, count, channels;
    T* grad_values;  // [N, S, C], zeros; or null
    T* grad_weight;  // [N, K]; or null

    HOST_DEVICE void operator()(int64_t ray) const {
        for (int64_t at = ray * count; at < (ray + 1) * count; ++at) {
            const int64_t near = (ray * samples + clamp_index(index[at], samples)) * channels, far = near + channels;
            T sum = 0;
            for (int64_t c = 0; c < channels; ++c) {
                const T g = grad[at * channels + c];
                sum += g * (values[far + c] - values[near + c]);
                if (grad_values == nullptr) continue;
                grad_values[near + c] += g * (1 - weight[at]);
                grad_values[far + c] += g * weight[at];
            }
            if (grad_weight != nullptr) grad_weight[at] = sum;
        }
    }
};
}  // namespace ray_manifold

constexpr int64_t RAYS_PER_CHUNK = 128;

#define RAY_MANIFOLD(T)                                                                                                \
    ENTRY void find_crossings_##T(                                                                                     \
        const T* s, const T* levels, const int64_t* slot, int64_t rays, int64_t samples, int64_t count,                \
        int64_t either, double min_step, int64_t* index, T* weight, bool* valid, THREADS) {        \
        for_each(rays, RAYS_PER_CHUNK, threads,                                                         \
                        ray_manifold::Find<T>{s, levels, slot, samples, count, either != 0, T(min_step), index,        \
                                              weight, valid});                                                         \
    }                                                                                                                  \
    ENTRY void find_crossings_backward_##T(                                                                            \
        const T* s, const T* levels, const int64_t* index, const T* weight, const T* grad_weight, int64_t rays,        \
        int64_t samples, int64_t count, int64_t either, double min_step, T* grad_s, THREADS) {     \
        for_each(rays, RAYS_PER_CHUNK, threads,                                                         \
                        ray_manifold::FindBackward<T>{s, levels, index, weight, grad_weight, samples, count,           \
                                                      either != 0, T(min_step), grad_s});                              \
    }                                                                                                                  \
    ENTRY void interpolate_##T(                                                                                        \
        const T* values, const int64_t* index, const T* weight, int64_t rays, int64_t samples, int64_t count,          \
        int64_t channels, T* result, THREADS) {                                                    \
        for_each(rays, RAYS_PER_CHUNK, threads,                                                         \
                        ray_manifold::Interpolate<T>{values, index, weight, samples, count, channels, result});        \
    }                                                                                                                  \
    ENTRY void interpolate_backward_##T(                                                                               \
        const T* values, const int64_t* index, const T* weight, const T* grad, int64_t rays, int64_t samples,          \
        int64_t count, int64_t channels, T* grad_values, T* grad_weight, THREADS) {                \
        for_each(rays, RAYS_PER_CHUNK, threads,                                                         \
                        ray_manifold::InterpolateBackward<T>{values, index, weight, grad, samples, count, channels,    \
                                                             grad_values, grad_weight});                               \
    }

RAY_MANIFOLD(float)
RAY_MANIFOLD(double)

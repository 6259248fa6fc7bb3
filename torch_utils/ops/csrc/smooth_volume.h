// Depthwise filtering of a volume of 4 x 4 matrices: what Python calls (torch_utils/ops/smooth_volume.py).
//
// A cell's 16 entries lie side by side: on a CPU they are one vector of AVX-512, two of AVX2, and every tap is one
// multiply-add of such vectors. On a GPU every entry has a thread.
#pragma once

#include "for_each.h"

#ifndef __CUDACC__
#include "lanes.h"
#endif

namespace smooth_volume {

constexpr int64_t ENTRIES = 16;

struct Filter {
    const float* volume;  // [H, W, S, 16]
    const float* weight;  // [h, w, s, 16]
    int64_t height, width, samples;
    int64_t taps_y, taps_x, taps_s;
    float* result;  // [H - h + 1, W - w + 1, S - s + 1, 16]

    HOST_DEVICE int64_t rows() const { return height - taps_y + 1; }
    HOST_DEVICE int64_t columns() const { return width - taps_x + 1; }
    HOST_DEVICE int64_t cells() const { return samples - taps_s + 1; }
};

#ifdef __CUDACC__
struct Entry {
    Filter f;

    HOST_DEVICE void operator()(int64_t i) const {
        const int64_t entry = i % ENTRIES, s = i / ENTRIES % f.cells();
        const int64_t x = i / (ENTRIES * f.cells()) % f.columns(), y = i / (ENTRIES * f.cells() * f.columns());
        float sum = 0;
        for (int64_t dy = 0; dy < f.taps_y; ++dy)
            for (int64_t dx = 0; dx < f.taps_x; ++dx) {
                const float* in = f.volume + (((y + dy) * f.width + x + dx) * f.samples + s) * ENTRIES + entry;
                const float* w = f.weight + (dy * f.taps_x + dx) * f.taps_s * ENTRIES + entry;
                for (int64_t ds = 0; ds < f.taps_s; ++ds) sum += in[ds * ENTRIES] * w[ds * ENTRIES];
            }
        f.result[i] = sum;
    }
};
#else
using lanes::Lanes;
constexpr int64_t PARTS = ENTRIES / lanes::LANES;  // registers that a cell takes

inline Lanes load(const float* from) {
    Lanes value;
    memcpy(&value, from, sizeof value);
    return value;
}

// All the cells of a ray, so many at a time that their sums and a tap's weights stay in registers.
struct Ray {
    Filter f;

    static constexpr int64_t CELLS = 8 / PARTS;

    void operator()(int64_t ray) const {
        const int64_t y = ray / f.columns(), x = ray % f.columns();
        int64_t s = 0;
        for (; s + CELLS <= f.cells(); s += CELLS) run<CELLS>(y, x, s);
        for (; s < f.cells(); ++s) run<1>(y, x, s);
    }

    template <int64_t N>
    void run(int64_t y, int64_t x, int64_t s) const {
        Lanes sum[N * PARTS] = {};
        for (int64_t dy = 0; dy < f.taps_y; ++dy)
            for (int64_t dx = 0; dx < f.taps_x; ++dx) {
                const float* in = f.volume + (((y + dy) * f.width + x + dx) * f.samples + s) * ENTRIES;
                const float* w = f.weight + (dy * f.taps_x + dx) * f.taps_s * ENTRIES;
                for (int64_t ds = 0; ds < f.taps_s; ++ds, in += ENTRIES, w += ENTRIES)
                    for (int64_t n = 0; n < N * PARTS; ++n)
                        sum[n] = lanes::multiply_add(load(in + n * lanes::LANES), load(w + n % PARTS * lanes::LANES), sum[n]);
            }
        memcpy(f.result + ((y * f.columns() + x) * f.cells() + s) * ENTRIES, sum, sizeof sum);
    }
};
#endif
}  // namespace smooth_volume

EXPORT int smooth_volume_float(const float* volume, const float* weight, int64_t height, int64_t width, int64_t samples,
                               int64_t taps_y, int64_t taps_x, int64_t taps_s, float* result, int64_t place,
                               void* stream) {
    const smooth_volume::Filter filter{volume, weight, height, width, samples, taps_y, taps_x, taps_s, result};
#ifdef __CUDACC__
    const int64_t count = filter.rows() * filter.columns() * filter.cells() * smooth_volume::ENTRIES;
    return for_each(count, 0, {place, stream}, smooth_volume::Entry{filter});
#else
    return for_each(filter.rows() * filter.columns(), 8, {place, stream}, smooth_volume::Ray{filter});
#endif
}

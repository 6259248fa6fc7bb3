// Depthwise filtering of a volume of 4 x 4 matrices: what Python calls (torch_utils/ops/smooth_volume.py).
//
// A cell's 16 entries lie side by side: on a CPU they are one vector of AVX-512, two of AVX2, and every tap is one
// multiply-add of such vectors. On a GPU a thread has four of them.
#pragma once

#include "lanes.h"

namespace smooth_volume {

using lanes::Lanes;
using lanes::LANES;

constexpr int64_t ENTRIES = 16;
constexpr int64_t PARTS = ENTRIES / LANES;  // vectors that a cell takes

// So many cells in a row at a time that their sums and a tap's weights stay in registers.
#ifdef __CUDACC__
constexpr int64_t CELLS = 8, PARTS_AT_ONCE = 1;
#else
constexpr int64_t CELLS = 8 / PARTS, PARTS_AT_ONCE = PARTS;
#endif

struct Filter {
    const float* volume;  // [H, W, S, 16]
    const float* weight;  // [h, w, s, 16]
    int64_t height, width, samples;
    int64_t taps_y, taps_x, taps_s;
    float* result;  // [H - h + 1, W - w + 1, S - s + 1, 16]

    HOST_DEVICE int64_t rows() const { return height - taps_y + 1; }
    HOST_DEVICE int64_t columns() const { return width - taps_x + 1; }
    HOST_DEVICE int64_t cells() const { return samples - taps_s + 1; }

    // N cells from s on; TAPS of them along s, or 0 for any number. D^p's filters have 5 and 4.
    template <int64_t N, int64_t TAPS>
    HOST_DEVICE void run(int64_t y, int64_t x, int64_t s, int64_t part) const {
        const int64_t taps = TAPS > 0 ? TAPS : taps_s;
        Lanes sum[N][PARTS_AT_ONCE] = {};
        for (int64_t dy = 0; dy < taps_y; ++dy)
            for (int64_t dx = 0; dx < taps_x; ++dx) {
                const float* in = volume + (((y + dy) * width + x + dx) * samples + s) * ENTRIES + part * LANES;
                const float* w = weight + (dy * taps_x + dx) * taps * ENTRIES + part * LANES;
                for (int64_t ds = 0; ds < taps; ++ds, in += ENTRIES, w += ENTRIES)
                    for (int64_t n = 0; n < N; ++n)
                        for (int64_t p = 0; p < PARTS_AT_ONCE; ++p)
                            sum[n][p] = lanes::multiply_add(lanes::load(in + n * ENTRIES + p * LANES),
                                                            lanes::load(w + p * LANES), sum[n][p]);
            }
        float* to = result + ((y * columns() + x) * cells() + s) * ENTRIES + part * LANES;
        for (int64_t n = 0; n < N; ++n)
            for (int64_t p = 0; p < PARTS_AT_ONCE; ++p) lanes::store(sum[n][p], to + n * ENTRIES + p * LANES);
    }

    template <int64_t N>
    HOST_DEVICE void run_any(int64_t y, int64_t x, int64_t s, int64_t part) const {
#ifdef __CUDACC__  // has the registers that this takes
        if (taps_s == 4) return run<N, 4>(y, x, s, part);
        if (taps_s == 5) return run<N, 5>(y, x, s, part);
#endif
        run<N, 0>(y, x, s, part);
    }
};

#ifdef __CUDACC__
// Some cells of a ray; of neighbouring threads, four have a cell's sixteen entries.
struct Cells {
    Filter f;

    HOST_DEVICE int64_t groups() const { return (f.cells() + CELLS - 1) / CELLS; }

    HOST_DEVICE void operator()(int64_t i) const {
        int64_t ray, y, x, group, part;
        divide(i, PARTS, ray, part);
        divide(ray, groups(), ray, group);
        divide(ray, f.columns(), y, x);
        const int64_t s = group * CELLS;
        if (s + CELLS <= f.cells()) return f.run_any<CELLS>(y, x, s, part);
        for (int64_t cell = s; cell < f.cells(); ++cell) f.run<1, 0>(y, x, cell, part);
    }
};
#else
// All the cells of a ray.
struct Cells {
    Filter f;

    void operator()(int64_t ray) const {
        const int64_t y = ray / f.columns(), x = ray % f.columns();
        int64_t s = 0;
        for (; s + CELLS <= f.cells(); s += CELLS) f.run_any<CELLS>(y, x, s, 0);
        for (; s < f.cells(); ++s) f.run<1, 0>(y, x, s, 0);
    }
};
#endif
}  // namespace smooth_volume

ENTRY void smooth_volume_float(const float* volume, const float* weight, int64_t height, int64_t width, int64_t samples,
                               int64_t taps_y, int64_t taps_x, int64_t taps_s, float* result, THREADS) {
    const smooth_volume::Cells cells{{volume, weight, height, width, samples, taps_y, taps_x, taps_s, result}};
    const int64_t rays = cells.f.rows() * cells.f.columns();
#ifdef __CUDACC__
    for_each(rays * cells.groups() * smooth_volume::PARTS, 0, threads, cells);
#else
    for_each(rays, 8, threads, cells);
#endif
}

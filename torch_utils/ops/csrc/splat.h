// 3D Gaussian splatting: what Python calls (torch_utils/ops/splat.py). The rules are those of splat_ref.py.
//
// Gaussians are projected, listed by tiles of 16 x 16 pixels, nearest first, and blended; a CPU takes the pixels of a
// tile's row side by side, a GPU a pixel a thread. Backward passes them front to back again: what lies behind a
// Gaussian is what the finished picture has left. Each pair of Gaussian and tile has a row of gradients of its own,
// which are added up Gaussian by Gaussian, so that a CPU's sums are the same every time.
#pragma once

#include "gaussian_blending.h"
#include "gaussian_projection.h"

#ifndef __CUDACC__
#include <cstdlib>
#include <cstring>

namespace splat {

// Gaussians by depth, equal ones by index: a radix sort, for depths are positive and so ordered as their bits are.
inline void sort_by_depth(const Record* records, const int64_t* areas, int64_t count, int32_t* order, int64_t& drawn) {
    constexpr int BITS = 11, BINS = 1 << BITS, MASK = BINS - 1;
    struct Key {
        uint32_t depth;
        int32_t index;
    };
    Key* keys = static_cast<Key*>(std::malloc(2 * (count + 1) * sizeof(Key)));
    Key* others = keys + count;
    drawn = 0;
    for (int64_t i = 0; i < count; ++i) {
        if (areas[i] == 0) continue;
        memcpy(&keys[drawn].depth, &records[i].depth, sizeof(uint32_t));
        keys[drawn++].index = int32_t(i);
    }
    Key *from = keys, *to = others;
    for (int shift = 0; shift < 32; shift += BITS) {
        int64_t start[BINS + 1] = {};
        for (int64_t i = 0; i < drawn; ++i) ++start[(from[i].depth >> shift & MASK) + 1];
        for (int bin = 0; bin < BINS; ++bin) start[bin + 1] += start[bin];
        for (int64_t i = 0; i < drawn; ++i) to[start[from[i].depth >> shift & MASK]++] = from[i];
        Key* swap = from;
        from = to;
        to = swap;
    }
    for (int64_t i = 0; i < drawn; ++i) order[i] = from[i].index;
    std::free(keys);
}

// f(tile) for the tiles of a Gaussian in some rows.
template <typename F>
inline void for_tiles(const Rectangle& tiles, int64_t top, int64_t bottom, int64_t columns, const F& f) {
    for (int64_t y = tiles.top > top ? tiles.top : top; y < bottom && y < tiles.bottom; ++y)
        for (int64_t x = tiles.left; x < tiles.right; ++x) f(y * columns + x);
}
}  // namespace splat

// On a GPU, torch's sort does this. order: [N], room for what is made on the way.
ENTRY void splat_list_float(const splat::Record* records, const splat::Rectangle* rectangles, const int64_t* areas,
                            int64_t count, int64_t columns, int64_t rows, int32_t* order, int64_t* starts,
                            int32_t* entries, THREADS) {
    using namespace splat;
    int64_t drawn, *next = static_cast<int64_t*>(std::malloc((columns * rows + 1) * sizeof(int64_t)));
    sort_by_depth(records, areas, count, order, drawn);
    for (int64_t tile = 0; tile <= columns * rows; ++tile) starts[tile] = 0;
    for (int64_t i = 0; i < drawn; ++i)
        for_tiles(rectangles[order[i]], 0, rows, columns, [&](int64_t tile) { ++starts[tile + 1]; });
    for (int64_t tile = 0; tile < columns * rows; ++tile) starts[tile + 1] += starts[tile], next[tile] = starts[tile];
    for_each(threads, 1, threads, [=](int64_t part) {
        for (int64_t i = 0; i < drawn; ++i)
            for_tiles(rectangles[order[i]], part * rows / threads, (part + 1) * rows / threads, columns,
                      [&](int64_t tile) { entries[next[tile]++] = order[i]; });
    });
    std::free(next);
}
#endif

ENTRY void splat_project_float(const float* means, const float* axes, const float* opacities, const float* camera,
                               int64_t count, int64_t width, int64_t height, splat::Record* records,
                               splat::Rectangle* rectangles, int64_t* areas, THREADS) {
    for_each(count, 1024, threads,
             splat::Project{means, axes, opacities, {camera, float(width), float(height)}, records, rectangles, areas});
}

ENTRY void splat_project_backward_float(const float* means, const float* axes, const float* camera, int64_t count,
                                        int64_t width, int64_t height, const int64_t* areas, const int64_t* first,
                                        const float* rows, int64_t channels, float* grad_means, float* grad_axes,
                                        float* grad_opacities, float* grad_colours, THREADS) {
    for_each(count, 1024, threads,
             splat::ProjectBackward{means, axes, {camera, float(width), float(height)}, areas, first, rows, channels,
                                    grad_means, grad_axes, grad_opacities, grad_colours});
}

#ifdef __CUDACC__
#define WORK_PER_TILE splat::PIXELS
#else
#define WORK_PER_TILE 1
#endif

ENTRY void splat_draw_float(const splat::Record* records, const float* colours, const int64_t* starts,
                            const int32_t* entries, int64_t tiles, int64_t columns, int64_t channels, float* picture,
                            THREADS) {
    for_each(tiles * WORK_PER_TILE, 1, threads,
             splat::Draw{{records, colours, starts, entries, columns, channels}, picture});
}

ENTRY void splat_draw_backward_float(const splat::Record* records, const float* colours, const int64_t* starts,
                                     const int32_t* entries, int64_t tiles, int64_t columns, int64_t channels,
                                     const splat::Rectangle* rectangles, const int64_t* first, const float* grads,
                                     const float* whole, float* rows, THREADS) {
    for_each(tiles * WORK_PER_TILE, 1, threads,
             splat::DrawBackward{{records, colours, starts, entries, columns, channels}, rectangles, first, grads, whole,
                                 rows});
}

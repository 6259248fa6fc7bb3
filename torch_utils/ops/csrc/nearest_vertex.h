// The vertex nearest to every point of a grid: what Python calls (torch_utils/ops/nearest_vertex.py).
//
// On a CPU, points are taken by tiles, and tiles by halves. A vertex can be nearest to a point of a tile only if it is
// no farther from the tile's middle than the nearest vertex is, plus twice the tile's radius: each half considers only
// what that leaves of the whole's. On a GPU a tile is a block's, whose threads find out together what vertices are left
// for it, and compare a point each with these.
#pragma once

#include "for_each.h"

#ifndef __CUDACC__
#include "array.h"

#include <algorithm>
#include <cmath>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#endif

namespace nearest_vertex {

constexpr float INFINITE = 3.4e38f;

struct Problem {
    const float* points;    // [H, W, S, 3]
    const float* vertices;  // [3, V]
    int64_t size[3], count;
    int64_t* index;  // [H, W, S]
};

#ifdef __CUDACC__
constexpr int TILE[3] = {8, 4, 4};  // points of a block, one a thread
constexpr int CHUNK = 1024;         // vertices that are considered at a time

HOST_DEVICE float square(float x, float y, float z) { return x * x + y * y + z * z; }

// What a block's threads share: of the tile, and the vertices that may be nearest to a point of it.
struct Shared {
    int radius, least;  // squared distances, as the whole numbers with the same bits: ordered alike, and NaN above all
    int kept;
    float x[CHUNK], y[CHUNK], z[CHUNK];
    int index[CHUNK];
};

struct Tile {
    Problem problem;

    __device__ int64_t point_at(const int64_t* place) const {
        return (place[0] * problem.size[1] + place[1]) * problem.size[2] + place[2];
    }

    __device__ void operator()(int64_t tile, int thread, Shared& shared) const {
        int64_t tiles[3], corner[3], place[3], end[3];
        for (int c = 0; c < 3; ++c) tiles[c] = (problem.size[c] + TILE[c] - 1) / TILE[c];
        divide(tile, tiles[1] * tiles[2], corner[0], corner[1]);
        divide(corner[1], tiles[2], corner[1], corner[2]);
        const int within[3] = {thread / (TILE[1] * TILE[2]), thread / TILE[2] % TILE[1], thread % TILE[2]};
        bool is_inside = true;
        for (int c = 0; c < 3; ++c) {
            corner[c] *= TILE[c];
            const int64_t last = problem.size[c] - 1;
            end[c] = corner[c] + TILE[c] - 1 < last ? corner[c] + TILE[c] - 1 : last;
            is_inside = is_inside && corner[c] + within[c] <= last;
            place[c] = corner[c] + within[c] < last ? corner[c] + within[c] : last;
        }
        const float *point = problem.points + 3 * point_at(place), *vertices = problem.vertices;
        const float *low = problem.points + 3 * point_at(corner), *high = problem.points + 3 * point_at(end);
        const int count = int(problem.count);
        float middle[3];
        for (int c = 0; c < 3; ++c) middle[c] = 0.5f * (low[c] + high[c]);
        if (thread == 0) shared.radius = 0, shared.least = bits(INFINITE);
        __syncthreads();
        atomicMax(&shared.radius, bits(square(point[0] - middle[0], point[1] - middle[1], point[2] - middle[2])));
        float least = INFINITE;
        for (int v = thread; v < count; v += BLOCK_THREADS) {
            const float distance = from(middle, vertices, v);
            least = distance < least ? distance : least;
        }
        atomicMin(&shared.least, bits(least));
        __syncthreads();
        // Widened a little, for what rounding takes away.
        const float bound = (sqrtf(number(shared.least)) + 2 * sqrtf(number(shared.radius))) * 1.00001f;
        int best = 0;
        least = INFINITE;
        for (int start = 0; start < count; start += CHUNK) {
            if (thread == 0) shared.kept = 0;
            __syncthreads();
            for (int v = start + thread; v < count && v < start + CHUNK; v += BLOCK_THREADS) {
                if (from(middle, vertices, v) > bound * bound) continue;  // all are kept where that is NaN
                const int at = atomicAdd(&shared.kept, 1);
                shared.x[at] = vertices[v], shared.y[at] = vertices[count + v], shared.z[at] = vertices[2 * count + v];
                shared.index[at] = v;
            }
            __syncthreads();
            for (int at = 0; at < shared.kept; ++at) {
                const float distance = square(shared.x[at] - point[0], shared.y[at] - point[1], shared.z[at] - point[2]);
                const int v = shared.index[at];
                // They come in any order; of two as near it is the first, every time.
                if (distance < least || (distance == least && v < best)) least = distance, best = v;
            }
            __syncthreads();
        }
        if (is_inside) problem.index[point_at(place)] = best;
    }

    __device__ float from(const float* point, const float* vertices, int v) const {
        const int count = int(problem.count);
        return square(vertices[v] - point[0], vertices[count + v] - point[1], vertices[2 * count + v] - point[2]);
    }

    static __device__ int bits(float value) {
        int same;
        memcpy(&same, &value, sizeof same);
        return same & 0x7fffffff;  // squares have no sign, but NaN may
    }

    static __device__ float number(int bits) {
        float same;
        memcpy(&same, &bits, sizeof same);
        return same;
    }
};
#else
constexpr int HALVINGS = 3;
constexpr int64_t TILE = 1 << HALVINGS;  // points a side

// Vertices in question, `count` of at most as many as there is room for.
struct Candidates {
    Array<float> x, y, z, distance;
    Array<int32_t> index;
    int64_t count = 0;

    void make_room(int64_t room) {
        for (Array<float>* array : {&x, &y, &z, &distance}) *array = make_array<float>(room);
        index = make_array<int32_t>(room);
    }

    // Squared distances from a point; their least.
    float measure(const float* point) {
        const float px = point[0], py = point[1], pz = point[2], *xs = x.get(), *ys = y.get(), *zs = z.get();
        float least = INFINITE, *to = distance.get();
#pragma omp simd reduction(min : least)
        for (int64_t i = 0; i < count; ++i) {
            const float dx = xs[i] - px, dy = ys[i] - py, dz = zs[i] - pz, d = dx * dx + dy * dy + dz * dz;
            to[i] = d;
            least = d < least ? d : least;
        }
        return least;
    }

    // Keeps those of `from` whose distance was not beyond `limit`: all of them where that is NaN.
    void keep(const Candidates& from, float limit) {
        int64_t i = 0;
        count = 0;
#if defined(__AVX512F__)  // sixteen at a time: the kept ones side by side
        for (; i + 16 <= from.count; i += 16) {
            const __mmask16 kept = _mm512_cmp_ps_mask(_mm512_loadu_ps(&from.distance[i]), _mm512_set1_ps(limit), _CMP_NGT_UQ);
            if (kept == 0) continue;
            _mm512_storeu_ps(&x[count], _mm512_maskz_compress_ps(kept, _mm512_loadu_ps(&from.x[i])));
            _mm512_storeu_ps(&y[count], _mm512_maskz_compress_ps(kept, _mm512_loadu_ps(&from.y[i])));
            _mm512_storeu_ps(&z[count], _mm512_maskz_compress_ps(kept, _mm512_loadu_ps(&from.z[i])));
            _mm512_storeu_si512(&index[count], _mm512_maskz_compress_epi32(kept, _mm512_loadu_si512(&from.index[i])));
            count += __builtin_popcount(kept);
        }
#endif
        for (; i < from.count; ++i) {
            x[count] = from.x[i], y[count] = from.y[i], z[count] = from.z[i], index[count] = from.index[i];
            count += !(from.distance[i] > limit);
        }
    }

    // The first whose distance is `least`; 0 where that is NaN.
    int64_t first_at(float least) const {
        const float* from = distance.get();
        int64_t i = 0;
#if defined(__AVX512F__)
        for (; i + 16 <= count; i += 16) {
            const __mmask16 found = _mm512_cmp_ps_mask(_mm512_loadu_ps(from + i), _mm512_set1_ps(least), _CMP_EQ_OQ);
            if (found != 0) return index[i + __builtin_ctz(found)];
        }
#endif
        const float* at = std::find(from + i, from + count, least);
        return at < from + count ? index[at - from] : 0;
    }
};

struct Tiled {
    Problem problem;

    int64_t tiles(int axis) const { return (problem.size[axis] + TILE - 1) / TILE; }

    void operator()(int64_t tile) const {
        const int64_t corner[3] = {tile / (tiles(1) * tiles(2)) * TILE, tile / tiles(2) % tiles(1) * TILE,
                                   tile % tiles(2) * TILE};
        Candidates stack[HALVINGS + 2];
        for (Candidates& candidates : stack) candidates.make_room(problem.count + 16);  // whole vectors are written
        for (int64_t v = 0; v < problem.count; ++v) {
            stack[0].x[v] = problem.vertices[v];
            stack[0].y[v] = problem.vertices[problem.count + v];
            stack[0].z[v] = problem.vertices[2 * problem.count + v];
            stack[0].index[v] = int32_t(v);
        }
        stack[0].count = problem.count;
        search(corner, TILE, stack);
    }

    const float* point(int64_t y, int64_t x, int64_t s) const {
        return problem.points + 3 * ((y * problem.size[1] + x) * problem.size[2] + s);
    }

    // The points from `corner` on, `side` each way; stack[0] are the vertices in question.
    void search(const int64_t* corner, int64_t side, Candidates* stack) const {
        int64_t end[3];
        for (int c = 0; c < 3; ++c) {
            if (corner[c] >= problem.size[c]) return;
            end[c] = std::min(corner[c] + side, problem.size[c]);
        }
        const float* low = point(corner[0], corner[1], corner[2]);
        const float* high = point(end[0] - 1, end[1] - 1, end[2] - 1);
        float middle[3];
        for (int c = 0; c < 3; ++c) middle[c] = 0.5f * (low[c] + high[c]);
        const float least = stack[0].measure(middle);
        if (side == 1) {
            problem.index[(low - problem.points) / 3] = stack[0].first_at(least);
            return;
        }
        float radius = 0;
        for (int64_t y = corner[0]; y < end[0]; ++y)
            for (int64_t x = corner[1]; x < end[1]; ++x)
                for (int64_t s = corner[2]; s < end[2]; ++s) {
                    const float* p = point(y, x, s);
                    const float dx = p[0] - middle[0], dy = p[1] - middle[1], dz = p[2] - middle[2];
                    radius = std::max(radius, dx * dx + dy * dy + dz * dz);
                }
        // Widened a little, for what rounding takes away.
        const float bound = (std::sqrt(least) + 2 * std::sqrt(radius)) * 1.00001f;
        stack[1].keep(stack[0], bound * bound);
        for (int part = 0; part < 8; ++part) {
            const int64_t half = side / 2;
            const int64_t inner[3] = {corner[0] + part / 4 * half, corner[1] + part / 2 % 2 * half,
                                      corner[2] + part % 2 * half};
            search(inner, half, stack + 1);
        }
    }
};
#endif
}  // namespace nearest_vertex

ENTRY void nearest_vertices(const float* points, const float* vertices, int64_t height, int64_t width, int64_t samples,
                            int64_t count, int64_t* index, THREADS) {
    const nearest_vertex::Problem problem{points, vertices, {height, width, samples}, count, index};
#ifdef __CUDACC__
    __shared__ nearest_vertex::Shared shared;
    nearest_vertex::Tile{problem}(blockIdx.x, threadIdx.x, shared);
#else
    const nearest_vertex::Tiled tiled{problem};
    for_each(tiled.tiles(0) * tiled.tiles(1) * tiled.tiles(2), 1, threads, tiled);
#endif
}

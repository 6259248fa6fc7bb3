// The vertex nearest to every point of a grid: what Python calls (torch_utils/ops/nearest_vertex.py).
//
// On a CPU, points are taken by tiles, and tiles by halves. A vertex can be nearest to a point of a tile only if it is
// no farther from the tile's middle than the nearest vertex is, plus twice the tile's radius: each half considers only
// what that leaves of the whole's. On a GPU every point is compared with every vertex.
#pragma once

#include "for_each.h"

#ifndef __CUDACC__
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>
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
struct Brute {
    Problem problem;

    HOST_DEVICE void operator()(int64_t i) const {
        const float *point = problem.points + 3 * i, *vertices = problem.vertices;
        const int64_t count = problem.count;
        float least = INFINITE;
        int64_t best = 0;
        for (int64_t v = 0; v < count; ++v) {
            const float x = vertices[v] - point[0], y = vertices[count + v] - point[1];
            const float z = vertices[2 * count + v] - point[2];
            const float distance = x * x + y * y + z * z;
            if (distance < least) {
                least = distance;
                best = v;
            }
        }
        problem.index[i] = best;
    }
};
#else
constexpr int64_t TILE = 8;  // points a side, a power of 2

// Vertices in question, `count` of at most as many as there is room for.
struct Candidates {
    std::unique_ptr<float[]> x, y, z, distance;
    std::unique_ptr<int64_t[]> index;
    int64_t count = 0;

    explicit Candidates(int64_t room)
        : x(new float[room]), y(new float[room]), z(new float[room]), distance(new float[room]),
          index(new int64_t[room]) {}

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
        count = 0;
        for (int64_t i = 0; i < from.count; ++i) {
            x[count] = from.x[i], y[count] = from.y[i], z[count] = from.z[i], index[count] = from.index[i];
            count += !(from.distance[i] > limit);
        }
    }
};

struct Tiled {
    Problem problem;

    int64_t tiles(int axis) const { return (problem.size[axis] + TILE - 1) / TILE; }

    void operator()(int64_t tile) const {
        const int64_t corner[3] = {tile / (tiles(1) * tiles(2)) * TILE, tile / tiles(2) % tiles(1) * TILE,
                                   tile % tiles(2) * TILE};
        std::vector<Candidates> stack;
        for (int64_t side = 2 * TILE; side > 0; side /= 2) stack.emplace_back(problem.count + 1);
        for (int64_t v = 0; v < problem.count; ++v) {
            stack[0].x[v] = problem.vertices[v];
            stack[0].y[v] = problem.vertices[problem.count + v];
            stack[0].z[v] = problem.vertices[2 * problem.count + v];
            stack[0].index[v] = v;
        }
        stack[0].count = problem.count;
        search(corner, TILE, stack.data());
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
            const float *first = stack[0].distance.get(), *last = first + stack[0].count;
            const float* at = std::find(first, last, least);
            problem.index[(low - problem.points) / 3] = at < last ? stack[0].index[at - first] : 0;  // 0: NaN
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

EXPORT int nearest_vertices(const float* points, const float* vertices, int64_t height, int64_t width, int64_t samples,
                            int64_t count, int64_t* index, int64_t place, void* stream) {
    const nearest_vertex::Problem problem{points, vertices, {height, width, samples}, count, index};
#ifdef __CUDACC__
    return for_each(height * width * samples, 0, {place, stream}, nearest_vertex::Brute{problem});
#else
    const nearest_vertex::Tiled tiled{problem};
    return for_each(tiled.tiles(0) * tiled.tiles(1) * tiled.tiles(2), 1, {place, stream}, tiled);
#endif
}

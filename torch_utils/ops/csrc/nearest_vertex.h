// The vertex nearest to every point of a grid: what Python calls (torch_utils/ops/nearest_vertex.py).
//
// On a CPU, points come in tiles of neighbours. A vertex can be nearest to a point of a tile only if it is no farther
// from the tile's centre than the nearest vertex is, plus twice the tile's radius: few are, and only those are compared.
// On a GPU every point is compared with every vertex.
#pragma once

#include "for_each.h"

#ifndef __CUDACC__
#include <algorithm>
#include <cmath>
#include <vector>
#endif

namespace nearest_vertex {

constexpr int64_t TILE = 4;  // points a side
constexpr float INFINITE = 3.4e38f;

struct Problem {
    const float* points;    // [H, W, S, 3]
    const float* vertices;  // [3, V]
    int64_t height, width, samples, count;
    int64_t* index;  // [H, W, S]

    HOST_DEVICE float squared_distance(const float* point, int64_t v) const {
        const float x = vertices[v] - point[0], y = vertices[count + v] - point[1], z = vertices[2 * count + v] - point[2];
        return x * x + y * y + z * z;
    }
};

struct Brute {
    Problem problem;

    HOST_DEVICE void operator()(int64_t i) const {
        float least = INFINITE;
        int64_t best = 0;
        for (int64_t v = 0; v < problem.count; ++v) {
            const float distance = problem.squared_distance(problem.points + 3 * i, v);
            if (distance < least) {
                least = distance;
                best = v;
            }
        }
        problem.index[i] = best;
    }
};

#ifndef __CUDACC__
struct Tiled {
    Problem problem;

    static int64_t tiles(int64_t points) { return (points + TILE - 1) / TILE; }

    void operator()(int64_t tile) const {
        const int64_t across = tiles(problem.width), along = tiles(problem.samples);
        const int64_t y0 = tile / (across * along) * TILE, x0 = tile / along % across * TILE, s0 = tile % along * TILE;
        int64_t cells[TILE * TILE * TILE], cell_count = 0;
        for (int64_t y = y0; y < std::min(y0 + TILE, problem.height); ++y)
            for (int64_t x = x0; x < std::min(x0 + TILE, problem.width); ++x)
                for (int64_t s = s0; s < std::min(s0 + TILE, problem.samples); ++s)
                    cells[cell_count++] = (y * problem.width + x) * problem.samples + s;
        std::vector<float> distance(problem.count);
        const std::vector<int64_t> near = candidates(cells, cell_count, distance);
        const int64_t near_count = int64_t(near.size());
        std::vector<float> position(3 * near_count);
        for (int c = 0; c < 3; ++c)
            for (int64_t i = 0; i < near_count; ++i)
                position[c * near_count + i] = problem.vertices[c * problem.count + near[i]];
        for (int64_t cell = 0; cell < cell_count; ++cell)
            problem.index[cells[cell]] = near[nearest(problem.points + 3 * cells[cell], position.data(), near_count, distance)];
    }

    // Squared distances of a point from `positions` [3, n]; their least.
    static float distances(const float* point, const float* positions, int64_t n, float* distance) {
        float least = INFINITE;
        const float px = point[0], py = point[1], pz = point[2];
#pragma omp simd reduction(min : least)
        for (int64_t i = 0; i < n; ++i) {
            const float x = positions[i] - px, y = positions[n + i] - py, z = positions[2 * n + i] - pz;
            distance[i] = x * x + y * y + z * z;
            least = std::min(least, distance[i]);
        }
        return least;
    }

    static int64_t nearest(const float* point, const float* positions, int64_t n, std::vector<float>& distance) {
        const float least = distances(point, positions, n, distance.data());
        return std::find(distance.begin(), distance.begin() + n, least) - distance.begin();
    }

    // In rising order. The bound is widened a little, for what rounding may have taken away.
    std::vector<int64_t> candidates(const int64_t* cells, int64_t cell_count, std::vector<float>& distance) const {
        float centre[3] = {0, 0, 0}, radius = 0;
        for (int64_t cell = 0; cell < cell_count; ++cell)
            for (int c = 0; c < 3; ++c) centre[c] += problem.points[3 * cells[cell] + c] / float(cell_count);
        for (int64_t cell = 0; cell < cell_count; ++cell) {
            const float* p = problem.points + 3 * cells[cell];
            const float x = p[0] - centre[0], y = p[1] - centre[1], z = p[2] - centre[2];
            radius = std::max(radius, x * x + y * y + z * z);
        }
        const float least = distances(centre, problem.vertices, problem.count, distance.data());
        const float bound = std::sqrt(least) + 2 * std::sqrt(radius), limit = bound * bound * 1.0001f + 1e-12f;
        std::vector<int64_t> near;
        for (int64_t v = 0; v < problem.count; ++v)
            if (distance[v] <= limit) near.push_back(v);
        return near;
    }
};
#endif
}  // namespace nearest_vertex

EXPORT int nearest_vertices(const float* points, const float* vertices, int64_t height, int64_t width, int64_t samples,
                            int64_t count, int64_t* index, int64_t place, void* stream) {
    const nearest_vertex::Problem problem{points, vertices, height, width, samples, count, index};
#ifdef __CUDACC__
    return for_each(height * width * samples, 0, {place, stream}, nearest_vertex::Brute{problem});
#else
    using nearest_vertex::Tiled;
    const int64_t tiles = Tiled::tiles(height) * Tiled::tiles(width) * Tiled::tiles(samples);
    return for_each(tiles, 1, {place, stream}, Tiled{problem});
#endif
}

// Triangles in layers as they lie on the screen: which pixels see one, and what is linear over it (rasterize_layers.h).
#pragma once

#include "for_each.h"

namespace rasterize_layers {

constexpr float SLACK = 1.0f / 1024;  // pixels that triangles reach beyond their edges, so that neighbours leave no gap
constexpr float NEAREST = 1e-6f;      // distance from which something is in front of the camera

// Layers of triangles as they lie on the screen, and their texture.
struct Scene {
    const float* positions;    // [V, 3] x and y in pixels, distance along the optical axis
    const float* uv;           // [V, 2] 0..1 over the atlas
    const int32_t* triangles;  // [F, 3]
    const int32_t* layers;     // [L + 1] where the triangles of each begin
    const uint32_t* atlas;     // [h, w] RGBA, red in the lowest byte
    int64_t count, atlas_height, atlas_width, height, width;
    float least;  // transmittance below which nothing is seen
};

HOST_DEVICE float least_of(float a, float b, float c) { return a < b ? (a < c ? a : c) : (b < c ? b : c); }
HOST_DEVICE float most_of(float a, float b, float c) { return a > b ? (a > c ? a : c) : (b > c ? b : c); }
HOST_DEVICE float magnitude(float a) { return a < 0 ? -a : a; }

// The first and the last of `size` pixels within an interval, which is widened by SLACK; none: the first is behind.
HOST_DEVICE void pixels_within(float low, float high, int64_t size, int& first, int& last) {
    low = low - SLACK > 0 ? low - SLACK : 0.0f;
    high = high + SLACK < float(size - 1) ? high + SLACK : float(size - 1);
    first = low < float(size) ? int(low) : int(size);
    first += float(first) < low;
    last = high >= 0 ? int(high) : -1;
}

// What is linear over the screen: its value at a triangle's first corner, and how it grows from there.
struct Plane {
    float start, along_x, along_y;

    template <typename N>
    HOST_DEVICE N at(N x, N y) const {
        return start + y * along_y + x * along_x;
    }
};

struct Triangle {
    float x[3], y[3], distance[3];  // of its corners: pixels, the second and the third from the first
    float area;                     // twice
    int left, right, top, bottom;   // pixels that it may cover, all included
    bool is_cut;                    // a corner is not in front of the camera: x and y are times the distance

    // False if no pixel can see it from its front.
    HOST_DEVICE bool place(const Scene& scene, int64_t triangle) {
        const int32_t* corners = scene.triangles + 3 * triangle;
        int before = 0;
        for (int i = 0; i < 3; ++i) {
            const float* position = scene.positions + 3 * int64_t(corners[i]);
            x[i] = position[0], y[i] = position[1], distance[i] = position[2];
            before += distance[i] > NEAREST;
        }
        is_cut = before < 3;
        if (is_cut) return before > 0 && cut(scene);
        pixels_within(least_of(x[0], x[1], x[2]), most_of(x[0], x[1], x[2]), scene.width, left, right);
        pixels_within(least_of(y[0], y[1], y[2]), most_of(y[0], y[1], y[2]), scene.height, top, bottom);
        for (int i = 1; i < 3; ++i) x[i] -= x[0], y[i] -= y[0];
        area = y[1] * x[2] - x[1] * y[2];  // rows go down: counter-clockwise from the front
        return area > 0 && left <= right && top <= bottom;
    }

    // The part in front of the camera may be anywhere in the picture.
    HOST_DEVICE bool cut(const Scene& scene) {
        left = top = 0, right = int(scene.width - 1), bottom = int(scene.height - 1);
        for (int i = 0; i < 3; ++i) x[i] *= distance[i], y[i] *= distance[i];
        area = 0;
        for (int i = 0, j = 1, k = 2; i < 3; j = k, k = i++) area += distance[i] * (x[k] * y[j] - x[j] * y[k]);
        return area > 0;
    }
};

// What of a triangle is linear over the screen: its corners' shares, 1 / distance, and u and v over distance.
struct Planes {
    float x, y;  // where they start
    Plane share[3], inverse, u, v;

    HOST_DEVICE Planes(const Scene& scene, int64_t triangle, const Triangle& placed) {
        const Plane all = placed.is_cut ? share_in_space(placed) : share_on_screen(placed);
        const int32_t* corners = scene.triangles + 3 * triangle;
        float one[3], across[3], down[3];
        for (int i = 0; i < 3; ++i) {
            one[i] = placed.is_cut ? 1 : 1 / placed.distance[i];
            across[i] = scene.uv[2 * int64_t(corners[i])] * one[i];
            down[i] = scene.uv[2 * int64_t(corners[i]) + 1] * one[i];
        }
        inverse = mix(one, all), u = mix(across, all), v = mix(down, all);
        for (Plane& plane : share) plane.start += SLACK * (magnitude(plane.along_x) + magnitude(plane.along_y));
    }

    // A pixel's shares of the corners where these lie on the screen. Returns their sum: 1.
    HOST_DEVICE Plane share_on_screen(const Triangle& placed) {
        x = placed.x[0], y = placed.y[0];
        share[1] = {0, -placed.y[2] / placed.area, placed.x[2] / placed.area};
        share[2] = {0, placed.y[1] / placed.area, -placed.x[1] / placed.area};
        share[0] = {1, -share[1].along_x - share[2].along_x, -share[1].along_y - share[2].along_y};
        return {1, 0, 0};
    }

    // The same in space, over the distance: corners need not be in front (Olano, Greer 1997). Returns their sum.
    HOST_DEVICE Plane share_in_space(const Triangle& placed) {
        const float *px = placed.x, *py = placed.y, *pz = placed.distance;
        x = y = 0;
        for (int i = 0, j = 1, k = 2; i < 3; j = k, k = i++)
            share[i] = {(px[k] * py[j] - px[j] * py[k]) / placed.area, (pz[j] * py[k] - pz[k] * py[j]) / placed.area,
                        (px[j] * pz[k] - px[k] * pz[j]) / placed.area};
        return {share[0].start + share[1].start + share[2].start,
                share[0].along_x + share[1].along_x + share[2].along_x,
                share[0].along_y + share[1].along_y + share[2].along_y};
    }

    // What has values at the corners, by shares that sum to `all`; small differences are kept exact.
    HOST_DEVICE Plane mix(const float* corner, const Plane& all) const {
        const float first = corner[0], second = corner[1] - first, third = corner[2] - first;
        return {first * all.start + second * share[1].start + third * share[2].start,
                first * all.along_x + second * share[1].along_x + third * share[2].along_x,
                first * all.along_y + second * share[1].along_y + third * share[2].along_y};
    }
};
}  // namespace rasterize_layers

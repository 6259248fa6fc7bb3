// Gaussians before a camera: where they are in its picture, which tiles see them, and the gradients of that.
#pragma once

#include "for_each.h"

#ifndef __CUDACC__
#include <cmath>
#endif

namespace splat {

constexpr int TILE = 16;
constexpr float NEAR = 0.2f, BLUR = 0.3f, MIN_ALPHA = 1.0f / 255;

// A projected Gaussian.
struct Record {
    float u, v, a, b, c, opacity, depth;  // place, conic (inverse covariance a, b; b, c), ...
    float reach, faintest;                // rows above and below, and exponent, beyond which alpha is below MIN_ALPHA
};
struct Rectangle {
    int32_t left, top, right, bottom;  // tiles, ends exclusive
};
// Gradients of a Gaussian in a tile: these, and then its colours'.
enum Gradient { U, V, A, B, C, OPACITY, DEPTH, COLOURS };

struct Camera {
    const float* numbers;  // rotation [9], translation [3], fx, fy, cx, cy
    float width, height;
    HOST_DEVICE float rotation(int row, int column) const { return numbers[3 * row + column]; }
    HOST_DEVICE float translation(int row) const { return numbers[9 + row]; }
    HOST_DEVICE float focal(int axis) const { return numbers[12 + axis]; }
    HOST_DEVICE float principal(int axis) const { return numbers[14 + axis]; }
    // Beyond these tangents the projection is taken to be no steeper.
    HOST_DEVICE float steepest(int axis) const { return 1.3f * (axis == 0 ? width : height) / (2 * focal(axis)); }
};

HOST_DEVICE float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

// A Gaussian before the camera: the projection is linearised at its mean, D = J R A, covariance D D^T + BLUR.
struct Projection {
    float position[3], tangent[2], jacobian[2][3], linear[2][3], spread[2][3], xx, xy, yy, determinant;
    bool is_steep[2];

    HOST_DEVICE Projection(const Camera& camera, const float* mean, const float* axes) {
        for (int r = 0; r < 3; ++r)
            position[r] = camera.rotation(r, 0) * mean[0] + camera.rotation(r, 1) * mean[1] +
                          camera.rotation(r, 2) * mean[2] + camera.translation(r);
        const float depth = position[2];
        for (int i = 0; i < 2; ++i) {
            const float steepest = camera.steepest(i), slope = position[i] / depth;
            tangent[i] = clamp(slope, -steepest, steepest);
            is_steep[i] = tangent[i] != slope;
            jacobian[i][i] = camera.focal(i) / depth;
            jacobian[i][1 - i] = 0;
            jacobian[i][2] = -camera.focal(i) * tangent[i] / depth;
        }
        for (int i = 0; i < 2; ++i)
            for (int c = 0; c < 3; ++c)
                linear[i][c] = jacobian[i][i] * camera.rotation(i, c) + jacobian[i][2] * camera.rotation(2, c);
        for (int i = 0; i < 2; ++i)
            for (int c = 0; c < 3; ++c)
                spread[i][c] = linear[i][0] * axes[c] + linear[i][1] * axes[3 + c] + linear[i][2] * axes[6 + c];
        xx = dot(spread[0], spread[0]) + BLUR, xy = dot(spread[0], spread[1]), yy = dot(spread[1], spread[1]) + BLUR;
        determinant = xx * yy - xy * xy;
    }

    static HOST_DEVICE float dot(const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
};

HOST_DEVICE int32_t tile_at(float pixel, int32_t tiles) { return int32_t(clamp(pixel / TILE, 0, float(tiles))); }
HOST_DEVICE int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }
HOST_DEVICE int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

// The tiles from `low` to `high` (exclusive) of those that lie within 3 sigma and hold a pixel within `reach`.
HOST_DEVICE void span(float at, float radius, float reach, int32_t tiles, int32_t& low, int32_t& high) {
    low = most(tile_at(at - radius, tiles), tile_at(at - reach, tiles));
    high = least(tile_at(at + radius + (TILE - 1), tiles), tile_at(at + reach + TILE, tiles));
}

struct Project {
    const float *means, *axes, *opacities;  // [N, 3], [N, 3, 3], [N]
    Camera camera;
    Record* records;
    Rectangle* rectangles;
    int64_t* areas;  // [N] tiles of each

    HOST_DEVICE void operator()(int64_t i) const {
        const Projection p(camera, means + 3 * i, axes + 9 * i);
        Record& record = records[i];
        Rectangle& tiles = rectangles[i];
        record = {0, 0, 0, 0, 0, opacities[i], p.position[2], 0, 0};
        tiles = {0, 0, 0, 0};
        areas[i] = 0;
        // A little more than exact, for what rounding may add to alpha.
        const float fade = 2 * (logf(opacities[i] / MIN_ALPHA) + 1e-4f);
        if (!(p.position[2] > NEAR) || p.determinant == 0 || !(fade > 0)) return;
        record.u = camera.focal(0) * (p.position[0] / p.position[2]) + camera.principal(0) - 0.5f;
        record.v = camera.focal(1) * (p.position[1] / p.position[2]) + camera.principal(1) - 0.5f;
        record.a = p.yy / p.determinant, record.b = -p.xy / p.determinant, record.c = p.xx / p.determinant;
        record.reach = sqrtf(fade * p.yy) + 0.01f, record.faintest = -0.5f * fade;
        const float middle = 0.5f * (p.xx + p.yy), difference = middle * middle - p.determinant;
        const float radius = ceilf(3 * sqrtf(middle + sqrtf(difference > 0.1f ? difference : 0.1f)));
        const int32_t columns = (int32_t(camera.width) + TILE - 1) / TILE, rows = (int32_t(camera.height) + TILE - 1) / TILE;
        span(record.u, radius, sqrtf(fade * p.xx) + 0.01f, columns, tiles.left, tiles.right);
        span(record.v, radius, record.reach, rows, tiles.top, tiles.bottom);
        areas[i] = int64_t(most(tiles.right - tiles.left, 0)) * most(tiles.bottom - tiles.top, 0);
    }
};

struct ProjectBackward {
    const float *means, *axes;
    Camera camera;
    const int64_t *areas, *first;  // [N]; a Gaussian's rows begin at its `first`
    const float* rows;             // [M, COLOURS + channels]
    int64_t channels;
    float *grad_means, *grad_axes, *grad_opacities, *grad_colours;  // zeros

    HOST_DEVICE void operator()(int64_t i) const {
        if (areas[i] == 0) return;
        float sum[COLOURS] = {0, 0, 0, 0, 0, 0, 0};
        for (int64_t row = first[i]; row < first[i] + areas[i]; ++row) {
            const float* gradient = rows + row * (COLOURS + channels);
            for (int k = 0; k < COLOURS; ++k) sum[k] += gradient[k];
            for (int64_t c = 0; c < channels; ++c) grad_colours[i * channels + c] += gradient[COLOURS + c];
        }
        grad_opacities[i] = sum[OPACITY];
        const Projection p(camera, means + 3 * i, axes + 9 * i);
        const float scale = 1 / p.determinant, a = p.xx * scale, b = p.xy * scale, c = p.yy * scale;
        // From the conic to the covariance; xy is one number that stands in both places.
        const float xx = -c * c * sum[A] + b * c * sum[B] - b * b * sum[C];
        const float xy = b * c * sum[A] - 0.5f * (scale + 2 * b * b) * sum[B] + a * b * sum[C];
        const float yy = -b * b * sum[A] + a * b * sum[B] - a * a * sum[C];
        float spread[2][3], position[3] = {0, 0, sum[DEPTH]};
        for (int k = 0; k < 3; ++k) {
            spread[0][k] = 2 * (xx * p.spread[0][k] + xy * p.spread[1][k]);
            spread[1][k] = 2 * (xy * p.spread[0][k] + yy * p.spread[1][k]);
        }
        for (int r = 0; r < 3; ++r)
            for (int k = 0; k < 3; ++k)
                grad_axes[9 * i + 3 * r + k] = p.linear[0][r] * spread[0][k] + p.linear[1][r] * spread[1][k];
        const float depth = p.position[2];
        for (int k = 0; k < 2; ++k) {
            float diagonal = 0, last = 0;  // gradients of the Jacobian's entries
            for (int r = 0; r < 3; ++r) {
                const float linear = Projection::dot(spread[k], axes + 9 * i + 3 * r);
                diagonal += linear * camera.rotation(k, r), last += linear * camera.rotation(2, r);
            }
            const float focal = camera.focal(k), slope = p.position[k] / depth;
            const float tangent = p.is_steep[k] ? 0 : -last * focal / depth, place = sum[U + k] * focal;
            position[k] = (tangent + place) / depth;
            position[2] += (last * focal * p.tangent[k] - diagonal * focal) / (depth * depth) -
                           (tangent + place) * slope / depth;
        }
        for (int r = 0; r < 3; ++r)
            grad_means[3 * i + r] = camera.rotation(0, r) * position[0] + camera.rotation(1, r) * position[1] +
                                    camera.rotation(2, r) * position[2];
    }
};
}  // namespace splat

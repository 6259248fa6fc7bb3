// 3D Gaussian splatting: what Python calls (torch_utils/ops/splat.py). The rules are those of splat_ref.py.
//
// Gaussians are projected, listed by tiles of 16 x 16 pixels, nearest first, and blended; a CPU takes the pixels of a
// tile's row side by side, a GPU a pixel a thread. Backward passes them front to back again: what lies behind a
// Gaussian is what the finished picture has left. Each pair of Gaussian and tile has a row of gradients of its own,
// which are added up Gaussian by Gaussian, so that a CPU's sums are the same every time.
#pragma once

#include "for_each.h"
#include "lanes.h"

#ifndef __CUDACC__
#include <cmath>
#include <cstdlib>
#endif

namespace splat {

constexpr int TILE = 16, PIXELS = TILE * TILE, MAX_CHANNELS = 32;
constexpr float NEAR = 0.2f, BLUR = 0.3f, MAX_ALPHA = 0.99f, MIN_ALPHA = 1.0f / 255, MIN_TRANSMITTANCE = 1e-4f;

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

// ---- pixels: some of a row on a CPU, one on a GPU --------------------------------------------------------------------

#ifdef __CUDACC__
typedef float Values;
typedef bool Mask;
constexpr int WIDTH = 1;
HOST_DEVICE Values all(float value) { return value; }
HOST_DEVICE bool any(Mask mask) { return mask; }
HOST_DEVICE Values multiply_add(Values a, Values b, Values c) { return fmaf(a, b, c); }
HOST_DEVICE Values exponential(Values x) { return expf(x); }
#else
using lanes::all;
using lanes::any;
using lanes::Mask;
using lanes::multiply_add;
typedef lanes::Lanes Values;
constexpr int WIDTH = lanes::LANES;

// Within 2e-7 of it, relatively, from -87 to 0; below, that of -87.
inline Values exponential(Values x) {
    const Values low = all(-87.0f), shift = all(12582912.0f);  // 1.5 * 2^23: the last bits are the integer
    x = x < low ? low : x;
    const Values shifted = multiply_add(x, all(1.44269504f), shift), n = shifted - shift;
    Values r = multiply_add(n, all(-0.693145752f), x);
    r = multiply_add(n, all(-1.42860677e-6f), r);
    Values sum = multiply_add(r, all(1.3981999e-3f), all(8.3334520e-3f));
    sum = multiply_add(r, sum, all(4.1665795e-2f));
    sum = multiply_add(r, sum, all(1.6666665e-1f));
    sum = multiply_add(r, sum, all(0.5f));
    sum = multiply_add(r * r, sum, r) + 1.0f;
    return Values(Mask(sum) + (Mask(shifted) << 23));
}
#endif

// What a Gaussian does to some pixels.
struct Pass {
    Values across, exponential, alpha, before;  // pixel to mean along the row; e^g; transmittance before it
    Mask counts, stops;
    bool any_counts = false;

    // Transmittance and which pixels are still open: before, and then after it.
    ALWAYS_INLINE Pass(const Record& g, Values column, float down, Values& transmittance, Mask& open) {
        across = g.u - column;
        const Values slope = multiply_add(all(-0.5f * g.a), across, all(-g.b * down));
        const Values power = multiply_add(slope, across, all(-0.5f * g.c * down * down));
        counts = open & (power <= all(0.0f)) & (power >= all(g.faintest));
        if (!any(counts)) return;
        exponential = splat::exponential(power);
        const Values full = all(MAX_ALPHA);
        alpha = g.opacity * exponential;
        alpha = alpha > full ? full : alpha;
        before = transmittance;
        const Values after = transmittance * (1.0f - alpha);
        counts = counts & (alpha >= all(MIN_ALPHA));
        stops = counts & (after < all(MIN_TRANSMITTANCE));
        counts = counts & !stops;
        open = open & !stops;
        transmittance = counts ? after : transmittance;
        any_counts = true;
    }

    ALWAYS_INLINE Values weight() const { return counts ? alpha * before : all(0.0f); }
};

// The lists: entries [starts[t], starts[t + 1]) are the Gaussians of tile t, nearest first.
struct Lists {
    const Record* records;
    const float* colours;  // [N, C]
    const int64_t* starts;
    const int32_t* entries;
    int64_t columns, channels;  // tiles in a row
};

// Gradients of what a Gaussian shows in some pixels of a tile.
struct PassGradients {
    Values dg, opacity;

    // `shown`: gradient along its colour, depth and alpha; `rest`: along all that is behind what was before it.
    ALWAYS_INLINE PassGradients(const Record& g, const Pass& pass, Values shown, Values& rest) {
        rest = rest - pass.weight() * shown;
        const Values alpha = pass.before * shown - rest / (1.0f - pass.alpha);
        const Mask moves = pass.counts & (g.opacity * pass.exponential < all(MAX_ALPHA));
        opacity = moves ? pass.exponential * alpha : all(0.0f);
        dg = g.opacity * opacity;
    }
};

#ifdef __CUDACC__
constexpr int GROUP = 4;  // channels that a thread adds up at a time

struct Draw {
    Lists lists;
    float* picture;  // [tiles, channels + 2, PIXELS]

    HOST_DEVICE void operator()(int64_t at) const {
        const int64_t tile = at / PIXELS, pixel = at % PIXELS, channels = lists.channels;
        const float x = float(tile % lists.columns * TILE + pixel % TILE);
        const float y = float(tile / lists.columns * TILE + pixel / TILE);
        float* result = picture + tile * (channels + 2) * PIXELS + pixel;
        for (int64_t start = 0; start < channels; start += GROUP) {
            const int count = channels - start < GROUP ? int(channels - start) : GROUP;
            float sum[GROUP] = {0, 0, 0, 0}, total = 0, depth = 0, transmittance = 1;
            bool open = true;
            for (int64_t e = lists.starts[tile]; e < lists.starts[tile + 1] && open; ++e) {
                const int32_t i = lists.entries[e];
                const Record& g = lists.records[i];
                const Pass pass(g, x, g.v - y, transmittance, open);
                if (!pass.counts) continue;
                const float weight = pass.weight();
                const float* colour = lists.colours + i * channels + start;
                for (int c = 0; c < GROUP; ++c)
                    if (c < count) sum[c] += weight * colour[c];
                total += weight, depth += weight * g.depth;
            }
            for (int c = 0; c < GROUP; ++c)
                if (c < count) result[(start + c) * PIXELS] = sum[c];
            result[channels * PIXELS] = total, result[(channels + 1) * PIXELS] = depth;
        }
    }
};
#else
struct Draw {
    Lists lists;
    float* picture;  // [tiles, channels + 2, PIXELS], zeros

    void operator()(int64_t tile) const {
        const int64_t channels = lists.channels;
        float* sums = picture + tile * (channels + 2) * PIXELS;
        Tile state(tile, lists.columns);
        for (int64_t e = lists.starts[tile]; e < lists.starts[tile + 1] && state.closed < PIXELS; ++e) {
            const int32_t i = lists.entries[e];
            const Record& g = lists.records[i];
            const float* colour = lists.colours + i * channels;
            state.visit(g, [&](const Pass& pass, int, int pixel) {
                const Values weight = pass.weight();
                const auto show = [&](float* sum, float value) {
                    lanes::store(multiply_add(weight, all(value), lanes::load(sum + pixel)), sum + pixel);
                };
                for (int64_t c = 0; c < channels; ++c) show(sums + c * PIXELS, colour[c]);
                show(sums + channels * PIXELS, 1);
                show(sums + (channels + 1) * PIXELS, g.depth);
            });
        }
    }

    // What has become of a tile's pixels so far.
    struct Tile {
        Values column[TILE / WIDTH], transmittance[PIXELS / WIDTH];
        Mask open[PIXELS / WIDTH];
        float top;
        int closed = 0;

        Tile(int64_t tile, int64_t columns) : top(float(tile / columns * TILE)) {
            for (int x = 0; x < TILE; ++x) column[x / WIDTH][x % WIDTH] = float(tile % columns * TILE + x);
            for (int i = 0; i < PIXELS / WIDTH; ++i) transmittance[i] = all(1.0f), open[i] = all(0.0f) == all(0.0f);
        }

        // use(pass, down row, first pixel) for all pixels in which a Gaussian may count.
        template <typename F>
        ALWAYS_INLINE void visit(const Record& g, const F& use) {
            const int first = int(clamp(ceilf(g.v - g.reach - top), 0, TILE));
            const int end = int(clamp(floorf(g.v + g.reach - top) + 1, 0, TILE));
            for (int block = first * (TILE / WIDTH); block < end * (TILE / WIDTH); ++block) {
                const int row = block / (TILE / WIDTH);
                const Values x = column[block % (TILE / WIDTH)];
                const Pass pass(g, x, g.v - top - float(row), transmittance[block], open[block]);
                if (!pass.any_counts) continue;
                if (any(pass.stops))
                    for (int i = 0; i < WIDTH; ++i) closed -= pass.stops[i];
                use(pass, row, block * WIDTH);
            }
        }
    };
};
#endif

// Rows of gradients of Gaussian and tile, from those of the picture.
struct DrawBackward {
    Lists lists;
    const Rectangle* rectangles;
    const int64_t* first;
    const float *grads, *whole;  // as the picture; [tiles, PIXELS] gradients times picture, added up
    float* rows;                 // [M, COLOURS + channels], zeros

    HOST_DEVICE float* row_of(int32_t i, int64_t tile) const {
        const Rectangle& tiles = rectangles[i];
        const int64_t y = tile / lists.columns - tiles.top, x = tile % lists.columns - tiles.left;
        return rows + (first[i] + y * (tiles.right - tiles.left) + x) * (COLOURS + lists.channels);
    }

#ifdef __CUDACC__
    HOST_DEVICE void operator()(int64_t at) const {
        const int64_t tile = at / PIXELS, pixel = at % PIXELS, channels = lists.channels;
        const float x = float(tile % lists.columns * TILE + pixel % TILE);
        const float y = float(tile / lists.columns * TILE + pixel / TILE);
        const float* grad = grads + tile * (channels + 2) * PIXELS + pixel;
        float rest = whole[at], transmittance = 1;
        bool open = true;
        for (int64_t e = lists.starts[tile]; e < lists.starts[tile + 1] && open; ++e) {
            const int32_t i = lists.entries[e];
            const Record& g = lists.records[i];
            const float down = g.v - y;
            const Pass pass(g, x, down, transmittance, open);
            if (!pass.counts) continue;
            const float weight = pass.weight(), *colour = lists.colours + i * channels;
            float shown = grad[channels * PIXELS] + g.depth * grad[(channels + 1) * PIXELS], *row = row_of(i, tile);
            for (int64_t c = 0; c < channels; ++c) {
                shown += colour[c] * grad[c * PIXELS];
                add(row + COLOURS + c, weight * grad[c * PIXELS]);
            }
            add(row + DEPTH, weight * grad[(channels + 1) * PIXELS]);
            const PassGradients gradients(g, pass, shown, rest);
            const float dg = gradients.dg, across = pass.across;
            add(row + U, -(g.a * across + g.b * down) * dg);
            add(row + V, -(g.c * down + g.b * across) * dg);
            add(row + A, -0.5f * across * across * dg);
            add(row + B, -across * down * dg);
            add(row + C, -0.5f * down * down * dg);
            add(row + OPACITY, gradients.opacity);
        }
    }
#else
    void operator()(int64_t tile) const {
        const int64_t channels = lists.channels;
        const float* grad = grads + tile * (channels + 2) * PIXELS;
        Values rest[PIXELS / WIDTH];
        for (int i = 0; i < PIXELS / WIDTH; ++i) rest[i] = lanes::load(whole + tile * PIXELS + i * WIDTH);
        Draw::Tile state(tile, lists.columns);
        for (int64_t e = lists.starts[tile]; e < lists.starts[tile + 1] && state.closed < PIXELS; ++e) {
            const int32_t i = lists.entries[e];
            const Record& g = lists.records[i];
            const float* colour = lists.colours + i * channels;
            Values sum[COLOURS + MAX_CHANNELS];
            for (int64_t k = 0; k < COLOURS + channels; ++k) sum[k] = all(0.0f);
            state.visit(g, [&](const Pass& pass, int row, int pixel) {
                const Values weight = pass.weight(), depth = lanes::load(grad + (channels + 1) * PIXELS + pixel);
                Values shown = lanes::load(grad + channels * PIXELS + pixel) + g.depth * depth;
                for (int64_t c = 0; c < channels; ++c) {
                    const Values along = lanes::load(grad + c * PIXELS + pixel);
                    shown += colour[c] * along;
                    sum[COLOURS + c] += weight * along;
                }
                sum[DEPTH] += weight * depth;
                const PassGradients gradients(g, pass, shown, rest[pixel / WIDTH]);
                const Values across = pass.across, moment = across * gradients.dg;
                const float down = g.v - state.top - float(row);
                sum[U] -= g.a * moment + g.b * down * gradients.dg;
                sum[V] -= g.b * moment + g.c * down * gradients.dg;
                sum[A] -= 0.5f * across * moment;
                sum[B] -= down * moment;
                sum[C] -= 0.5f * down * down * gradients.dg;
                sum[OPACITY] += gradients.opacity;
            });
            float* row = row_of(i, tile);
            for (int64_t k = 0; k < COLOURS + channels; ++k)
                for (int x = 0; x < WIDTH; ++x) row[k] += sum[k][x];
        }
    }
#endif
};

#ifndef __CUDACC__
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
#endif
}  // namespace splat

#ifndef __CUDACC__
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

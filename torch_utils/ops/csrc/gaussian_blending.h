// Gaussians of a tile blended into its pixels, nearest first, and the gradients of that. Some pixels of a row are seen at
// a time on a CPU, one on a GPU.
#pragma once

#include "gaussian_projection.h"
#include "lanes.h"

namespace splat {

constexpr int PIXELS = TILE * TILE, MAX_CHANNELS = 32;
constexpr float MAX_ALPHA = 0.99f, MIN_TRANSMITTANCE = 1e-4f;

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
}  // namespace splat

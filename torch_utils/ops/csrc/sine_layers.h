// A small network of sine layers, a few points at a time: what Python calls (torch_utils/ops/sine_layers.py).
//
// A layer's products and its sines are made in one pass, and what passes between layers stays in the nearest caches.
#pragma once

#include "for_each.h"
#include "lanes.h"

namespace sine_layers {

using lanes::all;
using lanes::Lanes;
using lanes::LANES;
using lanes::multiply_add;
typedef int32_t Bits __attribute__((vector_size(sizeof(Lanes))));

constexpr int64_t MAX_WIDTH = 256;
// Sums of ROWS outputs of COLUMNS groups of points at a time: as many as there are registers for.
constexpr int ROWS = LANES / 2, COLUMNS = 3, POINTS = COLUMNS * LANES;

// Within 1e-6 of the sine for |x| < 1e4: x less the nearest multiple of pi, in four parts, and a polynomial.
inline Lanes sine(Lanes x) {
    const Lanes shift = all(12582912.0f);  // 1.5 * 2^23: added, the fraction is gone and the last bits are the integer
    const Lanes shifted = multiply_add(x, all(0.318309886f), shift), n = shifted - shift;
    Lanes r = multiply_add(n, all(-3.140625f), x);
    r = multiply_add(n, all(-9.6702575683594e-4f), r);
    r = multiply_add(n, all(-6.2771141529083e-7f), r);
    r = multiply_add(n, all(-1.2154201256553e-10f), r);
    const Lanes square = r * r;
    Lanes sum = multiply_add(square, all(2.6083159809786593e-6f), all(-1.9810690719075e-4f));
    sum = multiply_add(square, sum, all(8.3330785855651e-3f));
    sum = multiply_add(square, sum, all(-1.6666659712791e-1f));
    const Lanes result = multiply_add(square * r, sum, r);
    return Lanes(Bits(result) ^ (Bits(shifted) << 31));  // odd multiples of pi turn the sign
}

struct Network {
    const float* points;    // [N, widths[0]]
    const float* numbers;   // of every layer: weight [in, out], bias [out]
    const int64_t* widths;  // [layers + 1]
    int64_t layers, count;
    float* result;  // [N, widths[layers]]

    void operator()(int64_t block) const {
        alignas(64) Lanes buffer[2][MAX_WIDTH][COLUMNS];
        const int64_t first = block * POINTS, points_here = count - first < POINTS ? count - first : POINTS;
        Lanes(*in)[COLUMNS] = buffer[0], (*out)[COLUMNS] = buffer[1];
        for (int64_t c = 0; c < widths[0]; ++c)
            for (int64_t p = 0; p < POINTS; ++p)
                in[c][p / LANES][p % LANES] = p < points_here ? points[(first + p) * widths[0] + c] : 0.0f;
        const float* weight = numbers;
        for (int64_t layer = 0; layer < layers; ++layer) {
            const int64_t from = widths[layer], to = widths[layer + 1];
            const float* bias = weight + from * to;
            const bool is_last = layer + 1 == layers;
            int64_t row = 0;
            for (; row + ROWS <= to; row += ROWS) multiply<ROWS>(in, from, weight + row, to, bias + row, is_last, out + row);
            for (; row < to; ++row) multiply<1>(in, from, weight + row, to, bias + row, is_last, out + row);
            weight = bias + to;
            Lanes(*swap)[COLUMNS] = in;
            in = out;
            out = swap;
        }
        const int64_t width = widths[layers];
        for (int64_t p = 0; p < points_here; ++p)
            for (int64_t c = 0; c < width; ++c) result[(first + p) * width + c] = in[c][p / LANES][p % LANES];
    }

    // R outputs of all points of a block; `stride` numbers from an input's weights to the next one's.
    template <int R>
    static void multiply(const Lanes (*in)[COLUMNS], int64_t inputs, const float* weight, int64_t stride,
                         const float* bias, bool is_last, Lanes (*out)[COLUMNS]) {
        Lanes sum[R][COLUMNS];
        for (int r = 0; r < R; ++r)
            for (int c = 0; c < COLUMNS; ++c) sum[r][c] = all(bias[r]);
        for (int64_t i = 0; i < inputs; ++i, weight += stride)
            for (int r = 0; r < R; ++r)
                for (int c = 0; c < COLUMNS; ++c) sum[r][c] = multiply_add(in[i][c], all(weight[r]), sum[r][c]);
        for (int r = 0; r < R; ++r)
            for (int c = 0; c < COLUMNS; ++c) out[r][c] = is_last ? sum[r][c] : sine(sum[r][c]);
    }
};
}  // namespace sine_layers

// `widths` lies in the CPU's memory.
ENTRY void sine_layers_float(const float* points, const float* numbers, const int64_t* widths, int64_t layers,
                             int64_t count, float* result, THREADS) {
    const sine_layers::Network network{points, numbers, widths, layers, count, result};
    for_each((count + sine_layers::POINTS - 1) / sine_layers::POINTS, 1, threads, network);
}

// What a network at points computes with: activations and their slopes, products in float32 or in pairs of bfloat16,
// blocks of sums that stay in registers.
#pragma once

#include "lanes.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace point_network {

using lanes::all;
using lanes::Lanes;
using lanes::LANES;
using lanes::multiply_add;
typedef int32_t Bits __attribute__((vector_size(sizeof(Lanes))));

// Sine and cosine of |x| < 1e4 within 1e-6: x less the nearest multiple of pi, in four parts, and polynomials.
struct Sine {
    static void apply(Lanes x, Lanes& value, Lanes& slope) {
        const Lanes shift = all(12582912.0f);  // 1.5 * 2^23: added, the fraction is gone, the last bits are the integer
        const Lanes shifted = multiply_add(x, all(0.318309886f), shift), n = shifted - shift;
        Lanes r = multiply_add(n, all(-3.140625f), x);
        r = multiply_add(n, all(-9.6702575683594e-4f), r);
        r = multiply_add(n, all(-6.2771141529083e-7f), r);
        r = multiply_add(n, all(-1.2154201256553e-10f), r);
        const Lanes square = r * r;
        Lanes sine = multiply_add(square, all(2.6083159809786593e-6f), all(-1.9810690719075e-4f));
        sine = multiply_add(square, sine, all(8.3330785855651e-3f));
        sine = multiply_add(square, sine, all(-1.6666659712791e-1f));
        sine = multiply_add(square * r, sine, r);
        Lanes cosine = multiply_add(square, all(2.3133548736e-5f), all(-1.3852819190528563e-3f));
        cosine = multiply_add(square, cosine, all(4.166346706053909e-2f));
        cosine = multiply_add(square, cosine, all(-0.49999900485400794f));
        cosine = multiply_add(square, cosine, all(0.9999999504561519f));
        const Bits sign = Bits(shifted) << 31;  // odd multiples of pi turn both signs
        value = Lanes(Bits(sine) ^ sign), slope = Lanes(Bits(cosine) ^ sign);
    }
};

struct Relu {
    static void apply(Lanes x, Lanes& value, Lanes& slope) {
        const Lanes zero = all(0.0f);
        value = x < zero ? zero : x;  // NaN stays NaN
        slope = x > zero ? all(1.0f) : zero;
    }
};

// Operands lie in words along the sum that a product makes: one number each, or two neighbours. Activations of points
// are kept twice, in words along channels for the next layer and in words along points for the gradient of weights.
struct Single {
    typedef float Factor;  // what is broadcast
    typedef float Word;    // what is beside its neighbours
    static constexpr int64_t PER_WORD = 1, VECTOR = LANES;  // numbers of a word, words of a vector
    static constexpr bool SAME_WORDS = true;                // along channels and along points
    static Lanes broadcast(const float* word) { return all(*word); }
    static Lanes load(const float* words) { return lanes::load(words); }
    static Lanes widen(const float* row) { return lanes::load(row); }
    static Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return lanes::multiply_add(a, b, c); }
    static void store_rows(Lanes first, Lanes second, float* row, float* next, float*) {
        lanes::store(first, row), lanes::store(second, next);
    }
};

#if defined(__AVX512F__)
#define HAS_PAIRS
// Needs AVX512-BF16, which only the processor that runs this knows to have: hence instructions by name.
struct Pairs {
    typedef uint32_t Factor;
    typedef uint32_t Word;
    typedef uint32_t Words __attribute__((vector_size(sizeof(Lanes))));
    typedef uint16_t Halves __attribute__((vector_size(sizeof(Lanes) / 2)));
    static constexpr int64_t PER_WORD = 2, VECTOR = LANES;
    static constexpr bool SAME_WORDS = false;
    static Words broadcast(const uint32_t* word) { return Words{} + *word; }
    static Words load(const uint32_t* words) {
        Words value;
        memcpy(&value, words, sizeof value);
        return value;
    }
    static Lanes widen(const uint32_t* row) {
        Halves narrow;
        memcpy(&narrow, row, sizeof narrow);
        return Lanes(__builtin_convertvector(narrow, Words) << 16);
    }
    static Lanes multiply_add(Words a, Words b, Lanes c) {
        asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
        return c;
    }
    // Two points' LANES channels: a word holds two channels of a row, or one channel of both points.
    static void store_rows(Lanes first, Lanes second, uint32_t* row, uint32_t* next, uint32_t* both) {
        Halves low, high;
        asm("vcvtneps2bf16 %1, %0" : "=v"(low) : "v"(first));
        asm("vcvtneps2bf16 %1, %0" : "=v"(high) : "v"(second));
        memcpy(row, &low, sizeof low), memcpy(next, &high, sizeof high);
        const Words wide = __builtin_convertvector(high, Words) << 16 | __builtin_convertvector(low, Words);
        memcpy(both, &wide, sizeof wide);
    }
};
#endif

// Factors in float32 with what a row of activations holds.
template <typename A>
struct Widened {
    typedef float Factor;
    typedef typename A::Word Word;
    static constexpr int64_t VECTOR = LANES / A::PER_WORD;
    static Lanes broadcast(const float* factor) { return all(*factor); }
    static Lanes load(const Word* row) { return A::widen(row); }
    static Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return lanes::multiply_add(a, b, c); }
};

inline bool knows_pairs() {
#if defined(HAS_PAIRS)
    unsigned int a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0;
#else
    return false;
#endif
}

// Sums of ROWS points by at most COLUMNS vectors at a time: as many as there are registers for.
constexpr int ROWS = 6, COLUMNS = LANES == 16 ? 4 : 2;

template <int N>
struct Number {
    static constexpr int value = N;
};

// f(V, c) for columns c .. c + V vectors of all `width`, a multiple of 16.
template <typename F>
inline void for_columns(int64_t width, const F& f) {
    for (int64_t c = 0, left; (left = (width - c) / LANES) > 0;) {
        if constexpr (COLUMNS == 4) {
            if (left >= 4) {
                f(Number<4>(), c), c += 4 * LANES;
                continue;
            }
            if (left == 3) {
                f(Number<3>(), c), c += 3 * LANES;
                continue;
            }
        }
        if (left >= 2)
            f(Number<2>(), c), c += 2 * LANES;
        else
            f(Number<1>(), c), c += LANES;
    }
}

// sum[r][v] += the sum over k of a[r * row + k * step] * b[k * stride + v].
template <typename A, int R, int V>
inline void multiply(const typename A::Factor* a, int64_t row, int64_t step, const typename A::Word* b, int64_t stride,
                     int64_t count, Lanes (&sum)[R][V]) {
    for (int64_t k = 0; k < count; ++k, a += step, b += stride) {
        decltype(A::load(b)) column[V];
        for (int v = 0; v < V; ++v) column[v] = A::load(b + v * A::VECTOR);
        for (int r = 0; r < R; ++r) {
            const auto factor = A::broadcast(a + r * row);
            for (int v = 0; v < V; ++v) sum[r][v] = A::multiply_add(factor, column[v], sum[r][v]);
        }
    }
}

// into[i] += the sum over k of a[k * step + i] * b[k * stride + .], `width` numbers each, from row i on, R at a time.
template <typename A, int R>
inline int64_t add_outer(int64_t i, int64_t rows, const typename A::Factor* a, int64_t step, const typename A::Word* b,
                         int64_t stride, int64_t count, int64_t width, float* into) {
    for (; i + R <= rows; i += R)
        for_columns(width, [&](auto v, int64_t c) {
            constexpr int V = decltype(v)::value;
            Lanes sum[R][V];
            for (int r = 0; r < R; ++r)
                for (int n = 0; n < V; ++n) sum[r][n] = lanes::load(into + (i + r) * width + c + n * LANES);
            multiply<A, R, V>(a + i, 1, step, b + c / LANES * A::VECTOR, stride, count, sum);
            for (int r = 0; r < R; ++r)
                for (int n = 0; n < V; ++n) lanes::store(sum[r][n], into + (i + r) * width + c + n * LANES);
        });
    return i;
}

template <typename A>
inline void add_outers(int64_t rows, const typename A::Factor* a, int64_t step, const typename A::Word* b,
                       int64_t stride, int64_t count, int64_t width, float* into) {
    int64_t i = add_outer<A, ROWS>(0, rows, a, step, b, stride, count, width, into);
    i = add_outer<A, 4>(i, rows, a, step, b, stride, count, width, into);
    i = add_outer<A, 2>(i, rows, a, step, b, stride, count, width, into);
    add_outer<A, 1>(i, rows, a, step, b, stride, count, width, into);
}

inline float horizontal(Lanes value) {
    float sum = 0;
    for (int i = 0; i < LANES; ++i) sum += value[i];
    return sum;
}
}  // namespace point_network

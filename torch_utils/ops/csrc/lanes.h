// Numbers side by side: in one register of a CPU, whichever CPU it is, or four in those of a GPU's thread.
#pragma once

#include "for_each.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace lanes {

#if defined(__CUDACC__)
constexpr int LANES = 4;
struct Lanes {
    float number[LANES];
};

HOST_DEVICE Lanes all(float value) {
    Lanes same;
    for (float& number : same.number) number = value;
    return same;
}
#else
#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

inline Lanes all(float value) { return Lanes{} + value; }

// Whether any of a comparison's results is true.
typedef int32_t Mask __attribute__((vector_size(sizeof(Lanes))));
inline bool any(Mask mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask(__m512i(mask), __m512i(mask)) != 0;
#elif defined(__AVX__)
    return _mm256_testz_si256(__m256i(mask), __m256i(mask)) == 0;
#else
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}
#endif

// From and to a multiple of 16 bytes.
HOST_DEVICE Lanes load(const float* from) {
    Lanes value;
#ifdef __CUDACC__
    read_four(from, value.number);
#else
    memcpy(&value, from, sizeof value);
#endif
    return value;
}

HOST_DEVICE void store(Lanes value, float* to) {
#ifdef __CUDACC__
    write_four(value.number, to);
#else
    memcpy(to, &value, sizeof value);
#endif
}

// a * b + c; rounded once where the processor can. For long sums alone, which nobody compares to the bit.
HOST_DEVICE Lanes multiply_add(Lanes a, Lanes b, Lanes c) {
#if defined(__CUDACC__)
    for (int i = 0; i < LANES; ++i) c.number[i] = fmaf(a.number[i], b.number[i], c.number[i]);
    return c;
#elif defined(__AVX512F__)
    return Lanes(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#elif defined(__FMA__)
    return Lanes(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
#else
    return a * b + c;
#endif
}
}  // namespace lanes

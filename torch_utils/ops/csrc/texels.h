// Bilinear fetches of RGBA from maps of any floating-point type, and the gradients of such fetches.
#pragma once

#include "for_each.h"

#if defined(__F16C__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace texels {

struct Half {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

HOST_DEVICE float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

HOST_DEVICE float number(float value) { return value; }
HOST_DEVICE double number(double value) { return value; }
HOST_DEVICE float number(BFloat16 value) { return float_of(uint32_t(value.bits) << 16); }
HOST_DEVICE float number(Half value) {
#ifdef __CUDACC_RTC__  // by the instruction that GPUs have for it
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(value.bits));
    return number;
#else
    // The exponent's bias is 15 there and 127 here; a product with 2^112 serves subnormal numbers as well.
    const uint32_t magnitude = uint32_t(value.bits & 0x7fff) << 13, sign = uint32_t(value.bits & 0x8000) << 16;
    const uint32_t infinite = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;  // or NaN
    uint32_t scaled;
    const float product = float_of(magnitude) * 5.192296858534828e33f;
    memcpy(&scaled, &product, sizeof scaled);
    return float_of(scaled | infinite | sign);
#endif
}

// The four numbers of a texel.
template <typename T, typename M>
HOST_DEVICE void read_texel(const M* texel, T* rgba) {
    M packed[4];
    read_four(texel, packed);
    for (int c = 0; c < 4; ++c) rgba[c] = number(packed[c]);
}
#if defined(__F16C__) && !defined(__CUDACC__)
inline void read_texel(const Half* texel, float* rgba) {  // by the instruction that CPUs have for it
    _mm_storeu_ps(rgba, _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(texel))));
}
#endif

// Where u, -1..1 between the outer pixels' edges, lies between pixels' centres; beyond the border on the border.
template <typename T>
HOST_DEVICE T position(T u, int64_t size) {
    const T position = ((u + 1) * T(size) - 1) / 2, last = T(size - 1);
    return position > 0 ? (position < last ? position : last) : T(0);  // NaN: 0
}

// One direction of a bilinear fetch at u.
template <typename T>
struct Axis {
    int64_t low, high;
    T near, far;   // weights
    T derivative;  // of the position in pixels with respect to u

    HOST_DEVICE Axis(T u, int64_t size) {
        const T at = position(u, size);
        low = int64_t(at);
        high = low + 1 < size ? low + 1 : low;
        far = at - T(low);
        near = T(low + 1) - at;
        derivative = at > 0 && at < T(size - 1) ? T(size) / 2 : T(0);
    }
};

// A bilinear fetch of RGBA: four texels and their weights.
template <typename T>
struct Fetch {
    Axis<T> x, y;
    int64_t texel[4];  // offsets into the plane

    HOST_DEVICE Fetch(T u, T v, int64_t width, int64_t height) : x(u, width), y(v, height) {
        texel[0] = (y.low * width + x.low) * 4;
        texel[1] = (y.low * width + x.high) * 4;
        texel[2] = (y.high * width + x.low) * 4;
        texel[3] = (y.high * width + x.high) * 4;
    }

    template <typename M>
    HOST_DEVICE void read(const M* plane, T* rgba) const {
        const T weight[4] = {x.near * y.near, x.far * y.near, x.near * y.far, x.far * y.far};
        T value[4][4];
        for (int i = 0; i < 4; ++i) read_texel(plane + texel[i], value[i]);
        for (int c = 0; c < 4; ++c)
            rgba[c] = value[0][c] * weight[0] + value[1][c] * weight[1] + value[2][c] * weight[2] + value[3][c] * weight[3];
    }

#ifndef __CUDACC__
    // Asks for the texels before they are read: maps are far larger than a cache.
    template <typename M>
    void prefetch(const M* plane) const {
        __builtin_prefetch(plane + texel[0]);
        __builtin_prefetch(plane + texel[2]);
    }
#endif

    HOST_DEVICE void scatter(T* plane, const T* grad) const {
        const T weight[4] = {x.near * y.near, x.far * y.near, x.near * y.far, x.far * y.far};
        for (int i = 0; i < 4; ++i)
            for (int c = 0; c < 4; ++c) add(plane + texel[i] + c, grad[c] * weight[i]);
    }

    // Gradients with respect to u and v.
    template <typename M>
    HOST_DEVICE void differentiate(const M* plane, const T* grad, T& grad_u, T& grad_v) const {
        T value[4][4], along_x = 0, along_y = 0;
        for (int i = 0; i < 4; ++i) read_texel(plane + texel[i], value[i]);
        for (int c = 0; c < 4; ++c) {
            along_x += grad[c] * ((value[1][c] - value[0][c]) * y.near + (value[3][c] - value[2][c]) * y.far);
            along_y += grad[c] * ((value[2][c] - value[0][c]) * x.near + (value[3][c] - value[1][c]) * x.far);
        }
        grad_u = along_x * x.derivative;
        grad_v = along_y * y.derivative;
    }
};
}  // namespace texels

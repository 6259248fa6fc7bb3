// From crossings to pixels: the per-pixel core, and what Python calls (torch_utils/ops/manifold_composite.py).
// The rules are those of torch_utils/ops/manifold_composite_ref.py.
#pragma once

#include "texels.h"

namespace manifold_composite {

constexpr int MAX_LAYERS = 64;
constexpr int32_t BLOCK_BITS = 3, BLOCK = 1 << BLOCK_BITS;  // texels a side that a mark of the occupied ones stands for

// The smallest normal number, and the transmittance behind which nothing can change a sum of order 1.
HOST_DEVICE float tiny(float) { return 1.17549435e-38f; }
HOST_DEVICE double tiny(double) { return 2.2250738585072014e-308; }
HOST_DEVICE float opaque(float) { return 5.9604644775390625e-8f; }
HOST_DEVICE double opaque(double) { return 1.1102230246251565e-16; }

enum Channel { X, Y, DEPTH, VALIDITY, ORDER };  // ORDER may be absent: then it is DEPTH

// The crossings of an image's rays, and the maps that they are looked up in.
template <typename T, typename M>
struct Scene {
    const M* maps;    // [B, K, h, w, 4]
    const T* layers;  // [B, H, W, C, K]
    int64_t batch, count, map_height, map_width, height, width, channels, upscale;
    double min_validity, epsilon;
    const uint8_t* occupied;  // [B, K, h / BLOCK, w / BLOCK] 0 where a fetch finds nothing; null: anywhere

    HOST_DEVICE int64_t pixels() const { return height * width * upscale * upscale; }  // of one image
    HOST_DEVICE const uint8_t* occupied_in(int64_t image) const {
        const int64_t rows = (map_height + BLOCK - 1) / BLOCK, columns = (map_width + BLOCK - 1) / BLOCK;
        return occupied == nullptr ? nullptr : occupied + image * count * rows * columns;
    }
};

// The crossings that one pixel sees: a ray's own, or those of four rays interpolated bilinearly (corners aligned).
template <typename T>
struct Crossings {
    const T* ray[4];
    T top, bottom, left, right;
    bool upsampled;
    int64_t count;
#ifndef __CUDACC__
    T interpolated[(ORDER + 1) * MAX_LAYERS];
#endif

    template <typename M>
    HOST_DEVICE Crossings(const Scene<T, M>& scene, int64_t image, int64_t pixel) {
        const int64_t columns = scene.width * scene.upscale, stride = scene.channels * scene.count;
        const T* rays = scene.layers + image * scene.height * scene.width * stride;
        upsampled = scene.upscale > 1;
        count = scene.count;
        int64_t row, column, y, x, down, across;
        divide(pixel, columns, row, column);
        split(row, scene.height, scene.height * scene.upscale, y, down, top, bottom);
        split(column, scene.width, columns, x, across, left, right);
        const T* corner = rays + (y * scene.width + x) * stride;
        ray[0] = corner;
        ray[1] = corner + across * stride;
        ray[2] = corner + down * scene.width * stride;
        ray[3] = ray[2] + across * stride;
    }

    // Pixel i of `to` lies between rays `low` and `low + step` of `from`, at weights `near` and `far`.
    static HOST_DEVICE void split(int64_t i, int64_t from, int64_t to, int64_t& low, int64_t& step, T& near, T& far) {
        const T position = to > 1 ? T(from - 1) / T(to - 1) * T(i) : T(0);
        low = int64_t(position);
        step = low < from - 1 ? 1 : 0;
        far = position - T(low);
        near = T(1) - far;
    }

    HOST_DEVICE T operator()(int64_t channel, int64_t k) const {
        const int64_t at = channel * count + k;
        return upsampled ? interpolate(at) : ray[0][at];
    }

    HOST_DEVICE T interpolate(int64_t at) const {
        return top * (left * ray[0][at] + right * ray[1][at]) + bottom * (left * ray[2][at] + right * ray[3][at]);
    }

    // For pixels that will want most of their layers: a CPU interpolates them all at once, in vector instructions. A GPU
    // thread has no room to keep them and interpolates each when it is wanted.
    HOST_DEVICE void interpolate_all(int64_t channels) {
#ifndef __CUDACC__
        if (!upsampled) return;
        const int size = int(channels * count);
        for (int at = 0; at < size; ++at) interpolated[at] = interpolate(at);
        ray[0] = interpolated;
        upsampled = false;
#else
        (void)channels;
#endif
    }
};

// NaN comes last, as in torch's sort.
template <typename T>
HOST_DEVICE bool before(T a, T b) {
    return a < b || (b != b && a == a);
}

// Which mark of the occupied blocks stands for what layer k of image 0 fetches at (x, y).
template <typename T, typename M>
HOST_DEVICE int32_t mark_of(const Scene<T, M>& scene, T x, T y, int32_t k) {
    const int32_t rows = int32_t(scene.map_height + BLOCK - 1) / BLOCK;
    const int32_t columns = int32_t(scene.map_width + BLOCK - 1) / BLOCK;
    const int32_t row = int32_t(texels::position(y, scene.map_height)) >> BLOCK_BITS;
    return (k * rows + row) * columns + (int32_t(texels::position(x, scene.map_width)) >> BLOCK_BITS);
}

// The layers that count, nearest first; equals keep their order. Returns how many.
template <typename T, typename M>
HOST_DEVICE int sort_layers(const Scene<T, M>& scene, const Crossings<T>& crossings, int64_t image, int* sorted) {
    const int64_t channel = scene.channels > ORDER ? ORDER : DEPTH;
    T keys[MAX_LAYERS];
    const uint8_t* occupied = scene.occupied_in(image);
#ifndef __CUDACC__
    int32_t mark[MAX_LAYERS];  // in a loop of their own: in vector instructions
    const T *x = crossings.ray[0] + X * scene.count, *y = crossings.ray[0] + Y * scene.count;
    if (occupied != nullptr)
        for (int32_t k = 0; k < int32_t(scene.count); ++k) mark[k] = mark_of(scene, x[k], y[k], k);
    const auto mark_at = [&](int k) { return mark[k]; };
#else
    const auto mark_at = [&](int k) { return mark_of(scene, crossings(X, k), crossings(Y, k), k); };
#endif
    int count = 0;
    for (int k = 0; k < scene.count; ++k) {
        if (!(crossings(VALIDITY, k) > T(scene.min_validity))) continue;
        if (occupied != nullptr && occupied[mark_at(k)] == 0) continue;
        const T key = crossings(channel, k);
        int at = count++;
        for (; at > 0 && before(key, keys[at - 1]); --at) {
            keys[at] = keys[at - 1];
            sorted[at] = sorted[at - 1];
        }
        keys[at] = key;
        sorted[at] = k;
    }
    return count;
}

template <typename T, typename M>
HOST_DEVICE texels::Fetch<T> look_up(const Scene<T, M>& scene, const Crossings<T>& crossings, int k) {
    return texels::Fetch<T>(crossings(X, k), crossings(Y, k), scene.map_width, scene.map_height);
}

template <typename T, typename M>
HOST_DEVICE const M* plane_of(const Scene<T, M>& scene, int64_t image, int k) {
    return scene.maps + (image * scene.count + k) * scene.map_height * scene.map_width * 4;
}

template <typename T, typename M>
struct Forward {
    Scene<T, M> scene;
    T *rgb, *alpha, *depth;  // [B, P, 3], [B, P], [B, P]

    HOST_DEVICE void operator()(int64_t pixel) const {
        int64_t image, in_image;
        divide(pixel, scene.pixels(), image, in_image);
        Crossings<T> crossings(scene, image, in_image);
        crossings.interpolate_all(scene.channels);
        int sorted[MAX_LAYERS];
        const int layers = sort_layers(scene, crossings, image, sorted);
#ifndef __CUDACC__
        for (int j = 0; j < layers; ++j)
            look_up(scene, crossings, sorted[j]).prefetch(plane_of(scene, image, sorted[j]));
#endif
        T sum[3] = {0, 0, 0}, total = 0, distance = 0, transmittance = 1;
        for (int j = 0; j < layers && transmittance >= opaque(T(0)); ++j) {
            T rgba[4];
            look_up(scene, crossings, sorted[j]).read(plane_of(scene, image, sorted[j]), rgba);
            const T weight = transmittance * rgba[3];
            for (int c = 0; c < 3; ++c) sum[c] += weight * rgba[c];
            total += weight;
            distance += weight * crossings(DEPTH, sorted[j]);
            transmittance *= 1 - rgba[3] + T(scene.epsilon);
        }
        for (int c = 0; c < 3; ++c) rgb[pixel * 3 + c] = sum[c] + (1 - total);
        alpha[pixel] = total;
        depth[pixel] = total >= tiny(T(0)) ? distance / total : T(0);
    }
};

// Gradients of what each pixel's layers fetched, and of the crossings where they are wanted.
//
// The outputs are sums of T_j alpha_j v_j. With V_j the sum of what lies from layer j on, as seen from there,
// V_j = alpha_j v_j + (1 - alpha_j + epsilon) V_(j+1) and d/d alpha_j = T_j (v_j - V_(j+1)): no division, so that an
// opaque layer's gradient is right, and nothing behind it is left out.
template <typename T, typename M>
struct Backward {
    Scene<T, M> scene;
    const T *grad_rgb, *grad_alpha, *grad_depth;
    T* grad_fetched;  // [B, K, P, 4], zeros
    T* grad_layers;   // [B, H, W, C, K], zeros; or null

    HOST_DEVICE void operator()(int64_t pixel) const {
        int64_t image, in_image;
        divide(pixel, scene.pixels(), image, in_image);
        Crossings<T> crossings(scene, image, in_image);
        crossings.interpolate_all(scene.channels);
        const T* grad = grad_rgb + pixel * 3;
        int sorted[MAX_LAYERS];
        T transmittance[MAX_LAYERS], alpha[MAX_LAYERS], value[MAX_LAYERS];
        const int layers = sort_layers(scene, crossings, image, sorted);
        T through = 1, total = 0, distance = 0;
        for (int j = 0; j < layers; ++j) {
            T rgba[4];
            look_up(scene, crossings, sorted[j]).read(plane_of(scene, image, sorted[j]), rgba);
            transmittance[j] = through;
            alpha[j] = rgba[3];
            value[j] = grad[0] * (rgba[0] - 1) + grad[1] * (rgba[1] - 1) + grad[2] * (rgba[2] - 1);
            total += through * rgba[3];
            distance += through * rgba[3] * crossings(DEPTH, sorted[j]);
            through *= 1 - rgba[3] + T(scene.epsilon);
        }
        const bool seen = total >= tiny(T(0));
        const T per_depth = seen ? grad_depth[pixel] / total : T(0);
        const T per_alpha = grad_alpha[pixel] - (seen ? per_depth * (distance / total) : T(0));
        T behind = 0;
        for (int j = layers - 1; j >= 0; --j) {
            const int k = sorted[j];
            const T weight = transmittance[j] * alpha[j];
            const T v = value[j] + per_alpha + (seen ? per_depth * crossings(DEPTH, k) : T(0));
            const T fetched[4] = {weight * grad[0], weight * grad[1], weight * grad[2], transmittance[j] * (v - behind)};
            behind = alpha[j] * v + (1 - alpha[j] + T(scene.epsilon)) * behind;
            T* out = grad_fetched + ((image * scene.count + k) * scene.pixels() + in_image) * 4;
            for (int c = 0; c < 4; ++c) out[c] = fetched[c];
            if (grad_layers == nullptr) continue;
            T* to = grad_layers + pixel * scene.channels * scene.count + k;
            look_up(scene, crossings, k)
                .differentiate(plane_of(scene, image, k), fetched, to[X * scene.count], to[Y * scene.count]);
            to[DEPTH * scene.count] = seen ? per_depth * weight : T(0);
        }
    }
};

// Gradients of what was fetched -> of the maps.
template <typename T, typename M>
struct Scatter {
    Scene<T, M> scene;
    const T* grad_fetched;  // [B, K, P, 4]
    T* grad_maps;           // [B, K, h, w, 4], zeros

    HOST_DEVICE void operator()(int64_t plane, int64_t pixel) const {
        const T* grad = grad_fetched + (plane * scene.pixels() + pixel) * 4;
        if (grad[0] == 0 && grad[1] == 0 && grad[2] == 0 && grad[3] == 0) return;
        int64_t image, k;
        divide(plane, scene.count, image, k);
        const Crossings<T> crossings(scene, image, pixel);
        look_up(scene, crossings, int(k))
            .scatter(grad_maps + plane * scene.map_height * scene.map_width * 4, grad);
    }
};
}  // namespace manifold_composite

constexpr int64_t PIXELS_PER_CHUNK = 256;

#define PARAMETERS(T, M)                                                                                               \
    const M *maps, const T *layers, int64_t batch, int64_t count, int64_t map_height, int64_t map_width,               \
        int64_t height, int64_t width, int64_t channels, int64_t upscale, double min_validity, double epsilon,         \
        const uint8_t *occupied
#define SCENE(T, M)                                                                                                    \
    manifold_composite::Scene<T, M> {                                                                                  \
        maps, layers, batch, count, map_height, map_width, height, width, channels, upscale, min_validity, epsilon,    \
            occupied                                                                                                   \
    }

#define MANIFOLD_COMPOSITE(NAME, T, M)                                                                                 \
    ENTRY void composite_manifolds_##NAME(PARAMETERS(T, M), T* rgb, T* alpha, T* depth, THREADS) {                     \
        const manifold_composite::Forward<T, M> forward{SCENE(T, M), rgb, alpha, depth};                               \
        for_each(batch * forward.scene.pixels(), PIXELS_PER_CHUNK, threads, forward);                                  \
    }                                                                                                                  \
    ENTRY void composite_manifolds_backward_##NAME(PARAMETERS(T, M), const T* grad_rgb, const T* grad_alpha,           \
                                                   const T* grad_depth, T* grad_fetched, T* grad_layers, THREADS) {    \
        const manifold_composite::Backward<T, M> backward{SCENE(T, M), grad_rgb,     grad_alpha,                       \
                                                          grad_depth,  grad_fetched, grad_layers};                     \
        for_each(batch * backward.scene.pixels(), PIXELS_PER_CHUNK, threads, backward);                                \
    }                                                                                                                  \
    ENTRY void scatter_to_manifolds_##NAME(PARAMETERS(T, M), const T* grad_fetched, T* grad_maps, THREADS) {           \
        const manifold_composite::Scatter<T, M> scatter{SCENE(T, M), grad_fetched, grad_maps};                         \
        for_each_in_planes(batch* count, scatter.scene.pixels(), threads, scatter);                                    \
    }

MANIFOLD_COMPOSITE(float, float, float)
MANIFOLD_COMPOSITE(double, double, double)
MANIFOLD_COMPOSITE(half, float, texels::Half)
MANIFOLD_COMPOSITE(bfloat16, float, texels::BFloat16)

#undef PARAMETERS
#undef SCENE

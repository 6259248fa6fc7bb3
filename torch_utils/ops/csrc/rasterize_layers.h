// Layers of textured triangles to pixels: what Python calls (torch_utils/ops/rasterize_layers.py).
// The rules are those of torch_utils/ops/rasterize_layers_ref.py.
//
// In every layer a pixel sees the nearest triangle that faces it; layers are composited from the last one, in front, to
// the first. On a CPU a thread takes a tile of the image through the layers, many pixels at a time, until nothing more
// can be seen. On a GPU a thread takes a triangle, then a thread takes a pixel.
#pragma once

#include "lanes.h"
#include "screen_triangles.h"

#ifndef __CUDACC__
#include "array.h"
#endif

namespace rasterize_layers {

struct Picture {
    float *rgb, *alpha, *depth;  // [3, H, W], [H, W], [H, W]
};

// One pixel's numbers or those of many side by side: N is float or Lanes.
#ifndef __CUDACC__
using lanes::Lanes;
using Integers = lanes::Mask;

inline Integers whole(Lanes value) { return __builtin_convertvector(value, Integers); }
inline Lanes number(Integers value) { return __builtin_convertvector(value, Lanes); }
inline Integers fetch(const uint32_t* from, Integers index) {
    int32_t at[lanes::LANES];
    memcpy(at, &index, sizeof at);
    for (int32_t& each : at) {
        each = int32_t(from[each]);
        asm volatile("");  // compilers would make it a gather, which is slower (Zen 5: a quarter more a picture)
    }
    memcpy(&index, at, sizeof at);
    return index;
}
#endif
HOST_DEVICE int32_t whole(float value) { return int32_t(value); }
HOST_DEVICE float number(int32_t value) { return float(value); }
HOST_DEVICE int32_t fetch(const uint32_t* from, int32_t index) { return int32_t(from[index]); }

// Where u, 0..1 between the outer texels' edges, lies between texels' centres; beyond the border on the border.
template <typename N>
HOST_DEVICE N texel_position(N u, int64_t size) {
    const N position = u * float(size) - 0.5f, first = N{}, last = first + float(size - 1);
    const N bounded = position < last ? position : last;
    return bounded > first ? bounded : first;
}

template <typename N>
struct Pixel {
    N rgb[3], depth, transmittance;

    // Puts what the texture shows at (u, v) / inverse behind what is there already, where that can be `seen`.
    template <typename Mask>
    HOST_DEVICE void add(const Scene& scene, N inverse, N u, N v, Mask seen) {
        const N none = N{}, distance = 1 / (seen ? inverse : none + 1);
        const N x = texel_position(u * distance, scene.atlas_width);
        const N y = texel_position(v * distance, scene.atlas_height);
        const auto column = whole(x), row = whole(y);
        const auto right = x < none + float(scene.atlas_width - 1) ? column + 1 : column;
        const auto start = row * int32_t(scene.atlas_width);
        const auto next = y < none + float(scene.atlas_height - 1) ? start + int32_t(scene.atlas_width) : start;
        const N beside = x - number(column), below = y - number(row);
        const N weight[4] = {(1 - beside) * (1 - below), beside * (1 - below), (1 - beside) * below, beside * below};
        const decltype(column + 0) texel[4] = {fetch(scene.atlas, start + column), fetch(scene.atlas, start + right),
                                               fetch(scene.atlas, next + column), fetch(scene.atlas, next + right)};
        N rgba[4];
        for (int c = 0; c < 4; ++c) {
            N sum = none;
            for (int i = 0; i < 4; ++i) sum += weight[i] * number((texel[i] >> 8 * c) & 255);
            rgba[c] = sum * (1.0f / 255);
        }
        const N alpha = seen ? rgba[3] : none, share = transmittance * alpha;
        for (int c = 0; c < 3; ++c) rgb[c] += share * rgba[c];
        depth += share * distance;
        transmittance -= share;
    }

    // Over white; depth is 0 where nothing is.
    HOST_DEVICE void finish(N* colour, N& alpha) {
        const N none = N{};
        alpha = 1 - transmittance;
        for (int c = 0; c < 3; ++c) colour[c] = rgb[c] + transmittance;
        depth = alpha > none ? depth / (alpha > none ? alpha : none + 1) : none;
    }
};

#ifdef __CUDACC__
// What a pixel sees of a layer: its 1 / distance, whose bits are ordered as it is, then the earliest triangle.
constexpr uint64_t LAST = 0xffffffffu;

struct Cover {
    Scene scene;
    uint64_t* nearest;  // [L, H, W], 0 where nothing is

    HOST_DEVICE void operator()(int64_t f) const {
        Triangle triangle;
        if (!triangle.place(scene, f)) return;
        const Planes planes(scene, f, triangle);
        int64_t layer = 0;
        while (scene.layers[layer + 1] <= f) ++layer;
        for (int y = triangle.top; y <= triangle.bottom; ++y)
            for (int x = triangle.left; x <= triangle.right; ++x) {
                const float dx = float(x) - planes.x, dy = float(y) - planes.y, inverse = planes.inverse.at(dx, dy);
                bool inside = inverse > 0;
                for (const Plane& share : planes.share) inside = inside && share.at(dx, dy) >= 0;
                if (!inside) continue;
                uint32_t bits;
                memcpy(&bits, &inverse, sizeof bits);
                const uint64_t found = uint64_t(bits) << 32 | (LAST - uint64_t(f));
                auto* place = reinterpret_cast<unsigned long long*>(nearest);
                atomicMax(place + (layer * scene.height + y) * scene.width + x, (unsigned long long)(found));
            }
    }
};

struct Shade {
    Scene scene;
    const uint64_t* nearest;
    Picture picture;

    HOST_DEVICE void operator()(int64_t at) const {
        const int64_t pixels = scene.height * scene.width;
        int64_t y, x;
        divide(at, scene.width, y, x);
        Pixel<float> pixel{{0, 0, 0}, 0, 1};
        for (int64_t layer = scene.count; layer-- > 0 && pixel.transmittance >= scene.least;) {
            const uint64_t found = nearest[layer * pixels + at];
            if (found == 0) continue;
            const int64_t f = int64_t(LAST - (found & LAST));
            Triangle triangle;
            triangle.place(scene, f);
            const Planes planes(scene, f, triangle);
            const float dx = float(x) - planes.x, dy = float(y) - planes.y;
            pixel.add(scene, planes.inverse.at(dx, dy), planes.u.at(dx, dy), planes.v.at(dx, dy), true);
        }
        float colour[3];
        pixel.finish(colour, picture.alpha[at]);
        for (int c = 0; c < 3; ++c) picture.rgb[c * pixels + at] = colour[c];
        picture.depth[at] = pixel.depth;
    }
};
#else
constexpr int SIDE = 32, GROUPS = SIDE / lanes::LANES;  // pixels of a tile, each way; groups of lanes in its rows

// Which triangles of every layer may be seen in which tile.
struct Bins {
    const Scene& scene;
    int64_t columns, rows;
    struct Reach {
        int32_t left, right, top, bottom;  // tiles
    };
    Array<Reach> reach;      // [F]
    Array<int64_t> end;      // [L, tiles] in `triangles`; the start is the end of the one before
    Array<int32_t> triangles;

    Bins(const Scene& scene, int64_t threads)
        : scene(scene), columns((scene.width + SIDE - 1) / SIDE), rows((scene.height + SIDE - 1) / SIDE),
          reach(make_zeros<Reach>(scene.layers[scene.count])), end(make_zeros<int64_t>(scene.count * columns * rows)) {
        for_each(scene.count, 1, threads, [this](int64_t layer) { this->measure(layer); });
        int64_t total = 0;
        for (int64_t bin = 0; bin < this->scene.count * tiles(); ++bin) {
            const int64_t size = end[bin];
            end[bin] = total;  // its start, until it is filled
            total += size;
        }
        triangles = make_zeros<int32_t>(total);
        for_each(scene.count, 1, threads, [this](int64_t layer) { this->fill(layer); });
    }

    int64_t tiles() const { return columns * rows; }

    void measure(int64_t layer) {
        for (int64_t f = scene.layers[layer]; f < scene.layers[layer + 1]; ++f) {
            Triangle triangle;
            const bool is_seen = triangle.place(scene, f);
            reach[f] = {triangle.left / SIDE, is_seen ? triangle.right / SIDE : -1, triangle.top / SIDE,
                        triangle.bottom / SIDE};
            if (!is_seen) reach[f] = {0, -1, 0, -1};
            each_bin(layer, f, [this](int64_t bin) { ++end[bin]; });
        }
    }

    void fill(int64_t layer) {
        for (int64_t f = scene.layers[layer]; f < scene.layers[layer + 1]; ++f)
            each_bin(layer, f, [this, f](int64_t bin) { triangles[end[bin]++] = int32_t(f); });
    }

    template <typename F>
    void each_bin(int64_t layer, int64_t f, const F& visit) {
        const Reach& tiles_of = reach[f];
        for (int64_t row = tiles_of.top; row <= tiles_of.bottom; ++row)
            for (int64_t column = tiles_of.left; column <= tiles_of.right; ++column)
                visit(layer * tiles() + row * columns + column);
    }
};

// A tile of the image, as a thread draws it.
struct Tile {
    const Scene& scene;
    int left, top;  // its first pixel
    Lanes beside;   // pixels from the first of some lanes: 0, 1, 2 ...
    Lanes inverse[SIDE][GROUPS], u[SIDE][GROUPS], v[SIDE][GROUPS];  // of the layer at hand; inverse is 0 where none is
    Pixel<Lanes> pixels[SIDE][GROUPS];
    bool is_covered[SIDE][GROUPS], is_closed[SIDE][GROUPS];
    int open = SIDE * GROUPS;

    Tile(const Scene& scene, int left, int top) : scene(scene), left(left), top(top) {
        for (int i = 0; i < lanes::LANES; ++i) beside[i] = float(i);
        memset(inverse, 0, sizeof inverse);
        memset(pixels, 0, sizeof pixels);
        memset(is_covered, 0, sizeof is_covered);
        memset(is_closed, 0, sizeof is_closed);
        for (auto& row : pixels)
            for (Pixel<Lanes>& pixel : row) pixel.transmittance += 1.0f;
    }

    // Draws a triangle's depth and texture coordinates where it is nearer than what is there.
    void cover(int64_t f) {
        Triangle triangle;
        triangle.place(scene, f);
        const Planes planes(scene, f, triangle);
        const int first = triangle.top > top ? triangle.top - top : 0;
        const int last = triangle.bottom - top < SIDE ? triangle.bottom - top : SIDE - 1;
        const int begin = triangle.left > left ? triangle.left - left : 0;
        const int end = triangle.right - left < SIDE ? triangle.right - left : SIDE - 1;
        for (int group = begin / lanes::LANES; group <= end / lanes::LANES; ++group) {
            const Lanes dx = beside + float(left + group * lanes::LANES) - planes.x;
            for (int row = first; row <= last; ++row) {
                if (is_closed[row][group]) continue;
                const Lanes dy = lanes::all(float(top + row) - planes.y), near = planes.inverse.at(dx, dy);
                Integers inside = near > inverse[row][group];
                for (const Plane& share : planes.share) inside &= share.at(dx, dy) >= 0;
                if (!lanes::any(inside)) continue;
                inverse[row][group] = inside ? near : inverse[row][group];
                u[row][group] = inside ? planes.u.at(dx, dy) : u[row][group];
                v[row][group] = inside ? planes.v.at(dx, dy) : v[row][group];
                is_covered[row][group] = true;
            }
        }
    }

    // Composites the layer that was covered, and is ready for the next.
    void shade() {
        for (int row = 0; row < SIDE; ++row)
            for (int group = 0; group < GROUPS; ++group) {
                if (!is_covered[row][group]) continue;
                Pixel<Lanes>& pixel = pixels[row][group];
                Lanes& near = inverse[row][group];
                pixel.add(scene, near, u[row][group], v[row][group], (near > 0) & (pixel.transmittance >= scene.least));
                near = Lanes{};
                is_covered[row][group] = false;
                if (!lanes::any(pixel.transmittance >= scene.least)) is_closed[row][group] = true, --open;
            }
    }

    void write(const Picture& picture) {
        const int64_t size = scene.height * scene.width;
        for (int row = 0; row < SIDE && top + row < scene.height; ++row)
            for (int group = 0; group < GROUPS; ++group) {
                Pixel<Lanes>& pixel = pixels[row][group];
                Lanes values[5];
                pixel.finish(values, values[3]);
                values[4] = pixel.depth;
                const int64_t x = left + group * lanes::LANES, at = (top + row) * scene.width + x;
                float* to[5] = {picture.rgb, picture.rgb + size, picture.rgb + 2 * size, picture.alpha, picture.depth};
                const int64_t room = scene.width - x < lanes::LANES ? scene.width - x : lanes::LANES;
                for (int i = 0; i < 5 && room > 0; ++i) memcpy(to[i] + at, &values[i], room * sizeof(float));
            }
    }
};

struct Draw {
    const Bins& bins;
    Picture picture;

    void operator()(int64_t at) const {
        const Scene& scene = bins.scene;
        Tile tile(scene, int(at % bins.columns) * SIDE, int(at / bins.columns) * SIDE);
        for (int64_t layer = scene.count; layer-- > 0 && tile.open > 0;) {
            const int64_t bin = layer * bins.tiles() + at, start = bin > 0 ? bins.end[bin - 1] : 0;
            if (start == bins.end[bin]) continue;
            for (int64_t i = start; i < bins.end[bin]; ++i) tile.cover(bins.triangles[i]);
            tile.shade();
        }
        tile.write(picture);
    }
};
#endif
}  // namespace rasterize_layers

#define SCENE_PARAMETERS                                                                                               \
    const float *positions, const float *uv, const int32_t *triangles, const int32_t *layers, const uint32_t *atlas,   \
        int64_t faces, int64_t count, int64_t atlas_height, int64_t atlas_width, int64_t height, int64_t width,        \
        double least
#define SCENE                                                                                                          \
    rasterize_layers::Scene {                                                                                          \
        positions, uv, triangles, layers, atlas, count, atlas_height, atlas_width, height, width, float(least)         \
    }

#ifndef __CUDACC__
ENTRY void rasterize_layers_float(SCENE_PARAMETERS, float* rgb, float* alpha, float* depth, THREADS) {
    const rasterize_layers::Scene scene = SCENE;
    const rasterize_layers::Bins bins(scene, threads);
    for_each(bins.tiles(), 1, threads, rasterize_layers::Draw{bins, {rgb, alpha, depth}});
}
#else
ENTRY void cover_layers_float(SCENE_PARAMETERS, uint64_t* nearest, THREADS) {
    for_each(faces, 0, threads, rasterize_layers::Cover{SCENE, nearest});
}

ENTRY void shade_layers_float(SCENE_PARAMETERS, const uint64_t* nearest, float* rgb, float* alpha, float* depth,
                              THREADS) {
    for_each(height * width, 0, threads, rasterize_layers::Shade{SCENE, nearest, {rgb, alpha, depth}});
}
#endif

#undef SCENE_PARAMETERS
#undef SCENE

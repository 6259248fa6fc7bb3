// One source for CPU and GPU: what differs between a C++ and a CUDA build of the ops is in this file alone.
//
// An op is an entry: a C function on a CPU, a kernel on a GPU, in either case of arrays and numbers and
//
//     ENTRY void op(..., THREADS) { for_each(count, chunk, threads, f); }
//
// No torch header is included, here or in the ops: arrays are raw pointers, so a build takes seconds and any torch
// version can call it (torch_utils/custom_ops.py).
#pragma once

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__ inline
#else
#define HOST_DEVICE inline
#endif
#define ALWAYS_INLINE HOST_DEVICE __attribute__((always_inline))

#ifdef __CUDACC_RTC__  // NVRTC has no headers
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <cstdint>
#include <cstring>
#endif

// i = quotient * by + remainder, for i >= 0 and by > 0. A GPU divides long numbers slowly.
HOST_DEVICE void divide(int64_t i, int64_t by, int64_t& quotient, int64_t& remainder) {
    if (((i | by) >> 32) == 0) {
        const uint32_t short_quotient = uint32_t(i) / uint32_t(by);
        quotient = short_quotient, remainder = uint32_t(i) - short_quotient * uint32_t(by);
    } else {
        quotient = i / by, remainder = i - quotient * by;
    }
}

#ifdef __CUDACC__
// Four numbers at a multiple of their size: a GPU reads and writes them by one instruction.
template <typename T>
struct alignas(4 * sizeof(T)) Four {
    T number[4];
};
#endif

template <typename T>
HOST_DEVICE void read_four(const T* from, T* four) {
#ifdef __CUDACC__
    const Four<T> read = *reinterpret_cast<const Four<T>*>(from);
    for (int c = 0; c < 4; ++c) four[c] = read.number[c];
#else
    memcpy(four, from, 4 * sizeof(T));
#endif
}

template <typename T>
HOST_DEVICE void write_four(const T* four, T* to) {
#ifdef __CUDACC__
    *reinterpret_cast<Four<T>*>(to) = {four[0], four[1], four[2], four[3]};
#else
    memcpy(to, four, 4 * sizeof(T));
#endif
}

#ifdef __CUDACC__

constexpr int BLOCK_THREADS = 128;  // torch_utils/native/cuda.py starts as many
#define ENTRY extern "C" __global__ __launch_bounds__(BLOCK_THREADS)
#define THREADS int64_t threads  // that were asked for: they may end within a block

// f(i) for 0 <= i < count, a GPU thread each; `chunk` is for CPUs. Threads beyond do nothing.
template <typename F>
__device__ void for_each(int64_t count, int64_t /*chunk*/, int64_t /*threads*/, const F& f) {
    const int64_t i = int64_t(blockIdx.x) * BLOCK_THREADS + threadIdx.x;
    if (i < count) f(i);
}

// f(plane, i) for every plane and 0 <= i < count, all at once: what f adds to, it adds to with `add`.
template <typename F>
__device__ void for_each_in_planes(int64_t planes, int64_t count, int64_t threads, const F& f) {
    const auto in_plane = [=](int64_t i) {
        int64_t plane, place;
        divide(i, count, plane, place);
        f(plane, place);
    };
    for_each(planes * count, 0, threads, in_plane);
}

template <typename T>
__device__ void add(T* sum, T value) {
    atomicAdd(sum, value);
}

#else

#ifndef _OPENMP
#include <pthread.h>

// What threads of a call do without OpenMP: each takes the next `chunk`, until there is none.
template <typename F>
struct Work {
    const F& f;
    int64_t count, chunk, next = 0;

    void run() {
        for (int64_t start; (start = __atomic_fetch_add(&next, chunk, __ATOMIC_RELAXED)) < count;)
            for (int64_t i = start; i < start + chunk && i < count; ++i) f(i);
    }
    static void* start(void* work) {
        static_cast<Work*>(work)->run();
        return nullptr;
    }
};
#endif

#define ENTRY extern "C" __attribute__((visibility("default")))
#define THREADS int64_t threads  // to run on

// f(i) for 0 <= i < count on so many threads, `chunk` at a time.
template <typename F>
void for_each(int64_t count, int64_t chunk, int64_t threads, const F& f) {
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, chunk) num_threads(int(threads)) if (count > chunk)
    for (int64_t i = 0; i < count; ++i) f(i);
#else
    constexpr int64_t MOST = 256;
    Work<F> work{f, count, chunk};
    pthread_t others[MOST];
    int64_t started = 0;
    while (started < MOST && started + 1 < threads && (started + 1) * chunk < count &&
           pthread_create(&others[started], nullptr, Work<F>::start, &work) == 0)
        ++started;
    work.run();
    while (started > 0) pthread_join(others[--started], nullptr);
#endif
}

// f(plane, i) for every plane and 0 <= i < count: planes side by side, a plane's calls in order. So what is added up
// within a plane needs no lock and comes out the same every time.
template <typename F>
void for_each_in_planes(int64_t planes, int64_t count, int64_t threads, const F& f) {
    for_each(planes, 1, threads, [=](int64_t plane) {
        for (int64_t i = 0; i < count; ++i) f(plane, i);
    });
}

template <typename T>
void add(T* sum, T value) {
    *sum += value;
}

#endif

// One source for CPU and GPU: what differs between a C++ and an nvcc build of the ops is in this file alone.
//
// No torch header is included, here or in the ops: arrays are raw pointers, so a build takes seconds and any torch
// version can call it (torch_utils/custom_ops.py).
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define HOST_DEVICE __host__ __device__ inline
#else
#define HOST_DEVICE inline
#endif
#define EXPORT extern "C" __attribute__((visibility("default")))

// Where a call runs: `place` is the number of threads on a CPU, the device's number on a GPU (which has a stream, too).
struct Target {
    int64_t place;
    void* stream;
};

#ifdef __CUDACC__

template <typename F>
__global__ void for_each_kernel(int64_t count, F f) {
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) f(i);
}

// f(i) for 0 <= i < count, one GPU thread each; `chunk` is for CPUs. Returns CUDA's error code, 0 for success.
template <typename F>
int for_each(int64_t count, int64_t /*chunk*/, Target target, F f) {
    constexpr int64_t block = 128;
    if (count == 0) return 0;
    int current = 0;
    cudaError_t error = cudaGetDevice(&current);
    if (error == cudaSuccess) error = cudaSetDevice(int(target.place));
    if (error != cudaSuccess) return error;
    for_each_kernel<<<unsigned((count + block - 1) / block), block, 0, cudaStream_t(target.stream)>>>(count, f);
    error = cudaGetLastError();
    cudaSetDevice(current);
    return error;
}

template <typename F>
struct FlatPlanes {
    int64_t count;
    F f;
    __device__ void operator()(int64_t i) const { f(i / count, i % count); }
};

// f(plane, i) for every plane and 0 <= i < count, all at once: what f adds to, it adds to with `add`.
template <typename F>
int for_each_in_planes(int64_t planes, int64_t count, Target target, F f) {
    return for_each(planes * count, 0, target, FlatPlanes<F>{count, f});
}

template <typename T>
__device__ void add(T* sum, T value) {
    atomicAdd(sum, value);
}

// Weak, as every op's file has one.
EXPORT __attribute__((weak)) const char* error_string(int code) { return cudaGetErrorString(cudaError_t(code)); }

#else

// f(i) for 0 <= i < count on `target.place` threads, `chunk` at a time. Returns 0.
template <typename F>
int for_each(int64_t count, int64_t chunk, Target target, F f) {
#pragma omp parallel for schedule(dynamic, chunk) num_threads(int(target.place)) if (count > chunk)
    for (int64_t i = 0; i < count; ++i) f(i);
    return 0;
}

// f(plane, i) for every plane and 0 <= i < count: planes side by side, a plane's calls in order. So what is added up
// within a plane needs no lock and comes out the same every time.
template <typename F>
int for_each_in_planes(int64_t planes, int64_t count, Target target, F f) {
    return for_each(planes, 1, target, [=](int64_t plane) {
        for (int64_t i = 0; i < count; ++i) f(plane, i);
    });
}

template <typename T>
void add(T* sum, T value) {
    *sum += value;
}

#endif

// CUDA for a C++ compiler: kernels run on the CPU, block after block, the threads of a block as fibers that take turns
// where they wait for each other. And the driver's functions that load and start them (torch_utils/native/driver.py).
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#define __host__
#define __device__
#define __global__ __attribute__((used))  // by this emulated_cuda.py finds the kernels
#define __launch_bounds__(threads)
#define __shared__ static

struct Place {
    unsigned x;
};
static Place blockIdx, threadIdx;

template <typename T>
T atomicAdd(T* at, T value) {
    return std::exchange(*at, *at + value);
}
inline int atomicMax(int* at, int value) { return std::exchange(*at, *at > value ? *at : value); }
inline unsigned long long atomicMax(unsigned long long* at, unsigned long long value) {
    return std::exchange(*at, *at > value ? *at : value);
}
inline int atomicMin(int* at, int value) { return std::exchange(*at, *at < value ? *at : value); }

namespace emulated {

constexpr size_t STACK = 1 << 17;

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    bool is_done = false;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static size_t running;
static void (*body)(void**);
static void** arguments;

inline void run_thread() {
    body(arguments);
    fibers[running].is_done = true;
}

// The threads in an order that hardware might take, until all are at the next __syncthreads or done.
inline void run_block(unsigned threads) {
    if (fibers.size() < threads) fibers.resize(threads);
    for (unsigned t = 0; t < threads; ++t) {
        Fiber& fiber = fibers[t];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = &scheduler;
        fiber.is_done = false;
        makecontext(&fiber.context, run_thread, 0);
    }
    for (bool any = true; any;) {
        any = false;
        for (unsigned i = 0; i < threads; ++i) {
            running = (i * 37u + 5u) % threads;  // 37 is prime to 128
            if (fibers[running].is_done) continue;
            threadIdx.x = unsigned(running);
            swapcontext(&scheduler, &fibers[running].context);
            any = any || !fibers[running].is_done;
        }
    }
}

template <typename... A, size_t... I>
void call(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(values[I])...);
}
template <typename... A>
void call(void (*kernel)(A...), void** values) {
    call(kernel, values, std::index_sequence_for<A...>{});
}

struct Kernel {
    const char* name;
    void (*body)(void**);
};
}  // namespace emulated

inline void __syncthreads() {
    const size_t thread = emulated::running;
    swapcontext(&emulated::fibers[thread].context, &emulated::scheduler);
}

// Memory on a CPU that is given back by itself.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

// By C's functions: with C++'s own a library would be needed that not every compiler brings along.
struct Free {
    void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using Array = std::unique_ptr<T[], Free>;

template <typename T>
Array<T> make_array(int64_t size) {
    return Array<T>(static_cast<T*>(std::malloc((size + 1) * sizeof(T))));
}

template <typename T>
Array<T> make_zeros(int64_t size) {
    return Array<T>(static_cast<T*>(std::calloc(size + 1, sizeof(T))));
}

// The driver, for kernels that a C++ compiler made: a device, one context, a stream that is always done.
namespace emulated {

enum { INVALID_VALUE = 1, INVALID_CONTEXT = 201, NOT_FOUND = 500 };
static int depth = 0;  // contexts that were pushed
static long launches = 0;
static int context;

static const char* name_of(int code) {
    return code == INVALID_VALUE     ? "CUDA_ERROR_INVALID_VALUE"
           : code == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT"
                                     : "CUDA_ERROR_NOT_FOUND";
}
}  // namespace emulated

#define API extern "C" __attribute__((visibility("default")))

API long emulated_launches() { return emulated::launches; }
API int emulated_depth() { return emulated::depth; }

API int cuGetErrorName(int code, const char** name) { return *name = emulated::name_of(code), 0; }
API int cuGetErrorString(int, const char** text) { return *text = "emulated", 0; }
API int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal == 0 ? 0 : emulated::INVALID_VALUE; }
API int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &emulated::context, 0; }
API int cuCtxPushCurrent_v2(void* context) {
    return context == &emulated::context ? ++emulated::depth, 0 : emulated::INVALID_CONTEXT;
}
API int cuCtxPopCurrent_v2(void** context) { return *context = &emulated::context, --emulated::depth, 0; }
API int cuModuleLoadData(void** module, const void*) {
    return *module = emulated::kernels, emulated::depth > 0 ? 0 : emulated::INVALID_CONTEXT;
}
API int cuModuleGetFunction(void** function, void*, const char* name) {
    for (emulated::Kernel& kernel : emulated::kernels)
        if (!strcmp(kernel.name, name)) return *function = &kernel, 0;
    return emulated::NOT_FOUND;
}
API int cuStreamSynchronize(void*) { return emulated::depth > 0 ? 0 : emulated::INVALID_CONTEXT; }
API int cuLaunchKernel(void* function, unsigned blocks, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
                       unsigned, void*, void** arguments, void**) {
    if (emulated::depth == 0) return emulated::INVALID_CONTEXT;
    if (blocks == 0 || threads == 0 || threads > 1024 || y != 1 || z != 1) return emulated::INVALID_VALUE;
    ++emulated::launches;
    emulated::body = static_cast<emulated::Kernel*>(function)->body;
    emulated::arguments = arguments;
    for (unsigned block = 0; block < blocks; ++block) {
        blockIdx.x = blocks - 1 - block;
        emulated::run_block(threads);
    }
    return 0;
}

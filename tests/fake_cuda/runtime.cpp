// A CUDA runtime and driver that need no GPU, loaded before torch's own (LD_PRELOAD): memory is the host's, copies copy,
// kernels do nothing. So allocator, autograd, autocast, streams and graphs are torch's own, and values mean nothing.
// It counts what is called, tells a listener who waits and what a recording refuses, and refuses it as CUDA does.
// Functions that torch's libraries import beside these (cuBLAS, cuDNN, NCCL ...) are made by stubs.py.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>
#define API extern "C" __attribute__((visibility("default")))
#define OK(declaration) API declaration { return cudaSuccess; }

namespace {
std::mutex lock;
std::map<std::string, long> counts;
std::map<char*, size_t> device_memory, pinned_memory;
std::set<const void*> pinned_sources;
size_t allocated = 0;
std::atomic<long> launched{0};
void (*listener)(const char*) = nullptr;  // to be told of everything that event() is called for
bool tells_launches = false;

struct Stream { bool capturing = false, invalid = false; cudaStreamCaptureMode mode; unsigned long long id = 0; long nodes = 0; };
Stream* any_capture = nullptr;
unsigned long long next_capture = 1;
thread_local Stream* my_capture = nullptr;
thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;
thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;

long setting(const char* name, long otherwise) { const char* text = getenv(name); return text ? atol(text) : otherwise; }
int devices() { return setting("FAKE_CUDA_DEVICES", 1); }
size_t device_bytes() { return size_t(setting("FAKE_CUDA_GIB", 80)) << 30; }
bool events_pending() { static bool pending = setting("FAKE_CUDA_PENDING", 0); return pending; }  // the GPU never gets there

void count(const std::string& name, long by = 1) { std::lock_guard<std::mutex> guard(lock); counts[name] += by; }
void event(const std::string& name) { count(name); if (listener) listener(name.c_str()); }
cudaError_t refuse(cudaError_t error, const std::string& what) {
    event("REFUSED " + what);
    last_error = error;
    if (my_capture) my_capture->invalid = true;
    return error;
}
Stream* as_stream(cudaStream_t s) { return s == cudaStreamLegacy || s == cudaStreamPerThread ? nullptr : (Stream*)s; }
bool within(std::map<char*, size_t>& memory, const void* p) {
    std::lock_guard<std::mutex> guard(lock);
    auto after = memory.upper_bound((char*)p);
    if (after == memory.begin()) return false;
    --after;
    return (char*)p < after->first + after->second;
}
// Whether a call may not be made because this thread, or, in global mode, any thread records.
bool forbidden(const char* what) {
    Stream* mine = my_capture && thread_mode != cudaStreamCaptureModeRelaxed && my_capture->mode != cudaStreamCaptureModeRelaxed ? my_capture : nullptr;
    Stream* other = any_capture != my_capture && any_capture && any_capture->mode == cudaStreamCaptureModeGlobal && thread_mode == cudaStreamCaptureModeGlobal ? any_capture : nullptr;
    if (!mine && !other) return false;
    refuse(cudaErrorStreamCaptureUnsupported, std::string(what) + " while a stream records");
    return true;
}
cudaError_t enqueue(cudaStream_t s, const char* what) {
    Stream* stream = as_stream(s);
    if (stream && stream->capturing) { stream->nodes++; return cudaSuccess; }
    if (!my_capture) return cudaSuccess;
    if (!stream) return refuse(cudaErrorStreamCaptureImplicit, std::string(what) + " in the default stream while this thread records");
    event("REFUSED " + std::string(what) + " beside the stream that this thread records");  // CUDA lets it pass: it would be missing
    return cudaSuccess;
}
cudaError_t wait(const char* what, cudaStream_t s, bool everything) {
    event(std::string("WAIT ") + what);
    Stream* stream = as_stream(s);
    if (my_capture && (everything || !stream || stream->capturing)) return refuse(cudaErrorStreamCaptureUnsupported, std::string(what) + " while this thread records");
    return cudaSuccess;
}
cudaError_t copy(void* to, const void* from, size_t bytes, cudaStream_t s) {
    bool to_device = within(device_memory, to), from_device = within(device_memory, from);
    bool pageable = (!to_device && !within(pinned_memory, to)) || (!from_device && !within(pinned_memory, from));
    std::string kind = to_device && from_device ? "D2D" : (to_device ? "H2D " : "D2H ") + std::string(pageable ? "pageable" : "pinned");
    event("COPY " + kind);
    if (to_device && !from_device && !pageable) {  // how many different ones
        std::lock_guard<std::mutex> guard(lock);
        if (pinned_sources.insert(from).second) counts["pinned sources"]++;
    }
    if (cudaError_t error = enqueue(s, "copy")) return error;
    if (as_stream(s) && as_stream(s)->capturing && pageable) event("REFUSED a recorded copy of pageable memory");  // read again at every replay
    if (to_device && from_device && bytes > (1u << 20)) return cudaSuccess;  // nobody looks
    if (from_device && !to_device && bytes <= 8) memset(to, 0, bytes);  // a number that nobody computed
    else memmove(to, from, bytes);
    return cudaSuccess;
}
cudaError_t launch(dim3 grid, dim3 block, size_t shared, cudaStream_t s) {
    ++launched;
    if (tells_launches && listener) listener("LAUNCH");
    if (!grid.x || !grid.y || !grid.z) return refuse(cudaErrorInvalidConfiguration, "a kernel of an empty grid");
    if (block.x * block.y * block.z > 1024 || grid.y > 65535 || grid.z > 65535) return refuse(cudaErrorInvalidConfiguration, "a kernel of too large a grid or block");
    if (shared > 232448) return refuse(cudaErrorInvalidValue, "a kernel of too much shared memory");
    return enqueue(s, "kernel");
}
}  // namespace

// ---- for watch.py -----------------------------------------------------------------------------------------------------
API void fake_listen(void (*to)(const char*), bool launches) { listener = to; tells_launches = launches; }
API long fake_count(const char* name) { std::lock_guard<std::mutex> guard(lock); return strcmp(name, "launches") ? counts[name] : launched.load(); }
API void fake_reset() { std::lock_guard<std::mutex> guard(lock); counts.clear(); pinned_sources.clear(); launched = 0; }
API void fake_note(const char* name) { count(name); }
API void fake_product(const char* name) { count("products"); count(name); if (tells_launches && listener) listener("PRODUCT"); }

// ---- devices ----------------------------------------------------------------------------------------------------------
API cudaError_t cudaGetDeviceCount(int* n) { *n = devices(); return cudaSuccess; }
API cudaError_t cudaGetDevice(int* d) { *d = current_device; return cudaSuccess; }
API cudaError_t cudaSetDevice(int d) { if (d >= devices()) return refuse(cudaErrorInvalidDevice, "cudaSetDevice"); current_device = d; return cudaSuccess; }
API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "Fake H100");
    p->totalGlobalMem = device_bytes(); p->sharedMemPerBlock = 49152; p->regsPerBlock = 65536; p->warpSize = 32;
    p->maxThreadsPerBlock = 1024; p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024; p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647; p->maxGridSize[1] = p->maxGridSize[2] = 65535; p->major = 9;
    p->multiProcessorCount = 132; p->maxThreadsPerMultiProcessor = 2048; p->l2CacheSize = 50 << 20; p->concurrentKernels = 1;
    p->sharedMemPerBlockOptin = 232448; p->sharedMemPerMultiprocessor = 233472; p->regsPerMultiprocessor = 65536; p->unifiedAddressing = 1;
    p->textureAlignment = 512; p->maxBlocksPerMultiProcessor = 32; p->managedMemory = 1; p->canMapHostMemory = 1; p->asyncEngineCount = 3;
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr attribute, int) {
    static const std::map<int, int> values = {
        {cudaDevAttrComputeCapabilityMajor, 9}, {cudaDevAttrComputeCapabilityMinor, 0}, {cudaDevAttrMultiProcessorCount, 132},
        {cudaDevAttrMaxThreadsPerMultiProcessor, 2048}, {cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448}, {cudaDevAttrMaxSharedMemoryPerBlock, 49152},
        {cudaDevAttrMaxGridDimX, 2147483647}, {cudaDevAttrMaxGridDimY, 65535}, {cudaDevAttrMaxGridDimZ, 65535}, {cudaDevAttrWarpSize, 32}, {cudaDevAttrMaxThreadsPerBlock, 1024}};
    auto found = values.find(attribute);
    *v = found == values.end() ? 1 : found->second;
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetPCIBusId(char* s, int n, int d) { snprintf(s, n, "0000:%02d:00.0", d + 1); return cudaSuccess; }
API cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) { if (least) *least = 0; if (greatest) *greatest = -5; return cudaSuccess; }
API cudaError_t cudaDriverGetVersion(int* v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaError_t cudaRuntimeGetVersion(int* v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaError_t cudaDeviceCanAccessPeer(int* v, int, int) { *v = 0; return cudaSuccess; }
OK(cudaError_t cudaDeviceEnablePeerAccess(int, unsigned))
API cudaError_t cudaGetLastError() { auto e = last_error; last_error = cudaSuccess; return e; }
API cudaError_t cudaPeekAtLastError() { return last_error; }
API const char* cudaGetErrorString(cudaError_t e) {
    static thread_local char text[64];
    snprintf(text, sizeof text, e >= cudaErrorStreamCaptureUnsupported && e <= cudaErrorCapturedEvent ? "operation not permitted while a stream records (%d)" : "fake CUDA error %d", int(e));
    return text;
}
API const char* cudaGetErrorName(cudaError_t e) { return cudaGetErrorString(e); }
API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) { *total = device_bytes(); *free = *total - allocated; return cudaSuccess; }

// ---- memory -----------------------------------------------------------------------------------------------------------
API cudaError_t cudaMalloc(void** p, size_t n) {
    if (forbidden("cudaMalloc")) return cudaErrorStreamCaptureUnsupported;
    n = n ? n : 1;
    char* m = (char*)mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    std::lock_guard<std::mutex> guard(lock);
    if (m == MAP_FAILED || allocated + n > device_bytes()) return last_error = cudaErrorMemoryAllocation;
    device_memory[m] = n; allocated += n; *p = m;
    return cudaSuccess;
}
API cudaError_t cudaFree(void* p) {
    if (!p) return cudaSuccess;
    if (forbidden("cudaFree")) return cudaErrorStreamCaptureUnsupported;
    std::lock_guard<std::mutex> guard(lock);
    auto found = device_memory.find((char*)p);
    if (found == device_memory.end()) return last_error = cudaErrorInvalidValue;
    munmap(found->first, found->second); allocated -= found->second; device_memory.erase(found);
    return cudaSuccess;
}
API cudaError_t cudaMallocAsync(void** p, size_t n, cudaStream_t) { return cudaMalloc(p, n); }
API cudaError_t cudaFreeAsync(void* p, cudaStream_t) { return cudaFree(p); }
API cudaError_t cudaHostAlloc(void** p, size_t n, unsigned) {
    if (forbidden("cudaHostAlloc")) return cudaErrorStreamCaptureUnsupported;
    *p = calloc(1, n ? n : 1);
    std::lock_guard<std::mutex> guard(lock);
    counts["pinned blocks"]++; pinned_memory[(char*)*p] = n ? n : 1;
    return cudaSuccess;
}
API cudaError_t cudaHostUnregister(void* p) { std::lock_guard<std::mutex> guard(lock); pinned_memory.erase((char*)p); return cudaSuccess; }
API cudaError_t cudaFreeHost(void* p) { cudaHostUnregister(p); free(p); return cudaSuccess; }
API cudaError_t cudaHostRegister(void* p, size_t n, unsigned) { std::lock_guard<std::mutex> guard(lock); pinned_memory[(char*)p] = n; return cudaSuccess; }
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) {
    memset(a, 0, sizeof *a);
    a->type = within(device_memory, p) ? cudaMemoryTypeDevice : within(pinned_memory, p) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    if (a->type != cudaMemoryTypeUnregistered) a->devicePointer = (void*)p;
    if (a->type != cudaMemoryTypeDevice) a->hostPointer = (void*)p;
    return cudaSuccess;
}
API cudaError_t cudaMemcpy(void* to, const void* from, size_t n, cudaMemcpyKind) { auto e = wait("cudaMemcpy", nullptr, true); return e ? e : copy(to, from, n, nullptr); }
API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t n, cudaMemcpyKind, cudaStream_t s) { return copy(to, from, n, s); }
API cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t n, cudaStream_t s) { return copy(to, from, n, s); }
API cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind, cudaStream_t s) {
    for (size_t i = 0; i < height; ++i) if (auto e = copy((char*)to + i * to_pitch, (const char*)from + i * from_pitch, width, s)) return e;
    return cudaSuccess;
}
API cudaError_t cudaMemsetAsync(void* p, int v, size_t n, cudaStream_t s) { count("memsets"); if (n < (1 << 20)) memset(p, v, n); return enqueue(s, "memset"); }
API cudaError_t cudaMemset(void* p, int v, size_t n) { return cudaMemsetAsync(p, v, n, nullptr); }
OK(cudaError_t cudaMemcpyToSymbol(const void*, const void*, size_t, size_t, cudaMemcpyKind))
API cudaError_t cudaGetSymbolAddress(void** p, const void*) { static char zeros[1 << 16]; *p = zeros; return cudaSuccess; }
API cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* p, int) { *p = (cudaMemPool_t)8; return cudaSuccess; }
API cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void* v) { *(unsigned long long*)v = 0; return cudaSuccess; }

// ---- streams and events -----------------------------------------------------------------------------------------------
API cudaError_t cudaStreamCreate(cudaStream_t* s) { *s = (cudaStream_t) new Stream; return cudaSuccess; }
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { return cudaStreamCreate(s); }
API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned, int) { return cudaStreamCreate(s); }
OK(cudaError_t cudaStreamDestroy(cudaStream_t))
API cudaError_t cudaStreamGetPriority(cudaStream_t, int* p) { *p = 0; return cudaSuccess; }
API cudaError_t cudaStreamSynchronize(cudaStream_t s) { return wait("cudaStreamSynchronize", s, false); }
API cudaError_t cudaDeviceSynchronize() { return wait("cudaDeviceSynchronize", nullptr, true); }
API cudaError_t cudaStreamQuery(cudaStream_t) { return forbidden("cudaStreamQuery") ? cudaErrorStreamCaptureUnsupported : cudaSuccess; }
OK(cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned))
OK(cudaError_t cudaStreamAddCallback(cudaStream_t, cudaStreamCallback_t, void*, unsigned))
API cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t f, void* d) { f(d); return cudaSuccess; }
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { *e = (cudaEvent_t) new int(0); return cudaSuccess; }
API cudaError_t cudaEventCreate(cudaEvent_t* e) { return cudaEventCreateWithFlags(e, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t e) { delete (int*)e; return cudaSuccess; }
OK(cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t))
OK(cudaError_t cudaEventRecordWithFlags(cudaEvent_t, cudaStream_t, unsigned))
API cudaError_t cudaEventQuery(cudaEvent_t) { return forbidden("cudaEventQuery") ? cudaErrorStreamCaptureUnsupported : events_pending() ? cudaErrorNotReady : cudaSuccess; }
API cudaError_t cudaEventSynchronize(cudaEvent_t) { return wait("cudaEventSynchronize", nullptr, true); }
API cudaError_t cudaEventElapsedTime(float* t, cudaEvent_t, cudaEvent_t) { *t = 1; return cudaSuccess; }

// ---- recording --------------------------------------------------------------------------------------------------------
API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* m) { std::swap(*m, thread_mode); return cudaSuccess; }
API cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode) {
    Stream* stream = as_stream(s);
    if (!stream) return refuse(cudaErrorStreamCaptureUnsupported, "a recording of the default stream");
    *stream = {true, false, mode, next_capture++, 0};
    any_capture = my_capture = stream;
    return cudaSuccess;
}
API cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t s, cudaGraph_t, const cudaGraphNode_t*, const cudaGraphEdgeData*, size_t, cudaStreamCaptureMode mode) { return cudaStreamBeginCapture(s, mode); }
API cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph) {
    Stream* stream = as_stream(s);
    stream->capturing = false; any_capture = my_capture = nullptr; *graph = nullptr;
    if (stream->invalid) return last_error = cudaErrorStreamCaptureInvalidated;
    count("recordings"); count("recorded launches", stream->nodes);
    *graph = (cudaGraph_t) new long(stream->nodes);
    return cudaSuccess;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus* status) {
    Stream* stream = as_stream(s);
    if (!stream && my_capture) return refuse(cudaErrorStreamCaptureImplicit, "the default stream while this thread records");
    *status = stream && stream->capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
#if CUDART_VERSION >= 13000
#define SINCE_13(parameter) parameter,
#else
#define SINCE_13(parameter)
#endif
API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* g, const cudaGraphNode_t** d, SINCE_13(const cudaGraphEdgeData** e) size_t* n) {
    Stream* stream = as_stream(s);
    bool on = stream && stream->capturing;
    *status = on ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    if (id) *id = on ? stream->id : 0;
    if (g) *g = nullptr;
    if (d) *d = nullptr;
#if CUDART_VERSION >= 13000
    if (e) *e = nullptr;
#endif
    if (n) *n = 0;
    return cudaSuccess;
}
OK(cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t, cudaGraphNode_t*, SINCE_13(const cudaGraphEdgeData*) size_t, unsigned))
API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long) { *e = (cudaGraphExec_t)g; return cudaSuccess; }
API cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t s) { count("replays"); return enqueue(s, "graph"); }
OK(cudaError_t cudaGraphDestroy(cudaGraph_t))
OK(cudaError_t cudaGraphExecDestroy(cudaGraphExec_t))
API cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t*, size_t* n) { *n = *(long*)g; return cudaSuccess; }
OK(cudaError_t cudaGraphRetainUserObject(cudaGraph_t, cudaUserObject_t, unsigned, unsigned))
API cudaError_t cudaUserObjectCreate(cudaUserObject_t* o, void*, cudaHostFn_t, unsigned, unsigned) { *o = (cudaUserObject_t)8; return cudaSuccess; }
OK(cudaError_t cudaUserObjectRelease(cudaUserObject_t, unsigned))

// ---- kernels ----------------------------------------------------------------------------------------------------------
namespace { struct Call { dim3 grid, block; size_t shared; cudaStream_t stream; }; thread_local std::vector<Call> calls; }
API unsigned __cudaPushCallConfiguration(dim3 g, dim3 b, size_t m, struct CUstream_st* s) { calls.push_back({g, b, m, (cudaStream_t)s}); return 0; }
API cudaError_t __cudaPopCallConfiguration(dim3* g, dim3* b, size_t* m, void* s) {
    Call call = calls.back(); calls.pop_back();
    *g = call.grid; *b = call.block; *m = call.shared; *(cudaStream_t*)s = call.stream;
    return cudaSuccess;
}
API cudaError_t cudaLaunchKernel(const void*, dim3 g, dim3 b, void**, size_t m, cudaStream_t s) { return launch(g, b, m, s); }
API cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3 g, dim3 b, void**, size_t m, cudaStream_t s) { return launch(g, b, m, s); }
API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void*, void**) { return launch(c->gridDim, c->blockDim, c->dynamicSmemBytes, c->stream); }
API cudaError_t __cudaGetKernel(cudaKernel_t* k, const void* f) { *k = (cudaKernel_t)f; return cudaSuccess; }
API void** __cudaRegisterFatBinary(void*) { static void* handle[8]; return handle; }
API void __cudaRegisterFatBinaryEnd(void**) {}
API void __cudaUnregisterFatBinary(void**) {}
API char __cudaInitModule(void**) { return 1; }
API void __cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*, dim3*, int*) {}
API void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
API cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* a, const void*) {
    memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = 1024; a->numRegs = 32; a->ptxVersion = a->binaryVersion = 90; a->maxDynamicSharedSizeBytes = 49152;
    return cudaSuccess;
}
OK(cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int))
OK(cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t, cudaFuncAttribute, int, int))
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, const void*, int, size_t, unsigned) { *n = 2; return cudaSuccess; }
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n, const void*, int, size_t) { *n = 2; return cudaSuccess; }

// ---- the driver: libcuda.so.1 is an empty library that needs this one -----------------------------------------------------
API cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** f, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* r) {
    *f = dlsym(RTLD_DEFAULT, name);
    if (r) *r = *f ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
// NVRTC asks for these two, and does without the second.
API int cuInit(unsigned) { return 0; }
API int cuGetExportTable(const void**, const void*) { return 500; }
API int cuCtxGetCurrent(void** context) { *context = (void*)(long)(current_device + 1); return 0; }
API int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return ordinal < devices() ? 0 : 101; }
API int cuDevicePrimaryCtxRetain(void** context, int device) { *context = (void*)(long)(device + 1); return 0; }
namespace { thread_local std::vector<int> contexts; }
API int cuCtxPushCurrent_v2(void* context) { contexts.push_back(current_device); current_device = int((long)context) - 1; return 0; }
API int cuCtxPopCurrent_v2(void** context) {
    if (contexts.empty()) return 201;
    *context = (void*)(long)(current_device + 1); current_device = contexts.back(); contexts.pop_back();
    return 0;
}
API int cuModuleLoadData(void** module, const void*) { *module = (void*)8; return forbidden("cuModuleLoadData") ? 900 : 0; }
API int cuModuleGetFunction(void** function, void*, const char*) { *function = (void*)8; return 0; }
API int cuLaunchKernel(void*, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, cudaStream_t s, void**, void**) { return launch({gx, gy, gz}, {bx, by, bz}, shared, s); }
API int cuStreamSynchronize(cudaStream_t s) { return cudaStreamSynchronize(s); }

// ---- products of float32 matrices: may they round to TF32? ------------------------------------------------------------------
namespace { thread_local int math_mode = 0, compute_type = 0; void float_product(const char* name, bool tf32) { fake_product(name); if (tf32) event("TF32"); } }
API int cublasSetMathMode(void*, int mode) { math_mode = mode; return 0; }  // 3: CUBLAS_TF32_TENSOR_OP_MATH
API int cublasSgemm_v2() { float_product("cublasSgemm", math_mode == 3); return 0; }
API int cublasSgemmStridedBatched() { float_product("cublasSgemmStridedBatched", math_mode == 3); return 0; }
// Of matrices of any type: float32's is 0, CUBLAS_COMPUTE_32F 68. torch 2.15 asks these for float32, too.
namespace { bool rounds(int type, int compute) { return type == 0 && (compute == 77 || (compute == 68 && math_mode == 3)); } }
API int cublasSgemmEx(void*, int, int, int, int, int, void*, void*, int type) { float_product("cublasSgemmEx", rounds(type, 68)); return 0; }
API int cublasGemmEx(void*, int, int, int, int, int, void*, void*, int type, int, void*, int, int, void*, void*, int, int, int compute) {
    float_product("cublasGemmEx", rounds(type, compute));
    return 0;
}
API int cublasGemmStridedBatchedEx(void*, int, int, int, int, int, void*, void*, int type, int, long long, void*, int, int, long long, void*, void*, int, int, long long, int, int compute) {
    float_product("cublasGemmStridedBatchedEx", rounds(type, compute));
    return 0;
}
API int cublasLtMatmulDescCreate(void** description, int compute, int) { static char object[4096]; *description = object; compute_type = compute; return 0; }
API int cublasLtMatmul() { float_product("cublasLtMatmul", compute_type == 77); return 0; }  // CUBLAS_COMPUTE_32F_FAST_TF32

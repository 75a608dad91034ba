// The device's memory, and what its errors are called.

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "device.h"

namespace emu {

Gpu gpu;

namespace {

constexpr size_t kAligned = 256;  // as cudaMalloc does
std::mutex lock;
std::map<uintptr_t, size_t> &blocks() {  // never destroyed: the process may end while work is under way
    static auto *all = new std::map<uintptr_t, size_t>;
    return *all;
}
size_t allocated = 0;

thread_local std::string said, told;
thread_local Error said_of = kSuccess;

const char *name_of(int error) {
    switch (error) {
        case kSuccess: return "CUDA_SUCCESS";
        case kInvalidValue: return "CUDA_ERROR_INVALID_VALUE";
        case kOutOfMemory: return "CUDA_ERROR_OUT_OF_MEMORY";
        case kNoDevice: return "CUDA_ERROR_NO_DEVICE";
        case kInvalidDevice: return "CUDA_ERROR_INVALID_DEVICE";
        case kInvalidImage: return "CUDA_ERROR_INVALID_IMAGE";
        case kNoBinaryForGpu: return "CUDA_ERROR_NO_BINARY_FOR_GPU";
        case kInvalidPtx: return "CUDA_ERROR_INVALID_PTX";
        case kInvalidHandle: return "CUDA_ERROR_INVALID_HANDLE";
        case kNotFound: return "CUDA_ERROR_NOT_FOUND";
        case kIllegalAddress: return "CUDA_ERROR_ILLEGAL_ADDRESS";
        case kMisaligned: return "CUDA_ERROR_MISALIGNED_ADDRESS";
        case kLaunchFailed: return "CUDA_ERROR_LAUNCH_FAILED";
        case kNotSupported: return "CUDA_ERROR_NOT_SUPPORTED";
        case kNotPermittedInCapture: return "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
        default: return "CUDA_ERROR_UNKNOWN";
    }
}

}  // namespace

Error fail(Error error, const char *format, ...) {
    char text[512];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    said = text;
    said_of = error;
    return error;
}

const char *error_text(int error) {
    told = name_of(error);
    if (error && error == said_of && !said.empty()) told += ": " + said;
    return told.c_str();
}

Error allocate(void **pointer, size_t bytes) {
    *pointer = nullptr;
    if (!bytes) return kSuccess;
    std::lock_guard<std::mutex> guard(lock);
    if (allocated + bytes > gpu.memory_bytes)
        return fail(kOutOfMemory, "%zu bytes wanted, %zu of %zu left", bytes, gpu.memory_bytes - allocated,
                    gpu.memory_bytes);
    size_t whole = (bytes + kAligned - 1) / kAligned * kAligned;
    void *made = whole < bytes ? nullptr : std::aligned_alloc(kAligned, whole);
    if (!made) return fail(kOutOfMemory, "%zu bytes are more than this machine gives", bytes);
    blocks()[reinterpret_cast<uintptr_t>(made)] = bytes;
    allocated += bytes;
    *pointer = made;
    return kSuccess;
}

Error release(void *pointer) {
    if (!pointer) return kSuccess;
    std::lock_guard<std::mutex> guard(lock);
    auto found = blocks().find(reinterpret_cast<uintptr_t>(pointer));
    if (found == blocks().end()) return fail(kInvalidValue, "freed twice, or never allocated");
    allocated -= found->second;
    blocks().erase(found);
    std::free(pointer);
    return kSuccess;
}

bool holds(const void *pointer, size_t bytes) {
    auto begin = reinterpret_cast<uintptr_t>(pointer);
    std::lock_guard<std::mutex> guard(lock);
    auto after = blocks().upper_bound(begin);
    if (after == blocks().begin()) return false;
    auto [base, size] = *--after;
    return begin - base <= size && bytes <= size - (begin - base);
}

std::vector<Allocation> allocations() {
    std::lock_guard<std::mutex> guard(lock);
    std::vector<Allocation> all;
    for (auto [begin, bytes] : blocks()) all.push_back({begin, bytes});
    return all;
}

size_t allocated_bytes() {
    std::lock_guard<std::mutex> guard(lock);
    return allocated;
}

}  // namespace emu

// The emulated GPU: what its driver and its runtime share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "abi.h"

namespace emu {

// Of both enumerations, CUresult and cudaError_t.
enum Error {
    kSuccess = 0,
    kInvalidValue = 1,
    kOutOfMemory = 2,
    kNoDevice = 100,
    kInvalidDevice = 101,
    kInvalidImage = 200,
    kNoBinaryForGpu = 209,
    kInvalidPtx = 218,
    kInvalidHandle = 400,
    kNotFound = 500,
    kMisaligned = 716,
    kIllegalAddress = 700,
    kLaunchFailed = 719,
    kNotPermittedInCapture = 900,
    kNotSupported = 801,
};

// cudaDeviceAttr, of which a GPU has these and answers others with 0.
enum Attribute {
    kMaxThreadsPerBlock = 1,
    kMaxBlockX = 2,
    kMaxBlockY = 3,
    kMaxBlockZ = 4,
    kMaxGridX = 5,
    kMaxGridY = 6,
    kMaxGridZ = 7,
    kMaxSharedPerBlock = 8,
    kWarpSize = 10,
    kMajor = 75,
    kMinor = 76,
    kMaxSharedPerBlockOptIn = 97,
};

struct Gpu {
    std::string name;
    size_t memory_bytes = 0;
    int attributes[256] = {};
    bool there = false;
};
extern Gpu gpu;

// Says what is wrong, for the text of the error that is returned next; returns it.
Error fail(Error error, const char *format, ...) __attribute__((format(printf, 2, 3)));
// CUDA's name of an error, with what `fail` said of it in this thread.
const char *error_text(int error);

// Memory of the device.
Error allocate(void **pointer, size_t bytes);
Error release(void *pointer);
bool holds(const void *pointer, size_t bytes);  // whether all of it lies in one allocation
size_t allocated_bytes();
struct Allocation {
    uintptr_t begin;
    size_t bytes;
};
std::vector<Allocation> allocations();  // by their places

// File and offset of a place in the code of a loaded module; false for others.
bool place_in_module(const void *code, int *file, size_t *offset);
bool in_module(uintptr_t address);  // code or constants

struct Launch {
    const EmuKernel *kernel;
    EmuIndex grid, block;
    unsigned dynamic_shared_bytes;
};
Error run(const Launch &, void **arguments);
inline EmuIndex index_of(uint64_t linear, EmuIndex size) {
    return {static_cast<unsigned>(linear % size.x), static_cast<unsigned>(linear / size.x % size.y),
            static_cast<unsigned>(linear / size.x / size.y)};
}

// Work on a stream that is being recorded.
struct Work {
    Launch launch;
    std::vector<std::vector<char>> arguments;
    void *to = nullptr;  // of a copy
    const void *from = nullptr;
    size_t bytes = 0;
};
struct Stream {
    std::vector<Work> *recorded = nullptr;
};
// The default stream is null and is never recorded.
Error launch(Stream *, const Launch &, void **arguments);
Error copy(Stream *, void *to, const void *from, size_t bytes, int kind);
Error replay(const std::vector<Work> &);

}  // namespace emu

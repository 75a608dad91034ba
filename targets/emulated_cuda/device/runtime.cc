// CUDA's runtime API, as far as TVM calls it: memory, streams, events, graphs. Work is done when it is asked for.

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "device.h"

using namespace emu;

namespace {

enum Kind { kHostToHost, kHostToDevice, kDeviceToHost, kDeviceToDevice };

using Clock = std::chrono::steady_clock;
struct Event {
    Clock::time_point time;
};
using Graph = std::vector<Work>;

thread_local int last_error = kSuccess;

int remember(Error error) {
    if (error) last_error = error;
    return error;
}

Error no_device(int device) {
    if (!gpu.there) return kNoDevice;
    return device == 0 ? kSuccess : fail(kInvalidDevice, "device %d of 1", device);
}

}  // namespace

namespace emu {

Error launch(Stream *stream, const Launch &wanted, void **arguments) {
    if (!stream || !stream->recorded) return run(wanted, arguments);
    Work work{};
    work.launch = wanted;
    for (unsigned i = 0; i < wanted.kernel->parameters; ++i) {
        auto *bytes = static_cast<const char *>(arguments[i]);
        work.arguments.emplace_back(bytes, bytes + wanted.kernel->parameter_bytes[i]);
    }
    stream->recorded->push_back(std::move(work));
    return kSuccess;
}

Error copy(Stream *stream, void *to, const void *from, size_t bytes, int kind) {
    bool from_device = kind == kDeviceToHost || kind == kDeviceToDevice;
    bool to_device = kind == kHostToDevice || kind == kDeviceToDevice;
    if (!bytes) return kSuccess;
    if (from_device && !holds(from, bytes)) return fail(kInvalidValue, "a copy of %zu bytes reads past the end", bytes);
    if (to_device && !holds(to, bytes)) return fail(kInvalidValue, "a copy of %zu bytes writes past the end", bytes);
    if (stream && stream->recorded) {
        Work work{};
        work.to = to, work.from = from, work.bytes = bytes;
        stream->recorded->push_back(std::move(work));
    } else {
        std::memmove(to, from, bytes);
    }
    return kSuccess;
}

Error replay(const std::vector<Work> &recorded) {
    for (auto &work : recorded) {
        if (!work.launch.kernel) {
            std::memmove(work.to, work.from, work.bytes);
            continue;
        }
        std::vector<void *> arguments;
        for (auto &value : work.arguments) arguments.push_back(const_cast<char *>(value.data()));
        if (Error error = run(work.launch, arguments.data())) return error;
    }
    return kSuccess;
}

}  // namespace emu

extern "C" {

int cudaGetDeviceCount(int *count) {
    *count = gpu.there ? 1 : 0;
    return remember(gpu.there ? kSuccess : kNoDevice);
}
int cudaGetDevice(int *device) {
    *device = 0;
    return remember(no_device(0));
}
int cudaSetDevice(int device) { return remember(no_device(device)); }

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    if (Error error = no_device(device)) return remember(error);
    *value = attribute >= 0 && attribute < 256 ? gpu.attributes[attribute] : 0;
    return kSuccess;
}

// Only what TVM reads of cudaDeviceProp, which begins with the name and has the memory's size at 288.
int cudaGetDeviceProperties(char *properties, int device) {
    if (Error error = no_device(device)) return remember(error);
    std::strncpy(properties, gpu.name.c_str(), 255);
    std::memcpy(properties + 288, &gpu.memory_bytes, sizeof(gpu.memory_bytes));
    return kSuccess;
}

int cudaMalloc(void **pointer, size_t bytes) { return remember(gpu.there ? allocate(pointer, bytes) : kNoDevice); }
int cudaFree(void *pointer) { return remember(release(pointer)); }
int cudaMallocHost(void **pointer, size_t bytes) {
    *pointer = std::malloc(bytes);
    return remember(*pointer || !bytes ? kSuccess : kOutOfMemory);
}
int cudaFreeHost(void *pointer) {
    std::free(pointer);
    return kSuccess;
}
int cudaMemGetInfo(size_t *available, size_t *total) {
    *total = gpu.memory_bytes;
    *available = *total - allocated_bytes();
    return remember(no_device(0));
}
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, Stream *stream) {
    return remember(copy(stream, to, from, bytes, kind));
}
int cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t bytes, Stream *stream) {
    return remember(copy(stream, to, from, bytes, kDeviceToDevice));
}

int cudaStreamCreate(Stream **stream) {
    *stream = new Stream;
    return kSuccess;
}
int cudaStreamCreateWithFlags(Stream **stream, unsigned) { return cudaStreamCreate(stream); }
int cudaStreamDestroy(Stream *stream) {
    delete stream;
    return kSuccess;
}
int cudaStreamSynchronize(Stream *) { return kSuccess; }
int cudaStreamWaitEvent(Stream *, Event *, unsigned) { return kSuccess; }

int cudaStreamBeginCapture(Stream *stream, int) {
    if (!stream) return remember(fail(kNotPermittedInCapture, "the default stream cannot be recorded"));
    if (stream->recorded) return remember(fail(kInvalidValue, "the stream is being recorded already"));
    stream->recorded = new Graph;
    return kSuccess;
}
int cudaStreamEndCapture(Stream *stream, Graph **graph) {
    *graph = stream ? stream->recorded : nullptr;
    if (!*graph) return remember(fail(kInvalidValue, "the stream is not being recorded"));
    stream->recorded = nullptr;
    return kSuccess;
}
int cudaGraphInstantiate(Graph **made, const Graph *graph, unsigned long long) {
    *made = new Graph(*graph);
    return kSuccess;
}
int cudaGraphLaunch(const Graph *graph, Stream *) { return remember(replay(*graph)); }
int cudaGraphDestroy(Graph *graph) {
    delete graph;
    return kSuccess;
}
int cudaGraphExecDestroy(Graph *graph) { return cudaGraphDestroy(graph); }

int cudaEventCreate(Event **event) {
    *event = new Event;
    return kSuccess;
}
int cudaEventDestroy(Event *event) {
    delete event;
    return kSuccess;
}
int cudaEventRecord(Event *event, Stream *) {
    event->time = Clock::now();
    return kSuccess;
}
int cudaEventSynchronize(Event *) { return kSuccess; }
int cudaEventElapsedTime(float *ms, const Event *from, const Event *to) {
    *ms = std::chrono::duration<float, std::milli>(to->time - from->time).count();
    return kSuccess;
}

int cudaGetLastError(void) {
    int error = last_error;
    last_error = kSuccess;
    return error;
}
int cudaPeekAtLastError(void) { return last_error; }
const char *cudaGetErrorName(int error) { return error_text(error); }
const char *cudaGetErrorString(int error) { return error_text(error); }

}  // extern "C"

// CUDA's driver API, as far as TVM calls it: machine code is loaded and launched.

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

#include "device.h"

using namespace emu;

namespace {

constexpr unsigned kCubin = 190;  // EM_CUDA

struct Function {
    const EmuKernel *kernel;
    int most_dynamic_shared;  // without asking for more
};

struct Module {
    int file = -1;
    void *library = nullptr;
    uintptr_t begin = 0, end = 0;  // of the library
    std::vector<std::unique_ptr<Function>> functions;
    ~Module();
};

std::mutex modules_lock;
std::vector<Module *> modules;  // that are loaded

Module::~Module() {
    std::lock_guard<std::mutex> guard(modules_lock);
    modules.erase(std::remove(modules.begin(), modules.end(), this), modules.end());
    if (library) dlclose(library);
    if (file >= 0) close(file);
}

struct LaunchConfig {  // CUlaunchConfig
    unsigned grid[3], block[3], shared_bytes;
    Stream *stream;
    void *attributes;
    unsigned attribute_count;
};

Error load(Module &module, const char *image) {
    char architecture[16];
    snprintf(architecture, sizeof(architecture), "sm_%d%d", gpu.attributes[kMajor], gpu.attributes[kMinor]);
    if (std::memcmp(image, ELFMAG, SELFMAG) != 0)
        return fail(kInvalidPtx, "the module holds no machine code");
    auto *header = reinterpret_cast<const Elf64_Ehdr *>(image);
    if (header->e_machine == kCubin)
        return fail(kNoBinaryForGpu, "the module's code is for a real GPU, this one is emulated");
    size_t bytes = header->e_shoff + size_t{header->e_shentsize} * header->e_shnum;
    module.file = memfd_create("emulated-cuda", MFD_CLOEXEC);
    if (module.file < 0 || write(module.file, image, bytes) != static_cast<ssize_t>(bytes))
        return fail(kOutOfMemory, "no room for the module's code");
    // The file stays open as long as the library is loaded: the loader knows libraries by their names.
    std::string path = "/proc/self/fd/" + std::to_string(module.file);
    module.library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!module.library) return fail(kInvalidImage, "%s", dlerror());
    auto *mark = static_cast<const char *>(dlsym(module.library, "emu_mark"));
    auto *kernels = static_cast<const EmuKernel *const *>(dlsym(module.library, "emu_kernels"));
    if (!mark || !kernels || std::strncmp(mark, EMU_MARK, sizeof(EMU_MARK) - 1) != 0)
        return fail(kInvalidImage, "the module's code is not for an emulated GPU");
    mark += sizeof(EMU_MARK) - 1;
    if (std::strcmp(mark, architecture) != 0)
        return fail(kNoBinaryForGpu, "the module's code is for %s, this GPU is %s", mark, architecture);
    for (; *kernels; ++kernels) {
        int left = gpu.attributes[kMaxSharedPerBlock] - static_cast<int>((*kernels)->static_shared_bytes);
        module.functions.push_back(std::make_unique<Function>(Function{*kernels, left}));
    }
    link_map *map = nullptr;
    dlinfo(module.library, RTLD_DI_LINKMAP, &map);
    module.begin = module.end = map->l_addr;
    auto *segments = reinterpret_cast<const Elf64_Phdr *>(image + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; ++i)
        if (segments[i].p_type == PT_LOAD)
            module.end = std::max(module.end, map->l_addr + segments[i].p_vaddr + segments[i].p_memsz);
    std::lock_guard<std::mutex> guard(modules_lock);
    modules.push_back(&module);
    return kSuccess;
}

Error check(const Function &function, const LaunchConfig &config) {
    const char *name = function.kernel->name;
    const char *axes = "xyz";
    uint64_t threads = uint64_t{config.block[0]} * config.block[1] * config.block[2];
    for (int i = 0; i < 3; ++i) {
        int block_limit = gpu.attributes[kMaxBlockX + i], grid_limit = gpu.attributes[kMaxGridX + i];
        if (!config.block[i] || config.block[i] > static_cast<unsigned>(block_limit))
            return fail(kInvalidValue, "kernel %s: a block has %u threads in %c, allowed: 1 to %d", name,
                        config.block[i], axes[i], block_limit);
        if (!config.grid[i] || config.grid[i] > static_cast<unsigned>(grid_limit))
            return fail(kInvalidValue, "kernel %s: %u blocks in %c, allowed: 1 to %d", name, config.grid[i], axes[i],
                        grid_limit);
    }
    auto most = static_cast<unsigned>(gpu.attributes[kMaxThreadsPerBlock]);
    if (threads > most)
        return fail(kInvalidValue, "kernel %s: %lu threads a block, allowed: %u", name, threads, most);
    if (function.kernel->most_threads && threads > function.kernel->most_threads)
        return fail(kInvalidValue, "kernel %s: %lu threads a block, its launch bounds allow %u", name, threads,
                    function.kernel->most_threads);
    if (static_cast<int64_t>(config.shared_bytes) > function.most_dynamic_shared)
        return fail(kInvalidValue, "kernel %s: %u bytes of shared memory beside its own %u, allowed: %d", name,
                    config.shared_bytes, function.kernel->static_shared_bytes, function.most_dynamic_shared);
    return kSuccess;
}

}  // namespace

namespace emu {

bool place_in_module(const void *code, int *file, size_t *offset) {
    auto address = reinterpret_cast<uintptr_t>(code);
    std::lock_guard<std::mutex> guard(modules_lock);
    for (Module *module : modules)
        if (address >= module->begin && address < module->end) {
            *file = module->file;
            *offset = address - module->begin;
            return true;
        }
    return false;
}

bool in_module(uintptr_t address) {
    int file;
    size_t offset;
    return place_in_module(reinterpret_cast<const void *>(address), &file, &offset);
}

}  // namespace emu

extern "C" {

int cuModuleLoadData(Module **module, const void *image) {
    if (!gpu.there) return kNoDevice;
    auto made = std::make_unique<Module>();
    if (Error error = load(*made, static_cast<const char *>(image))) return error;
    *module = made.release();
    return kSuccess;
}

int cuModuleUnload(Module *module) {
    delete module;
    return kSuccess;
}

int cuModuleGetFunction(Function **function, Module *module, const char *name) {
    for (auto &each : module->functions)
        if (!std::strcmp(each->kernel->name, name)) {
            *function = each.get();
            return kSuccess;
        }
    return fail(kNotFound, "the module has no kernel %s", name);
}

int cuFuncSetAttribute(Function *function, int attribute, int value) {
    if (attribute != 8) return kSuccess;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    int most =
        gpu.attributes[kMaxSharedPerBlockOptIn] - static_cast<int>(function->kernel->static_shared_bytes);
    if (value < 0 || value > most)
        return fail(kInvalidValue, "kernel %s asks for %d bytes of dynamic shared memory, this GPU has %d",
                    function->kernel->name, value, most);
    function->most_dynamic_shared = value;
    return kSuccess;
}

int cuLaunchKernelEx(const LaunchConfig *config, Function *function, void **arguments, void **extra) {
    if (extra) return fail(kNotSupported, "arguments in a buffer");
    if (Error error = check(*function, *config)) return error;
    Launch wanted{function->kernel,
                  {config->grid[0], config->grid[1], config->grid[2]},
                  {config->block[0], config->block[1], config->block[2]},
                  config->shared_bytes};
    return launch(config->stream, wanted, arguments);
}

int cuDeviceGetName(char *name, int length, int) {
    snprintf(name, static_cast<size_t>(length), "%s", gpu.name.c_str());
    return gpu.there ? kSuccess : kNoDevice;
}

int cuGetErrorName(int error, const char **text) {
    *text = error_text(error);
    return kSuccess;
}

int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

int cuTensorMapEncodeTiled(void) { return fail(kNotSupported, "tensor maps"); }

// Plugs the GPU in: what it is called, its memory, and its attributes by their numbers in cudaDeviceAttr.
void emu_plug_in(const char *name, size_t memory_bytes, const int *numbers, const int *values, int count) {
    gpu.name = name;
    gpu.memory_bytes = memory_bytes;
    for (int i = 0; i < count; ++i) gpu.attributes[numbers[i]] = values[i];
    gpu.there = true;
}

}  // extern "C"

// What was found wrong with kernels, and what they moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace emu {

// Where a fault is: in a kernel's code, or in a line of its text.
class Place {
public:
    explicit Place(const void *code) : code_(code) {}
    explicit Place(int line) : line_(line) {}
    int line() const;
    uint64_t key() const { return code_ ? reinterpret_cast<uint64_t>(code_) : static_cast<uint64_t>(line_); }

private:
    const void *code_ = nullptr;
    int line_ = 0;
};
// Keeps a fault. Those of a kind at a place are one, and of a kernel so many are kept at most.
void tell(const char *kernel, const char *kind, Place, const std::string &text, uint64_t times);

struct Counts {
    uint64_t launches = 0, threads = 0;
    uint64_t load_bytes = 0, store_bytes = 0;                // of global memory
    uint64_t shared_load_bytes = 0, shared_store_bytes = 0;
    // Of some warps: bytes asked for, and the 32-byte sectors that they lie in, access by access.
    uint64_t sampled_load_bytes = 0, sampled_load_sectors = 0;
    uint64_t sampled_store_bytes = 0, sampled_store_sectors = 0;
};
Counts &counts_of(const char *kernel);

}  // namespace emu

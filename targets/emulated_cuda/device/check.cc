// Checks every access of a kernel: bounds, races within a barrier's interval, memory that nobody has written, order.
//
// The compiler calls what it calls for its thread sanitizer, before each load and store; here that is ours. Checked
// launches run one at a time in one thread, so what is found is the same every time. Each runs twice, threads and
// blocks last first the second time, and must give the same.

#include "check.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "findings.h"

namespace emu {
namespace {

constexpr uint16_t kSeveral = 0xffff;    // threads
constexpr size_t kMostCompared = 1 << 30;  // bytes of a launch's arguments
constexpr unsigned kSampledBlocks = 4;
constexpr size_t kMostNotes = 20;  // of a launch
constexpr int kPoison = 0xff, kOtherPoison = 0x3b;  // a NaN in both float types, and a number
const char *const kUnwritten = "unwritten", *const kShuffle = "shuffle";

// Of one byte of shared memory: who has written and read it last, and when.
struct Cell {
    uint32_t write_interval = 0, read_interval = 0;
    uint16_t writer = 0, reader = 0;
    uint16_t write_sync = 0, read_sync = 0;  // how often its warp had met by then
};

// An allocation, and of each of its bytes the thread of this launch that has written it, with the interval.
struct Region {
    uintptr_t begin;
    size_t bytes;
    uint64_t *writers = nullptr;
};

struct Request {  // of a thread of a sampled warp
    const void *code;
    unsigned times;  // how often the thread had been there
    uintptr_t address;
    unsigned bytes;
    bool writes;
};

using Contents = std::vector<std::vector<char>>;  // of allocations

Contents contents_of(const std::vector<Allocation> &all) {
    Contents data;
    for (auto &each : all) {
        auto *begin = reinterpret_cast<const char *>(each.begin);
        data.emplace_back(begin, begin + each.bytes);
    }
    return data;
}

void restore(const std::vector<Allocation> &all, const Contents &data) {
    for (size_t i = 0; i < all.size(); ++i)
        std::memcpy(reinterpret_cast<void *>(all[i].begin), data[i].data(), data[i].size());
}

std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
std::string format(const char *pattern, ...) {
    char text[512];
    va_list values;
    va_start(values, pattern);
    vsnprintf(text, sizeof(text), pattern, values);
    va_end(values);
    return text;
}

class Checker {
public:
    Error run(const Launch &, void **arguments);
    void begin_block(const Worker &);
    void end_thread() { compare_pending(); }
    void barrier(int first_line, int line, bool last);
    void exchange() { compare_pending(); }
    unsigned long long source(unsigned linear, unsigned source);
    void warp_sync(unsigned warp) { ++syncs_[warp]; }
    void access(uintptr_t address, size_t bytes, bool writes, const void *code);
    void handler(const char *kind, int line, const std::string &text);

private:
    Error run_once(bool backwards);
    Error run_blocks();
    std::vector<Allocation> arguments_used() const;
    void begin_launch();
    void end_launch();
    void map_arrays(bool shared, size_t bytes, std::vector<uint16_t> &map);
    bool in_array(bool shared, size_t offset, size_t bytes, bool writes, const void *code);
    void local(size_t offset, size_t bytes, bool writes, const void *code);
    void shared(size_t offset, size_t bytes, bool writes, const void *code);
    void global(Region &, uintptr_t address, size_t bytes, bool writes, const void *code);
    void wild(uintptr_t address, size_t bytes, bool writes, const void *code);
    Region *region_of(uintptr_t address);
    int poison() const { return worker_.backwards ? kOtherPoison : kPoison; }
    bool meets(uint16_t other, uint32_t interval, uint16_t sync, unsigned thread) const;
    void compare_pending();
    void sample(const Request &);
    void count_sectors();
    // Notes a fault of the running thread, or of another of its block; `what` is asked for what it does where that
    // is new.
    template <class What>
    void note(const char *kind, Place place, What what) {
        note(kind, place, what, running->thread.linear);
    }
    template <class What>
    void note(const char *kind, Place, What what, unsigned linear);
    void report(bool same_results, bool compared);
    std::string array_text(bool shared, size_t offset) const;
    std::string thread_text(unsigned linear) const;

    const Launch *launch_ = nullptr;
    void **arguments_ = nullptr;
    Counts *counts_ = nullptr;
    Worker worker_;
    std::vector<Region> regions_;
    Region *last_region_ = nullptr;
    std::vector<uint16_t> local_map_, shared_map_;  // the array at a byte, from 1
    std::vector<uint8_t> written_;                  // local bytes of all threads
    std::vector<Cell> cells_;
    std::vector<uint16_t> syncs_;
    uint32_t interval_ = 0, block_began_ = 0;
    uint64_t block_number_ = 0;
    bool counting_ = false;

    struct {
        uintptr_t address = 0;
        size_t bytes = 0;
        char before[16];
        const void *code;
        unsigned other;
        bool shared;
    } pending_;
    struct Note {
        const char *kind;
        Place place;
        std::string text;
        uint64_t times;
    };
    std::unordered_map<uint64_t, Note> notes_;    // of this launch
    std::vector<std::vector<Request>> requests_;  // by warp
    std::vector<std::map<const void *, unsigned>> visits_;
};

uint64_t most_blocks = 0;  // of a launch
std::mutex lock;           // one checked launch at a time
Checker &checker() {
    static auto *one = new Checker;
    return *one;
}

Error Checker::run(const Launch &launch, void **arguments) {
    std::lock_guard<std::mutex> guard(lock);
    launch_ = &launch;
    arguments_ = arguments;
    std::vector<Allocation> used = arguments_used();
    size_t bytes = 0;
    for (auto &each : used) bytes += each.bytes;
    const bool twice = bytes <= kMostCompared;
    Contents before, after;
    if (twice) before = contents_of(used);
    counting_ = true;
    Error error = run_once(false);
    counting_ = false;
    bool same = true;
    if (twice && !error) {
        after = contents_of(used);
        restore(used, before);
        error = run_once(true);
        same = error || contents_of(used) == after;
        restore(used, after);
    }
    report(same, twice);
    return error;
}

std::vector<Allocation> Checker::arguments_used() const {
    std::vector<Allocation> used;
    const std::vector<Allocation> all = allocations();
    const EmuKernel &kernel = *launch_->kernel;
    for (auto &each : all)
        for (unsigned i = 0; i < kernel.parameters; ++i)
            if (kernel.parameter_bytes[i] == sizeof(void *) &&
                *static_cast<uintptr_t *>(arguments_[i]) - each.begin < each.bytes) {
                used.push_back(each);
                break;
            }
    return used;
}

Error Checker::run_once(bool backwards) {
    worker_.backwards = backwards;
    begin_launch();
    Error error = run_blocks();
    end_launch();
    return error;
}

Error Checker::run_blocks() {
    const uint64_t blocks = uint64_t{launch_->grid.x} * launch_->grid.y * launch_->grid.z;
    const uint64_t wanted = most_blocks ? std::min(most_blocks, blocks) : blocks;
    for (uint64_t i = 0; i < wanted; ++i) {
        block_number_ = worker_.backwards ? wanted - 1 - i : i;
        const uint64_t block = wanted == blocks ? block_number_ : block_number_ * (blocks - 1) / (wanted - 1);
        std::string wrong = worker_.run(*launch_, index_of(block, launch_->grid), arguments_);
        if (wrong.empty()) {
            count_sectors();
            continue;
        }
        bool wild = wrong[0] == '!';  // said already
        if (!wild) notes_.insert({0, {"barrier", Place(0), wrong, 1}});
        return fail(wild ? kIllegalAddress : kLaunchFailed, "kernel %s: %s", launch_->kernel->name,
                    wrong.c_str() + (wild ? 1 : 0));
    }
    return kSuccess;
}

void Checker::begin_launch() {
    regions_.clear();
    for (auto &each : allocations()) regions_.push_back({each.begin, each.bytes});
    last_region_ = nullptr;
    pending_.bytes = 0;
    counts_ = &counts_of(launch_->kernel->name);
    map_arrays(false, launch_->kernel->local_bytes, local_map_);
    map_arrays(true, launch_->kernel->static_shared_bytes, shared_map_);
}

void Checker::end_launch() {
    for (auto &region : regions_)
        if (region.writers) munmap(region.writers, region.bytes * sizeof(uint64_t));
    regions_.clear();
    last_region_ = nullptr;
}

void Checker::map_arrays(bool shared, size_t bytes, std::vector<uint16_t> &map) {
    map.assign(bytes, 0);
    uint16_t number = 0;
    for (auto *array = launch_->kernel->arrays; array->name; ++array) {
        ++number;
        if (array->shared == shared) std::fill_n(map.begin() + array->offset, array->bytes, number);
    }
}

void Checker::begin_block(const Worker &worker) {
    const unsigned threads = worker.threads(), warps = (threads + kWarp - 1) / kWarp;
    block_began_ = ++interval_;
    std::memset(worker.block().shared, poison(), worker.shared_bytes());
    cells_.resize(std::max(cells_.size(), worker.shared_bytes()));
    written_.assign(size_t{threads} * launch_->kernel->local_bytes, 0);
    for (unsigned i = 0; i < threads; ++i)
        std::memset(worker.local(i), poison(), launch_->kernel->local_bytes);
    syncs_.assign(warps, 0);
    if (counting_) {
        if (!block_number_) ++counts_->launches;
        counts_->threads += threads;
        requests_.assign(block_number_ < kSampledBlocks ? warps : 0, {});
        visits_.assign(block_number_ < kSampledBlocks ? threads : 0, {});
    }
}

void Checker::barrier(int first_line, int line, bool last) {
    compare_pending();
    if (first_line != line)
        note("barrier", Place(line), [&] {
            return format("waits at another barrier than other threads of its block, which wait in line %d", first_line);
        });
    if (last) ++interval_;
}

unsigned long long Checker::source(unsigned linear, unsigned source) {
    note(kShuffle, Place(0), [&] { return format("takes a value of lane %u, which does not take part", source); },
         linear);
    return 0x0101010101010101u * static_cast<unsigned>(poison());
}

void Checker::access(uintptr_t address, size_t bytes, bool writes, const void *code) {
    if (pending_.bytes) compare_pending();
    if (address % bytes && !(bytes & (bytes - 1)))
        note("alignment", Place(code), [&] {
            return format("%s %zu bytes at an address that is %zu bytes beyond a multiple of %zu",
                          writes ? "writes" : "reads", bytes, static_cast<size_t>(address % bytes), bytes);
        });
    const EmuThread &thread = running->thread;
    size_t in_local = address - reinterpret_cast<uintptr_t>(thread.local);
    if (in_local < launch_->kernel->local_bytes) return local(in_local, bytes, writes, code);
    size_t in_shared = address - reinterpret_cast<uintptr_t>(worker_.block().shared);
    if (in_shared < worker_.shared_bytes()) return shared(in_shared, bytes, writes, code);
    if (Region *region = region_of(address)) return global(*region, address, bytes, writes, code);
    if (worker_.owns(address) || in_module(address)) return;
    wild(address, bytes, writes, code);
}

bool Checker::in_array(bool shared, size_t offset, size_t bytes, bool writes, const void *code) {
    auto &map = shared ? shared_map_ : local_map_;
    uint16_t array = map[offset];
    if (array && offset + bytes <= map.size() && map[offset + bytes - 1] == array) return true;
    note("bounds", Place(code), [&] {
        return format("%s %zu bytes outside of all %s arrays", writes ? "writes" : "reads", bytes,
                      shared ? "shared" : "register");
    });
    return false;
}

void Checker::local(size_t offset, size_t bytes, bool writes, const void *code) {
    if (!in_array(false, offset, bytes, writes, code)) return;
    uint8_t *written = &written_[size_t{running->thread.linear} * launch_->kernel->local_bytes + offset];
    if (writes)
        std::memset(written, 1, bytes);
    else if (std::find(written, written + bytes, 0) != written + bytes)
        note(kUnwritten, Place(code), [&] {
            return format("reads %zu bytes of register array %s that it has never written", bytes,
                          array_text(false, offset).c_str());
        });
}

// Whether an access of another thread has no barrier between it and this one's.
bool Checker::meets(uint16_t other, uint32_t interval, uint16_t sync, unsigned thread) const {
    if (interval != interval_ || other == thread) return false;
    return other == kSeveral || other / kWarp != thread / kWarp || sync == syncs_[thread / kWarp];
}

void Checker::shared(size_t offset, size_t bytes, bool writes, const void *code) {
    if (counting_) (writes ? counts_->shared_store_bytes : counts_->shared_load_bytes) += bytes;
    if (offset < launch_->kernel->static_shared_bytes) {
        if (!in_array(true, offset, bytes, writes, code)) return;
    } else if (offset + bytes > worker_.shared_bytes()) {
        note("bounds", Place(code), [&] {
            return format("%s %zu bytes past the end of dynamic shared memory", writes ? "writes" : "reads", bytes);
        });
        return;
    }
    const unsigned thread = running->thread.linear;
    const uint16_t sync = syncs_[thread / kWarp];
    for (size_t i = 0; i < bytes; ++i) {
        Cell &cell = cells_[offset + i];
        bool fresh = cell.write_interval < block_began_;
        bool write_met = meets(cell.writer, cell.write_interval, cell.write_sync, thread);
        if (!writes) {
            if (fresh)
                note(kUnwritten, Place(code), [&] {
                    return format("reads %zu bytes of shared array %s that no thread of the block has written", bytes,
                                  array_text(true, offset).c_str());
                });
            else if (write_met)
                note("race", Place(code), [&] {
                    return format("reads shared array %s, which %s has written with no barrier between",
                                  array_text(true, offset).c_str(), thread_text(cell.writer).c_str());
                });
            bool alone = cell.read_interval != interval_ || cell.reader == thread;
            cell = {cell.write_interval, interval_, cell.writer, alone ? static_cast<uint16_t>(thread) : kSeveral,
                    cell.write_sync, sync};
            continue;
        }
        if (meets(cell.reader, cell.read_interval, cell.read_sync, thread))
            note("race", Place(code), [&] {
                std::string others = cell.reader == kSeveral ? "several threads have" : thread_text(cell.reader) + " has";
                return format("writes shared array %s, which %s read with no barrier between",
                              array_text(true, offset).c_str(), others.c_str());
            });
        if (write_met && !pending_.bytes) {
            pending_ = {reinterpret_cast<uintptr_t>(worker_.block().shared) + offset, std::min<size_t>(bytes, 16), {},
                        code, cell.writer, true};
            std::memcpy(pending_.before, reinterpret_cast<void *>(pending_.address), pending_.bytes);
        }
        cell = {interval_, cell.read_interval, static_cast<uint16_t>(thread), cell.reader, sync, cell.read_sync};
    }
}

Region *Checker::region_of(uintptr_t address) {
    if (last_region_ && address - last_region_->begin < last_region_->bytes) return last_region_;
    auto after = std::upper_bound(regions_.begin(), regions_.end(), address,
                                  [](uintptr_t place, const Region &region) { return place < region.begin; });
    if (after == regions_.begin()) return nullptr;
    Region &found = *--after;
    if (address - found.begin >= found.bytes) return nullptr;
    return last_region_ = &found;
}

void Checker::global(Region &region, uintptr_t address, size_t bytes, bool writes, const void *code) {
    if (address + bytes > region.begin + region.bytes) return wild(address, bytes, writes, code);
    const unsigned thread = running->thread.linear;
    if (counting_) {
        (writes ? counts_->store_bytes : counts_->load_bytes) += bytes;
        if (!requests_.empty()) sample({code, visits_[thread][code]++, address, static_cast<unsigned>(bytes), writes});
    }
    if (!region.writers) {
        if (!writes) return;
        void *made = mmap(nullptr, region.bytes * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (made == MAP_FAILED) return;
        region.writers = static_cast<uint64_t *>(made);
    }
    const uint64_t number = block_number_ * worker_.threads() + thread + 1;
    const uint64_t mine = (uint64_t{interval_} << 32) | (number & 0xffffffffu);
    uint64_t *writers = region.writers + (address - region.begin);
    for (size_t i = 0; i < bytes; ++i) {
        uint64_t other = writers[i] & 0xffffffffu;
        bool in_order = writers[i] >> 32 >= block_began_ && writers[i] >> 32 != interval_;  // a barrier between
        if (other && other != (mine & 0xffffffffu) && !in_order) {
            if (!writes)
                note("race", Place(code),
                     [] { return std::string("reads global memory that another thread of this launch has written"); });
            else if (!pending_.bytes) {
                pending_ = {address, std::min<size_t>(bytes, 16), {}, code, static_cast<unsigned>(other - 1), false};
                std::memcpy(pending_.before, reinterpret_cast<void *>(address), pending_.bytes);
            }
        }
        if (writes) writers[i] = mine;
    }
}

// Two threads may write the same value to a place.
void Checker::compare_pending() {
    if (!pending_.bytes) return;
    bool same = !std::memcmp(pending_.before, reinterpret_cast<void *>(pending_.address), pending_.bytes);
    pending_.bytes = 0;
    if (same) return;
    note("race", Place(pending_.code), [&] {
        std::string other = pending_.shared ? thread_text(pending_.other) : "another thread of this launch";
        return format("writes %s memory where %s has written another value with no barrier between",
                      pending_.shared ? "shared" : "global", other.c_str());
    });
}

// Beyond all that was allocated: the access would end the process, so the launch ends here.
void Checker::wild(uintptr_t address, size_t bytes, bool writes, const void *code) {
    const EmuKernel &kernel = *launch_->kernel;
    std::string where = "at an address that is not the device's";
    uint64_t nearest = 1 << 30;
    for (unsigned i = 0; i < kernel.parameters; ++i) {
        if (kernel.parameter_bytes[i] != sizeof(void *)) continue;
        Region *region = region_of(*static_cast<uintptr_t *>(arguments_[i]));
        if (!region) continue;
        bool past = address >= region->begin;
        uint64_t distance = past ? address - region->begin - region->bytes : region->begin - address;
        if (past && address < region->begin + region->bytes) distance = 0;
        if (distance >= nearest) continue;
        nearest = distance;
        where = past && address < region->begin + region->bytes
                    ? format("across the end of %s", kernel.parameter_names[i])
                    : format("at %zu bytes %s %s", static_cast<size_t>(distance),
                             past ? "past the end of" : "before the start of", kernel.parameter_names[i]);
    }
    std::string text = format("%s %zu bytes %s", writes ? "writes" : "reads", bytes, where.c_str());
    note("bounds", Place(code), [&] { return text; });
    worker_.give_up("!" + thread_text(running->thread.linear) + " " + text);
}

void Checker::sample(const Request &request) { requests_[running->thread.linear / kWarp].push_back(request); }

// Lanes of a warp that are at the same place for the same time ask together.
void Checker::count_sectors() {
    for (auto &warp : requests_) {
        std::sort(warp.begin(), warp.end(), [](const Request &a, const Request &b) {
            return a.code != b.code ? a.code < b.code : a.times < b.times;
        });
        for (size_t i = 0; i < warp.size();) {
            std::vector<uintptr_t> sectors;
            uint64_t bytes = 0;
            size_t first = i;
            for (; i < warp.size() && warp[i].code == warp[first].code && warp[i].times == warp[first].times; ++i) {
                bytes += warp[i].bytes;
                for (uintptr_t at = warp[i].address / 32; at <= (warp[i].address + warp[i].bytes - 1) / 32; ++at)
                    sectors.push_back(at);
            }
            std::sort(sectors.begin(), sectors.end());
            auto distinct = static_cast<uint64_t>(std::unique(sectors.begin(), sectors.end()) - sectors.begin());
            bool writes = warp[first].writes;
            (writes ? counts_->sampled_store_bytes : counts_->sampled_load_bytes) += bytes;
            (writes ? counts_->sampled_store_sectors : counts_->sampled_load_sectors) += distinct;
        }
    }
    requests_.clear();
}

template <class What>
void Checker::note(const char *kind, Place place, What what, unsigned linear) {
    uint64_t key = place.key() * 31 + reinterpret_cast<uintptr_t>(kind);
    auto found = notes_.find(key);
    if (found != notes_.end())
        ++found->second.times;
    else if (notes_.size() < kMostNotes)
        notes_.insert({key, {kind, place, thread_text(linear) + " " + what(), 1}});
}

// What nobody wrote is read at a fault where it changes results: the two runs found other values there. TVM's warps
// also exchange such values and drop them.
void Checker::report(bool same_results, bool compared) {
    bool explained = false;
    for (auto &[key, each] : notes_) {
        if (each.kind == kUnwritten || each.kind == kShuffle) {
            if (same_results && compared) continue;
            explained = true;
        }
        tell(launch_->kernel->name, each.kind, each.place, each.text, each.times);
    }
    if (!same_results && !explained)
        tell(launch_->kernel->name, "order", Place(0), "gives other results when its threads run in another order", 1);
    notes_.clear();
}

void Checker::handler(const char *kind, int line, const std::string &text) {
    note(kind, Place(line), [&] { return text; });
}

std::string Checker::array_text(bool shared, size_t offset) const {
    auto &map = shared ? shared_map_ : local_map_;
    if (offset >= map.size() || !map[offset])
        return shared ? format("(dynamic), at byte %zu", offset - launch_->kernel->static_shared_bytes) : "";
    const EmuArray &array = launch_->kernel->arrays[map[offset] - 1];
    return format("%s at byte %zu of %u", array.name, offset - array.offset, array.bytes);
}

std::string Checker::thread_text(unsigned linear) const {
    const EmuBlock &block = worker_.block();
    EmuIndex at = index_of(linear, block.size);
    return format("thread (%u, %u, %u) of block (%u, %u, %u)", at.x, at.y, at.z, block.index.x, block.index.y,
                  block.index.z);
}

}  // namespace

Error run_checked(const Launch &launch, void **arguments) { return checker().run(launch, arguments); }
void check_block(const Worker &worker) { checker().begin_block(worker); }
void check_end() { checker().end_thread(); }
void check_barrier(int first_line, int line, bool last) { checker().barrier(first_line, line, last); }
void check_exchange() { checker().exchange(); }
unsigned long long check_source(unsigned linear, unsigned source) { return checker().source(linear, source); }
void check_warp_sync(unsigned warp) { checker().warp_sync(warp); }

}  // namespace emu

using emu::checker;

// What the compiler has kernels call: who is about to use which memory.
#define ADDRESS(pointer) reinterpret_cast<uintptr_t>(pointer)
#define CODE __builtin_return_address(0)
#define ACCESS(bytes)                                                                                                \
    void __tsan_read##bytes(void *at) { checker().access(ADDRESS(at), bytes, false, CODE); }                          \
    void __tsan_write##bytes(void *at) { checker().access(ADDRESS(at), bytes, true, CODE); }                          \
    void __tsan_unaligned_read##bytes(void *at) { checker().access(ADDRESS(at), bytes, false, CODE); }                \
    void __tsan_unaligned_write##bytes(void *at) { checker().access(ADDRESS(at), bytes, true, CODE); }                \
    void __tsan_volatile_read##bytes(void *at) { checker().access(ADDRESS(at), bytes, false, CODE); }                 \
    void __tsan_volatile_write##bytes(void *at) { checker().access(ADDRESS(at), bytes, true, CODE); }

extern "C" {
// Of a checked launch with more blocks than these only as many run, the first and the last among them; 0: all.
void emu_check_at_most(uint64_t blocks) {
    std::lock_guard<std::mutex> guard(emu::lock);
    emu::most_blocks = blocks == 1 ? 2 : blocks;
}

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(void *at, size_t bytes) { checker().access(ADDRESS(at), bytes, false, CODE); }
void __tsan_write_range(void *at, size_t bytes) { checker().access(ADDRESS(at), bytes, true, CODE); }
void *__tsan_memcpy(void *to, const void *from, size_t bytes) {
    checker().access(ADDRESS(from), bytes, false, CODE);
    checker().access(ADDRESS(to), bytes, true, CODE);
    return std::memcpy(to, from, bytes);
}
void *__tsan_memset(void *to, int value, size_t bytes) {
    checker().access(ADDRESS(to), bytes, true, CODE);
    return std::memset(to, value, bytes);
}
void __tsan_init(void) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}

struct UbsanPlace {
    const char *file;
    unsigned line, column;
};
struct UbsanType {
    unsigned short kind, info;
    char name[];
};
struct UbsanBounds {
    UbsanPlace place;
    const UbsanType *array, *index;
};
void __ubsan_handle_out_of_bounds(UbsanBounds *data, uintptr_t index) {
    checker().handler("bounds", static_cast<int>(data->place.line),
                      "uses index " + std::to_string(static_cast<intptr_t>(index)) + " of an array of type " +
                          data->array->name);
}
}

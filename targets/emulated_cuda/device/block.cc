// Runs the blocks of a launch over the cores, and the threads of a block in turns.

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "device.h"
#include "fibre.h"

namespace emu {
namespace {

// Kernels with frames beyond half of it are not compiled. Not a power of two: the tops of all stacks of a block would
// fall on the same few lines of the cache.
constexpr size_t kStackBytes = (128 << 10) + 33 * 64;
constexpr size_t kAligned = 128;       // shared memory
constexpr unsigned kWarp = 32;

unsigned first_of(unsigned lanes) { return static_cast<unsigned>(__builtin_ctz(lanes)); }
unsigned last_of(unsigned lanes) { return 31 - static_cast<unsigned>(__builtin_clz(lanes)); }

struct Warp {
    unsigned running = 0;         // threads that neither wait nor have ended
    unsigned present = 0;         // lanes that have not ended
    unsigned asking = 0;          // lanes that wait in active_mask
    unsigned waiting = 0;         // lanes that wait in exchange
    unsigned masks[kWarp];        // of them
    unsigned long long values[kWarp];
    unsigned sources[kWarp];
    EmuVote votes[kWarp];
};

struct Fibre {
    EmuThread thread;  // first: kernels' calls give it back
    Context context;
    unsigned long long received;
};

// One of the operating system's threads at work on a launch: a block at a time.
class Worker {
public:
    ~Worker() {
        if (stacks_) munmap(stacks_, threads_there_ * kStackBytes);
        std::free(shared_);
    }

    // Returns what is wrong, empty when nothing is.
    std::string run(const Launch &launch, EmuIndex index, void **arguments);

    void barrier(Fibre &);
    unsigned active_mask(Fibre &);
    unsigned long long exchange(Fibre &, unsigned mask, unsigned long long value, unsigned source, EmuVote);
    void live(Fibre *);

private:
    void make_room(unsigned threads, size_t shared_bytes);
    void run_fibres();
    void wait(Fibre &);
    void leave(Fibre &);
    void release(unsigned linear) { ready_[ready_count_++] = linear; }
    void release_all() {
        for (unsigned i = threads_; i--;) release(i);
    }
    void settle(unsigned warp);
    void complete(unsigned warp, unsigned lanes);
    std::string stuck() const;

    const Launch *launch_ = nullptr;
    void **arguments_ = nullptr;
    EmuBlock block_{};
    unsigned threads_ = 0, ended_ = 0;
    // Who can go on, the next one last: a warp goes on as long as it can, while its stacks are in the cache.
    std::vector<unsigned> ready_;
    size_t ready_count_ = 0;
    unsigned barred_ = 0;  // at the barrier
    std::vector<Fibre> fibres_;
    std::vector<Warp> warps_;
    Context main_;
    char *stacks_ = nullptr;
    size_t threads_there_ = 0;
    char *shared_ = nullptr;
    size_t shared_there_ = 0;
};

thread_local Worker *working;
thread_local Fibre *starting;

void barrier(EmuThread &thread, int) { working->barrier(reinterpret_cast<Fibre &>(thread)); }
unsigned active_mask(EmuThread &thread) { return working->active_mask(reinterpret_cast<Fibre &>(thread)); }
unsigned long long exchange(EmuThread &thread, unsigned mask, unsigned long long value, unsigned source, EmuVote vote,
                            int) {
    return working->exchange(reinterpret_cast<Fibre &>(thread), mask, value, source, vote);
}
const EmuServices kServices = {barrier, active_mask, exchange};

void enter() {
    Fibre *fibre = starting;
    working->live(fibre);
    std::abort();  // a fibre is left for good
}

void Worker::make_room(unsigned threads, size_t shared_bytes) {
    if (shared_there_ < shared_bytes) {
        std::free(shared_);
        shared_ = static_cast<char *>(std::aligned_alloc(kAligned, shared_bytes));
        shared_there_ = shared_ ? shared_bytes : 0;
    }
    if (threads_there_ < threads) {
        if (stacks_) munmap(stacks_, threads_there_ * kStackBytes);
        void *made = mmap(nullptr, threads * kStackBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        stacks_ = made == MAP_FAILED ? nullptr : static_cast<char *>(made);
        threads_there_ = stacks_ ? threads : 0;
        fibres_.resize(threads);
        ready_.resize(threads);
        warps_.resize((threads + kWarp - 1) / kWarp);
    }
}

std::string Worker::run(const Launch &launch, EmuIndex index, void **arguments) {
    const EmuKernel &kernel = *launch.kernel;
    const EmuIndex &size = launch.block;
    size_t fixed = (kernel.static_shared_bytes + kAligned - 1) / kAligned * kAligned;
    size_t dynamic = (launch.dynamic_shared_bytes + kAligned - 1) / kAligned * kAligned;
    launch_ = &launch;
    arguments_ = arguments;
    threads_ = size.x * size.y * size.z;
    make_room(kernel.block ? 0 : threads_, fixed + dynamic + kAligned);
    block_ = {index, size, launch.grid, shared_, shared_ + fixed, &kServices};
    if (!shared_) return "no memory for its shared memory";
    if (kernel.block) {
        kernel.block(block_, arguments);
        return {};
    }
    if (threads_there_ < threads_) return "no memory for its threads' stacks";
    run_fibres();
    return ended_ == threads_ ? std::string() : stuck();
}

void Worker::run_fibres() {
    working = this;
    ended_ = 0;
    ready_count_ = 0;
    barred_ = 0;
    for (unsigned i = 0; i < threads_; i += kWarp) {
        Warp &warp = warps_[i / kWarp];
        warp.running = warp.present = warp.asking = warp.waiting = 0;
    }
    EmuIndex at{0, 0, 0};
    for (unsigned i = 0; i < threads_; ++i) {
        fibres_[i].thread = {at, &block_, i};
        prepare(fibres_[i].context, stacks_ + i * kStackBytes, kStackBytes, enter);
        Warp &warp = warps_[i / kWarp];
        warp.present |= 1u << i % kWarp;
        ++warp.running;
        if (++at.x == block_.size.x) {
            at.x = 0;
            if (++at.y == block_.size.y) at.y = 0, ++at.z;
        }
    }
    release_all();
    starting = &fibres_[ready_[--ready_count_]];
    switch_stacks(main_, starting->context);
}

void Worker::live(Fibre *fibre) {
    launch_->kernel->thread(fibre->thread, arguments_);
    ++ended_;
    unsigned linear = fibre->thread.linear;
    Warp &warp = warps_[linear / kWarp];
    warp.present &= ~(1u << linear % kWarp);
    --warp.running;
    settle(linear / kWarp);
    leave(*fibre);
}

// Goes on with another thread until this one is released.
void Worker::wait(Fibre &fibre) {
    unsigned warp = fibre.thread.linear / kWarp;
    --warps_[warp].running;
    settle(warp);
    leave(fibre);
    // Whoever released it has counted it as running again.
}

void Worker::leave(Fibre &fibre) {
    if (!ready_count_) {
        switch_stacks(fibre.context, main_);
        return;
    }
    Fibre &next = fibres_[ready_[--ready_count_]];
    if (&next == &fibre) return;
    starting = &next;
    switch_stacks(fibre.context, next.context);
}

void Worker::barrier(Fibre &fibre) {
    if (++barred_ == threads_) {
        barred_ = 0;
        for (unsigned i = 0; i < threads_; ++i) ++warps_[i / kWarp].running;
        release_all();
    }
    wait(fibre);
}

unsigned Worker::active_mask(Fibre &fibre) {
    unsigned linear = fibre.thread.linear;
    warps_[linear / kWarp].asking |= 1u << linear % kWarp;
    wait(fibre);
    return static_cast<unsigned>(fibre.received);
}

unsigned long long Worker::exchange(Fibre &fibre, unsigned mask, unsigned long long value, unsigned source,
                                    EmuVote vote) {
    unsigned linear = fibre.thread.linear, lane = linear % kWarp;
    Warp &warp = warps_[linear / kWarp];
    warp.waiting |= 1u << lane;
    warp.masks[lane] = mask;
    warp.values[lane] = value;
    warp.sources[lane] = source;
    warp.votes[lane] = vote;
    wait(fibre);
    return fibre.received;
}

// Lets go on whom nothing in the warp keeps any more.
void Worker::settle(unsigned number) {
    Warp &warp = warps_[number];
    if (warp.running) return;
    for (unsigned left = warp.waiting; left; left &= left - 1) {
        unsigned lane = first_of(left), mask = warp.masks[lane] & warp.present;
        if ((mask & warp.waiting) != mask || !(mask & 1u << lane)) continue;
        bool together = true;
        for (unsigned other = 0; other < kWarp; ++other)
            together &= !(mask & 1u << other) || (warp.masks[other] & warp.present) == mask;
        if (together) {
            complete(number, mask);
            return;
        }
    }
    if (!warp.asking) return;
    unsigned lanes = warp.asking;
    warp.asking = 0;
    for (unsigned left = lanes; left; left &= ~(1u << last_of(left))) {
        unsigned linear = number * kWarp + last_of(left);
        fibres_[linear].received = lanes;
        ++warp.running;
        release(linear);
    }
}

void Worker::complete(unsigned number, unsigned lanes) {
    Warp &warp = warps_[number];
    unsigned ballot = 0;
    for (unsigned left = lanes; left; left &= left - 1) {
        unsigned lane = first_of(left);
        ballot |= (warp.values[lane] != 0 ? 1u : 0u) << lane;
    }
    warp.waiting &= ~lanes;
    for (unsigned left = lanes; left; left &= ~(1u << last_of(left))) {
        unsigned lane = last_of(left), linear = number * kWarp + lane;
        unsigned source = warp.sources[lane];
        if (!(lanes & 1u << source)) source = lane;  // undefined on a GPU
        fibres_[linear].received = warp.votes[lane] == EMU_BALLOT ? ballot : warp.values[source];
        ++warp.running;
        release(linear);
    }
}

std::string Worker::stuck() const {
    char text[256];
    if (barred_)
        snprintf(text, sizeof(text), "%u of %u threads of block (%u, %u, %u) wait at a barrier that the others never reach",
                 barred_, threads_, block_.index.x, block_.index.y, block_.index.z);
    else
        snprintf(text, sizeof(text), "threads of block (%u, %u, %u) wait in their warp for others that never come",
                 block_.index.x, block_.index.y, block_.index.z);
    return text;
}

// Workers are kept for the next launch, with their stacks.
std::mutex idle_lock;
std::vector<std::unique_ptr<Worker>> idle;

std::unique_ptr<Worker> take_worker() {
    std::lock_guard<std::mutex> lock(idle_lock);
    if (idle.empty()) return std::make_unique<Worker>();
    auto worker = std::move(idle.back());
    idle.pop_back();
    return worker;
}

void give_worker(std::unique_ptr<Worker> worker) {
    std::lock_guard<std::mutex> lock(idle_lock);
    idle.push_back(std::move(worker));
}

unsigned cores() {
    if (const char *text = std::getenv("TVM_NUM_THREADS"))
        if (int wanted = std::atoi(text); wanted > 0) return static_cast<unsigned>(wanted);
    cpu_set_t usable;
    return sched_getaffinity(0, sizeof(usable), &usable) ? 1 : static_cast<unsigned>(CPU_COUNT(&usable));
}

}  // namespace

Error run(const Launch &launch, void **arguments) {
    const uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
    std::atomic<uint64_t> next{0};
    std::mutex wrong_lock;
    std::string wrong;
    auto work = [&] {
        auto worker = take_worker();
        for (uint64_t i; (i = next++) < blocks;) {
            EmuIndex index{static_cast<unsigned>(i % launch.grid.x),
                           static_cast<unsigned>(i / launch.grid.x % launch.grid.y),
                           static_cast<unsigned>(i / launch.grid.x / launch.grid.y)};
            std::string said = worker->run(launch, index, arguments);
            if (said.empty()) continue;
            std::lock_guard<std::mutex> lock(wrong_lock);
            wrong = said;
            next = blocks;
        }
        give_worker(std::move(worker));
    };
    std::vector<std::thread> others;
    for (unsigned i = 1; i < std::min<uint64_t>(cores(), blocks); ++i) others.emplace_back(work);
    work();
    for (auto &other : others) other.join();
    if (wrong.empty()) return kSuccess;
    return fail(kLaunchFailed, "kernel %s: %s", launch.kernel->name, wrong.c_str());
}

}  // namespace emu

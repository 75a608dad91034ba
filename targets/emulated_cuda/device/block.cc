// Runs the blocks of a launch over the cores, and the threads of a block in turns.

#include "block.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "check.h"

namespace emu {

thread_local Worker *working;
thread_local Fibre *running;

namespace {

void barrier(EmuThread &thread, int line) { working->barrier(reinterpret_cast<Fibre &>(thread), line); }
unsigned active_mask(EmuThread &thread) { return working->active_mask(reinterpret_cast<Fibre &>(thread)); }
unsigned long long exchange(EmuThread &thread, unsigned mask, unsigned long long value, unsigned source, EmuVote vote,
                            int) {
    return working->exchange(reinterpret_cast<Fibre &>(thread), mask, value, source, vote);
}
const EmuServices kServices = {barrier, active_mask, exchange};

void enter() {
    working->live(*running);
    std::abort();  // a fibre is left for good
}

}  // namespace

Worker::~Worker() {
    if (stacks_) munmap(stacks_, threads_there_ * kStackBytes);
    std::free(shared_);
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
    shared_used_ = fixed + launch.dynamic_shared_bytes;
    if (kernel.arrays) check_block(*this);
    run_fibres();
    if (!given_up_.empty()) return given_up_;
    return ended_ == threads_ ? std::string() : stuck();
}

void Worker::run_fibres() {
    working = this;
    ended_ = 0;
    given_up_.clear();
    ready_count_ = 0;
    barred_ = 0;
    for (unsigned i = 0; i < threads_; i += kWarp) {
        Warp &warp = warps_[i / kWarp];
        warp.running = warp.present = warp.asking = warp.waiting = 0;
    }
    EmuIndex at{0, 0, 0};
    for (unsigned i = 0; i < threads_; ++i) {
        char *stack = stacks_ + i * kStackBytes;
        fibres_[i].thread = {at, &block_, i, stack};
        prepare(fibres_[i].context, stack, kStackBytes, enter);
        Warp &warp = warps_[i / kWarp];
        warp.present |= 1u << i % kWarp;
        ++warp.running;
        if (++at.x == block_.size.x) {
            at.x = 0;
            if (++at.y == block_.size.y) at.y = 0, ++at.z;
        }
    }
    release_all();
    running = &fibres_[ready_[--ready_count_]];
    switch_stacks(main_, running->context);
}

void Worker::live(Fibre &fibre) {
    launch_->kernel->thread(fibre.thread, arguments_);
    if (launch_->kernel->arrays) check_end();
    ++ended_;
    unsigned linear = fibre.thread.linear;
    Warp &warp = warps_[linear / kWarp];
    warp.present &= ~(1u << linear % kWarp);
    --warp.running;
    settle(linear / kWarp);
    leave(fibre);
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
    running = &next;
    switch_stacks(fibre.context, next.context);
}

void Worker::barrier(Fibre &fibre, int line) {
    if (launch_->kernel->arrays) check_barrier(barred_ ? barrier_line_ : line, line, barred_ + 1 == threads_);
    barrier_line_ = line;
    if (++barred_ == threads_) {
        barred_ = 0;
        for (unsigned i = 0; i < threads_; ++i) ++warps_[i / kWarp].running;
        release_all();
    }
    wait(fibre);
}

unsigned Worker::active_mask(Fibre &fibre) {
    if (launch_->kernel->arrays) check_exchange();
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
    if (launch_->kernel->arrays) check_exchange();
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
    for (unsigned left = lanes; left; left &= left - 1) fibres_[number * kWarp + first_of(left)].received = lanes;
    release(number, lanes);
}

void Worker::complete(unsigned number, unsigned lanes) {
    Warp &warp = warps_[number];
    unsigned ballot = 0;
    for (unsigned left = lanes; left; left &= left - 1) {
        unsigned lane = first_of(left);
        ballot |= (warp.values[lane] != 0 ? 1u : 0u) << lane;
    }
    warp.waiting &= ~lanes;
    bool checked = launch_->kernel->arrays;
    for (unsigned left = lanes; left; left &= left - 1) {
        unsigned lane = first_of(left), source = warp.sources[lane], linear = number * kWarp + lane;
        unsigned long long &received = fibres_[linear].received;
        if (warp.votes[lane] != EMU_VALUE)
            received = ballot;
        else if (lanes & 1u << source)
            received = warp.values[source];
        else  // undefined on a GPU
            received = checked ? check_source(linear, source) : warp.values[lane];
    }
    if (checked && lanes == warp.present && warp.votes[first_of(lanes)] == EMU_SYNC) check_warp_sync(number);
    release(number, lanes);
}

void Worker::release(unsigned number, unsigned lanes) {
    Warp &warp = warps_[number];
    warp.running += static_cast<unsigned>(__builtin_popcount(lanes));
    while (lanes) {
        unsigned lane = backwards ? first_of(lanes) : last_of(lanes);
        lanes &= ~(1u << lane);
        release(number * kWarp + lane);
    }
}

void Worker::release_all() {
    for (unsigned i = 0; i < threads_; ++i) release(backwards ? i : threads_ - 1 - i);
}

void Worker::give_up(std::string why) {
    given_up_ = std::move(why);
    switch_stacks(running->context, main_);
    std::abort();
}

bool Worker::owns(uintptr_t address) const {
    auto inside = [address](const void *begin, size_t bytes) {
        return address - reinterpret_cast<uintptr_t>(begin) < bytes;
    };
    return inside(stacks_, threads_there_ * kStackBytes) || inside(fibres_.data(), fibres_.size() * sizeof(Fibre)) ||
           inside(this, sizeof(*this)) || inside(&kServices, sizeof(kServices));
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

namespace {

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
    if (launch.kernel->arrays) return run_checked(launch, arguments);
    const uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
    std::atomic<uint64_t> next{0};
    std::mutex wrong_lock;
    std::string wrong;
    auto work = [&] {
        auto worker = take_worker();
        for (uint64_t i; (i = next++) < blocks;) {
            std::string said = worker->run(launch, index_of(i, launch.grid), arguments);
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

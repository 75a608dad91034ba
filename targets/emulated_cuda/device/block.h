// Runs the threads of a block in turns.
#pragma once

#include <string>
#include <vector>

#include "device.h"
#include "fibre.h"

namespace emu {

// Kernels with frames beyond half of it are not compiled. Not a power of two: the tops of all stacks of a block would
// fall on the same few lines of the cache.
constexpr size_t kStackBytes = (128 << 10) + 33 * 64;
constexpr size_t kLocalBytes = 60 << 10;  // the lower part of a stack, for register arrays that are checked
constexpr size_t kAligned = 128;          // shared memory
constexpr unsigned kWarp = 32;

inline unsigned first_of(unsigned lanes) { return static_cast<unsigned>(__builtin_ctz(lanes)); }
inline unsigned last_of(unsigned lanes) { return 31 - static_cast<unsigned>(__builtin_clz(lanes)); }

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
    ~Worker();

    // Returns what is wrong, empty when nothing is.
    std::string run(const Launch &launch, EmuIndex index, void **arguments);
    // The running thread's: ends its block, whose threads are left where they are. Does not return.
    [[noreturn]] void give_up(std::string why);
    // Where a launch is checked: threads are taken last first.
    bool backwards = false;

    void barrier(Fibre &, int line);
    unsigned active_mask(Fibre &);
    unsigned long long exchange(Fibre &, unsigned mask, unsigned long long value, unsigned source, EmuVote);
    void live(Fibre &);

    const Launch &launch() const { return *launch_; }
    const EmuBlock &block() const { return block_; }
    unsigned threads() const { return threads_; }
    char *local(unsigned linear) const { return stacks_ + linear * kStackBytes; }
    size_t shared_bytes() const { return shared_used_; }
    // Whether it is the device's own: a stack, or what is known of a thread or block.
    bool owns(uintptr_t address) const;

private:
    void make_room(unsigned threads, size_t shared_bytes);
    void run_fibres();
    void wait(Fibre &);
    void leave(Fibre &);
    void release(unsigned linear) { ready_[ready_count_++] = linear; }
    void release(unsigned warp, unsigned lanes);
    void release_all();
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
    int barrier_line_ = 0;
    std::vector<Fibre> fibres_;
    std::vector<Warp> warps_;
    Context main_;
    std::string given_up_;
    char *stacks_ = nullptr;
    size_t threads_there_ = 0;
    char *shared_ = nullptr;
    size_t shared_there_ = 0, shared_used_ = 0;
};

// Of this thread of the operating system.
extern thread_local Worker *working __attribute__((tls_model("initial-exec")));
extern thread_local Fibre *running __attribute__((tls_model("initial-exec")));

}  // namespace emu

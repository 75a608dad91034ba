// What a kernel's shared object and the device that loads it know of each other.
#pragma once

struct EmuIndex {
    unsigned x, y, z;
};

struct EmuBlock;

// One thread of a block. Its memory is the device's; kernels get a reference to it.
struct EmuThread {
    EmuIndex index;
    EmuBlock *block;
    unsigned linear;  // x + width * (y + height * z)
    char *local;      // its register arrays, where they are checked
};

enum EmuVote { EMU_VALUE, EMU_BALLOT, EMU_SYNC };

// What kernels ask of the device. Lines are those of the CUDA text.
struct EmuServices {
    void (*barrier)(EmuThread &, int line);
    unsigned (*active_mask)(EmuThread &);
    // Gives `value` to the threads of the warp in `mask` and returns that of lane `source`, or with EMU_BALLOT the
    // lanes whose value is not zero. EMU_SYNC is a barrier: memory is in order after it.
    unsigned long long (*exchange)(EmuThread &, unsigned mask, unsigned long long value, unsigned source, EmuVote,
                                   int line);
};

struct EmuBlock {
    EmuIndex index, size, grid;
    char *shared;   // static, then dynamic
    char *dynamic;
    const EmuServices *services;
};

// An array of a kernel that is checked, at its place in the block's shared or the thread's local memory.
struct EmuArray {
    const char *name;
    bool shared;
    unsigned offset, bytes;
};

struct EmuKernel {
    const char *name;
    // One of the two: all threads of a block one after the other, or one thread, where threads wait for each other.
    void (*block)(EmuBlock &, void **arguments);
    void (*thread)(EmuThread &, void **arguments);
    unsigned static_shared_bytes;
    unsigned most_threads;  // __launch_bounds__; 0 without
    unsigned parameters;
    const unsigned *parameter_bytes;
    const char *const *parameter_names;
    // Where every access is checked, or null; ended by an array without a name.
    const EmuArray *arrays;
    unsigned local_bytes;
};

// Every such shared object has `emu_kernels`, pointers ended by null, and `emu_mark`: EMU_MARK and the
// architecture, such as sm_72.
#define EMU_MARK "emulated CUDA code for "

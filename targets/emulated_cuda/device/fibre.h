// Two stacks that take turns: a switch costs a few nanoseconds, where swapcontext asks the kernel twice.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(EMU_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#include <ucontext.h>

namespace emu {

struct Context {
    ucontext_t saved;
};

inline void switch_stacks(Context &from, Context &to) { swapcontext(&from.saved, &to.saved); }

inline void prepare(Context &context, char *stack, size_t bytes, void (*entry)()) {
    getcontext(&context.saved);
    context.saved.uc_stack.ss_sp = stack;
    context.saved.uc_stack.ss_size = bytes;
    context.saved.uc_link = nullptr;
    makecontext(&context.saved, entry, 0);
}

}  // namespace emu
#else

// Stores the registers that a call preserves and the stack pointer, and takes those of the other stack.
extern "C" void emu_switch(void **from, void *to);

namespace emu {

struct Context {
    void *pointer = nullptr;
};

inline void switch_stacks(Context &from, Context &to) { emu_switch(&from.pointer, to.pointer); }

// `entry` must not return.
inline void prepare(Context &context, char *stack, size_t bytes, void (*entry)()) {
    auto top = reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t{63};
    auto *words = reinterpret_cast<void **>(top);
#if defined(__x86_64__)
    words -= 8;  // six registers, the address, and a word that keeps the stack aligned as after a call
    for (int i = 0; i < 8; ++i) words[i] = nullptr;
    words[6] = reinterpret_cast<void *>(entry);
#else
    words -= 20;  // x19 to x30, d8 to d15
    for (int i = 0; i < 20; ++i) words[i] = nullptr;
    words[11] = reinterpret_cast<void *>(entry);
#endif
    context.pointer = words;
}

}  // namespace emu
#endif

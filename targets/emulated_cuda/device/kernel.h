// CUDA for the host's C++ compiler: what TVM's CUDA text takes for granted. Included before it; emulated_cuda's
// source.py has rewritten kernels to functions of a thread (emu_) and their shared arrays to parts of its block's.
#pragma once

#include "abi.h"
#include "vector_types.h"

#define __CUDA_ARCH__ EMU_CUDA_ARCH
#define __CUDACC_VER_MAJOR__ 12
#define __CUDACC_VER_MINOR__ 9
#define __host__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define EMU_SHARED(type, name, bound, offset)                                                                        \
    type(&name)[bound] = *reinterpret_cast<type(*)[bound]>(emu_.block->shared + (offset))
#define EMU_LOCAL(type, name, bound, offset)                                                                         \
    type(&name)[bound] = *reinterpret_cast<type(*)[bound]>(emu_.local + (offset))
#define EMU_DYNAMIC_SHARED(type, name) type *const name = reinterpret_cast<type *>(emu_.block->dynamic)

#define EMU_TABLE(...)                                                                                               \
    extern "C" __attribute__((visibility("default"))) const char emu_mark[] = EMU_MARK EMU_ARCH;                     \
    extern "C" __attribute__((visibility("default"))) const EmuKernel *const emu_kernels[] = {__VA_ARGS__};

#define EMU_EACH_THREAD(call)                                                                                        \
    EmuThread thread_{{0, 0, 0}, &block_, 0, nullptr};                                                               \
    for (unsigned z_ = 0; z_ < block_.size.z; ++z_)                                                                  \
        for (unsigned y_ = 0; y_ < block_.size.y; ++y_)                                                              \
            for (unsigned x_ = 0; x_ < block_.size.x; ++x_, ++thread_.linear) {                                      \
                thread_.index = {x_, y_, z_};                                                                        \
                call                                                                                                 \
            }
#define EMU_ENTRY __attribute__((no_sanitize("thread", "undefined"))) static void

#define threadIdx (emu_.index)
#define blockIdx (emu_.block->index)
#define blockDim (emu_.block->size)
#define gridDim (emu_.block->grid)
#define warpSize 32

// The bits of one type as another.
template <class To, class From>
static inline To emu_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To to;
    __builtin_memcpy(&to, &from, sizeof(To));
    return to;
}

extern "C" {
#define EMU_FUNCTION(name)                                                                                           \
    float name##f(float) noexcept;                                                                                   \
    double name(double) noexcept;
EMU_FUNCTION(exp)
EMU_FUNCTION(exp2)
EMU_FUNCTION(expm1)
EMU_FUNCTION(log)
EMU_FUNCTION(log2)
EMU_FUNCTION(log10)
EMU_FUNCTION(log1p)
EMU_FUNCTION(sqrt)
EMU_FUNCTION(cbrt)
EMU_FUNCTION(sin)
EMU_FUNCTION(cos)
EMU_FUNCTION(tan)
EMU_FUNCTION(asin)
EMU_FUNCTION(acos)
EMU_FUNCTION(atan)
EMU_FUNCTION(sinh)
EMU_FUNCTION(cosh)
EMU_FUNCTION(tanh)
EMU_FUNCTION(asinh)
EMU_FUNCTION(acosh)
EMU_FUNCTION(atanh)
EMU_FUNCTION(erf)
EMU_FUNCTION(erfc)
EMU_FUNCTION(floor)
EMU_FUNCTION(ceil)
EMU_FUNCTION(trunc)
EMU_FUNCTION(round)
EMU_FUNCTION(rint)
EMU_FUNCTION(nearbyint)
EMU_FUNCTION(fabs)
#undef EMU_FUNCTION
float powf(float, float) noexcept;
double pow(double, double) noexcept;
float fmodf(float, float) noexcept;
double fmod(double, double) noexcept;
float fmaxf(float, float) noexcept;
double fmax(double, double) noexcept;
float fminf(float, float) noexcept;
double fmin(double, double) noexcept;
float fmaf(float, float, float) noexcept;
double fma(double, double, double) noexcept;
float atan2f(float, float) noexcept;
double atan2(double, double) noexcept;
float copysignf(float, float) noexcept;
double copysign(double, double) noexcept;
float ldexpf(float, int) noexcept;
double ldexp(double, int) noexcept;
int abs(int) noexcept;
}

#define EMU_OVERLOAD(name)                                                                                           \
    static inline float name(float x) { return name##f(x); }
EMU_OVERLOAD(exp)
EMU_OVERLOAD(exp2)
EMU_OVERLOAD(log)
EMU_OVERLOAD(log2)
EMU_OVERLOAD(log10)
EMU_OVERLOAD(sqrt)
EMU_OVERLOAD(sin)
EMU_OVERLOAD(cos)
EMU_OVERLOAD(tan)
EMU_OVERLOAD(atan)
EMU_OVERLOAD(tanh)
EMU_OVERLOAD(erf)
EMU_OVERLOAD(floor)
EMU_OVERLOAD(ceil)
EMU_OVERLOAD(trunc)
EMU_OVERLOAD(round)
EMU_OVERLOAD(rint)
EMU_OVERLOAD(fabs)
#undef EMU_OVERLOAD
static inline float pow(float x, float y) { return powf(x, y); }
static inline float fmod(float x, float y) { return fmodf(x, y); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline float abs(float x) { return fabsf(x); }
static inline double abs(double x) { return fabs(x); }
static inline long long abs(long long x) { return x < 0 ? -x : x; }
static inline long abs(long x) { return x < 0 ? -x : x; }
static inline bool isnan(float x) { return x != x; }
static inline bool isnan(double x) { return x != x; }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }

// The fast forms are exact here; on a GPU they differ in the last bits.
static inline float __expf(float x) { return expf(x); }
static inline float __exp10f(float x) { return powf(10, x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __log10f(float x) { return log10f(x); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __tanf(float x) { return tanf(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) { return fminf(fmaxf(x, 0), 1); }
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float exp10f(float x) { return powf(10, x); }
static inline float __int_as_float(int x) { return emu_bits<float>(x); }
static inline int __float_as_int(float x) { return emu_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return emu_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return emu_bits<unsigned>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }

#define EMU_EXTREMES(type)                                                                                           \
    static inline type max(type a, type b) { return a > b ? a : b; }                                                 \
    static inline type min(type a, type b) { return a < b ? a : b; }
EMU_EXTREMES(int)
EMU_EXTREMES(unsigned)
EMU_EXTREMES(long)
EMU_EXTREMES(unsigned long)
EMU_EXTREMES(long long)
EMU_EXTREMES(unsigned long long)
#undef EMU_EXTREMES
// Of a number and none the number, as CUDA has it.
static inline float max(float a, float b) { return __builtin_fmaxf(a, b); }
static inline float min(float a, float b) { return __builtin_fminf(a, b); }
static inline double max(double a, double b) { return __builtin_fmax(a, b); }
static inline double min(double a, double b) { return __builtin_fmin(a, b); }

template <class T>
static inline T __ldg(const T *place) {
    return *place;
}

template <class T>
static inline unsigned long long emu_word(T value) {
    static_assert(sizeof(T) <= 8, "warps exchange at most 8 bytes");
    unsigned long long word = 0;
    __builtin_memcpy(&word, &value, sizeof(T));
    return word;
}

// Shuffles within parts of `width` lanes; a lane beyond its part gets its own value.
template <class T>
static inline T emu_shuffle(EmuThread &emu_, unsigned mask, T value, int source, int first, int width, int line) {
    unsigned lane = emu_.linear % 32;
    bool inside = source >= first && source < first + width;
    unsigned long long word = emu_.block->services->exchange(emu_, mask, emu_word(value),
                                                             inside ? static_cast<unsigned>(source) : lane, EMU_VALUE,
                                                             line);
    __builtin_memcpy(static_cast<void *>(&value), &word, sizeof(T));
    return value;
}
template <class T>
static inline T emu_shfl(EmuThread &emu_, int line, unsigned mask, T value, int source, int width = 32) {
    int first = static_cast<int>(emu_.linear % 32) & -width;
    return emu_shuffle(emu_, mask, value, first + (source & (width - 1)), first, width, line);
}
template <class T>
static inline T emu_shfl_down(EmuThread &emu_, int line, unsigned mask, T value, int delta, int width = 32) {
    int lane = static_cast<int>(emu_.linear % 32);
    return emu_shuffle(emu_, mask, value, lane + delta, lane & -width, width, line);
}
template <class T>
static inline T emu_shfl_up(EmuThread &emu_, int line, unsigned mask, T value, int delta, int width = 32) {
    int lane = static_cast<int>(emu_.linear % 32);
    return emu_shuffle(emu_, mask, value, lane - delta, lane & -width, width, line);
}
template <class T>
static inline T emu_shfl_xor(EmuThread &emu_, int line, unsigned mask, T value, int lanes, int width = 32) {
    int lane = static_cast<int>(emu_.linear % 32);
    return emu_shuffle(emu_, mask, value, lane ^ lanes, 0, (lane & -width) + width, line);
}
static inline unsigned emu_ballot(EmuThread &emu_, int line, unsigned mask, int predicate,
                                  EmuVote vote = EMU_BALLOT) {
    return static_cast<unsigned>(emu_.block->services->exchange(emu_, mask, predicate != 0, 0, vote, line));
}

#define __syncthreads() emu_.block->services->barrier(emu_, __LINE__)
#define __syncwarp(...) emu_ballot(emu_, __LINE__, EMU_MASK(__VA_ARGS__), 0, EMU_SYNC)
#define EMU_MASK(...) (0xffffffffu __VA_OPT__(&(__VA_ARGS__)))
#define __shfl_sync(...) emu_shfl(emu_, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) emu_shfl_down(emu_, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) emu_shfl_up(emu_, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) emu_shfl_xor(emu_, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, predicate) emu_ballot(emu_, __LINE__, mask, predicate)
#define __any_sync(mask, predicate) (emu_ballot(emu_, __LINE__, mask, predicate) != 0)
#define __all_sync(mask, predicate) (emu_ballot(emu_, __LINE__, mask, !(predicate)) == 0)
#define __activemask() emu_.block->services->active_mask(emu_)
#define __threadfence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define __threadfence_block() __threadfence()

static inline float atomicAdd(float *place, float value) {
    float old;
    __atomic_load(place, &old, __ATOMIC_RELAXED);
    for (float sum = old + value; !__atomic_compare_exchange(place, &old, &sum, false, __ATOMIC_RELAXED,
                                                             __ATOMIC_RELAXED);
         sum = old + value) {
    }
    return old;
}
template <class T>
static inline T atomicAdd(T *place, T value) {
    return __atomic_fetch_add(place, value, __ATOMIC_RELAXED);
}

#if !defined(__FLT16_MANT_DIG__) || defined(EMU_NO_FLOAT16)  // by hand, to nearest, ties to even
static inline float emu_half_value(unsigned short bits) {
    unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    float tiny = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -tiny : tiny;
}
static inline unsigned short emu_half_bits(float value) {
    unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return static_cast<unsigned short>(sign | 0x7e00u);
    if (size >= 0x477ff000u) return static_cast<unsigned short>(sign | 0x7c00u);
    if (size < 0x38800000u) {  // subnormal: the addition rounds
        float moved = __uint_as_float(size) + 0.5f;
        return static_cast<unsigned short>(sign | (__float_as_uint(moved) - 0x3f000000u));
    }
    size += 0xfffu + (size >> 13 & 1);
    return static_cast<unsigned short>(sign | (size - 0x38000000u) >> 13);
}
#else
static inline float emu_half_value(unsigned short bits) {
    return static_cast<float>(emu_bits<_Float16>(bits));
}
static inline unsigned short emu_half_bits(float value) {
    return emu_bits<unsigned short>(static_cast<_Float16>(value));
}
#endif

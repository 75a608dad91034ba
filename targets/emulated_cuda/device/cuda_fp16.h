// CUDA's half precision: values of 16 bits, every operation rounded to them.
#pragma once

struct __half {
    unsigned short bits;

    __half() = default;
    __half(const __half &) = default;
    __half &operator=(const __half &) = default;
    void operator=(const __half &other) volatile { bits = other.bits; }
    __half(float value) : bits(emu_half_bits(value)) {}
    __half(double value) : bits(emu_half_bits(static_cast<float>(value))) {}
    __half(int value) : __half(static_cast<float>(value)) {}
    __half(unsigned value) : __half(static_cast<float>(value)) {}
    __half(long value) : __half(static_cast<float>(value)) {}
    __half(unsigned long value) : __half(static_cast<float>(value)) {}
    __half(long long value) : __half(static_cast<float>(value)) {}
    __half(unsigned long long value) : __half(static_cast<float>(value)) {}
    __half(short value) : __half(static_cast<float>(value)) {}
    __half(unsigned short value) : __half(static_cast<float>(value)) {}
    __half(signed char value) : __half(static_cast<float>(value)) {}
    __half(unsigned char value) : __half(static_cast<float>(value)) {}
    __half(bool value) : __half(static_cast<float>(value)) {}
    operator float() const volatile { return emu_half_value(bits); }

    __half &operator+=(__half other) { return *this = __half(float(*this) + float(other)); }
    __half &operator-=(__half other) { return *this = __half(float(*this) - float(other)); }
    __half &operator*=(__half other) { return *this = __half(float(*this) * float(other)); }
    __half &operator/=(__half other) { return *this = __half(float(*this) / float(other)); }
};
using half = __half;

static inline __half operator+(__half a, __half b) { return float(a) + float(b); }
static inline __half operator-(__half a, __half b) { return float(a) - float(b); }
static inline __half operator*(__half a, __half b) { return float(a) * float(b); }
static inline __half operator/(__half a, __half b) { return float(a) / float(b); }
static inline __half operator-(__half a) { return -float(a); }
static inline bool operator<(__half a, __half b) { return float(a) < float(b); }
static inline bool operator>(__half a, __half b) { return float(a) > float(b); }
static inline bool operator<=(__half a, __half b) { return float(a) <= float(b); }
static inline bool operator>=(__half a, __half b) { return float(a) >= float(b); }
static inline bool operator==(__half a, __half b) { return float(a) == float(b); }
static inline bool operator!=(__half a, __half b) { return float(a) != float(b); }

struct alignas(4) __half2 {
    __half x, y;
};
using half2 = __half2;
static inline half2 make_half2(half x, half y) { return {x, y}; }
static inline half2 __halves2half2(half x, half y) { return {x, y}; }
static inline half2 __half2half2(half x) { return {x, x}; }
static inline half __low2half(half2 x) { return x.x; }
static inline half __high2half(half2 x) { return x.y; }
static inline float2 __half22float2(half2 x) { return {x.x, x.y}; }
static inline half2 __floats2half2_rn(float x, float y) { return {x, y}; }
static inline half2 __float22half2_rn(float2 x) { return {x.x, x.y}; }

static inline float __half2float(half x) { return x; }
static inline half __float2half(float x) { return x; }
static inline half __float2half_rn(float x) { return x; }
static inline half __int2half_rn(int x) { return x; }
static inline int __half2int_rz(half x) { return static_cast<int>(float(x)); }
static inline unsigned short __half_as_ushort(half x) { return x.bits; }
static inline half __ushort_as_half(unsigned short bits) {
    half x;
    x.bits = bits;
    return x;
}

static inline half __hadd(half a, half b) { return a + b; }
static inline half __hsub(half a, half b) { return a - b; }
static inline half __hmul(half a, half b) { return a * b; }
static inline half __hdiv(half a, half b) { return a / b; }
static inline half __hneg(half a) { return -a; }
static inline half __habs(half a) { return __ushort_as_half(a.bits & 0x7fff); }
static inline half __hfma(half a, half b, half c) { return fmaf(a, b, c); }
static inline half __hmax(half a, half b) { return fmaxf(a, b); }
static inline half __hmin(half a, half b) { return fminf(a, b); }
static inline bool __hlt(half a, half b) { return a < b; }
static inline bool __hgt(half a, half b) { return a > b; }
static inline bool __hle(half a, half b) { return a <= b; }
static inline bool __hge(half a, half b) { return a >= b; }
static inline bool __heq(half a, half b) { return a == b; }
static inline bool __hne(half a, half b) { return a != b; }
static inline bool __hisnan(half a) { return a != a; }

static inline half2 __hadd2(half2 a, half2 b) { return {a.x + b.x, a.y + b.y}; }
static inline half2 __hsub2(half2 a, half2 b) { return {a.x - b.x, a.y - b.y}; }
static inline half2 __hmul2(half2 a, half2 b) { return {a.x * b.x, a.y * b.y}; }
static inline half2 __hfma2(half2 a, half2 b, half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
static inline half2 __hmax2(half2 a, half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
static inline half2 __hmin2(half2 a, half2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }

static inline half hexp(half x) { return expf(x); }
static inline half hexp2(half x) { return exp2f(x); }
static inline half hlog(half x) { return logf(x); }
static inline half hlog2(half x) { return log2f(x); }
static inline half hlog10(half x) { return log10f(x); }
static inline half hsqrt(half x) { return sqrtf(x); }
static inline half hrsqrt(half x) { return 1 / sqrtf(x); }
static inline half hrcp(half x) { return 1 / float(x); }
static inline half hcos(half x) { return cosf(x); }
static inline half hsin(half x) { return sinf(x); }
static inline half hfloor(half x) { return floorf(x); }
static inline half hceil(half x) { return ceilf(x); }
static inline half htrunc(half x) { return truncf(x); }
static inline half hrint(half x) { return rintf(x); }

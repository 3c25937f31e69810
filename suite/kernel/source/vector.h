// Vectors of the width that kernels.cpp is compiled for, in vector extensions of GCC and Clang.
#pragma once

#include "simd.h"

namespace suite {
namespace {

constexpr int lanes = SUITE_LANES;
typedef float Vector __attribute__((vector_size(lanes * 4)));
typedef float Unaligned __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(lanes * 4)));
typedef int32_t UnalignedBits __attribute__((vector_size(lanes * 4), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
// Minus zero, not plus: x - 0 is x also for x = -0, so the compiler may drop it and broadcast straight from memory.
inline Vector splat(float x) { return x - Vector{}; }
inline void store(float* to, Vector what) { *reinterpret_cast<Unaligned*>(to) = what; }

// Comparisons are written so that a NaN stays a NaN.
template <class T>
inline T clamped(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

// -1 in the first `count` lanes.
inline Bits first_lanes(int count) {
  int32_t bits[lanes];
  for (int lane = 0; lane < lanes; ++lane) bits[lane] = lane < count ? -1 : 0;
  return *reinterpret_cast<const UnalignedBits*>(bits);
}

inline Vector masked(Vector x, Bits bits) { return reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) & bits); }

#if SUITE_LANES == 16
#define SUITE_EVENS(one) one, one + 2, one + 4, one + 6, one + 8, one + 10, one + 12, one + 14, one + 16, one + 18, one + 20, \
                         one + 22, one + 24, one + 26, one + 28, one + 30
#elif SUITE_LANES == 8
#define SUITE_EVENS(one) one, one + 2, one + 4, one + 6, one + 8, one + 10, one + 12, one + 14
#else
#define SUITE_EVENS(one) one, one + 2, one + 4, one + 6
#endif

// Every second of the values of two vectors, from number `start`, which is 0 or 1.
template <int start = 0>
inline Vector every_second(Vector a, Vector b) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, SUITE_EVENS(start));
#else
  return __builtin_shuffle(a, b, Bits{SUITE_EVENS(start)});
#endif
}

inline Vector every_second(const float* from) { return every_second(load(from), load(from + lanes)); }

// Has a loaded value stay in its register; g++ would load it anew for each use.
inline void keep(Vector& x) {
#if defined(__x86_64__)
  asm("" : "+v"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#endif
}

}  // namespace
}  // namespace suite

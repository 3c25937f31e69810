// Depthwise 3x3 convolutions of one plane; included by kernels.cpp alone.
#pragma once

#include "vector.h"

namespace suite {
namespace {

// R output rows of one vector column with stride S: an input row is loaded once for the up to three rows that it counts in.
template <int S, int R, bool whole>
inline void column(const Channel& job, const Vector (&weight)[9], const float* in, float* out, const float* residual, Bits bits) {
  Vector sum[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sum[r] = splat(job.bias);
#pragma GCC unroll 16
  for (int y = 0; y < S * (R - 1) + 3; ++y, in += job.input_pitch) {
    Vector x[3];
    if constexpr (S == 1) {
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx) x[kx] = load(in + kx);
    } else {
      Vector first = load(in + 1), second = load(in + 1 + lanes);
      keep(first);
      keep(second);
      x[0] = every_second(in);
      x[1] = every_second(first, second);
      x[2] = every_second<1>(first, second);
    }
#pragma GCC unroll 3
    for (int kx = 0; kx < 3; ++kx) keep(x[kx]);
#pragma GCC unroll 3
    for (int ky = 0; ky < 3; ++ky) {
      const int r = (y - ky) / S;
      if (y < ky || (y - ky) % S || r >= R) continue;
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx) sum[r] += weight[3 * ky + kx] * x[kx];
    }
  }
  const Vector low = splat(job.low), high = splat(job.high);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r, out += job.output_pitch) {
    if (residual) sum[r] += load(residual + r * job.output_pitch);
    const Vector y = clamped(sum[r], low, high);
    store(out, whole ? y : masked(y, bits));
  }
}

// A vector behind a row's end spoils the beginning of the next row; so columns come from right to left, rows downwards.
template <int S, int R>
__attribute__((noinline)) void band(const Channel& job, int y) {
  Vector weight[9];
#pragma GCC unroll 9
  for (int i = 0; i < 9; ++i) weight[i] = splat(job.weight[i]);
  int x = (job.width - 1) / lanes * lanes;
  const float* in = job.input + S * (y * job.input_pitch + x);
  const std::ptrdiff_t to = y * job.output_pitch + x;
  float* out = job.output + to;
  const float* residual = job.residual ? job.residual + to : nullptr;
  column<S, R, false>(job, weight, in, out, residual, first_lanes(job.width - x));
  while ((x -= lanes) >= 0) {
    in -= S * lanes;
    out -= lanes;
    if (residual) residual -= lanes;
    column<S, R, true>(job, weight, in, out, residual, Bits{});
  }
}

template <int S>
void channel(const Channel& job) {
  int y = 0;
#ifdef SUITE_LARGE_REGISTERS
  for (; y + 7 <= job.height; y += 7) band<S, 7>(job, y);
#endif
  constexpr int some = S == 1 || lanes == 16 ? 4 : 2;  // as many as fit 16 registers with the weights
  for (; y + some <= job.height; y += some) band<S, some>(job, y);
  for (; y < job.height; ++y) band<S, 1>(job, y);
}

}  // namespace
}  // namespace suite

// Depthwise 3x3 convolutions of one plane; included by kernels.cpp alone.
#pragma once

#include "vector.h"

namespace suite {
namespace {

// R output rows of one vector column with stride S: an input row is loaded once for the up to three rows that it counts in.
template <int S, int R>
inline void column(const Channel& job, const Vector (&weight)[9], const float* in, float* out, const float* residual, Bits bits) {
  Vector sum[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sum[r] = splat(job.bias);
#pragma GCC unroll 16
  for (int y = 0; y < S * (R - 1) + 3; ++y, in += job.input_pitch) {
    Vector x[3];
#pragma GCC unroll 3
    for (int kx = 0; kx < 3; ++kx) {
      x[kx] = S == 1 ? load(in + kx) : every_second(in + kx);
      keep(x[kx]);
    }
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
    store(out, masked(clamped(sum[r], low, high), bits));
  }
}

// A vector behind a row's end spoils the beginning of the next row; so columns come from right to left, rows downwards.
template <int S, int R>
__attribute__((noinline)) void band(const Channel& job, int y) {
  Vector weight[9];
#pragma GCC unroll 9
  for (int i = 0; i < 9; ++i) weight[i] = splat(job.weight[i]);
  int x = (job.width - 1) / lanes * lanes;
  Bits bits = first_lanes(job.width - x);
  for (; x >= 0; x -= lanes, bits = Bits{} - 1) {
    const std::ptrdiff_t from = S * (y * job.input_pitch + x), to = y * job.output_pitch + x;
    column<S, R>(job, weight, job.input + from, job.output + to, job.residual ? job.residual + to : nullptr, bits);
  }
}

template <int S>
void channel(const Channel& job) {
  int y = 0;
#ifdef SUITE_LARGE_REGISTERS
  for (; y + 7 <= job.height; y += 7) band<S, 7>(job, y);
#endif
  for (; y + 4 <= job.height; y += 4) band<S, 4>(job, y);
  for (; y < job.height; ++y) band<S, 1>(job, y);
}

}  // namespace
}  // namespace suite

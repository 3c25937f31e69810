// The microkernels, in vector extensions of GCC and Clang; see simd.h for how this file is compiled.
//
// CMake defines SUITE_TABLE (the name of the table), SUITE_LANES (floats per vector) and SUITE_LARGE_REGISTERS (32
// vector registers wide enough for an 8 x 3 tile).
#include "depthwise.h"
#include "loops.h"

namespace suite {
namespace {

constexpr int ahead = 128;  // blocks

// The loop over kept blocks must keep its N * V sums in registers. That holds while the function stays out of line, its
// inner loops are unrolled, and no sum is ever addressed by a variable; tests/kernel looks for spills in the disassembly.
template <int N, int V>
__attribute__((noinline)) void tile(const Tile& job) {
  if (const float* place = job.residual) {  // comes from far away, too
    for (int n = 0; n < N; ++n, place += job.plane) {
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) __builtin_prefetch(place + v * lanes);
    }
  }
  Vector sum[N][V];
#pragma GCC unroll 16
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) sum[n][v] = splat(job.bias[n]);
  }
  const char* const input = job.input;
  const int32_t* offset = job.offset;
  const int32_t* const end = offset + job.count;
  const float* value = job.value;
  const std::ptrdiff_t step = job.step;
  for (; offset != end; ++offset, value += step) {
    // The processor's own prefetching stops at the end of every page; weights come from far away, and just once.
    __builtin_prefetch(value + ahead * step);
    __builtin_prefetch(offset + ahead);
    const float* pixels = reinterpret_cast<const float*>(input + *offset);
    Vector x[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) x[v] = load(pixels + v * lanes);
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      const Vector weight = splat(value[n]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[n][v] += weight * x[v];
    }
  }
  const Vector low = splat(job.low);
  const Vector high = splat(job.high);
  const float* residual = job.residual;
  float* output = job.output;
  const int32_t* const mask = job.mask;
  const std::ptrdiff_t plane = job.plane;
  const int rows = job.rows;
  Bits shown[V];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) shown[v] = *reinterpret_cast<const UnalignedBits*>(mask + v * lanes) != 0;
#pragma GCC unroll 16
  for (int n = 0; n < N; ++n, output += plane) {
    if (n >= rows) return;
    if (residual) {
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[n][v] += load(residual + v * lanes);
      residual += plane;
    }
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      const Vector y = clamped(sum[n][v], low, high);
      store(output + v * lanes, shown[v] ? y : Vector{});
    }
  }
}

// Four independent sums hide the latency of the multiply-add.
template <int N>
void product(const Product& job) {
  constexpr int W = N < lanes ? N : lanes;
  typedef float Group __attribute__((vector_size(W * 4)));
  typedef float UnalignedGroup __attribute__((vector_size(W * 4), aligned(4), may_alias));
  for (int64_t g = job.first; g < job.last; ++g) {
    for (int part = 0; part < N; part += W) {
      const int64_t row = g * N + part;
      if (row >= job.rows) break;
      Group sum[4] = {};
      int64_t e = job.pointer[g];
      const int64_t end = job.pointer[g + 1];
      const float* value = job.value + e * N + part;
      for (; e + 4 <= end; e += 4, value += 4 * N) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) {
          sum[u] += *reinterpret_cast<const UnalignedGroup*>(value + u * N) * job.input[job.index[e + u]];
        }
      }
      for (; e < end; ++e, value += N) {
        sum[0] += *reinterpret_cast<const UnalignedGroup*>(value) * job.input[job.index[e]];
      }
      const Group all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
      float total[W];  // a vector of one float is no vector and cannot be indexed
      __builtin_memcpy(total, &all, sizeof(total));
      const int rows = job.rows - row < W ? static_cast<int>(job.rows - row) : W;
      for (int n = 0; n < rows; ++n) {
        float y = total[n] + job.bias[row + n];
        if (job.residual) y += job.residual[row + n];
        job.output[row + n] = clamped(y, job.low, job.high);
      }
    }
  }
}

template <int N, int V>
constexpr void fill(TileFunction (&row)[longest_tile + 1]) {
  row[V] = tile<N, V>;
  if constexpr (V > 1) fill<N, V - 1>(row);
}

// The largest tile per width: sums, V input vectors and one weight must fit the registers (kernel.md, section 5).
constexpr Kernels make(const char* name) {
  Kernels table{};
  table.name = name;
  table.lanes = lanes;
#ifdef SUITE_LARGE_REGISTERS
  constexpr int vectors[widths] = {14, 8, 6, 3};
  fill<8, vectors[3]>(table.tile[3]);
#else
  constexpr int vectors[widths] = {10, 4, lanes > 4 ? 3 : 2, 0};
#endif
  fill<1, vectors[0]>(table.tile[0]);
  fill<2, vectors[1]>(table.tile[1]);
  fill<4, vectors[2]>(table.tile[2]);
  for (int i = 0; i < widths; ++i) table.vectors[i] = vectors[i];
  table.product[0] = product<1>;
  table.product[1] = product<2>;
  table.product[2] = product<4>;
  table.product[3] = product<8>;
  table.product[4] = product<16>;
  table.product[5] = product<32>;
  table.combine[0] = combine<Add>;
  table.combine[1] = combine<Subtract>;
  table.combine[2] = combine<Maximum>;
  table.combine[3] = combine<Minimum>;
  table.leaky_relu = leaky_relu;
  table.clamp = clamp;
  table.hard_swish = hard_swish;
  table.hard_sigmoid = hard_sigmoid;
  table.scale = scale;
  table.sum = sum;
  table.pick = pick;
  table.split = split;
  table.channel[0] = channel<1>;
  table.channel[1] = channel<2>;
  table.max_pool = max_pool;
  table.mean_pool = mean_pool;
  return table;
}

#define SUITE_TEXT_(x) #x
#define SUITE_TEXT(x) SUITE_TEXT_(x)
}  // namespace

extern constexpr Kernels SUITE_TABLE = make(SUITE_TEXT(SUITE_TABLE));

}  // namespace suite

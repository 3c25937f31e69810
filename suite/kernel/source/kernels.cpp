// The microkernels, in vector extensions of GCC and Clang; see simd.h for how this file is compiled.
//
// CMake defines SUITE_TABLE (the name of the table), SUITE_LANES (floats per vector) and SUITE_LARGE_REGISTERS (32
// vector registers wide enough for an 8 x 3 tile).
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

// The loop over kept blocks must keep its N * V sums in registers. That holds while the function stays out of line, its
// inner loops are unrolled, and no sum is ever addressed by a variable; tests/kernel looks for spills in the disassembly.
template <int N, int V>
__attribute__((noinline)) void tile(const Tile& job) {
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
      const Bits bits = *reinterpret_cast<const UnalignedBits*>(mask + v * lanes);
      store(output + v * lanes, reinterpret_cast<Vector>(reinterpret_cast<Bits>(y) & bits));
    }
  }
}

// Four independent sums hide the latency of the multiply-add.
template <int N>
void product(const Product& job) {
  constexpr int W = N > 16 ? 16 : N;
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

void add(const float* a, const float* b, float* out, std::ptrdiff_t size, float low, float high) {
  for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = clamped(a[i] + b[i], low, high);
}

void clamp(const float* in, float* out, std::ptrdiff_t size, float low, float high) {
  for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = clamped(in[i], low, high);
}

void hard_swish(const float* in, float* out, std::ptrdiff_t size) {
  for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = in[i] * clamped(in[i] + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f);
}

void hard_sigmoid(const float* in, float* out, std::ptrdiff_t size) {
  for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = clamped(in[i] + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f);
}

void scale(const float* in, float factor, float* out, std::ptrdiff_t size) {
  for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = in[i] * factor;
}

float sum(const float* in, std::ptrdiff_t size) {
  Vector total[4] = {};
  std::ptrdiff_t i = 0;
  for (; i + 4 * lanes <= size; i += 4 * lanes) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) total[u] += load(in + i + u * lanes);
  }
  const Vector all = (total[0] + total[1]) + (total[2] + total[3]);
  float result = 0;
  for (int lane = 0; lane < lanes; ++lane) result += all[lane];
  for (; i < size; ++i) result += in[i];
  return result;
}

void pick(const float* in, std::ptrdiff_t stride, float* out, std::ptrdiff_t size) {
  if (stride == 1) {
    for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = in[i];
  } else {
    for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = in[stride * i];
  }
}

// -1 in the first `count` lanes.
inline Bits first_lanes(int count) {
  int32_t bits[lanes];
  for (int lane = 0; lane < lanes; ++lane) bits[lane] = lane < count ? -1 : 0;
  return *reinterpret_cast<const UnalignedBits*>(bits);
}

inline Vector masked(Vector x, Bits bits) { return reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) & bits); }

#if SUITE_LANES == 16
#define SUITE_EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#elif SUITE_LANES == 8
#define SUITE_EVENS 0, 2, 4, 6, 8, 10, 12, 14
#else
#define SUITE_EVENS 0, 2, 4, 6
#endif

inline Vector every_second(const float* from) {
#ifdef __clang__
  return __builtin_shufflevector(load(from), load(from + lanes), SUITE_EVENS);
#else
  return __builtin_shuffle(load(from), load(from + lanes), Bits{SUITE_EVENS});
#endif
}

void split(const Split& job) {
  const int whole = (job.evens + lanes - 1) / lanes - 1;
  const Bits last_even = first_lanes(job.evens - whole * lanes), last_odd = first_lanes(job.odds - whole * lanes);
  for (int y = 0; y < job.rows; ++y) {
    const float* in = job.input + y * job.input_pitch;
    const std::ptrdiff_t to = y * job.output_pitch;
    for (int i = 0; i < whole; ++i) store(job.even + to + i * lanes, every_second(in + 2 * i * lanes));
    store(job.even + to + whole * lanes, masked(every_second(in + 2 * whole * lanes), last_even));
    if (!job.odd) continue;
    for (int i = 0; i < whole; ++i) store(job.odd + to + i * lanes, every_second(in + 2 * i * lanes + 1));
    store(job.odd + to + whole * lanes, masked(every_second(in + 2 * whole * lanes + 1), last_odd));
  }
}

// Has a loaded value stay in its register; g++ would load it anew for each use.
inline void keep(Vector& x) {
#if defined(__x86_64__)
  asm("" : "+v"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#endif
}

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

struct Larger {
  static constexpr float start = -__builtin_inff();
  static float join(float a, float b) { return (b > a) | (b != b) ? b : a; }
};

struct Sum {
  static constexpr float start = 0;
  static float join(float a, float b) { return a + b; }
};

template <class Fold>
inline void fold_row(const float* in, std::ptrdiff_t stride, float* out, int size) {
  for (int x = 0; x < size; ++x) out[x] = Fold::join(out[x], in[x * stride]);
}

// Folds the rows of a window into `scratch` first: contiguous, and shared by all windows of the output row. What lies left
// and right of the plane stays at the fold's neutral value there.
template <class Fold>
void pool(const Window& job, float factor) {
  const int width = (job.out_width - 1) * job.stride_x + job.kernel_x;
  const int first = job.left;
  const int inside = job.width < width - first ? job.width : width - first;
  for (int y = 0; y < job.out_height; ++y) {
    float* out = job.output + y * job.output_pitch;
    for (int x = 0; x < width; ++x) job.scratch[x] = Fold::start;
    for (int ky = 0; ky < job.kernel_y; ++ky) {
      const int row = y * job.stride_y - job.top + ky;
      if (row >= 0 && row < job.height) fold_row<Fold>(job.input + row * job.input_pitch, 1, job.scratch + first, inside);
    }
    for (int x = 0; x < job.out_width; ++x) out[x] = Fold::start;
    for (int kx = 0; kx < job.kernel_x; ++kx) {
      if (job.stride_x == 1) fold_row<Fold>(job.scratch + kx, 1, out, job.out_width);
      else if (job.stride_x == 2) fold_row<Fold>(job.scratch + kx, 2, out, job.out_width);  // a constant stride is vectorised
      else fold_row<Fold>(job.scratch + kx, job.stride_x, out, job.out_width);
    }
    if (factor != 1) {
      for (int x = 0; x < job.out_width; ++x) out[x] *= factor;
    }
  }
}

void max_pool(const Window& job) { pool<Larger>(job, 1.0f); }
void mean_pool(const Window& job) { pool<Sum>(job, 1.0f / static_cast<float>(job.kernel_y * job.kernel_x)); }

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
  table.add = add;
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

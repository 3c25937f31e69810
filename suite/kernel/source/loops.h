// Loops over values and planes that the compiler vectorises; included by kernels.cpp alone.
#pragma once

#include "vector.h"

namespace suite {
namespace {

struct Add {
  static float join(float a, float b) { return a + b; }
};
struct Subtract {
  static float join(float a, float b) { return a - b; }
};
struct Maximum {
  static float join(float a, float b) { return (b > a) | (b != b) ? b : a; }
};
struct Minimum {
  static float join(float a, float b) { return (b < a) | (b != b) ? b : a; }
};

template <class Operation>
void combine(const float* a, const float* b, float* out, std::ptrdiff_t size, float low, float high) {
  for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = clamped(Operation::join(a[i], b[i]), low, high);
}

void leaky_relu(const float* in, float slope, float* out, std::ptrdiff_t size) {
  for (std::ptrdiff_t i = 0; i < size; ++i) out[i] = in[i] > 0 ? in[i] : slope * in[i];
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
  for (; i + lanes <= size; i += lanes) total[0] += load(in + i);
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

struct Larger {
  static constexpr float start = -__builtin_inff();
  static Vector join(Vector a, Vector b) { return (b > a) | (b != b) ? b : a; }
};

struct Sum {
  static constexpr float start = 0;
  static Vector join(Vector a, Vector b) { return a + b; }
};

inline Vector strided(const float* from, std::ptrdiff_t stride) {
  if (stride == 1) return load(from);
  if (stride == 2) return every_second(from);
  float picked[lanes];
  for (int lane = 0; lane < lanes; ++lane) picked[lane] = from[lane * stride];
  return load(picked);
}

// Folds the rows of a window into `scratch` first: contiguous, and shared by all windows of the output row. What lies left
// and right of the plane stays at the fold's neutral value there.
template <class Fold>
void pool(const Window& job, float factor) {
  const int width = (job.out_width - 1) * job.stride_x + job.kernel_x;
  const int inside = job.width < width - job.left ? job.width : width - job.left;
  float* const middle = job.scratch + job.left;
  for (int x = 0; x < job.left; ++x) job.scratch[x] = Fold::start;
  for (int y = 0; y < job.out_height; ++y) {
    const int top = y * job.stride_y - job.top;
    const int first = top < 0 ? 0 : top, last = top + job.kernel_y < job.height ? top + job.kernel_y : job.height;
    for (int x = 0; x < inside; x += lanes) {
      Vector all = splat(Fold::start);
      for (int row = first; row < last; ++row) all = Fold::join(all, load(job.input + row * job.input_pitch + x));
      store(middle + x, all);
    }
    for (int x = inside; x < width - job.left; ++x) middle[x] = Fold::start;
    for (int x = 0; x < job.out_width; x += lanes) {
      Vector all = splat(Fold::start);
      for (int kx = 0; kx < job.kernel_x; ++kx) all = Fold::join(all, strided(job.scratch + x * job.stride_x + kx, job.stride_x));
      store(job.output + y * job.output_pitch + x, masked(all * factor, first_lanes(job.out_width - x)));
    }
  }
}

void max_pool(const Window& job) { pool<Larger>(job, 1.0f); }
void mean_pool(const Window& job) { pool<Sum>(job, 1.0f / static_cast<float>(job.kernel_y * job.kernel_x)); }

}  // namespace
}  // namespace suite

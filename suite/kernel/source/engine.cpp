#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace suite {
namespace {

constexpr std::ptrdiff_t line = 16;    // floats in a cache line
constexpr std::ptrdiff_t slack = 256;  // floats that a tile may touch behind the last pixel of a plane (14 vectors of 16)

std::ptrdiff_t rounded(std::ptrdiff_t size) { return (size + line - 1) / line * line; }

int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

const Kernels* choose(const std::string& simd) {
#ifdef SUITE_X86
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  if (simd == "avx512" || (simd.empty() && has_avx512)) {
    if (!has_avx512) throw std::invalid_argument("this CPU has no AVX-512; SUITE_SIMD may be avx2 or portable");
    return &avx512;
  }
  if (simd == "avx2" || (simd.empty() && has_avx2)) {
    if (!has_avx2) throw std::invalid_argument("this CPU has no AVX2; SUITE_SIMD may be portable");
    return &avx2;
  }
#endif
  if (simd.empty() || simd == "portable") return &portable;
  throw std::invalid_argument("SUITE_SIMD is '" + simd + "'; it may be avx512, avx2 or portable");
}

// Where thread `part` of `parts` begins in 0..weights.size(), by cumulative weight.
std::vector<int64_t> cut(const std::vector<int64_t>& cumulative, int parts) {
  std::vector<int64_t> begin(parts + 1, static_cast<int64_t>(cumulative.size()) - 1);
  begin[0] = 0;
  for (int part = 1; part < parts; ++part) {
    const int64_t wanted = cumulative.back() * part / parts;
    begin[part] = std::lower_bound(cumulative.begin(), cumulative.end(), wanted) - cumulative.begin();
  }
  return begin;
}

std::pair<std::ptrdiff_t, std::ptrdiff_t> share(std::ptrdiff_t size, int thread, int threads) {
  return {size * thread / threads, size * (thread + 1) / threads};
}

// A convolution over planes whose pitch is that of the output: the input itself, or its stride phases copied apart.
struct Convolution {
  const Kernels* kernels;
  const float* source;        // pixel (0, 0) of the first source plane
  float* output;              // pixel (0, 0) of output channel 0
  const float* residual;      // likewise, or null
  std::ptrdiff_t plane;       // of the output
  std::ptrdiff_t per_channel; // floats from one channel's source to the next, depthwise only
  const int32_t* mask;
  Blocks blocks;
  std::vector<int32_t> offset;
  Clamp clamp;
  bool depthwise, groups_outside;
  int width, log_width, vectors, tiles;
  std::vector<int64_t> cost;  // cumulative kept blocks by group

  void tile(int64_t group, int number) const {
    const int lanes = kernels->lanes;
    const int first = vectors * number / tiles, last = vectors * (number + 1) / tiles;
    const int64_t begin = blocks.pointer[group];
    const float* input = source + first * lanes + (depthwise ? group * per_channel : 0);
    for (int part = 0; part < blocks.n; part += width) {
      const int64_t row = group * blocks.n + part;
      if (row >= blocks.rows) return;
      Tile job;
      job.input = reinterpret_cast<const char*>(input);
      job.offset = offset.data() + begin;
      job.value = blocks.value.data() + begin * blocks.n + part;
      job.step = blocks.n;
      job.count = blocks.pointer[group + 1] - begin;
      job.bias = blocks.bias.data() + row;
      job.output = output + row * plane + first * lanes;
      job.residual = residual ? residual + row * plane + first * lanes : nullptr;
      job.plane = plane;
      job.mask = mask + first * lanes;
      job.rows = static_cast<int>(std::min<int64_t>(width, blocks.rows - row));
      job.low = clamp.low;
      job.high = clamp.high;
      kernels->tile[log_width][last - first](job);
    }
  }

  void run(int thread, int threads) const {
    const int64_t groups = static_cast<int64_t>(blocks.pointer.size()) - 1;
    if (groups_outside || tiles < 2 * threads) {
      const auto begin = cut(cost, threads);
      for (int64_t g = begin[thread]; g < begin[thread + 1]; ++g)
        for (int t = 0; t < tiles; ++t) tile(g, t);
    } else {
      const auto [begin, end] = share(tiles, thread, threads);
      for (auto t = begin; t < end; ++t)
        for (int64_t g = 0; g < groups; ++g) tile(g, static_cast<int>(t));
    }
  }
};

// Copies the stride phases that the taps of a convolution read into planes with the output's pitch.
struct Phases {
  const Kernels* kernels;
  const Buffer* input;
  Geometry geometry;
  int before_y, before_x, phases_y, phases_x, rows, columns;
  std::ptrdiff_t pitch, plane;
  std::shared_ptr<Buffer> planes;  // channels * phases planes of one row each, laid out by hand

  float* row(int channel, int py, int px, int y) const {
    return planes->start + (static_cast<std::ptrdiff_t>(channel) * phases_y * phases_x + py * phases_x + px) * plane +
           (y + before_y) * pitch + before_x;
  }

  void run(int thread, int threads) const {
    const auto [begin, end] = share(input->channels, thread, threads);
    for (auto channel = begin; channel < end; ++channel) {
      const float* pixels = input->pixel(static_cast<int>(channel));
      for (int py = 0; py < phases_y; ++py)
        for (int px = 0; px < phases_x; ++px) {
          const int present = std::min((input->width - px + geometry.stride_x - 1) / geometry.stride_x, columns);
          for (int y = 0; y < rows - before_y && py + y * geometry.stride_y < input->height; ++y)
            kernels->pick(pixels + (py + y * geometry.stride_y) * input->pitch + px, geometry.stride_x,
                          row(static_cast<int>(channel), py, px, y), present);
        }
    }
  }
};

}  // namespace

Buffer::Buffer(int channels, int height, int width, int pad, bool compact)
    : channels(channels), height(height), width(width), pad(pad), compact(compact) {
  pitch = compact ? width : width + pad;
  origin = compact ? 0 : rounded(pad * pitch + pad);
  plane = compact ? static_cast<std::ptrdiff_t>(height) * width : rounded(origin + (height + pad) * pitch + slack);
  const std::size_t size = rounded(channels * plane + 2 * slack) * sizeof(float);
  start = static_cast<float*>(std::aligned_alloc(64, size));
  if (!start) throw std::bad_alloc();
  memory = std::shared_ptr<float[]>(start, [](float* pointer) { std::free(pointer); });
  std::memset(start, 0, size);
}

Engine::Engine(const std::string& simd, int threads) : kernels_(choose(simd)), team_(std::make_unique<Team>(threads)) {}

void Engine::set_threads(int threads) {
  const std::lock_guard lock(running_);
  if (threads != team_->size()) team_ = std::make_unique<Team>(threads);
}

int Engine::buffer(int channels, int height, int width, int pad, bool compact) {
  buffers_.push_back(std::make_unique<Buffer>(channels, height, width, pad, compact));
  return static_cast<int>(buffers_.size()) - 1;
}

int Engine::append(Step step) {
  steps_.push_back(std::move(step));
  return static_cast<int>(steps_.size()) - 1;
}

const std::vector<int32_t>* Engine::mask(const Buffer& of) {
  auto made = std::make_unique<std::vector<int32_t>>(of.span() + slack, 0);
  for (int y = 0; y < of.height; ++y)
    std::fill_n(made->begin() + y * of.pitch, of.width, -1);
  masks_.push_back(std::move(made));
  return masks_.back().get();
}

int Engine::convolve(int in, int out, int residual, bool depthwise, const Geometry& g, Blocks blocks, Clamp clamp) {
  const Buffer& input = at(in);
  const Buffer& output = at(out);
  if (output.compact) throw std::invalid_argument("a convolution cannot write a compact buffer");
  if (residual >= 0 && (at(residual).pitch != output.pitch || at(residual).plane != output.plane || at(residual).compact))
    throw std::invalid_argument("a residual must be laid out like the output");
  auto job = std::make_shared<Convolution>();
  job->kernels = kernels_;
  job->output = output.pixel(0);
  job->residual = residual >= 0 ? at(residual).pixel(0) : nullptr;
  job->plane = output.plane;
  job->mask = mask(output)->data();
  job->depthwise = depthwise;
  job->clamp = clamp;

  const int last_y = (g.kernel_y - 1) * g.dilation_y - g.top, last_x = (g.kernel_x - 1) * g.dilation_x - g.left;
  const bool direct = g.stride_y == 1 && g.stride_x == 1 && !input.compact && input.pitch == output.pitch &&
                      std::max(g.top, last_y) <= input.pad && std::max(g.left, last_x) <= input.pad &&
                      input.height == output.height && input.width == output.width;
  std::ptrdiff_t source_plane, source_pitch;
  auto phases = std::make_shared<Phases>();
  if (direct) {
    job->source = input.pixel(0);
    job->per_channel = source_plane = input.plane;
    source_pitch = input.pitch;
  } else {
    const int before_x = -floor_divide(-g.left, g.stride_x), after_x = std::max(0, floor_divide(last_x, g.stride_x));
    // A row's data must end before the next row's left overhang begins, and its right overhang before the next row's data.
    const int columns = std::min((input.width + g.stride_x - 1) / g.stride_x, output.width + after_x);
    if (output.pitch < std::max(output.width + after_x, columns + before_x))
      throw std::invalid_argument("the output of this convolution needs more padding columns");
    phases->kernels = kernels_;
    phases->input = &input;
    phases->geometry = g;
    phases->before_y = -floor_divide(-g.top, g.stride_y);
    phases->before_x = before_x;
    phases->columns = columns;
    phases->phases_y = std::min(g.stride_y, (g.kernel_y - 1) * g.dilation_y + 1);
    phases->phases_x = std::min(g.stride_x, (g.kernel_x - 1) * g.dilation_x + 1);
    if (g.top % g.stride_y || g.dilation_y > 1) phases->phases_y = g.stride_y;
    if (g.left % g.stride_x || g.dilation_x > 1) phases->phases_x = g.stride_x;
    phases->rows = output.height + phases->before_y + std::max(0, floor_divide(last_y, g.stride_y));
    phases->pitch = source_pitch = output.pitch;
    phases->plane = source_plane = rounded((phases->rows + 1) * source_pitch + slack);
    const int planes = input.channels * phases->phases_y * phases->phases_x;
    phases->planes = std::make_shared<Buffer>(planes, 1, static_cast<int>(source_plane), 0, true);
    job->source = phases->row(0, 0, 0, 0);
    job->per_channel = source_plane * phases->phases_y * phases->phases_x;
  }
  job->offset.resize(blocks.index.size());
  for (std::size_t e = 0; e < blocks.index.size(); ++e) {
    const int y = blocks.tap[e] / g.kernel_x * g.dilation_y - g.top, x = blocks.tap[e] % g.kernel_x * g.dilation_x - g.left;
    std::ptrdiff_t place = depthwise ? 0 : blocks.index[e] * (direct ? source_plane : job->per_channel);
    if (direct) {
      place += y * source_pitch + x;
    } else {
      const int qy = floor_divide(y, g.stride_y), qx = floor_divide(x, g.stride_x);
      const int py = y - qy * g.stride_y, px = x - qx * g.stride_x;
      place += (py * phases->phases_x + px) * source_plane + qy * source_pitch + qx;
    }
    if (place > INT32_MAX / 4) throw std::invalid_argument("this layer is too large for 32-bit offsets");
    job->offset[e] = static_cast<int32_t>(place * 4);
  }

  job->width = std::min(blocks.n, 8);
  while (kernels_->vectors[__builtin_ctz(job->width)] == 0) job->width /= 2;
  job->log_width = __builtin_ctz(job->width);
  job->vectors = static_cast<int>((output.span() + kernels_->lanes - 1) / kernels_->lanes);
  const int longest = kernels_->vectors[job->log_width];
  job->tiles = (job->vectors + longest - 1) / longest;
  // Output channels outside write each plane as one stream, but re-read the input once per group: only while it fits L2.
  job->groups_outside = depthwise || input.channels * input.plane * 4 < (1 << 20);
  job->cost.assign(1, 0);
  for (std::size_t group = 0; group + 1 < blocks.pointer.size(); ++group)
    job->cost.push_back(job->cost.back() + blocks.pointer[group + 1] - blocks.pointer[group] + 2);
  job->blocks = std::move(blocks);
  if (!direct) append([phases](int thread, int threads) { phases->run(thread, threads); });
  return append([job](int thread, int threads) { job->run(thread, threads); });
}

int Engine::multiply(int in, int out, int residual, Blocks blocks, Clamp clamp) {
  if (!at(in).compact || !at(out).compact) throw std::invalid_argument("a matrix-vector product needs compact buffers");
  auto kept = std::make_shared<Blocks>(std::move(blocks));
  std::vector<int64_t> cost(1, 0);
  for (std::size_t group = 0; group + 1 < kept->pointer.size(); ++group)
    cost.push_back(cost.back() + kept->pointer[group + 1] - kept->pointer[group] + 2);
  Product job{at(in).start, kept->index.data(), kept->value.data(), kept->pointer.data(), kept->bias.data(),
              residual >= 0 ? at(residual).start : nullptr, at(out).start, 0, 0, kept->rows, clamp.low, clamp.high};
  const auto function = kernels_->product[__builtin_ctz(kept->n)];
  return append([job, function, cost, kept](int thread, int threads) {
    const auto begin = cut(cost, threads);
    Product mine = job;
    mine.first = begin[thread];
    mine.last = begin[thread + 1];
    function(mine);
  });
}

int Engine::add(int a, int b, int out, Clamp clamp) {
  return append([this, a, b, out, clamp](int thread, int threads) {
    const Buffer &x = at(a), &y = at(b), &z = at(out);
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < z.height; ++row)
        kernels_->add(x.pixel(c) + row * x.pitch, y.pixel(c) + row * y.pitch, z.pixel(c) + row * z.pitch, z.width, clamp.low,
                      clamp.high);
  });
}

int Engine::activate(int in, int out, const std::string& kind, Clamp clamp) {
  return append([this, in, out, kind, clamp](int thread, int threads) {
    const Buffer &x = at(in), &z = at(out);
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < z.height; ++row) {
        const float* from = x.pixel(c) + row * x.pitch;
        float* to = z.pixel(c) + row * z.pitch;
        if (kind == "hard_swish") kernels_->hard_swish(from, to, z.width);
        else if (kind == "hard_sigmoid") kernels_->hard_sigmoid(from, to, z.width);
        else kernels_->clamp(from, to, z.width, clamp.low, clamp.high);
      }
  });
}

int Engine::scale(int in, int gate, int out) {
  return append([this, in, gate, out](int thread, int threads) {
    const Buffer &x = at(in), &g = at(gate), &z = at(out);
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < z.height; ++row)
        kernels_->scale(x.pixel(c) + row * x.pitch, *g.pixel(c), z.pixel(c) + row * z.pitch, z.width);
  });
}

int Engine::mean(int in, int out) {
  return append([this, in, out](int thread, int threads) {
    const Buffer &x = at(in), &z = at(out);
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c) {
      float sum = 0;
      for (int row = 0; row < x.height; ++row) sum += kernels_->sum(x.pixel(c) + row * x.pitch, x.width);
      *z.pixel(c) = sum / static_cast<float>(x.height * x.width);
    }
  });
}

int Engine::pool(int in, int out, bool largest, const Geometry& g) {
  return append([this, in, out, largest, g](int thread, int threads) {
    const Buffer &x = at(in), &z = at(out);
    std::vector<float> scratch(x.width);
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c) {
      const Window window{x.pixel(c), z.pixel(c), scratch.data(), x.pitch, z.pitch, x.height, x.width, z.height, z.width,
                          g.kernel_y, g.kernel_x, g.stride_y, g.stride_x, g.top, g.left};
      (largest ? kernels_->max_pool : kernels_->mean_pool)(window);
    }
  });
}

int Engine::pick(int in, int out, int stride, int first_channel) {
  return append([this, in, out, stride, first_channel](int thread, int threads) {
    const Buffer &x = at(in), &z = at(out);
    const auto [begin, end] = share(x.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row * stride < x.height; ++row)
        kernels_->pick(x.pixel(c) + row * stride * x.pitch, stride, z.pixel(c + first_channel) + row * z.pitch,
                       (x.width + stride - 1) / stride);
  });
}

void Engine::write(int number, const float* from) {
  const Buffer& to = at(number);
  for (int c = 0; c < to.channels; ++c)
    for (int row = 0; row < to.height; ++row, from += to.width)
      std::memcpy(to.pixel(c) + row * to.pitch, from, to.width * sizeof(float));
}

void Engine::read(int number, float* to) const {
  const Buffer& from = at(number);
  for (int c = 0; c < from.channels; ++c)
    for (int row = 0; row < from.height; ++row, to += from.width)
      std::memcpy(to, from.pixel(c) + row * from.pitch, from.width * sizeof(float));
}

void Engine::run(int first, int last) {
  const std::lock_guard lock(running_);
  team_->run([&](int thread) {
    const int threads = team_->size();
    for (int number = first; number < last; ++number) {
      steps_[number](thread, threads);
      if (number + 1 < last) team_->meet();
    }
  });
}

}  // namespace suite

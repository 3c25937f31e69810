#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "parts.h"

namespace suite {
namespace {

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

// For each of `to` pixels the one of `from` pixels left of its centre, and the weight of the one right of it.
std::pair<std::vector<int>, std::vector<float>> neighbours(int from, int to) {
  std::vector<int> left(to);
  std::vector<float> weight(to);
  for (int i = 0; i < to; ++i) {
    const double place = std::max(0.0, (i + 0.5) * from / to - 0.5);
    left[i] = static_cast<int>(place);
    weight[i] = static_cast<float>(place - left[i]);
  }
  return {left, weight};
}

}  // namespace

Buffer::Buffer(int channels, int height, int width, int pad, bool compact)
    : channels(channels), height(height), width(width), pad(compact ? 0 : pad), compact(compact) {
  pitch = width + this->pad;
  // A kernel that writes row by row may write whole vectors; those of the last row, too, have to end within the plane.
  const std::ptrdiff_t whole = std::max((height + this->pad) * pitch, (height - 1) * pitch + rounded(width));
  plane = compact ? static_cast<std::ptrdiff_t>(height) * width : plane_distance(whole);
  // In front of the first plane its upper and left edge; behind the last one what the last vector of a tile reads too much.
  const std::ptrdiff_t edge = rounded(this->pad * pitch + this->pad);
  const std::size_t size = rounded(edge + channels * plane + edge + 2 * line) * sizeof(float);
  float* start = static_cast<float*>(std::aligned_alloc(64, size));
  if (!start) throw std::bad_alloc();
  memory = std::shared_ptr<float[]>(start, [](float* pointer) { std::free(pointer); });
  std::memset(start, 0, size);
  first = start + edge;
}

Engine::Engine(const std::string& simd, int threads) : kernels_(choose(simd)) { set_threads(threads); }

void Engine::set_threads(int threads) {
  if (threads < 1 || threads > most_threads)
    throw std::invalid_argument(std::to_string(threads) + " threads are not possible; it may be 1 to " +
                                std::to_string(most_threads));
  const std::lock_guard lock(running_);
  if (!team_ || threads != team_->size()) team_ = std::make_unique<Team>(threads);
}

int Engine::buffer(int channels, int height, int width, int pad, bool compact) {
  buffers_.push_back(std::make_unique<Buffer>(channels, height, width, pad, compact));
  return static_cast<int>(buffers_.size()) - 1;
}

int Engine::reuse(int buffer, int channels) {
  if (channels > at(buffer).channels) throw std::invalid_argument("a reused buffer cannot grow");
  auto made = std::make_unique<Buffer>(at(buffer));
  made->channels = channels;
  buffers_.push_back(std::move(made));
  return static_cast<int>(buffers_.size()) - 1;
}

int Engine::append(Step step) {
  steps_.push_back(std::move(step));
  return static_cast<int>(steps_.size()) - 1;
}

const std::vector<int32_t>* Engine::mask(const Buffer& of) {
  auto made = std::make_unique<std::vector<int32_t>>(rounded(of.span()), 0);
  for (int y = 0; y < of.height; ++y)
    std::fill_n(made->begin() + y * of.pitch, of.width, -1);
  masks_.push_back(std::move(made));
  return masks_.back().get();
}

int Engine::multiply(int in, int out, int residual, Blocks blocks, Clamp clamp) {
  if (!at(in).compact || !at(out).compact) throw std::invalid_argument("a matrix-vector product needs compact buffers");
  const auto inputs = at(in).channels * at(in).plane;
  if (std::any_of(blocks.index.begin(), blocks.index.end(), [inputs](int32_t i) { return i < 0 || i >= inputs; }))
    throw std::invalid_argument("a block lies outside the weight");
  auto kept = std::make_shared<Blocks>(std::move(blocks));
  std::vector<int64_t> cost(1, 0);
  for (std::size_t group = 0; group + 1 < kept->pointer.size(); ++group)
    cost.push_back(cost.back() + kept->pointer[group + 1] - kept->pointer[group] + 2);
  Product job{at(in).first, kept->index.data(), kept->value.data(), kept->pointer.data(), kept->bias.data(),
              residual >= 0 ? at(residual).first : nullptr, at(out).first, 0, 0, kept->rows, clamp.low, clamp.high};
  const auto function = kernels_->product[__builtin_ctz(kept->n)];
  return append([job, function, cost, kept](int thread, int threads) {
    const auto begin = cut(cost, threads);
    Product mine = job;
    mine.first = begin[thread];
    mine.last = begin[thread + 1];
    function(mine);
  });
}

int Engine::combine(int a, int b, int out, const std::string& kind, Clamp clamp) {
  const char* const kinds[] = {"add", "subtract", "maximum", "minimum"};
  const auto found = std::find(std::begin(kinds), std::end(kinds), kind);
  if (found == std::end(kinds)) throw std::invalid_argument("no such operation: " + kind);
  const auto function = kernels_->combine[found - std::begin(kinds)];
  return append([this, a, b, out, function, clamp](int thread, int threads) {
    const Buffer &x = at(a), &y = at(b), &z = at(out);
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < z.height; ++row)
        function(x.pixel(c) + row * x.pitch, y.pixel(c) + row * y.pitch, z.pixel(c) + row * z.pitch, z.width, clamp.low,
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
        else if (kind == "leaky_relu") kernels_->leaky_relu(from, clamp.low, to, z.width);  // its slope
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
      *z.pixel(c) = kernels_->sum(x.pixel(c), x.span()) / static_cast<float>(x.height * x.width);  // the padding is zero
    }
  });
}

int Engine::pool(int in, int out, bool largest, const Geometry& g) {
  return append([this, in, out, largest, g](int thread, int threads) {
    const Buffer &x = at(in), &z = at(out);
    std::vector<float> scratch(rounded(z.width) * g.stride_x + g.kernel_x + line);
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

int Engine::repeat(int in, int out) {
  if (at(out).height % at(in).height || at(out).width % at(in).width)
    throw std::invalid_argument("pixels repeat a whole number of times");
  return append([this, in, out](int thread, int threads) {
    const Buffer &x = at(in), &z = at(out);
    const int down = z.height / x.height, right = z.width / x.width;
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < z.height; ++row) {
        const float* from = x.pixel(c) + row / down * x.pitch;
        float* to = z.pixel(c) + row * z.pitch;
        for (int column = 0; column < x.width; ++column, to += right) std::fill_n(to, right, from[column]);
      }
  });
}

int Engine::interpolate(int in, int out) {
  const auto [rows, row_weights] = neighbours(at(in).height, at(out).height);
  const auto [columns, column_weights] = neighbours(at(in).width, at(out).width);
  return append([=, this](int thread, int threads) {
    const Buffer &x = at(in), &z = at(out);
    std::vector<float> mixed(x.width + 1);  // the last pixel twice: it is its own right neighbour
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < z.height; ++row) {
        const float* upper = x.pixel(c) + rows[row] * x.pitch;
        const float* lower = upper + (rows[row] + 1 < x.height ? x.pitch : 0);
        for (int i = 0; i < x.width; ++i) mixed[i] = upper[i] + row_weights[row] * (lower[i] - upper[i]);
        mixed[x.width] = mixed[x.width - 1];
        float* to = z.pixel(c) + row * z.pitch;
        for (int i = 0; i < z.width; ++i) {
          const float* left = mixed.data() + columns[i];
          to[i] = left[0] + column_weights[i] * (left[1] - left[0]);
        }
      }
  });
}

void Engine::write(int number, const float* from, std::size_t size) {
  const Buffer& to = at(number);
  if (size != to.size()) throw std::invalid_argument("an array of another size than its buffer");
  for (int c = 0; c < to.channels; ++c)
    for (int row = 0; row < to.height; ++row, from += to.width)
      std::memcpy(to.pixel(c) + row * to.pitch, from, to.width * sizeof(float));
}

void Engine::read(int number, float* to, std::size_t size) const {
  const Buffer& from = at(number);
  if (size != from.size()) throw std::invalid_argument("an array of another size than its buffer");
  for (int c = 0; c < from.channels; ++c)
    for (int row = 0; row < from.height; ++row, to += from.width)
      std::memcpy(to, from.pixel(c) + row * from.pitch, from.width * sizeof(float));
}

void Engine::run(int first, int last) {
  if (first < 0 || first > last || last > static_cast<int>(steps_.size())) throw std::invalid_argument("no such steps");
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

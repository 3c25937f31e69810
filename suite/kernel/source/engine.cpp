#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "bands.h"

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

constexpr int fewest_rows = 4;  // of a band: with less, threads that share the weights are faster than those that share the rows

// The first channel of a value that a thread works on, and the one behind its last.
std::pair<std::ptrdiff_t, std::ptrdiff_t> channels(const Value& value, int thread, int threads) {
  return value.banded() ? std::pair<std::ptrdiff_t, std::ptrdiff_t>(0, value.channels) : share(value.channels, thread, threads);
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

Buffer::Buffer(int channels, int height, int width, int pad, bool compact, bool whole)
    : channels(channels), height(height), width(width), pad(compact ? 0 : pad), compact(compact), rows(height) {
  pitch = width + this->pad;
  const std::ptrdiff_t above = whole ? 0 : this->pad * pitch;
  // A kernel that writes row by row may write whole vectors; those of the last row, too, have to end within the plane.
  const std::ptrdiff_t below = std::max((height + this->pad) * pitch, (height - 1) * pitch + rounded(width));
  plane = compact ? static_cast<std::ptrdiff_t>(height) * width : plane_distance(above + below);
  // In front of the first plane its upper and left edge; behind the last one what the last vector of a tile reads too much.
  const std::ptrdiff_t edge = rounded(this->pad * pitch + this->pad);
  bytes = rounded(edge + channels * plane + edge + 2 * line) * sizeof(float);
  float* start = static_cast<float*>(std::aligned_alloc(64, bytes));
  if (!start) throw std::bad_alloc();
  memory = std::shared_ptr<float[]>(start, [](float* pointer) { std::free(pointer); });
  std::memset(start, 0, bytes);
  first = start + edge;
}

std::vector<const Buffer*> Value::each(int threads) const {
  std::vector<const Buffer*> found;
  for (int thread = 0; thread < threads; ++thread) found.push_back(&of(thread));
  return found;
}

const float* Value::row(int channel, int y) const {
  const auto band = std::find_if(bands.begin(), bands.end(), [y](const Buffer& item) { return y < item.bottom(); });
  return band->pixel(channel) + (y - band->top) * band->pitch;
}

Engine::Engine(const std::string& simd, int threads) : kernels_(choose(simd)) {
  if (threads < 1 || threads > most_threads)
    throw std::invalid_argument(std::to_string(threads) + " threads are not possible; it may be 1 to " +
                                std::to_string(most_threads));
  team_ = std::make_unique<Team>(threads);
}

int Engine::buffer(int channels, int height, int width, int pad, bool compact) {
  const int count = compact || height < fewest_rows * threads() ? 1 : threads(), tallest = (height + count - 1) / count;
  auto value = std::make_unique<Value>(Value{channels, height, width, pad, compact, {}});
  for (int i = 0; i < count; ++i) {
    const auto [top, bottom] = share(height, i, count);
    Buffer& band = value->bands.emplace_back(channels, tallest, width, pad, compact, count == 1);
    band.top = static_cast<int>(top);
    band.height = static_cast<int>(bottom - top);
    bytes_ += band.bytes;
  }
  values_.push_back(std::move(value));
  return static_cast<int>(values_.size()) - 1;
}

int Engine::reuse(int buffer, int channels) {
  if (channels > at(buffer).channels) throw std::invalid_argument("a reused buffer cannot grow");
  auto made = std::make_unique<Value>(at(buffer));
  made->channels = channels;
  made->exchanged = false;
  for (Buffer& band : made->bands) band.channels = channels;
  values_.push_back(std::move(made));
  return static_cast<int>(values_.size()) - 1;
}

// A value that a step now writes.
Value& Engine::target(int number) {
  Value& value = *values_.at(number);
  value.exchanged = false;
  return value;
}

int Engine::append(bool local, Work work) {
  steps_.push_back({local, std::move(work)});
  return static_cast<int>(steps_.size()) - 1;
}

const int32_t* Engine::mask(const Buffer& of) {
  std::vector<int32_t>& made = masks_[{of.height, of.width, of.pitch}];
  made.resize(rounded(of.span()), 0);
  for (int y = 0; y < of.height; ++y) std::fill_n(made.begin() + y * of.pitch, of.width, -1);
  return made.data();
}

std::vector<const float*> Engine::residual(int number, const Value& output) const {
  std::vector<const float*> found(threads(), nullptr);
  if (number < 0) return found;
  const Value& added = at(number);
  for (int thread = 0; thread < threads(); ++thread) {
    const Buffer &from = added.of(thread), &to = output.of(thread);
    if (from.pitch != to.pitch || from.plane != to.plane || from.compact || added.channels < output.channels)
      throw std::invalid_argument("a residual must be laid out like the output");
    found[thread] = from.first;
  }
  return found;
}

// Every thread copies the rows next to its own from its neighbours' bands.
void Engine::exchange(int number) {
  Value& value = *values_.at(number);
  if (value.exchanged || !value.banded()) return;
  value.exchanged = true;
  append(false, [&value](int thread, int) {
    const Buffer& mine = value.of(thread);
    const int above = std::max(0, mine.top - mine.pad), below = std::min(value.height, mine.bottom() + mine.pad);
    const auto fetch = [&](int c, int y) {
      std::memcpy(mine.pixel(c) + (y - mine.top) * mine.pitch, value.row(c, y), mine.width * sizeof(float));
    };
    for (int c = 0; c < value.channels; ++c) {
      for (int y = above; y < mine.top; ++y) fetch(c, y);
      for (int y = mine.bottom(); y < below; ++y) fetch(c, y);
    }
  });
}

int Engine::multiply(int in, int out, int residual, Blocks blocks, Clamp clamp) {
  const Value &input = at(in), &output = target(out);
  if (!input.compact || !output.compact) throw std::invalid_argument("a matrix-vector product needs compact buffers");
  const auto inputs = static_cast<int64_t>(input.size());
  if (std::any_of(blocks.index.begin(), blocks.index.end(), [inputs](int32_t i) { return i < 0 || i >= inputs; }))
    throw std::invalid_argument("a block lies outside the weight");
  auto kept = std::make_shared<Blocks>(std::move(blocks));
  std::vector<int64_t> cost(1, 0);
  for (std::size_t group = 0; group + 1 < kept->pointer.size(); ++group)
    cost.push_back(cost.back() + kept->pointer[group + 1] - kept->pointer[group] + 2);
  Product job{input.of(0).first, kept->index.data(), kept->value.data(), kept->pointer.data(), kept->bias.data(),
              residual >= 0 ? at(residual).of(0).first : nullptr, output.of(0).first, 0, 0, kept->rows, clamp.low, clamp.high};
  const auto function = kernels_->product[__builtin_ctz(kept->n)];
  return append(false, [job, function, cost, kept](int thread, int threads) {
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
  const Value &x = at(a), &y = at(b), &z = target(out);
  return append(z.banded(), [&x, &y, &z, function, clamp](int thread, int threads) {
    const Buffer &one = x.of(thread), &other = y.of(thread), &to = z.of(thread);
    const auto [begin, end] = channels(z, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < to.height; ++row)
        function(one.pixel(c) + row * one.pitch, other.pixel(c) + row * other.pitch, to.pixel(c) + row * to.pitch, to.width,
                 clamp.low, clamp.high);
  });
}

int Engine::activate(int in, int out, const std::string& kind, Clamp clamp) {
  const Value &x = at(in), &z = target(out);
  return append(z.banded(), [this, &x, &z, kind, clamp](int thread, int threads) {
    const Buffer &mine = x.of(thread), &result = z.of(thread);
    const auto [begin, end] = channels(z, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < result.height; ++row) {
        const float* from = mine.pixel(c) + row * mine.pitch;
        float* to = result.pixel(c) + row * result.pitch;
        if (kind == "hard_swish") kernels_->hard_swish(from, to, result.width);
        else if (kind == "hard_sigmoid") kernels_->hard_sigmoid(from, to, result.width);
        else if (kind == "leaky_relu") kernels_->leaky_relu(from, clamp.low, to, result.width);  // its slope
        else kernels_->clamp(from, to, result.width, clamp.low, clamp.high);
      }
  });
}

int Engine::scale(int in, int gate, int out) {
  const Value &x = at(in), &g = at(gate), &z = target(out);
  return append(z.banded(), [this, &x, &g, &z](int thread, int threads) {
    const Buffer &from = x.of(thread), &to = z.of(thread);
    const auto [begin, end] = channels(z, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < to.height; ++row)
        kernels_->scale(from.pixel(c) + row * from.pitch, *g.of(0).pixel(c), to.pixel(c) + row * to.pitch, to.width);
  });
}

int Engine::mean(int in, int out) {
  const Value &x = at(in), &z = target(out);
  const auto sums = std::make_shared<std::vector<std::vector<float>>>(x.bands.size(), std::vector<float>(x.channels));
  append(x.banded(), [this, &x, sums](int thread, int threads) {
    const Buffer& mine = x.of(thread);
    const auto [begin, end] = channels(x, thread, threads);
    auto& sum = (*sums)[x.banded() ? thread : 0];
    for (auto c = begin; c < end; ++c) {  // the padding between rows is zero
      sum[c] = kernels_->sum(mine.pixel(c), mine.span());
    }
  });
  return append(false, [&x, &z, sums](int thread, int threads) {
    const auto [begin, end] = share(z.channels, thread, threads);
    for (auto c = begin; c < end; ++c) {
      float sum = 0;
      for (const auto& part : *sums) sum += part[c];
      *z.of(0).pixel(c) = sum / static_cast<float>(x.height * x.width);
    }
  });
}

int Engine::pool(int in, int out, bool largest, const Geometry& g) {
  const Value &x = at(in), &z = target(out);
  const auto bands = z.each(threads());
  const bool own = has_own(x, bands, g), near = has_near(x, bands, g);
  if (near && !own) exchange(in);
  return append(z.banded() && x.banded() && near, [this, &x, &z, largest, g, near](int thread, int threads) {
    const Buffer &from = x.of(thread), &to = z.of(thread);
    const auto [first, last] = needs(g, to.top, to.bottom(), x.height);  // below, row `first` is row 0
    std::vector<float> scratch(rounded(z.width) * g.stride_x + g.kernel_x + line);
    std::vector<float> rows(near ? 0 : (last - first) * from.pitch + 2 * line);
    const auto [begin, end] = channels(z, thread, threads);
    for (auto c = begin; c < end; ++c) {
      for (int y = first; !near && y < last; ++y) std::copy_n(x.row(c, y), x.width, rows.data() + (y - first) * from.pitch);
      const Window window{near ? from.pixel(c) + (first - from.top) * from.pitch : rows.data(), to.pixel(c), scratch.data(),
                          from.pitch, to.pitch, last - first, x.width, to.height, to.width, g.kernel_y, g.kernel_x, g.stride_y,
                          g.stride_x, g.top - g.stride_y * to.top + first, g.left};
      (largest ? kernels_->max_pool : kernels_->mean_pool)(window);
    }
  });
}

int Engine::pick(int in, int out, int stride, int first_channel) {
  const Value &x = at(in), &z = target(out);
  return append(x.banded() && z.banded() && stride == 1, [this, &x, &z, stride, first_channel](int thread, int threads) {
    const Buffer& to = z.of(thread);
    const auto [begin, end] = z.banded() ? std::pair<std::ptrdiff_t, std::ptrdiff_t>(0, x.channels) : share(x.channels, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < to.height; ++row)
        kernels_->pick(x.row(c, (to.top + row) * stride), stride, to.pixel(c + first_channel) + row * to.pitch,
                       (x.width + stride - 1) / stride);
  });
}

int Engine::repeat(int in, int out) {
  const Value &x = at(in), &z = target(out);
  if (z.height % x.height || z.width % x.width) throw std::invalid_argument("pixels repeat a whole number of times");
  return append(false, [&x, &z](int thread, int threads) {
    const int down = z.height / x.height, right = z.width / x.width;
    const Buffer& mine = z.of(thread);
    const auto [begin, end] = channels(z, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < mine.height; ++row) {
        const float* from = x.row(c, (mine.top + row) / down);
        float* to = mine.pixel(c) + row * mine.pitch;
        for (int column = 0; column < x.width; ++column, to += right) std::fill_n(to, right, from[column]);
      }
  });
}

int Engine::interpolate(int in, int out) {
  const Value &x = at(in), &z = target(out);
  const auto [rows, row_weights] = neighbours(x.height, z.height);
  const auto [columns, column_weights] = neighbours(x.width, z.width);
  return append(false, [=, &x, &z](int thread, int threads) {
    std::vector<float> mixed(x.width + 1);  // the last pixel twice: it is its own right neighbour
    const Buffer& mine = z.of(thread);
    const auto [begin, end] = channels(z, thread, threads);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < mine.height; ++row) {
        const int y = rows[mine.top + row];
        const float *upper = x.row(c, y), *lower = x.row(c, std::min(y + 1, x.height - 1));
        for (int i = 0; i < x.width; ++i) mixed[i] = upper[i] + row_weights[mine.top + row] * (lower[i] - upper[i]);
        mixed[x.width] = mixed[x.width - 1];
        float* to = mine.pixel(c) + row * mine.pitch;
        for (int i = 0; i < z.width; ++i) {
          const float* left = mixed.data() + columns[i];
          to[i] = left[0] + column_weights[i] * (left[1] - left[0]);
        }
      }
  });
}

void Engine::write(int number, const float* from, std::size_t size) {
  const Value& to = at(number);
  if (size != to.size()) throw std::invalid_argument("an array of another size than its buffer");
  const std::lock_guard lock(running_);
  team_->run([&](int thread) {
    const Buffer& mine = to.of(thread);
    const auto [begin, end] = channels(to, thread, threads());
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < mine.height; ++row)
        std::memcpy(mine.pixel(c) + row * mine.pitch, from + (c * to.height + mine.top + row) * to.width, to.width * sizeof(float));
  });
}

void Engine::read(int number, float* to, std::size_t size) const {
  const Value& from = at(number);
  if (size != from.size()) throw std::invalid_argument("an array of another size than its buffer");
  for (int c = 0; c < from.channels; ++c)
    for (int y = 0; y < from.height; ++y, to += from.width) std::memcpy(to, from.row(c, y), from.width * sizeof(float));
}

void Engine::run(int first, int last) {
  if (first < 0 || first > last || last > static_cast<int>(steps_.size())) throw std::invalid_argument("no such steps");
  const std::lock_guard lock(running_);
  team_->run([&](int thread) {
    for (int number = first; number < last; ++number) {
      if (number > first && !(steps_[number].local && steps_[number - 1].local)) team_->meet();
      steps_[number].work(thread, threads());
    }
  });
}

}  // namespace suite

// The steps that are no convolutions.
#include <algorithm>
#include <stdexcept>

#include "bands.h"

namespace suite {
namespace {

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

// Calls job(channel, place, size) for all that lies together of channels begin..end - 1. With `whole` these are planes with the zeros
// between their rows, for operations that leave zeros zero.
template <class Job>
void runs(const Buffer& like, std::ptrdiff_t begin, std::ptrdiff_t end, bool whole, const Job& job) {
  if (like.compact) return job(static_cast<int>(begin), 0, (end - begin) * like.plane);
  for (auto c = static_cast<int>(begin); c < end; ++c) {
    if (whole) job(c, 0, like.span());
    for (int row = 0; !whole && row < like.height; ++row) job(c, row * like.pitch, like.width);
  }
}

bool keeps_zero(const Clamp& clamp) { return clamp.low <= 0 && clamp.high >= 0; }

}  // namespace

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
  return append(false, output, [job, function, cost, kept](int thread, int threads) {
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
  const Value &x = at(a), &y = at(b);
  Value& z = target(out);
  const bool whole = keeps_zero(clamp);
  ends(z, whole);
  return append(z.banded(), z, [&x, &y, &z, function, clamp, whole](int number, int parts) {
    const Buffer &one = x.of(number), &other = y.of(number), &to = z.of(number);
    const auto [begin, end] = channels(z, number, parts);
    runs(to, begin, end, whole, [&](int c, std::ptrdiff_t place, std::ptrdiff_t size) {
      function(one.pixel(c) + place, other.pixel(c) + place, to.pixel(c) + place, size, clamp.low, clamp.high);
    });
  });
}

int Engine::activate(int in, int out, const std::string& kind, Clamp clamp) {
  const Value& x = at(in);
  Value& z = target(out);
  std::function<void(const float*, float*, std::ptrdiff_t)> function = [this, clamp](const float* from, float* to, std::ptrdiff_t size) {
    kernels_->clamp(from, to, size, clamp.low, clamp.high);
  };
  if (kind == "hard_swish") function = kernels_->hard_swish;
  if (kind == "hard_sigmoid") function = kernels_->hard_sigmoid;
  if (kind == "leaky_relu")  // its slope
    function = [this, clamp](const float* from, float* to, std::ptrdiff_t size) { kernels_->leaky_relu(from, clamp.low, to, size); };
  const bool whole = kind == "hard_swish" || kind == "leaky_relu" || (kind == "clamp" && keeps_zero(clamp));
  ends(z, whole);
  return append(z.banded(), z, [&x, &z, function, whole](int number, int parts) {
    const Buffer &from = x.of(number), &to = z.of(number);
    const auto [begin, end] = channels(z, number, parts);
    runs(to, begin, end, whole, [&](int c, std::ptrdiff_t place, std::ptrdiff_t size) {
      function(from.pixel(c) + place, to.pixel(c) + place, size);
    });
  });
}

int Engine::scale(int in, int gate, int out) {
  const Value &x = at(in), &g = at(gate), &z = target(out);
  return append(z.banded(), z, [this, &x, &g, &z](int number, int parts) {
    const Buffer &from = x.of(number), &to = z.of(number);
    const auto [begin, end] = channels(z, number, parts);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < to.height; ++row)
        kernels_->scale(from.pixel(c) + row * from.pitch, *g.of(0).pixel(c), to.pixel(c) + row * to.pitch, to.width);
  });
}

int Engine::mean(int in, int out) {
  const Value &x = at(in), &z = target(out);
  const auto sums = std::make_shared<std::vector<std::vector<float>>>(x.bands.size(), std::vector<float>(x.channels));
  append(x.banded(), x, [this, &x, sums](int number, int parts) {
    const Buffer& mine = x.of(number);
    const auto [begin, end] = channels(x, number, parts);
    auto& sum = (*sums)[x.banded() ? number : 0];
    for (auto c = begin; c < end; ++c) {  // the padding between rows is zero
      sum[c] = kernels_->sum(mine.pixel(c), mine.span());
    }
  });
  return append(false, z, [&x, &z, sums](int number, int parts) {
    const auto [begin, end] = share(z.channels, number, parts);
    for (auto c = begin; c < end; ++c) {
      float sum = 0;
      for (const auto& part : *sums) sum += part[c];
      *z.of(0).pixel(c) = sum / static_cast<float>(x.height * x.width);
    }
  });
}

int Engine::pool(int in, int out, bool largest, const Geometry& g) {
  const Value& x = at(in);
  Value& z = target(out);
  ends(z, z.ended_by(kernels_->lanes));
  const auto bands = z.parts(threads());
  const bool own = has_own(x, bands, g), near = has_near(x, bands, g);
  if (near && !own) exchange(in);
  return append(z.banded() && x.banded() && near, z, [this, &x, &z, largest, g, near](int number, int parts) {
    const Buffer &from = near ? x.of(number) : x.bands[0], &to = z.of(number);
    const auto [first, last] = needs(g, to.top, to.bottom(), x.height);  // below, row `first` is row 0
    std::vector<float> scratch(rounded(z.width) * g.stride_x + g.kernel_x + line);
    std::vector<float> rows(near ? 0 : (last - first) * from.pitch + 2 * line);
    const auto [begin, end] = channels(z, number, parts);
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
  return append(x.banded() && z.banded() && stride == 1, z, [this, &x, &z, stride, first_channel](int number, int parts) {
    const Buffer& to = z.of(number);
    const auto [begin, end] = z.banded() ? std::pair<std::ptrdiff_t, std::ptrdiff_t>(0, x.channels) : share(x.channels, number, parts);
    for (auto c = begin; c < end; ++c)
      for (int row = 0; row < to.height; ++row)
        kernels_->pick(x.row(c, (to.top + row) * stride), stride, to.pixel(c + first_channel) + row * to.pitch,
                       (x.width + stride - 1) / stride);
  });
}

int Engine::repeat(int in, int out) {
  const Value &x = at(in), &z = target(out);
  if (z.height % x.height || z.width % x.width) throw std::invalid_argument("pixels repeat a whole number of times");
  return append(false, z, [&x, &z](int number, int parts) {
    const int down = z.height / x.height, right = z.width / x.width;
    const Buffer& mine = z.of(number);
    const auto [begin, end] = channels(z, number, parts);
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
  return append(false, z, [=, &x, &z](int number, int parts) {
    std::vector<float> mixed(x.width + 1);  // the last pixel twice: it is its own right neighbour
    const Buffer& mine = z.of(number);
    const auto [begin, end] = channels(z, number, parts);
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

}  // namespace suite

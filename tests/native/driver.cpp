// Runs the kernel without Python: random chains of layers on every SIMD path of this CPU against a float64 reference.
//
//   driver CASES [SEED]     CASES chains per SIMD path, numbered from SEED (default 0); one chain: driver 1 SEED
//
// Chains grow with their number. The first wrong one is printed with its layers, and the exit code is 1.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine.h"

namespace {

using namespace suite;
using Size = std::pair<int, int>;
constexpr float infinite = INFINITY;

struct Random {
  std::mt19937_64 bits;
  int below(int count) { return static_cast<int>(bits() % static_cast<uint64_t>(count)); }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool one_in(int count) { return below(count) == 0; }
  float number() { return static_cast<float>(static_cast<double>(bits() >> 11) / (1ull << 52) - 1.0); }
  template <class T>
  T of(std::initializer_list<T> items) { return items.begin()[below(static_cast<int>(items.size()))]; }
};

// A value of the network: its planes, and what they must hold.
struct Value {
  int channels, height, width;
  std::vector<double> wanted;
  double& at(int c, int y, int x) { return wanted[(static_cast<std::size_t>(c) * height + y) * width + x]; }
  const double& at(int c, int y, int x) const { return const_cast<Value*>(this)->at(c, y, x); }
};

Value zeros(int channels, int height, int width) {
  return {channels, height, width, std::vector<double>(static_cast<std::size_t>(channels) * height * width)};
}

enum Kind { convolution, depthwise, pair, max_pool, mean_pool, add, subtract, maximum, relu, hard_swish };
const char* const names[] = {"convolution", "depthwise", "pair", "max pool", "mean pool", "add", "subtract", "maximum", "clamp",
                             "hard_swish"};

struct Layer {
  Kind kind;
  int source, other;  // values; `other` is the second operand, or -1
  Filter filter, second;
};

int out_size(int size, int kernel, int stride, int padding, int dilation) {
  return (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

Value output_of(const Value& in, const Geometry& g, int rows) {
  return zeros(rows, out_size(in.height, g.kernel_y, g.stride_y, g.top, g.dilation_y),
               out_size(in.width, g.kernel_x, g.stride_x, g.left, g.dilation_x));
}

// Zero columns or rows that a convolution from `source` to `target` pixels needs, as suite/kernel/lower.py computes them.
int overhang(int kernel, int stride, int padding, int dilation, int source, int target) {
  const int before = (padding + stride - 1) / stride, after = std::max(0, ((kernel - 1) * dilation - padding) / stride);
  return std::max({after, std::min((source + stride - 1) / stride, target + after) + before - target, stride == 1 ? before : 0});
}

double clamped(double x, const Clamp& clamp) { return std::min<double>(std::max<double>(x, clamp.low), clamp.high); }

Value apply(const Filter& filter, const Value& in, const Value* added) {
  const Geometry& g = filter.geometry;
  const Blocks& b = filter.blocks;
  Value out = output_of(in, g, b.rows);
  for (std::size_t group = 0; group + 1 < b.pointer.size(); ++group)
    for (int64_t e = b.pointer[group]; e < b.pointer[group + 1]; ++e)
      for (int part = 0; part < b.n && static_cast<int>(group) * b.n + part < b.rows; ++part) {
        const int row = static_cast<int>(group) * b.n + part, column = filter.depthwise ? row : b.index[e];
        const int dy = b.tap[e] / g.kernel_x * g.dilation_y - g.top, dx = b.tap[e] % g.kernel_x * g.dilation_x - g.left;
        const double weight = b.value[e * b.n + part];
        for (int y = 0; y < out.height; ++y)
          for (int x = 0; x < out.width; ++x) {
            const int from_y = y * g.stride_y + dy, from_x = x * g.stride_x + dx;
            if (from_y >= 0 && from_y < in.height && from_x >= 0 && from_x < in.width)
              out.at(row, y, x) += weight * in.at(column, from_y, from_x);
          }
      }
  for (std::size_t i = 0; i < out.wanted.size(); ++i) {
    const auto row = i / (static_cast<std::size_t>(out.height) * out.width);
    out.wanted[i] = clamped(out.wanted[i] + b.bias[row] + (added ? added->wanted[i] : 0.0), filter.clamp);
  }
  return out;
}

Value pooled(const Value& in, const Geometry& g, bool largest) {
  Value out = output_of(in, g, in.channels);
  for (int c = 0; c < out.channels; ++c)
    for (int y = 0; y < out.height; ++y)
      for (int x = 0; x < out.width; ++x) {
        double found = largest ? -INFINITY : 0;
        for (int ky = 0; ky < g.kernel_y; ++ky)
          for (int kx = 0; kx < g.kernel_x; ++kx) {
            const int from_y = y * g.stride_y + ky - g.top, from_x = x * g.stride_x + kx - g.left;
            if (from_y < 0 || from_y >= in.height || from_x < 0 || from_x >= in.width) continue;
            found = largest ? std::max(found, in.at(c, from_y, from_x)) : found + in.at(c, from_y, from_x);
          }
        out.at(c, y, x) = largest ? found : found / (g.kernel_y * g.kernel_x);
      }
  return out;
}

Clamp random_clamp(Random& random) { return random.of<Clamp>({{-infinite, infinite}, {0, infinite}, {0, 6}, {-0.5f, 0.5f}}); }

// A geometry that leaves at least one pixel of `in`.
Geometry random_geometry(Random& random, const Value& in, bool plain) {
  for (;;) {
    Geometry g{1, 1, 1, 1, 0, 0, 1, 1};
    g.kernel_y = g.kernel_x = random.of({1, 1, 2, 3, 3, 3, 5});
    g.stride_y = g.stride_x = random.of({1, 1, 1, 2, 2, 3});
    g.top = g.left = plain || random.one_in(2) ? g.kernel_y / 2 : random.below(3);
    if (!plain && random.one_in(4)) g.dilation_y = g.dilation_x = 2;
    if (!plain && random.one_in(4)) {  // nothing says that both axes are alike
      g.kernel_x = random.between(1, 4);
      g.stride_x = random.between(1, 3);
      g.left = random.below(3);
    }
    const int height = g.dilation_y * (g.kernel_y - 1) + 1, width = g.dilation_x * (g.kernel_x - 1) + 1;
    if (in.height + 2 * g.top >= height && in.width + 2 * g.left >= width) return g;
  }
}

Filter random_filter(Random& random, const Value& in, const Geometry& g, int rows, bool by_channel) {
  const int n = by_channel ? 1 : random.of({1, 2, 4, 8, 16, 32});
  const int columns = by_channel ? 1 : in.channels, taps = g.kernel_y * g.kernel_x, groups = (rows + n - 1) / n;
  const int keep = random.of({0, 10, 25, 50, 100, 100});  // per cent
  const float scale = 2.0f / std::sqrt(static_cast<float>(columns * taps));
  Blocks blocks{n, rows, {0}, {}, {}, {}, {}};
  for (int group = 0; group < groups; ++group) {
    for (int column = 0; column < columns; ++column)
      for (int tap = 0; tap < taps; ++tap)
        if (random.below(100) < keep) {
          blocks.index.push_back(by_channel ? 0 : column);
          blocks.tap.push_back(tap);
          for (int part = 0; part < n; ++part)
            blocks.value.push_back(group * n + part < rows ? scale * random.number() : 0.0f);
        }
    blocks.pointer.push_back(static_cast<int64_t>(blocks.index.size()));
    for (int part = 0; part < n; ++part) blocks.bias.push_back(group * n + part < rows ? random.number() : 0.0f);
  }
  return {g, std::move(blocks), random_clamp(random), by_channel};
}

struct Chain {
  std::vector<Value> values;
  std::vector<Layer> layers;  // layer i makes value i + 1
  std::map<Size, int> padding;

  explicit Chain(uint64_t seed) {
    Random random{std::mt19937_64(seed)};
    const int most = static_cast<int>(std::min<uint64_t>(4 + seed / 4, 24));
    const bool wide = seed % 50 == 49;  // an input larger than what the kernel takes to stay in the cache
    values.push_back(wide ? zeros(random.between(80, 100), 58, 61)
                          : zeros(random.between(1, most), random.between(1, most), random.between(1, most)));
    for (double& x : values[0].wanted) x = random.number();
    for (int count = wide ? 1 : random.between(1, 7); count > 0; --count) grow(random, most);
  }

  void grow(Random& random, int most) {
    const int source = random.one_in(4) ? random.below(static_cast<int>(values.size())) : static_cast<int>(values.size()) - 1;
    const Value& in = values[source];
    const Kind kind = random.of({convolution, convolution, convolution, depthwise, depthwise, pair, pair, max_pool, mean_pool, add,
                                 subtract, maximum, relu, hard_swish});
    Layer layer{kind, source, -1, {}, {}};
    const Geometry g = random_geometry(random, in, random.one_in(2));
    Value out;
    if (kind == convolution || kind == pair) layer.filter = random_filter(random, in, g, random.between(1, most), false);
    if (kind == depthwise) layer.filter = random_filter(random, in, g, in.channels, true);
    if (layer.kind == convolution || layer.kind == depthwise) {
      need(g, in, output_of(in, g, 1));
      layer.other = alike(random, output_of(in, g, layer.filter.blocks.rows));
      out = apply(layer.filter, in, layer.other < 0 ? nullptr : &values[layer.other]);
    } else if (layer.kind == pair) {
      const Value between = apply(layer.filter, in, nullptr);
      const Geometry next = random_geometry(random, between, random.one_in(2));
      layer.second = random_filter(random, between, next, between.channels, true);
      need(g, in, between);
      out = apply(layer.second, between, nullptr);
      need(next, between, out);
    } else if (layer.kind == max_pool || layer.kind == mean_pool) {
      layer.filter.geometry = g;
      layer.filter.geometry.dilation_y = layer.filter.geometry.dilation_x = 1;
      layer.filter.geometry.top = std::min(g.top, g.kernel_y / 2);  // no window without a pixel, as torch demands
      layer.filter.geometry.left = std::min(g.left, g.kernel_x / 2);
      if (in.height < g.kernel_y || in.width < g.kernel_x) return;
      out = pooled(in, layer.filter.geometry, layer.kind == max_pool);
    } else {
      out = in;
      layer.filter.clamp = layer.kind == hard_swish ? Clamp{-infinite, infinite} : random_clamp(random);
      if (layer.kind == add || layer.kind == subtract || layer.kind == maximum) layer.other = alike(random, in);
      for (std::size_t i = 0; i < out.wanted.size(); ++i) {
        double& x = out.wanted[i];
        const double y = layer.other < 0 ? 0.0 : values[layer.other].wanted[i];
        if (layer.kind == add || layer.kind == subtract) x += layer.kind == add ? y : -y;
        if (layer.kind == maximum) x = std::max(x, y);
        x = layer.kind == hard_swish ? x * clamped(x + 3, {0, 6}) / 6 : clamped(x, layer.filter.clamp);
      }
    }
    layers.push_back(std::move(layer));
    values.push_back(std::move(out));
  }

  // A value of the same planes (its own source where that is the only one), or -1.
  int alike(Random& random, const Value& like) const {
    for (int tries = 0; tries < 4; ++tries) {
      const int number = random.below(static_cast<int>(values.size()));
      const Value& value = values[number];
      if (value.channels == like.channels && value.height == like.height && value.width == like.width) return number;
    }
    for (std::size_t number = 0; number < values.size(); ++number)
      if (&values[number] == &like) return static_cast<int>(number);
    return -1;
  }

  void need(const Geometry& g, const Value& in, const Value& out) {
    const int columns = std::max(overhang(g.kernel_y, g.stride_y, g.top, g.dilation_y, in.height, out.height),
                                 overhang(g.kernel_x, g.stride_x, g.left, g.dilation_x, in.width, out.width));
    padding[{out.height, out.width}] = std::max(padding[{out.height, out.width}], columns);
  }

  // The last layer that reads a value.
  std::size_t last_use(int value) const {
    std::size_t last = 0;
    for (std::size_t i = 0; i < layers.size(); ++i)
      if (layers[i].source == value || layers[i].other == value) last = i;
    return last;
  }

  int pad(const Value& value) const {
    const auto found = padding.find({value.height, value.width});
    return found == padding.end() ? 0 : found->second;
  }

  void print() const {
    std::printf("  input: %d x %d x %d\n", values[0].channels, values[0].height, values[0].width);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const Layer& layer = layers[i];
      const Value& out = values[i + 1];
      const char* const place = layer.other >= 0 && last_use(layer.other) == i ? " (its last use)" : "";
      std::printf("  value %zu: %s of value %d, with %d%s: %d x %d x %d, clamp %g %g\n", i + 1, names[layer.kind], layer.source,
                  layer.other, place, out.channels, out.height, out.width, layer.filter.clamp.low, layer.filter.clamp.high);
      for (const Filter* filter : {&layer.filter, &layer.second}) {
        const Geometry& g = filter->geometry;
        if (g.kernel_y)
          std::printf("    kernel %dx%d stride %d,%d padding %d,%d dilation %d,%d n %d, %zu blocks in %d rows\n", g.kernel_y,
                      g.kernel_x, g.stride_y, g.stride_x, g.top, g.left, g.dilation_y, g.dilation_x, filter->blocks.n,
                      filter->blocks.index.size(), filter->blocks.rows);
      }
    }
    for (const auto& [size, columns] : padding) std::printf("  padding of %d x %d: %d\n", size.first, size.second, columns);
  }
};

int append(Engine& engine, const Layer& layer, const std::vector<int>& buffer, int out, const Chain& chain) {
  const int in = buffer[layer.source], other = layer.other < 0 ? -1 : buffer[layer.other];
  switch (layer.kind) {
    case convolution:
    case depthwise: return engine.convolve(in, out, other, layer.filter);
    case pair: {
      const Value between = output_of(chain.values[layer.source], layer.filter.geometry, 0);
      return engine.convolve_pair(in, between.height, between.width, chain.pad(between), out, layer.filter, layer.second);
    }
    case max_pool:
    case mean_pool: return engine.pool(in, out, layer.kind == max_pool, layer.filter.geometry);
    case add:
    case subtract:
    case maximum: return engine.combine(in, other, out, names[layer.kind], layer.filter.clamp);
    case relu:
    case hard_swish: return engine.activate(in, out, names[layer.kind], layer.filter.clamp);
  }
  return -1;
}

// The first value that is wrong, or -1; `error` is how wrong it is. Others lie in the memory of those that are `lost`.
int wrong(const Chain& chain, const Engine& engine, const std::vector<int>& buffer, const std::vector<bool>& lost, double& error) {
  for (std::size_t number = 0; number < chain.values.size(); ++number) {
    if (lost[number]) continue;
    const Value& value = chain.values[number];
    std::vector<float> got(value.wanted.size());
    engine.read(buffer[number], got.data(), got.size());
    double largest = 1;
    error = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double off = std::abs(got[i] - value.wanted[i]);
      error = off <= error ? error : off;  // a NaN stays
      largest = std::max(largest, std::abs(value.wanted[i]));
    }
    if (!(error <= 2e-5 * largest)) return static_cast<int>(number);
  }
  return -1;
}

bool holds(const std::string& simd, uint64_t seed) {
  const Chain chain(seed);
  Engine engine(simd, static_cast<int>(seed % 4) + 1);
  std::vector<int> buffer;
  std::vector<bool> lost(chain.values.size(), false);
  int steps = 0;
  const auto make = [&](std::size_t made) {
    const Value& value = chain.values[made];
    const int each = 1 + static_cast<int>((seed / 8 + value.height) % 3), pad = chain.pad(value);
    int number = -1;
    for (std::size_t dead = 1; dead + 1 < made && number < 0; ++dead) {
      if (lost[dead] || chain.last_use(static_cast<int>(dead)) >= made - 1) continue;
      number = engine.reuse(buffer[dead], value.channels, value.height, value.width, pad, false, each);
      lost[dead] = number >= 0;
    }
    buffer.push_back(number >= 0 ? number : engine.buffer(value.channels, value.height, value.width, pad, false, each));
  };
  make(0);
  for (std::size_t i = 0; i < chain.layers.size(); ++i) {
    const Layer& layer = chain.layers[i];
    // A sum may take the place of what it adds, but a depthwise kernel writes whole vectors, beyond what it has read.
    const bool over = layer.kind == convolution && layer.other > 0 && chain.last_use(layer.other) == i && layer.other != layer.source;
    if (over) buffer.push_back(buffer[layer.other]);
    else make(i + 1);
    if (over) lost[layer.other] = true;
    steps = append(engine, layer, buffer, buffer.back(), chain) + 1;
  }
  const int all = engine.finish() + 1;
  const std::vector<float> input(chain.values[0].wanted.begin(), chain.values[0].wanted.end());
  engine.write(buffer[0], input.data(), input.size());
  engine.run(0, steps);  // the last ones make room for the next call, where values are
  double error = 0;
  const char* when = "at the first call";
  int number = wrong(chain, engine, buffer, lost, error);
  if (number < 0) {  // again, from two threads at once
    when = "at a later call";
    engine.run(steps, all);
    std::thread other([&] { engine.run(0, all); });
    engine.run(0, all);
    other.join();
    engine.run(0, steps);
    number = wrong(chain, engine, buffer, lost, error);
  }
  if (number < 0) return true;
  std::printf("%s: chain %llu: value %d is off by %g %s\n", simd.c_str(), static_cast<unsigned long long>(seed), number, error,
              when);
  chain.print();
  return false;
}

// A matrix-vector product has a kernel of its own.
bool product_holds(const std::string& simd, uint64_t seed) {
  Random random{std::mt19937_64(seed)};
  Value in = zeros(random.between(1, 70), 1, 1);
  for (double& x : in.wanted) x = random.number();
  const Filter filter = random_filter(random, in, {1, 1, 1, 1, 0, 0, 1, 1}, random.between(1, 70), false);
  const Value wanted = apply(filter, in, nullptr);
  Engine engine(simd, static_cast<int>(seed % 4) + 1);
  const int from = engine.buffer(in.channels, 1, 1, 0, true), to = engine.buffer(wanted.channels, 1, 1, 0, true);
  engine.multiply(from, to, -1, filter.blocks, filter.clamp);
  const std::vector<float> input(in.wanted.begin(), in.wanted.end());
  std::vector<float> got(wanted.wanted.size());
  engine.write(from, input.data(), input.size());
  engine.run(0, 1);
  engine.read(to, got.data(), got.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!(std::abs(got[i] - wanted.wanted[i]) <= 2e-5 * std::max(1.0, std::abs(wanted.wanted[i])))) {
      std::printf("%s: product %llu (%d x %d, n %d): output %zu is %g instead of %g\n", simd.c_str(),
                  static_cast<unsigned long long>(seed), wanted.channels, in.channels, filter.blocks.n, i,
                  static_cast<double>(got[i]), wanted.wanted[i]);
      return false;
    }
  return true;
}

}  // namespace

int main(int count, char** words) {
  if (count < 2 || count > 3) {
    std::fprintf(stderr, "usage: %s CASES [SEED]\n", words[0]);
    return 2;
  }
  const uint64_t cases = std::strtoull(words[1], nullptr, 10), first = count > 2 ? std::strtoull(words[2], nullptr, 10) : 0;
  for (const std::string simd : {"portable", "avx2", "avx512"}) {
    try {
      Engine(simd, 1);
    } catch (const std::invalid_argument& error) {
      std::printf("%s: skipped, %s\n", simd.c_str(), error.what());
      continue;
    }
    for (uint64_t seed = first; seed < first + cases; ++seed) {
      try {
        if (!holds(simd, seed) || !product_holds(simd, seed)) return 1;
      } catch (const std::exception& error) {
        std::printf("%s: chain %llu was refused: %s\n", simd.c_str(), static_cast<unsigned long long>(seed), error.what());
        Chain(seed).print();
        return 1;
      }
    }
    std::printf("%s: %llu chains and products agree with float64\n", simd.c_str(), static_cast<unsigned long long>(cases));
  }
}

// Convolutions: where each kept block finds its pixels, in what order tiles run, and who runs them.
#include <stdexcept>

#include "bands.h"
#include "phases.h"

namespace suite {
namespace {

constexpr std::ptrdiff_t near_memory = std::ptrdiff_t{1} << 18;  // floats of input that stay in half of a usual L2 cache
constexpr std::ptrdiff_t near_phases = std::ptrdiff_t{1} << 17;  // of copied input: the original passes through that cache, too
constexpr std::ptrdiff_t near_chunk = std::ptrdiff_t{1} << 13;   // floats between the layers of a pair: in most of an L1 cache

// A filter made ready for inputs and outputs of one layout, for all bands.
struct Layer {
  const Kernels* kernels;
  Geometry geometry;
  Blocks blocks;
  Clamp clamp;
  bool depthwise;
  std::vector<int32_t> offset;  // bytes from a tile's pixel to where each block reads
  std::vector<int64_t> cost;    // cumulative kept blocks by group
  ChannelFunction by_channel = nullptr;  // for a depthwise layer of a usual shape
  bool copied = false;                   // the input is no source as it lies: stride phases are copied, part by part
  Phases phases;                         // how
  int width, log_width, longest;         // output channels and vectors in a tile
  int chunk;                             // vectors whose input stays near while all groups pass over it
  bool light;                            // the weights are no burden if every thread reads them all

  std::string how(const Value& output) const {
    if (by_channel) return "by channel";
    const auto vectors = (output.bands[0].span() + kernels->lanes - 1) / kernels->lanes;
    std::string words = std::to_string(width) + "x" + std::to_string(longest) + " tiles";
    if (output.banded()) words += ", " + std::to_string(output.bands.size()) + " bands";
    if (vectors > chunk && !depthwise) words += ", " + std::to_string((vectors + chunk - 1) / chunk) + " chunks";
    return copied ? words + ", phases copied" : words;
  }
};

}  // namespace

// A layer's part: a band of its output, or a thread's share of a band that all threads have in common.
struct Convolution {
  std::shared_ptr<const Layer> layer;
  const Value* input;
  const float* source;         // in the first plane what output pixel (0, 0) reads with a tap without offset; null: `copies`
  std::ptrdiff_t per_channel;  // floats from one channel's source to the next
  const Buffer* to;
  const float* residual;  // laid out like the output, or null
  const int32_t* mask;
  std::shared_ptr<Buffer> copies;  // the stride phases of as many rows as there are at a time; all bands of a thread share them

  int vectors() const { return static_cast<int>((to->span() + layer->kernels->lanes - 1) / layer->kernels->lanes); }

  // A group's tile of vectors first..last: `input` is the source of pixel (0, 0), `output` that pixel in the group's first plane.
  void tile(int64_t group, int first, int last, const float* input, float* output) const {
    const Blocks& blocks = layer->blocks;
    const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(first) * layer->kernels->lanes;
    const int64_t begin = blocks.pointer[group];
    for (int part = 0; part < blocks.n; part += layer->width) {
      const int64_t row = group * blocks.n + part;
      if (row >= blocks.rows) return;
      Tile job;
      job.input = reinterpret_cast<const char*>(input + place);
      job.offset = layer->offset.data() + begin;
      job.value = blocks.value.data() + begin * blocks.n + part;
      job.step = blocks.n;
      job.count = blocks.pointer[group + 1] - begin;
      job.bias = blocks.bias.data() + row;
      job.output = output + part * to->plane + place;
      job.residual = residual ? residual + row * to->plane + place : nullptr;
      job.plane = to->plane;
      job.mask = mask + place;
      job.rows = static_cast<int>(std::min<int64_t>(layer->width, blocks.rows - row));
      job.low = layer->clamp.low;
      job.high = layer->clamp.high;
      layer->kernels->tile[layer->log_width][last - first](job);
    }
  }

  // Tile by tile a group writes its planes as long streams, but reads the input once per group; hence chunks. `from` is null
  // where stride phases have to be copied.
  void part(int64_t first_group, int64_t last_group, int first, int last, const float* from, float* output) const {
    for (int start = first; start < last; start += layer->chunk) {
      const int size = std::min(layer->chunk, last - start), tiles = (size + layer->longest - 1) / layer->longest;
      const float* const pixels = from ? from : copy(start, start + size, 0, input->channels);
      for (int64_t g = first_group; g < last_group; ++g)
        for (int t = 0; t < tiles; ++t)
          tile(g, start + size * t / tiles, start + size * (t + 1) / tiles, pixels,
               output + (g - first_group) * layer->blocks.n * to->plane);
    }
  }

  // The phases that vectors first..last need of some channels, as seen from the source of pixel (0, 0).
  const float* copy(int first, int last, int first_channel, int last_channel) const {
    const int lanes = layer->kernels->lanes, pitch = static_cast<int>(to->pitch);
    const int row = first * lanes / pitch, end = std::min(to->height, (last * lanes - 1) / pitch + 1);
    float* place = copies->first;
    for (int c = first_channel; c < last_channel; ++c, place += per_channel)
      layer->phases.channel(*input, c, to->top + row, to->top + end, place);
    return copies->first + layer->phases.origin() - row * to->pitch;
  }

  // One channel of a depthwise layer, `within` its place in the source.
  void channel(int64_t number, int within) const {
    if (layer->by_channel) return rows(number, within, 0, to->height);
    part(number, number + 1, 0, vectors(), layer->copied ? copy(0, vectors(), within, within + 1) : source + within * per_channel,
         to->pixel(static_cast<int>(number)));
  }

  // Rows of a channel, where there is a kernel for it. Its last vector may spoil the row behind them: they come downwards.
  void rows(int64_t number, int within, int first, int last) const {
    const std::ptrdiff_t place = number * to->plane + first * to->pitch, pitch = layer->phases.pitch;
    layer->by_channel({source + within * per_channel + (first * layer->geometry.stride_y - 1) * pitch - 1,
                       layer->blocks.value.data() + 9 * number, to->first + place, residual ? residual + place : nullptr, pitch,
                       to->pitch, last - first, to->width, layer->blocks.bias[number], layer->clamp.low, layer->clamp.high});
  }

  // Part `part` of `parts`. They share the pixels: what a thread reads it then has mostly written itself, in its own cache. Where
  // there are too few pixels, or too many weights, they share the groups.
  void run(int number, int parts) const {
    const Blocks& blocks = layer->blocks;
    const int64_t groups = static_cast<int64_t>(blocks.pointer.size()) - 1;
    if (!layer->depthwise && (parts == 1 || (layer->light && vectors() >= 2 * parts) || groups < 2 * parts)) {
      const auto [begin, end] = share(vectors(), number, parts);
      part(0, groups, static_cast<int>(begin), static_cast<int>(end), source, to->first);
      return;
    }
    const auto begin = cut(layer->cost, parts);
    if (!layer->depthwise) {
      part(begin[number], begin[number + 1], 0, vectors(), source, to->pixel(static_cast<int>(begin[number] * blocks.n)));
    } else {
      for (int64_t c = begin[number]; c < begin[number + 1]; ++c) channel(c, static_cast<int>(c));
    }
  }
};

namespace {

// A convolution and the depthwise one that reads it, a few channels and rows at a time: what lies between them never leaves
// the cache, and nobody waits between them.
struct Pair {
  Value between;  // a single band of a few channels
  Convolution one, two;
  std::vector<int64_t> cost;  // cumulative, by group of the first

  void run(int number, int parts) const {
    const Blocks& blocks = one.layer->blocks;
    const int64_t step = between.channels / blocks.n;
    const float* const source = one.source ? one.source : one.copy(0, one.vectors(), 0, one.input->channels);
    const auto begin = cut(cost, parts);
    for (int64_t g = begin[number]; g < begin[number + 1]; g += step) {
      const int64_t end = std::min(g + step, begin[number + 1]);
      const int64_t first = g * blocks.n, last = std::min<int64_t>(end * blocks.n, blocks.rows);
      if (two.layer->by_channel) {
        bands(g, end, first, last, source);
      } else {
        one.part(g, end, 0, one.vectors(), source, one.to->first);
        for (int64_t c = first; c < last; ++c) two.channel(c, static_cast<int>(c - first));
      }
    }
  }

  // Groups g..end, channels first..last: as many rows of the second layer at a time as leave the first one's near.
  void bands(int64_t g, int64_t end, int64_t first, int64_t last, const float* source) const {
    const int stride = two.layer->geometry.stride_y, lanes = one.layer->kernels->lanes;
    const std::ptrdiff_t pitch = one.to->pitch;
    const int ahead = stride * two.to->top + 2 - one.to->top;  // rows between that a row of the second layer needs from its own on
    const auto size = near_chunk / ((last - first) * pitch * stride);
    const int band = std::max(7, static_cast<int>(size / 7 * 7));  // by_channel likes seven rows best
    int done = 0;                                                  // vectors of the first layer
    for (int row = 0; row < two.to->height; row += band) {
      const int stop = std::min(row + band, two.to->height);
      const auto until = static_cast<int>(std::min<std::ptrdiff_t>((stride * (stop - 1) + ahead) * pitch / lanes + 1, one.vectors()));
      if (until > done) one.part(g, end, done, until, source, one.to->first);
      done = std::max(done, until);
      for (int64_t c = first; c < last; ++c) two.rows(c, static_cast<int>(c - first), row, stop);
    }
  }
};

void check(const Filter& filter, int inputs, int outputs, bool compact) {
  const Blocks& blocks = filter.blocks;
  if (compact) throw std::invalid_argument("a convolution cannot write a compact buffer");
  if (blocks.rows > outputs || (filter.depthwise && blocks.rows > inputs))
    throw std::invalid_argument("the weight has more output channels than the output");
  for (std::size_t e = 0; e < blocks.index.size(); ++e)
    if (blocks.index[e] < 0 || blocks.index[e] >= inputs || blocks.tap[e] < 0 ||
        blocks.tap[e] >= filter.geometry.kernel_y * filter.geometry.kernel_x)
      throw std::invalid_argument("a block lies outside the weight");
  if (filter.depthwise && blocks.n != 1) throw std::invalid_argument("a depthwise layer takes blocks of 1");
}

// Works out where every block finds its pixels: at a constant distance in the input, if the bands are `reachable` and laid out like
// the output, or in copies of its stride phases, made for a whole band `at_once` or for a chunk of it at a time.
std::shared_ptr<const Layer> prepare(const Kernels* kernels, const Value& input, const Value& output, Filter filter, bool reachable,
                                     bool at_once) {
  const Geometry& g = filter.geometry;
  const Buffer &from = input.bands[0], &to = output.bands[0];
  const int last_y = (g.kernel_y - 1) * g.dilation_y - g.top, last_x = (g.kernel_x - 1) * g.dilation_x - g.left;
  auto layer = std::make_shared<Layer>();
  layer->kernels = kernels;
  layer->geometry = g;
  layer->clamp = filter.clamp;
  layer->depthwise = filter.depthwise;
  const Blocks& blocks = layer->blocks = std::move(filter.blocks);
  reachable = reachable && !input.compact;
  const bool direct = reachable && g.stride_y == 1 && g.stride_x == 1 && from.pitch == to.pitch &&
                      std::max(g.top, last_y) <= input.pad && std::max(g.left, last_x) <= input.pad &&
                      input.height == output.height && input.width == output.width;
  const bool usual = reachable && g.kernel_y == 3 && g.kernel_x == 3 && g.top == 1 && g.left == 1 && g.dilation_y == 1 &&
                     g.dilation_x == 1 && g.stride_x == g.stride_y && g.stride_x <= 2 && input.pad >= 1 &&
                     output.height == (input.height - 1) / g.stride_y + 1 && output.width == (input.width - 1) / g.stride_x + 1;
  if (layer->depthwise && usual && blocks.tap.size() == 9 * static_cast<std::size_t>(blocks.rows))
    layer->by_channel = kernels->channel[g.stride_x - 1];
  layer->copied = !direct && !layer->by_channel;

  layer->width = std::min(blocks.n, 8);
  while (kernels->vectors[__builtin_ctz(layer->width)] == 0) layer->width /= 2;
  layer->log_width = __builtin_ctz(layer->width);
  layer->longest = kernels->vectors[layer->log_width];
  Phases& phases = layer->phases;
  phases = {kernels, g, input.width, -floor_divide(-g.top, g.stride_y), std::max(0, floor_divide(last_y, g.stride_y)),
            -floor_divide(-g.left, g.stride_x), 1, 1, 0, from.pitch, from.plane};
  if (layer->copied) {
    const int after_x = std::max(0, floor_divide(last_x, g.stride_x));
    // A row's data must end before the next row's left overhang begins, and its right overhang before the next row's data.
    phases.columns = std::min((input.width + g.stride_x - 1) / g.stride_x, output.width + after_x);
    if (to.pitch < std::max(output.width + after_x, phases.columns + phases.before_x))
      throw std::invalid_argument("the output of this convolution needs more padding columns");
    phases.phases_y = std::min(g.stride_y, (g.kernel_y - 1) * g.dilation_y + 1);
    phases.phases_x = std::min(g.stride_x, (g.kernel_x - 1) * g.dilation_x + 1);
    if (g.top % g.stride_y || g.dilation_y > 1) phases.phases_y = g.stride_y;
    if (g.left % g.stride_x || g.dilation_x > 1) phases.phases_x = g.stride_x;
    phases.pitch = to.pitch;
  }
  const int planes = layer->depthwise ? 1 : input.channels * phases.phases_y * phases.phases_x;
  const auto near = (layer->copied ? near_phases : near_memory) / (static_cast<std::ptrdiff_t>(planes) * kernels->lanes);
  layer->chunk = std::max(1, static_cast<int>(near / layer->longest)) * layer->longest;
  if (layer->copied) {
    const auto some = static_cast<std::ptrdiff_t>(layer->chunk) * kernels->lanes / to.pitch + 2;  // it may begin anywhere in a row
    const auto rows = (at_once || layer->depthwise ? to.rows : std::min<std::ptrdiff_t>(some, to.rows)) + phases.before_y + phases.after_y;
    phases.plane = plane_distance(rows * phases.pitch + phases.before_x + line);
  }
  layer->offset.resize(blocks.index.size());
  for (std::size_t e = 0; e < blocks.index.size(); ++e) {
    const int y = blocks.tap[e] / g.kernel_x * g.dilation_y - g.top, x = blocks.tap[e] % g.kernel_x * g.dilation_x - g.left;
    const int qy = layer->copied ? floor_divide(y, g.stride_y) : y, qx = layer->copied ? floor_divide(x, g.stride_x) : x;
    const int phase = layer->copied ? (y - qy * g.stride_y) * phases.phases_x + x - qx * g.stride_x : 0;
    std::ptrdiff_t place = phase * phases.plane + qy * phases.pitch + qx;
    if (!layer->depthwise) place += blocks.index[e] * (layer->copied ? phases.per_channel() : from.plane);
    if (place > INT32_MAX / 4) throw std::invalid_argument("this layer is too large for 32-bit offsets");
    layer->offset[e] = static_cast<int32_t>(place * 4);
  }
  layer->light = blocks.value.size() <= 4 * static_cast<std::size_t>(input.channels * from.plane);  // another core's cache is slow
  layer->cost.assign(1, 0);
  for (std::size_t group = 0; group + 1 < blocks.pointer.size(); ++group)
    layer->cost.push_back(layer->cost.back() + blocks.pointer[group + 1] - blocks.pointer[group] + 2);
  return layer;
}

// Memory for the phases that a layer copies, for each thread; null where it copies none.
std::vector<std::shared_ptr<Buffer>> copies_for(const Layer& layer, int channels, int threads, std::size_t& bytes) {
  std::vector<std::shared_ptr<Buffer>> made(threads);
  const int planes = (layer.depthwise ? 1 : channels) * layer.phases.phases_y * layer.phases.phases_x;
  for (auto& buffer : made) {
    if (!layer.copied) continue;
    buffer = std::make_shared<Buffer>(1, planes, static_cast<int>(layer.phases.plane), 0, true);
    bytes += buffer->bytes;
  }
  return made;
}

// The part of a layer that makes band `to`, number `i`, of `input`.
Convolution part_of(const std::shared_ptr<const Layer>& layer, const Value& input, std::size_t i, const Buffer& to,
                    const float* residual, const int32_t* mask, std::shared_ptr<Buffer> copies) {
  const Buffer& from = input.bands[input.banded() && !layer->copied ? i : 0];
  const float* const source = from.first + (layer->geometry.stride_y * to.top - from.top) * from.pitch;
  return {layer, &input, layer->copied ? nullptr : source, layer->copied ? layer->phases.per_channel() : from.plane, &to, residual,
          mask, std::move(copies)};
}

}  // namespace

int Engine::convolve(int in, int out, int added, Filter filter) {
  const Value &input = at(in), &output = target(out);
  check(filter, input.channels, output.channels, output.compact);
  const auto bands = output.parts(threads());
  const bool own = has_own(input, bands, filter.geometry), near = has_near(input, bands, filter.geometry);
  const auto layer = prepare(kernels_, input, output, std::move(filter), near, false);
  if (!own && !layer->copied) exchange(in);
  const auto residuals = residual(added, output);
  const auto jobs = std::make_shared<std::vector<Convolution>>();
  const auto copies = copies_for(*layer, input.channels, threads(), bytes_);
  for (std::size_t i = 0; i < bands.size(); ++i)
    jobs->push_back(part_of(layer, input, i, *bands[i], residuals[i], mask(*bands[i]), copies[i * threads() / bands.size()]));
  const bool banded = output.banded();
  return append(banded && input.banded() && (own || !layer->copied), output, [jobs, banded](int number, int parts) {
    (*jobs)[number].run(banded ? 0 : number, banded ? 1 : parts);
  }, layer->how(output));
}

int Engine::convolve_pair(int in, int height, int width, int pad, int out, Filter first, Filter second) {
  const Value &input = at(in), &output = target(out);
  const int n = first.blocks.n, rows = first.blocks.rows;
  if (first.depthwise || !second.depthwise || rows != second.blocks.rows)
    throw std::invalid_argument("a pair is a convolution and the depthwise one of its outputs");
  const auto plane = Buffer(0, height, width, pad, false).plane;
  const auto groups = std::clamp<std::ptrdiff_t>(near_chunk / (n * plane), 1, (rows + n - 1) / n);
  check(first, input.channels, rows, false);
  check(second, rows, output.channels, output.compact);
  std::vector<std::pair<int, int>> rows_between;  // rows between the layers, by band
  int most = 1;
  const auto bands = output.parts(threads());
  for (const Buffer* to : bands) {
    rows_between.push_back(needs(second.geometry, to->top, to->bottom(), height));
    if (rows_between.back().first >= rows_between.back().second) rows_between.back() = {0, 1};  // the window lies in the padding
    most = std::max(most, rows_between.back().second - rows_between.back().first);
  }
  const auto jobs = std::make_shared<std::vector<std::unique_ptr<Pair>>>();
  std::vector<const Buffer*> between;
  for (const auto& [top, bottom] : rows_between) {
    Buffer few(static_cast<int>(groups) * n, most, width, pad, false);
    few.top = top;
    few.height = bottom - top;
    bytes_ += few.bytes;
    jobs->push_back(std::make_unique<Pair>(Pair{{few.channels, height, width, pad, false, {few}}, {}, {}, {}}));
    between.push_back(&jobs->back()->between.bands[0]);
  }
  const Value& like = (*jobs)[0]->between;
  const bool own = has_own(input, between, first.geometry), near = has_near(input, between, first.geometry);
  const auto one = prepare(kernels_, input, like, std::move(first), near, true);
  const auto two = prepare(kernels_, like, output, std::move(second), true, true);
  if (!own && !one->copied) exchange(in);
  std::vector<int64_t> cost;
  for (std::size_t group = 0; group < one->cost.size(); ++group)  // a depthwise channel costs about as much as 3 x 3 blocks of 1
    cost.push_back(one->cost[group] + static_cast<int64_t>(group) * (9 + 2 * n));
  const auto copies = copies_for(*one, input.channels, threads(), bytes_), others = copies_for(*two, like.channels, threads(), bytes_);
  for (std::size_t i = 0; i < bands.size(); ++i) {
    Pair& job = *(*jobs)[i];
    const std::size_t thread = i * threads() / bands.size();
    job.one = part_of(one, input, i, *between[i], nullptr, mask(*between[i]), copies[thread]);
    job.two = part_of(two, job.between, 0, *bands[i], nullptr, mask(*bands[i]), others[thread]);
    job.cost = cost;
  }
  const bool banded = output.banded();
  return append(banded && input.banded() && (own || !one->copied), output, [jobs, banded](int number, int parts) {
    (*jobs)[number]->run(banded ? 0 : number, banded ? 1 : parts);
  }, one->how(output) + ", with the next");
}

}  // namespace suite

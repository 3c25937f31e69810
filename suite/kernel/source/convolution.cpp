// Preparing convolutions: where each kept block finds its pixels, and which thread makes what.
#include <stdexcept>

#include "bands.h"
#include "layer.h"

namespace suite {
namespace {

constexpr std::ptrdiff_t near_memory = std::ptrdiff_t{1} << 18;  // floats of input that stay in half of a usual L2 cache

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
  const auto near = near_memory / (static_cast<std::ptrdiff_t>(planes) * kernels->lanes);
  layer->chunk = std::max(layer->longest, static_cast<int>(near));
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

// The part of a layer that makes band `to`, number `i`, of `input`.
Convolution part_of(const std::shared_ptr<const Layer>& layer, const Value& input, std::size_t i, const Buffer& to,
                    const float* residual, const int32_t* mask, Scratch* copies) {
  if (layer->copied) return {layer, &input, nullptr, 0, layer->phases.per_channel(), &to, residual, mask, copies};
  const Buffer& from = input.bands[input.banded() ? i : 0];
  const std::ptrdiff_t shift = (layer->geometry.stride_y * to.top - from.top) * from.pitch;
  return {layer, &input, &from, shift, from.plane, &to, residual, mask, copies};
}

}  // namespace

int Engine::convolve(int in, int out, int added, Filter filter) {
  const Value& input = at(in);
  Value& output = target(out);
  check(filter, input.channels, output.channels, output.compact);
  const auto bands = output.parts(threads());
  const bool own = has_own(input, bands, filter.geometry), near = has_near(input, bands, filter.geometry);
  const auto layer = prepare(kernels_, input, output, std::move(filter), near, false);
  if (!own && !layer->copied) exchange(in);
  ends(output, layer->ends_rows(output));
  const auto residuals = residual(added, output);
  const auto jobs = std::make_shared<std::vector<Convolution>>();
  const auto copies = scratch(1, layer->copied_size(input));
  for (std::size_t i = 0; i < bands.size(); ++i)
    jobs->push_back(part_of(layer, input, i, *bands[i], residuals[i], mask(*bands[i]), copies[i * threads() / bands.size()]));
  const bool banded = output.banded();
  const bool local = banded && input.banded() && (!layer->copied || layer->copies_own(input, bands));
  return append(local, output, [jobs, banded](int number, int parts) {
    (*jobs)[number].run(banded ? 0 : number, banded ? 1 : parts);
  }, layer->how(output));
}

int Engine::convolve_pair(int in, int height, int width, int pad, int out, Filter first, Filter second) {
  const Value& input = at(in);
  Value& output = target(out);
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
    jobs->push_back(std::make_unique<Pair>(Pair{{few.channels, height, width, pad, false, {few}}, {}, {}, {}, nullptr}));
    between.push_back(&jobs->back()->between.bands[0]);
  }
  const Value& like = (*jobs)[0]->between;
  const bool own = has_own(input, between, first.geometry), near = has_near(input, between, first.geometry);
  const auto one = prepare(kernels_, input, like, std::move(first), near, true);
  const auto two = prepare(kernels_, like, output, std::move(second), true, true);
  if (!own && !one->copied) exchange(in);
  ends(output, two->ends_rows(output));
  std::vector<int64_t> cost;
  for (std::size_t group = 0; group < one->cost.size(); ++group)  // a depthwise channel costs about as much as 3 x 3 blocks of 1
    cost.push_back(one->cost[group] + static_cast<int64_t>(group) * (9 + 2 * n));
  const auto copies = scratch(1, one->copied_size(input)), others = scratch(2, two->copied_size(like));
  const auto memory = scratch(0, between[0]->size);
  for (std::size_t i = 0; i < bands.size(); ++i) {
    Pair& job = *(*jobs)[i];
    const std::size_t thread = i * threads() / bands.size();
    job.one = part_of(one, input, i, *between[i], nullptr, mask(*between[i]), copies[thread]);
    job.two = part_of(two, job.between, 0, *bands[i], nullptr, mask(*bands[i]), others[thread]);
    job.cost = cost;
    job.memory = memory[thread];
  }
  const bool banded = output.banded();
  const bool local = banded && input.banded() && (!one->copied || one->copies_own(input, between));
  return append(local, output, [jobs, banded](int number, int parts) {
    (*jobs)[number]->run(banded ? 0 : number, banded ? 1 : parts);
  }, one->how(output) + ", with the next");
}

}  // namespace suite

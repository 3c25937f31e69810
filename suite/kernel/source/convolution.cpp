// Convolutions: where each kept block finds its pixels, in what order tiles run, and who runs them.
#include <stdexcept>

#include "engine.h"
#include "parts.h"
#include "phases.h"

namespace suite {
namespace {

constexpr std::ptrdiff_t near_memory = std::ptrdiff_t{1} << 18;  // floats of input that stay in half of a usual L2 cache
constexpr std::ptrdiff_t near_chunk = std::ptrdiff_t{1} << 13;   // floats between the layers of a pair: in most of an L1 cache

}  // namespace

// A convolution over planes whose pitch is that of the output: the input itself, or its stride phases copied apart.
struct Convolution {
  const Kernels* kernels;
  const float* source;        // pixel (0, 0) of the first source plane
  float* output;              // pixel (0, 0) of output channel 0
  const float* residual;      // likewise, or null
  std::ptrdiff_t plane;       // of the output
  std::ptrdiff_t per_channel; // floats from one channel's source to the next
  const int32_t* mask;
  Blocks blocks;
  std::vector<int32_t> offset;
  Clamp clamp;
  bool depthwise;
  ChannelFunction by_channel;  // for a depthwise layer of a usual shape, else null
  int stride, height, columns;  // the latter of the output
  std::ptrdiff_t input_pitch, pitch;
  int width, log_width;
  int vectors, longest;        // in a plane, and in a tile
  int chunk;                   // vectors whose input stays near while all groups pass over it
  bool light;                  // the weights are no burden if every thread reads them all
  std::vector<int64_t> cost;  // cumulative kept blocks by group
  std::shared_ptr<Phases> phases;                        // of a depthwise layer: made channel by channel,
  std::vector<std::shared_ptr<Buffer>> of_each_thread;  // each thread having planes for one

  // A group's tile of vectors first..last: `input` is pixel (0, 0) of the source, `to` that of the group's first output plane.
  void tile(int64_t group, int first, int last, const float* input, float* to) const {
    const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(first) * kernels->lanes;
    const int64_t begin = blocks.pointer[group];
    for (int part = 0; part < blocks.n; part += width) {
      const int64_t row = group * blocks.n + part;
      if (row >= blocks.rows) return;
      Tile job;
      job.input = reinterpret_cast<const char*>(input + place);
      job.offset = offset.data() + begin;
      job.value = blocks.value.data() + begin * blocks.n + part;
      job.step = blocks.n;
      job.count = blocks.pointer[group + 1] - begin;
      job.bias = blocks.bias.data() + row;
      job.output = to + part * plane + place;
      job.residual = residual ? residual + row * plane + place : nullptr;
      job.plane = plane;
      job.mask = mask + place;
      job.rows = static_cast<int>(std::min<int64_t>(width, blocks.rows - row));
      job.low = clamp.low;
      job.high = clamp.high;
      kernels->tile[log_width][last - first](job);
    }
  }

  // Tile by tile a group writes its planes as long streams, but reads the input once per group; hence chunks.
  void part(int64_t first_group, int64_t last_group, int first, int last, const float* input, float* to) const {
    for (int start = first; start < last; start += chunk) {
      const int size = std::min(chunk, last - start), tiles = (size + longest - 1) / longest;
      for (int64_t g = first_group; g < last_group; ++g)
        for (int t = 0; t < tiles; ++t)
          tile(g, start + size * t / tiles, start + size * (t + 1) / tiles, input, to + (g - first_group) * blocks.n * plane);
    }
  }

  // One channel of a depthwise layer, from its pixel (0, 0).
  void channel(int64_t number, const float* pixels, int thread) {
    if (by_channel) return rows(number, pixels, 0, height);
    if (phases) {
      auto& mine = of_each_thread[thread];
      if (!mine) mine = std::make_shared<Buffer>(phases->planes(1));
      phases->channel(pixels, mine->first);
      pixels = mine->first + phases->origin();
    }
    part(number, number + 1, 0, vectors, pixels, output + number * plane);
  }

  // Rows of a channel, where there is a kernel for it. Its last vector may spoil the row behind them: they come downwards.
  void rows(int64_t number, const float* pixels, int first, int last) const {
    const std::ptrdiff_t to = number * plane + first * pitch;
    by_channel({pixels + (first * stride - 1) * input_pitch - 1, blocks.value.data() + 9 * number, output + to,
                residual ? residual + to : nullptr, input_pitch, pitch, last - first, columns, blocks.bias[number], clamp.low,
                clamp.high});
  }

  // Threads share the pixels: what a thread reads it then has mostly written itself, in its own cache. Where there are too
  // few pixels, or too many weights, they share the groups.
  void run(int thread, int threads) {
    const int64_t groups = static_cast<int64_t>(blocks.pointer.size()) - 1;
    if (!depthwise && ((light && vectors >= 2 * threads) || groups < 2 * threads)) {
      const auto [begin, end] = share(vectors, thread, threads);
      part(0, groups, static_cast<int>(begin), static_cast<int>(end), source, output);
      return;
    }
    const auto begin = cut(cost, threads);
    if (!depthwise) part(begin[thread], begin[thread + 1], 0, vectors, source, output + begin[thread] * blocks.n * plane);
    else for (int64_t c = begin[thread]; c < begin[thread + 1]; ++c) channel(c, source + c * per_channel, thread);
  }
};

namespace {

// A convolution and the depthwise one that reads it, a few channels and rows at a time: what lies between them never leaves
// the cache, and nobody waits between them.
struct Pair {
  std::shared_ptr<Convolution> one, two;
  Buffer between;                                        // of the first thread, and the layout of all
  std::vector<std::shared_ptr<Buffer>> of_each_thread;
  std::vector<int64_t> cost;                             // cumulative, by group of the first

  void run(int thread, int threads) {
    auto& mine = of_each_thread[thread];
    if (!mine) mine = std::make_shared<Buffer>(between.channels, between.height, between.width, between.pad, false);
    const int64_t step = between.channels / one->blocks.n;
    const auto begin = cut(cost, threads);
    for (int64_t g = begin[thread]; g < begin[thread + 1]; g += step) {
      const int64_t end = std::min(g + step, begin[thread + 1]);
      const int64_t first = g * one->blocks.n, last = std::min<int64_t>(end * one->blocks.n, one->blocks.rows);
      if (two->by_channel) {
        bands(g, end, first, last, *mine);
      } else {
        one->part(g, end, 0, one->vectors, one->source, mine->first);
        for (int64_t c = first; c < last; ++c) two->channel(c, mine->pixel(static_cast<int>(c - first)), thread);
      }
    }
  }

  // Groups g..end, channels first..last: as many rows of the second layer at a time as leave the first one's near.
  void bands(int64_t g, int64_t end, int64_t first, int64_t last, const Buffer& mine) const {
    const auto size = near_chunk / ((last - first) * mine.pitch * two->stride);
    const int band = std::max(7, static_cast<int>(size / 7 * 7));  // by_channel likes seven rows best
    int done = 0;                                                  // vectors of the first layer
    for (int row = 0; row < two->height; row += band) {
      const int stop = std::min(row + band, two->height);
      const auto needed = (two->stride * (stop - 1) + 2) * mine.pitch / one->kernels->lanes + 1;
      const int until = static_cast<int>(std::min<std::ptrdiff_t>(needed, one->vectors));
      if (until > done) one->part(g, end, done, until, one->source, mine.first);
      done = std::max(done, until);
      for (int64_t c = first; c < last; ++c) two->rows(c, mine.pixel(static_cast<int>(c - first)), row, stop);
    }
  }
};

// Works out where every block finds its pixels in `input`. Where that is no plain distance the job has `phases`, and the
// caller has to copy them for it, unless it is depthwise.
std::shared_ptr<Convolution> prepare(const Kernels* kernels, const Buffer& input, const Buffer& output, const int32_t* mask,
                                     Filter filter) {
  const Geometry& g = filter.geometry;
  Blocks& blocks = filter.blocks;
  if (output.compact) throw std::invalid_argument("a convolution cannot write a compact buffer");
  for (std::size_t e = 0; e < blocks.index.size(); ++e)
    if (blocks.index[e] < 0 || blocks.index[e] >= input.channels || blocks.tap[e] < 0 || blocks.tap[e] >= g.kernel_y * g.kernel_x)
      throw std::invalid_argument("a block lies outside the weight");
  if (filter.depthwise && blocks.n != 1) throw std::invalid_argument("a depthwise layer takes blocks of 1");
  auto job = std::make_shared<Convolution>();
  job->kernels = kernels;
  job->source = input.pixel(0);
  job->per_channel = input.plane;
  job->output = output.pixel(0);
  job->residual = nullptr;
  job->plane = output.plane;
  job->mask = mask;
  job->depthwise = filter.depthwise;
  job->clamp = filter.clamp;

  const int last_y = (g.kernel_y - 1) * g.dilation_y - g.top, last_x = (g.kernel_x - 1) * g.dilation_x - g.left;
  const bool direct = g.stride_y == 1 && g.stride_x == 1 && !input.compact && input.pitch == output.pitch &&
                      std::max(g.top, last_y) <= input.pad && std::max(g.left, last_x) <= input.pad &&
                      input.height == output.height && input.width == output.width;
  const bool usual = g.kernel_y == 3 && g.kernel_x == 3 && g.top == 1 && g.left == 1 && g.dilation_y == 1 && g.dilation_x == 1 &&
                     g.stride_x == g.stride_y && g.stride_x <= 2 && !input.compact && input.pad >= 1 &&
                     output.height == (input.height - 1) / g.stride_y + 1 && output.width == (input.width - 1) / g.stride_x + 1;
  if (filter.depthwise && usual && blocks.tap.size() == 9 * static_cast<std::size_t>(blocks.rows))
    job->by_channel = kernels->channel[g.stride_x - 1];
  job->stride = g.stride_y;
  job->height = output.height;
  job->columns = output.width;
  job->input_pitch = input.pitch;
  job->pitch = output.pitch;
  std::ptrdiff_t between_inputs = input.plane;
  if (!direct && !job->by_channel) {
    const int before_x = -floor_divide(-g.left, g.stride_x), after_x = std::max(0, floor_divide(last_x, g.stride_x));
    // A row's data must end before the next row's left overhang begins, and its right overhang before the next row's data.
    const int columns = std::min((input.width + g.stride_x - 1) / g.stride_x, output.width + after_x);
    if (output.pitch < std::max(output.width + after_x, columns + before_x))
      throw std::invalid_argument("the output of this convolution needs more padding columns");
    auto phases = std::make_shared<Phases>();
    phases->kernels = kernels;
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
    phases->pitch = output.pitch;
    phases->plane = plane_distance(phases->rows * phases->pitch + before_x + line);
    between_inputs = phases->per_channel();
    job->phases = phases;
    if (filter.depthwise) job->of_each_thread.resize(most_threads);
  }
  job->offset.resize(blocks.index.size());
  for (std::size_t e = 0; e < blocks.index.size(); ++e) {
    const int y = blocks.tap[e] / g.kernel_x * g.dilation_y - g.top, x = blocks.tap[e] % g.kernel_x * g.dilation_x - g.left;
    std::ptrdiff_t place = filter.depthwise ? 0 : blocks.index[e] * between_inputs;
    if (direct || job->by_channel) {
      place += y * input.pitch + x;
    } else {
      const int qy = floor_divide(y, g.stride_y), qx = floor_divide(x, g.stride_x);
      const int py = y - qy * g.stride_y, px = x - qx * g.stride_x;
      place += (py * job->phases->phases_x + px) * job->phases->plane + qy * output.pitch + qx;
    }
    if (place > INT32_MAX / 4) throw std::invalid_argument("this layer is too large for 32-bit offsets");
    job->offset[e] = static_cast<int32_t>(place * 4);
  }

  job->width = std::min(blocks.n, 8);
  while (kernels->vectors[__builtin_ctz(job->width)] == 0) job->width /= 2;
  job->log_width = __builtin_ctz(job->width);
  job->vectors = static_cast<int>((output.span() + kernels->lanes - 1) / kernels->lanes);
  job->longest = kernels->vectors[job->log_width];
  const int planes = filter.depthwise ? 1 : job->phases ? input.channels * job->phases->phases_y * job->phases->phases_x : input.channels;
  const int near = static_cast<int>(near_memory / (static_cast<std::ptrdiff_t>(planes) * kernels->lanes));
  job->chunk = std::max(1, near / job->longest) * job->longest;
  job->light = blocks.value.size() <= 4 * static_cast<std::size_t>(planes * input.plane);  // a cache of another core is slow
  job->cost.assign(1, 0);
  for (std::size_t group = 0; group + 1 < blocks.pointer.size(); ++group)
    job->cost.push_back(job->cost.back() + blocks.pointer[group + 1] - blocks.pointer[group] + 2);
  job->blocks = std::move(blocks);
  return job;
}

}  // namespace

const float* Engine::residual(int number, const Buffer& output) const {
  if (number < 0) return nullptr;
  const Buffer& added = at(number);
  if (added.pitch != output.pitch || added.plane != output.plane || added.compact || added.channels < output.channels)
    throw std::invalid_argument("a residual must be laid out like the output");
  return added.pixel(0);
}

// Copies the stride phases of a job's input in a step of their own, shared by all its groups.
void Engine::spread(Convolution& job, const Buffer& input) {
  if (!job.phases || job.depthwise) return;
  const auto phases = job.phases;
  const auto planes = std::make_shared<Buffer>(phases->planes(input.channels));
  job.source = planes->first + phases->origin();
  append([phases, planes](int thread, int threads) {
    const auto [begin, end] = share(phases->input->channels, thread, threads);
    for (auto channel = begin; channel < end; ++channel)
      phases->channel(phases->input->pixel(static_cast<int>(channel)), planes->first + channel * phases->per_channel());
  });
}

int Engine::convolve(int in, int out, int added, Filter filter) {
  const Buffer &input = at(in), &output = at(out);
  if (filter.blocks.rows > output.channels || (filter.depthwise && filter.blocks.rows > input.channels))
    throw std::invalid_argument("the weight has more output channels than the output");
  const auto job = prepare(kernels_, input, output, mask(output)->data(), std::move(filter));
  job->residual = residual(added, output);
  spread(*job, input);
  return append([job](int thread, int threads) { job->run(thread, threads); });
}

int Engine::convolve_pair(int in, int height, int width, int pad, int out, Filter first, Filter second) {
  const Buffer &input = at(in), &output = at(out);
  if (first.depthwise || !second.depthwise || first.blocks.rows != second.blocks.rows || second.blocks.rows > output.channels)
    throw std::invalid_argument("a pair is a convolution and the depthwise one of its outputs");
  const int n = first.blocks.n;
  const auto plane = Buffer(0, height, width, pad, false).plane;
  const auto groups = std::clamp<std::ptrdiff_t>(near_chunk / (n * plane), 1, (first.blocks.rows + n - 1) / n);
  const auto pair = std::make_shared<Pair>(Pair{nullptr, nullptr, Buffer(static_cast<int>(groups) * n, height, width, pad, false), {}, {}});
  const Buffer& between = pair->between;
  pair->one = prepare(kernels_, input, between, mask(between)->data(), std::move(first));
  pair->two = prepare(kernels_, between, output, mask(output)->data(), std::move(second));
  pair->of_each_thread.resize(most_threads);
  const auto& kept = pair->one->cost;
  for (std::size_t group = 0; group < kept.size(); ++group)  // a depthwise channel costs about as much as 3 x 3 blocks of 1
    pair->cost.push_back(kept[group] + static_cast<int64_t>(group) * (9 + 2 * n));
  spread(*pair->one, input);
  return append([pair](int thread, int threads) { pair->run(thread, threads); });
}

}  // namespace suite

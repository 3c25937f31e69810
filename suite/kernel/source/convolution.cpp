// Convolutions: where each kept block finds its pixels, in what order tiles run, and who runs them.
#include <stdexcept>

#include "engine.h"
#include "parts.h"

namespace suite {
namespace {

constexpr std::ptrdiff_t near_memory = std::ptrdiff_t{1} << 18;  // floats of input that stay in half of a usual L2 cache

int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Copies the stride phases that the taps of a convolution read into planes with the output's pitch.
struct Phases {
  const Kernels* kernels;
  const Buffer* input;
  Geometry geometry;
  int before_y, before_x, phases_y, phases_x, rows, columns;
  std::ptrdiff_t pitch, plane;

  std::ptrdiff_t per_channel() const { return plane * phases_y * phases_x; }
  Buffer planes(int channels) const { return {1, channels * phases_y * phases_x, static_cast<int>(plane), 0, true}; }
  std::ptrdiff_t origin() const { return before_y * pitch + before_x; }  // from a plane's start to its pixel (0, 0)

  void channel(const float* pixels, float* to) const {
    for (int py = 0; py < phases_y; ++py)
      for (int px = 0; px < phases_x; ++px, to += plane) {
        const int present = std::min((input->width - px + geometry.stride_x - 1) / geometry.stride_x, columns);
        for (int y = 0; y < rows - before_y && py + y * geometry.stride_y < input->height; ++y) {
          const float* from = pixels + (py + y * geometry.stride_y) * input->pitch + px;
          float* row = to + origin() + y * pitch;
          if (geometry.stride_x == 2) kernels->halve(from, row, present);
          else kernels->pick(from, geometry.stride_x, row, present);
        }
      }
  }
};

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
  int width, log_width, vectors, tiles;
  int chunk;                  // tiles whose input stays near while all groups pass over it
  std::vector<int64_t> cost;  // cumulative kept blocks by group
  std::shared_ptr<Phases> phases;                        // of a depthwise layer: made channel by channel,
  std::vector<std::shared_ptr<Buffer>> of_each_thread;  // each thread having planes for one

  void tile(int64_t group, int number, const float* input) const {
    const int lanes = kernels->lanes;
    const int first = vectors * number / tiles, last = vectors * (number + 1) / tiles;
    const int64_t begin = blocks.pointer[group];
    for (int part = 0; part < blocks.n; part += width) {
      const int64_t row = group * blocks.n + part;
      if (row >= blocks.rows) return;
      Tile job;
      job.input = reinterpret_cast<const char*>(input + first * lanes);
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

  // Tile by tile a group writes its planes as long streams, but reads the input once per group; hence chunks.
  void part(int64_t first_group, int64_t last_group, int first_tile, int last_tile, const float* input) const {
    for (int start = first_tile; start < last_tile; start += chunk)
      for (int64_t g = first_group; g < last_group; ++g)
        for (int t = start; t < std::min(start + chunk, last_tile); ++t) tile(g, t, input);
  }

  void run(int thread, int threads) {
    const int64_t groups = static_cast<int64_t>(blocks.pointer.size()) - 1;
    const bool even = tiles % threads == 0 || tiles >= 8 * threads;
    if (!depthwise && (even || groups < 2 * threads)) {
      const auto [begin, end] = share(tiles, thread, threads);
      part(0, groups, static_cast<int>(begin), static_cast<int>(end), source);
      return;
    }
    const auto begin = cut(cost, threads);
    if (!depthwise) part(begin[thread], begin[thread + 1], 0, tiles, source);
    else if (!phases)
      for (int64_t g = begin[thread]; g < begin[thread + 1]; ++g) part(g, g + 1, 0, tiles, source + g * per_channel);
    else {
      auto& mine = of_each_thread[thread];
      if (!mine) mine = std::make_shared<Buffer>(phases->planes(1));
      for (int64_t g = begin[thread]; g < begin[thread + 1]; ++g) {
        phases->channel(phases->input->pixel(static_cast<int>(g)), mine->first);
        part(g, g + 1, 0, tiles, mine->first + phases->origin());
      }
    }
  }
};

}  // namespace

int Engine::convolve(int in, int out, int residual, bool depthwise, const Geometry& g, Blocks blocks, Clamp clamp) {
  const Buffer& input = at(in);
  const Buffer& output = at(out);
  if (output.compact) throw std::invalid_argument("a convolution cannot write a compact buffer");
  if (residual >= 0 && (at(residual).pitch != output.pitch || at(residual).plane != output.plane || at(residual).compact))
    throw std::invalid_argument("a residual must be laid out like the output");
  for (std::size_t e = 0; e < blocks.index.size(); ++e)
    if (blocks.index[e] < 0 || blocks.index[e] >= input.channels || blocks.tap[e] < 0 || blocks.tap[e] >= g.kernel_y * g.kernel_x)
      throw std::invalid_argument("a block lies outside the weight");
  if (blocks.rows > output.channels || (depthwise && (blocks.n != 1 || blocks.rows > input.channels)))
    throw std::invalid_argument("the weight has more output channels than the output");
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
  const auto phases = std::make_shared<Phases>();
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
    phases->plane = source_plane = plane_distance(phases->rows * source_pitch + before_x + line);
    job->per_channel = phases->per_channel();
    if (depthwise) {
      job->phases = phases;
      job->of_each_thread.resize(most_threads);
    } else {
      const auto planes = std::make_shared<Buffer>(phases->planes(input.channels));
      job->source = planes->first + phases->origin();
      append([phases, planes](int thread, int threads) {
        const auto [begin, end] = share(phases->input->channels, thread, threads);
        for (auto channel = begin; channel < end; ++channel)
          phases->channel(phases->input->pixel(static_cast<int>(channel)), planes->first + channel * phases->per_channel());
      });
    }
  }
  job->offset.resize(blocks.index.size());
  for (std::size_t e = 0; e < blocks.index.size(); ++e) {
    const int y = blocks.tap[e] / g.kernel_x * g.dilation_y - g.top, x = blocks.tap[e] % g.kernel_x * g.dilation_x - g.left;
    std::ptrdiff_t place = depthwise ? 0 : blocks.index[e] * job->per_channel;
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
  const std::ptrdiff_t per_tile = static_cast<std::ptrdiff_t>(depthwise ? 1 : input.channels) * longest * kernels_->lanes;
  job->chunk = static_cast<int>(std::clamp<std::ptrdiff_t>(near_memory / per_tile, 1, job->tiles));
  job->cost.assign(1, 0);
  for (std::size_t group = 0; group + 1 < blocks.pointer.size(); ++group)
    job->cost.push_back(job->cost.back() + blocks.pointer[group + 1] - blocks.pointer[group] + 2);
  job->blocks = std::move(blocks);
  return append([job](int thread, int threads) { job->run(thread, threads); });
}

}  // namespace suite

// Running convolutions: in what order their tiles run, and who runs them.
#pragma once

#include "phases.h"
#include "parts.h"

namespace suite {

constexpr std::ptrdiff_t near_chunk = std::ptrdiff_t{1} << 13;  // floats between the layers of a pair: in most of an L1 cache

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
  int chunk;                             // most vectors whose input stays near while all groups pass over it
  bool light;                            // the weights are no burden if every thread reads them all

  // Whether every band of `input` has all rows that are copied for the same band of the output: some more than are needed.
  bool copies_own(const Value& input, const std::vector<const Buffer*>& outputs) const {
    if (!input.banded() || input.bands.size() != outputs.size()) return false;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const int first = geometry.stride_y * (outputs[i]->top - phases.before_y);
      const int last = geometry.stride_y * (outputs[i]->bottom() + phases.after_y);
      if (std::max(first, 0) < input.bands[i].top || std::min(last, input.height) > input.bands[i].bottom()) return false;
    }
    return true;
  }

  // Whether it writes zeros behind every row of `output`.
  bool ends_rows(const Value& output) const {
    return blocks.rows == output.channels && (!by_channel || output.ended_by(kernels->lanes));
  }

  std::size_t copied_size(const Value& input) const {
    return copied ? (depthwise ? 1 : input.channels) * phases.per_channel() : 0;
  }

  std::string how(const Value& output) const {
    if (by_channel) return "by channel";
    const auto vectors = (output.bands[0].span() + kernels->lanes - 1) / kernels->lanes;
    std::string words = std::to_string(width) + "x" + std::to_string(longest) + " tiles";
    if (output.banded()) words += ", " + std::to_string(output.bands.size()) + " bands";
    if (vectors > chunk && !depthwise) words += ", " + std::to_string((vectors + chunk - 1) / chunk) + " chunks";
    return copied ? words + ", phases copied" : words;
  }
};

// A layer's part: a band of its output, or a thread's share of a band that all threads have in common.
struct Convolution {
  std::shared_ptr<const Layer> layer;
  const Value* input;
  const Buffer* from;          // null if the phases of the input have to be copied
  std::ptrdiff_t shift;        // from its pixel (0, 0) to what output pixel (0, 0) reads with a tap without offset
  std::ptrdiff_t per_channel;  // floats from one channel's source to the next
  const Buffer* to;
  const float* residual;  // laid out like the output, or null
  const int32_t* mask;
  Scratch* copies;  // for as many rows as there are at a time

  const float* source() const { return from ? from->first + shift : nullptr; }
  int vectors() const { return static_cast<int>((to->span() + layer->kernels->lanes - 1) / layer->kernels->lanes); }

  // A group's vectors start..start + size, in tiles of about one length. `input` is the source of pixel (0, 0), `output` that pixel
  // in the group's first plane.
  void group(int64_t number, int start, int size, const float* input, float* output) const {
    const Blocks& blocks = layer->blocks;
    const int lanes = layer->kernels->lanes, tiles = (size + layer->longest - 1) / layer->longest;
    const int64_t begin = blocks.pointer[number];
    Tile job;
    job.offset = layer->offset.data() + begin;
    job.step = blocks.n;
    job.count = blocks.pointer[number + 1] - begin;
    job.plane = to->plane;
    job.low = layer->clamp.low;
    job.high = layer->clamp.high;
    for (int part = 0; part < blocks.n; part += layer->width, output += layer->width * to->plane) {
      const int64_t row = number * blocks.n + part;
      if (row >= blocks.rows) return;
      job.value = blocks.value.data() + begin * blocks.n + part;
      job.bias = blocks.bias.data() + row;
      job.rows = static_cast<int>(std::min<int64_t>(layer->width, blocks.rows - row));
      for (int t = 0; t < tiles; ++t) {
        const int first = start + size * t / tiles, last = start + size * (t + 1) / tiles;
        const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(first) * lanes;
        job.input = reinterpret_cast<const char*>(input + place);
        job.output = output + place;
        job.residual = residual ? residual + row * to->plane + place : nullptr;
        job.mask = mask + place;
        layer->kernels->tile[layer->log_width][last - first](job);
      }
    }
  }

  // Tile by tile a group writes its planes as long streams, but reads the input once per group; hence chunks. `from` is null
  // where stride phases have to be copied.
  void part(int64_t first_group, int64_t last_group, int first, int last, const float* from, float* output) const {
    const int chunks = (last - first + layer->chunk - 1) / layer->chunk;
    for (int i = 0; i < chunks; ++i) {
      const int start = first + (last - first) * i / chunks, size = first + (last - first) * (i + 1) / chunks - start;
      const float* const pixels = from ? from : copy(start, start + size, 0, input->channels);
      for (int64_t g = first_group; g < last_group; ++g)
        group(g, start, size, pixels, output + (g - first_group) * layer->blocks.n * to->plane);
    }
  }

  // The phases that vectors first..last need of some channels, as seen from the source of pixel (0, 0).
  const float* copy(int first, int last, int first_channel, int last_channel) const {
    const int lanes = layer->kernels->lanes, pitch = static_cast<int>(to->pitch);
    const int row = first * lanes / pitch, end = std::min(to->height, (last * lanes - 1) / pitch + 1);
    if (copies->user != layer.get()) {
      std::fill_n(copies->memory.get(), layer->copied_size(*input), 0.0f);
      copies->user = layer.get();
    }
    float* place = copies->memory.get();
    for (int c = first_channel; c < last_channel; ++c, place += per_channel)
      layer->phases.channel(*input, c, to->top + row, to->top + end, place);
    return copies->memory.get() + layer->phases.origin() - row * to->pitch;
  }

  // One channel of a depthwise layer, `within` its place in the source.
  void channel(int64_t number, int within) const {
    if (layer->by_channel) return rows(number, within, 0, to->height);
    part(number, number + 1, 0, vectors(), from ? source() + within * per_channel : copy(0, vectors(), within, within + 1),
         to->pixel(static_cast<int>(number)));
  }

  // Rows of a channel, where there is a kernel for it. Its last vector may spoil the row behind them: they come downwards.
  void rows(int64_t number, int within, int first, int last) const {
    const std::ptrdiff_t place = number * to->plane + first * to->pitch, pitch = layer->phases.pitch;
    layer->by_channel({source() + within * per_channel + (first * layer->geometry.stride_y - 1) * pitch - 1,
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
      part(0, groups, static_cast<int>(begin), static_cast<int>(end), source(), to->first);
      return;
    }
    const auto begin = cut(layer->cost, parts);
    if (!layer->depthwise) {
      part(begin[number], begin[number + 1], 0, vectors(), source(), to->pixel(static_cast<int>(begin[number] * blocks.n)));
    } else {
      for (int64_t c = begin[number]; c < begin[number + 1]; ++c) channel(c, static_cast<int>(c));
    }
  }
};

// A convolution and the depthwise one that reads it, a few channels and rows at a time: what lies between them never leaves
// the cache, and nobody waits between them.
struct Pair {
  Value between;  // a single band of a few channels
  Convolution one, two;
  std::vector<int64_t> cost;  // cumulative, by group of the first
  Scratch* memory;            // of `between`

  void run(int number, int parts) {
    between.bands[0].lay(memory->memory.get());
    between.bands[0].clear(false);
    const Blocks& blocks = one.layer->blocks;
    const int64_t step = between.channels / blocks.n;
    const float* const source = one.from ? one.source() : one.copy(0, one.vectors(), 0, one.input->channels);
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

}  // namespace suite

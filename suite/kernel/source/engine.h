// The engine: buffers in a layout that needs no im2col, and the steps of a network over them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "simd.h"
#include "threads.h"

namespace suite {

// Rows `top` .. top + height - 1 of all planes of a value. Rows are `pitch` apart; the columns after `width` are zero and serve
// as the right edge of one row and the left edge of the next. Above and below its rows a plane has `pad` more: zero where the
// value ends there, else copies of a neighbour's. Where a band is a whole value they are zero, and shared by a plane and the next
// one. A convolution's tap is then one constant distance in memory, and a tile may run over row ends. A compact buffer has no
// padding at all.
struct Buffer {
  int channels, height, width, pad;
  bool compact;
  int rows, top = 0;  // `rows`: those there is room for, of which a band may have less
  std::ptrdiff_t pitch, plane, edge;
  std::size_t size;        // floats of memory that it takes
  float* first = nullptr;  // pixel (0, 0) of plane 0; null until it lies somewhere

  Buffer(int channels, int height, int width, int pad, bool compact, bool whole = true);
  void lay(float* memory) { first = memory + edge; }
  void clear(bool row_ends) const;  // makes all zero that is no pixel, of the ends of rows if they are meant
  float* pixel(int channel) const { return first + channel * plane; }
  int bottom() const { return top + height; }
  std::ptrdiff_t span() const { return (height - 1) * pitch + width; }  // from the first pixel to behind the last
};

// What values of one time after the other lie in: a block for each thread, or one for values that threads share.
struct Memory {
  std::vector<std::shared_ptr<float[]>> blocks;
  std::size_t size;          // floats in a block
  const Buffer* layout;      // the first band of the value that lies in it last, in the order of steps
  int channels;              // for how many of its planes zeros are in place
  int owner;                 // the first value
  bool mixed = false;        // whether values of other layouts follow it
};

// What a layer keeps between its parts, in memory of its thread that the next layer takes over.
struct Scratch {
  std::shared_ptr<float[]> memory;
  std::size_t size = 0;
  const void* user = nullptr;  // whose zeros are in place
};

// The planes of `channels` x `height` x `width` floats that a network has between two layers. Every thread has bands of rows in
// memory of their own, so that most layers neither wait nor fetch what another core has just written, and each so small that it
// stays in the cache from one layer to the next. A value of few rows, and a compact one, is a single band that threads share.
struct Value {
  int channels, height, width, pad;
  bool compact;
  std::vector<Buffer> bands;
  std::shared_ptr<Memory> memory = nullptr;
  bool exchanged = false;  // whether a step before has copied the neighbours' rows
  int writers = 0;         // steps that write it
  bool ended = false;      // whether the first of them leaves zeros behind every row

  bool banded() const { return bands.size() > 1; }
  // Whether rows written in whole vectors of `lanes` floats, zeros behind their last pixel, leave nothing else there.
  bool ended_by(int lanes) const { return (width + lanes - 1) / lanes * lanes >= width + pad; }
  const Buffer& of(int number) const { return bands[banded() ? number : 0]; }
  std::vector<const Buffer*> parts(int threads) const;  // the bands, or the single one for each thread
  const float* row(int channel, int y) const;
  std::size_t size() const { return static_cast<std::size_t>(channels) * height * width; }
};

// Weights of 1xN blocks: groups of n output channels; per group the kept blocks with their input channel and tap.
struct Blocks {
  int n, rows;
  std::vector<int64_t> pointer;
  std::vector<int32_t> index, tap;
  std::vector<float> value, bias;
};

struct Geometry {
  int kernel_y, kernel_x, stride_y, stride_x, top, left, dilation_y, dilation_x;
};

struct Clamp {
  float low, high;
};

struct Filter {
  Geometry geometry;
  Blocks blocks;
  Clamp clamp;
  bool depthwise;
};

class Engine {
 public:
  // `simd`: "avx512", "avx2", "portable", or "" for the best that this CPU runs.
  Engine(const std::string& simd, int threads);

  std::string simd() const { return kernels_->name; }
  int threads() const { return team_->size(); }
  std::size_t bytes() const { return 4 * floats_; }  // of all buffers, and of what layers keep between their parts

  // `each`: bands for each thread, if there are rows enough.
  int buffer(int channels, int height, int width, int pad, bool compact, int each = 1);
  // Another value in the memory of a buffer, for when that one's is dead; -1 if there is no room, or
  // too much for another layout.
  int reuse(int buffer, int channels, int height, int width, int pad, bool compact, int each = 1);
  std::size_t size(int buffer) const { return at(buffer).memory->blocks.size() * at(buffer).memory->size; }  // of its memory
  // To be called behind the last step: leaves all memory as the first step expects it. Returns the last step.
  int finish();
  // Steps; each returns its number. A `residual` of -1 is none.
  int convolve(int in, int out, int residual, Filter);
  // A convolution, and a depthwise one of its outputs, which have no buffer: planes of height x width pixels, padded by pad.
  int convolve_pair(int in, int height, int width, int pad, int out, Filter first, Filter second);
  int multiply(int in, int out, int residual, Blocks, Clamp);
  int combine(int a, int b, int out, const std::string& kind, Clamp);  // add, subtract, maximum or minimum
  int activate(int in, int out, const std::string& kind, Clamp);  // of a leaky ReLU `low` is the slope
  int scale(int in, int gate, int out);
  int mean(int in, int out);
  int pool(int in, int out, bool largest, const Geometry&);
  int pick(int in, int out, int stride, int first_channel);
  int repeat(int in, int out);       // every pixel, to the right and below
  int interpolate(int in, int out);  // bilinear, pixels being areas (torch's align_corners=False)

  // `size`: floats at `from` or `to`; std::invalid_argument unless the buffer has as many pixels.
  void write(int buffer, const float* from, std::size_t size);
  void read(int buffer, float* to, std::size_t size) const;
  const std::string& how(int step) const { return steps_.at(step).how; }  // a convolution's choices, in words
  void run(int first, int last);  // steps first..last-1; may be called from several threads, one runs at a time

 private:
  // Does the part of a step for a band of its output; if that is a single one, the share of thread `number` of all `parts`.
  using Work = std::function<void(int number, int parts)>;
  // A step is `local` if it makes bands of the same bands of its inputs: nobody need wait between two such steps, and a thread can
  // take one band through several of them before the next.
  struct Step {
    bool local;
    int bands;  // 1 if threads share one
    Work work;
    std::string how;
  };
  int append(bool local, const Value& output, Work work, std::string how = "");
  void work(int thread, int first, int last) const;
  const Value& at(int number) const { return *values_.at(number); }
  Value& target(int number);
  static void ends(Value& value, bool ended) { if (value.writers == 1) value.ended = ended; }
  const int32_t* mask(const Buffer& of);
  std::vector<const float*> residual(int number, const Value& output) const;
  std::unique_ptr<Value> value(int channels, int height, int width, int pad, bool compact, int each) const;
  int place(std::unique_ptr<Value> value, std::shared_ptr<Memory> memory);
  void clear(const Value& value);
  std::vector<Scratch*> scratch(int kind, std::size_t size);
  void exchange(int number);

  const Kernels* kernels_;
  std::unique_ptr<Team> team_;
  std::vector<std::unique_ptr<Value>> values_;
  std::vector<Step> steps_;
  std::map<std::tuple<int, int, std::ptrdiff_t>, std::vector<int32_t>> masks_;  // by height, width and pitch
  std::vector<std::array<Scratch, 3>> scratch_;  // by thread: between the layers of a pair, and what each of them copies
  std::size_t floats_ = 0;
  std::mutex running_;
};

}  // namespace suite

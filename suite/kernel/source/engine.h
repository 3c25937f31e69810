// The engine: buffers in a layout that needs no im2col, and the steps of a network over them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "simd.h"
#include "threads.h"

namespace suite {

// Planes of `channels` x `height` x `width` floats. Rows are `pitch` apart; the columns after `width` are zero and serve as
// the right edge of one row and the left edge of the next, the zero rows after a plane as its lower and the next plane's
// upper edge. A convolution's tap is then one constant distance in memory, and a tile may run over row ends. A compact
// buffer has no padding at all.
struct Buffer {
  int channels, height, width, pad;
  bool compact;
  std::ptrdiff_t pitch, plane;
  std::shared_ptr<float[]> memory;
  float* first = nullptr;  // pixel (0, 0) of plane 0

  Buffer(int channels, int height, int width, int pad, bool compact);
  float* pixel(int channel) const { return first + channel * plane; }
  std::size_t size() const { return static_cast<std::size_t>(channels) * height * width; }
  std::ptrdiff_t span() const { return (height - 1) * pitch + width; }  // from the first pixel to behind the last
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

struct Convolution;

class Engine {
 public:
  // `simd`: "avx512", "avx2", "portable", or "" for the best that this CPU runs.
  Engine(const std::string& simd, int threads);

  std::string simd() const { return kernels_->name; }
  int threads() const { return team_->size(); }
  void set_threads(int threads);

  int buffer(int channels, int height, int width, int pad, bool compact);
  // The first `channels` planes of the same memory as another buffer's; for a value that comes when the other's is dead.
  int reuse(int buffer, int channels);
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
  void run(int first, int last);  // steps first..last-1; may be called from several threads, one runs at a time

 private:
  using Step = std::function<void(int thread, int threads)>;
  int append(Step step);
  Buffer& at(int number) const { return *buffers_.at(number); }
  const std::vector<int32_t>* mask(const Buffer& of);
  const float* residual(int number, const Buffer& output) const;
  void spread(Convolution& job, const Buffer& input);

  const Kernels* kernels_;
  std::unique_ptr<Team> team_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Step> steps_;
  std::vector<std::unique_ptr<std::vector<int32_t>>> masks_;
  std::mutex running_;
};

}  // namespace suite

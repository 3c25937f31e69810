// What is compiled once per instruction set: the microkernels and the few loops worth vectorising.
//
// kernels.cpp is compiled three times with different flags and fills one `Kernels` table each. Nothing here may pull in
// inline library code: a function compiled for AVX-512 must never replace its namesake in the portable object.
#pragma once

#include <cstddef>
#include <cstdint>

namespace suite {

// One call of a microkernel: a tile of V vectors of pixels by N output channels.
struct Tile {
  const char* input;       // the tile's first pixel in input plane 0
  const int32_t* offset;   // per kept block: bytes from `input` to the V vectors that it reads
  const float* value;      // per kept block: its weights
  std::ptrdiff_t step;     // floats from one block's weights to the next one's
  std::ptrdiff_t count;    // kept blocks
  const float* bias;       // N
  float* output;           // the tile's first pixel in the first output plane
  const float* residual;   // added before clamping, laid out like `output`; or null
  std::ptrdiff_t plane;    // floats from one output plane to the next
  const int32_t* mask;     // -1 for pixels, 0 for padding: what the kernel writes there is zero
  int rows;                // output planes to write, 1..N (the last group of a layer may be ragged)
  float low, high;         // the output is clamped to this range
};

// The matrix-vector product of output groups `first`..`last`, vectorised over the N output channels of a group.
struct Product {
  const float* input;
  const int32_t* index;    // per kept block: its element of `input`
  const float* value;      // per kept block: N weights
  const int64_t* pointer;  // per group: its first block; one more than there are groups
  const float* bias;       // padded to whole groups
  const float* residual;   // or null
  float* output;
  int64_t first, last;
  int rows;                // outputs in all
  float low, high;
};

// Pooling of one plane. `scratch` holds stride_x * out_width + kernel_x floats, out_width rounded up to whole vectors, and one
// vector more. Rows are written in whole vectors with zeros behind their end.
struct Window {
  const float* input;
  float* output;
  float* scratch;
  std::ptrdiff_t input_pitch, output_pitch;
  int height, width, out_height, out_width;
  int kernel_y, kernel_x, stride_y, stride_x, top, left;
};

// Every second pixel of each row, from the first (`even`) and from the second one (`odd`, or null). A row is written in
// whole vectors with zeros behind its end, and up to two vectors behind it are read.
struct Split {
  const float* input;
  float* even;
  float* odd;
  std::ptrdiff_t input_pitch, output_pitch;
  int rows, evens, odds;
};

// A depthwise 3x3 convolution on one plane with padding of 1. Rows are written in whole vectors with zeros behind their end,
// and up to two vectors behind an input row's end are read.
struct Channel {
  const float* input;     // the pixel above and left of pixel (0, 0)
  const float* weight;    // 9
  float* output;
  const float* residual;  // or null
  std::ptrdiff_t input_pitch, output_pitch;
  int height, width;      // of the output
  float bias, low, high;
};

using TileFunction = void (*)(const Tile&);
using ProductFunction = void (*)(const Product&);
using CombineFunction = void (*)(const float* a, const float* b, float* out, std::ptrdiff_t size, float low, float high);
using ChannelFunction = void (*)(const Channel&);

constexpr int widths = 4;         // register blocks of 1, 2, 4 and 8 output channels
constexpr int longest_tile = 16;  // bound of V

struct Kernels {
  const char* name;
  int lanes;                                    // floats in a vector
  int vectors[widths];                          // the largest V per width, 0 where the width does not exist
  TileFunction tile[widths][longest_tile + 1];  // by log2(N) and V
  ProductFunction product[6];                   // by log2(N), N = 1..32
  CombineFunction combine[4];                   // sum, difference, maximum, minimum; then clamped
  void (*clamp)(const float* in, float* out, std::ptrdiff_t size, float low, float high);
  void (*hard_swish)(const float* in, float* out, std::ptrdiff_t size);
  void (*hard_sigmoid)(const float* in, float* out, std::ptrdiff_t size);
  void (*leaky_relu)(const float* in, float slope, float* out, std::ptrdiff_t size);
  void (*scale)(const float* in, float factor, float* out, std::ptrdiff_t size);
  float (*sum)(const float* in, std::ptrdiff_t size);
  void (*pick)(const float* in, std::ptrdiff_t stride, float* out, std::ptrdiff_t size);  // out[i] = in[i * stride]
  void (*split)(const Split&);
  ChannelFunction channel[2];  // a depthwise 3x3 convolution, by stride - 1
  void (*max_pool)(const Window&);
  void (*mean_pool)(const Window&);
};

extern const Kernels portable;
#ifdef SUITE_X86
extern const Kernels avx2;
extern const Kernels avx512;
#endif

}  // namespace suite

// The stride phases of planes, apart from each other.
#pragma once

#include <algorithm>

#include "engine.h"

namespace suite {

inline int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

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
    for (int py = 0; py < phases_y; ++py) {
      const int present = std::min(rows - before_y, (input->height - py + geometry.stride_y - 1) / geometry.stride_y);
      const float* from = pixels + py * input->pitch;
      const std::ptrdiff_t step = geometry.stride_y * input->pitch;
      float* first = to + origin();
      if (geometry.stride_x == 2) {
        kernels->split({from, first, phases_x == 2 ? first + plane : nullptr, step, pitch, present, count(0), count(1)});
      } else {
        for (int px = 0; px < phases_x; ++px)
          for (int y = 0; y < present; ++y)
            kernels->pick(from + px + y * step, geometry.stride_x, first + px * plane + y * pitch, count(px));
      }
      to += phases_x * plane;
    }
  }
  int count(int px) const { return std::min((input->width - px + geometry.stride_x - 1) / geometry.stride_x, columns); }
};

}  // namespace suite

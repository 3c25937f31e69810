// The stride phases of some rows of a value, apart from each other.
#pragma once

#include <algorithm>

#include "engine.h"

namespace suite {

inline int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Copies the stride phases that the taps of a convolution read into planes with the output's pitch: phase (py, px) has the input's
// pixels (stride_y * y + py, stride_x * x + px).
struct Phases {
  const Kernels* kernels;
  Geometry geometry;
  int width;  // of the input
  int before_y, after_y, before_x, phases_y, phases_x, columns;
  std::ptrdiff_t pitch, plane;

  std::ptrdiff_t per_channel() const { return plane * phases_y * phases_x; }
  std::ptrdiff_t origin() const { return before_y * pitch + before_x; }  // from a plane's start to pixel (0, 0)

  // What output rows first..last - 1 read of a channel of `input`, `to` being where the planes begin. Rows that no band has are zero.
  void channel(const Value& input, int number, int first, int last, float* to) const {
    for (int py = 0; py < phases_y; ++py, to += phases_x * plane) {
      int row = first - before_y;
      const auto place = [&] { return to + before_x + (row - first + before_y) * pitch; };
      const auto blank = [&](int until) {
        for (; row < until; ++row)
          for (int px = 0; px < phases_x; ++px) std::fill_n(place() + px * plane, columns, 0.0f);
      };
      for (const Buffer& band : input.bands) {
        const int begin = std::max(row, -floor_divide(py - band.top, geometry.stride_y));
        const int end = std::min(last + after_y, -floor_divide(py - band.bottom(), geometry.stride_y));
        if (begin >= end) continue;
        blank(begin);
        copy(band.pixel(number) + (geometry.stride_y * begin + py - band.top) * band.pitch, band.pitch, place(), end - begin);
        row = end;
      }
      blank(last + after_y);
    }
  }

 private:
  void copy(const float* from, std::ptrdiff_t from_pitch, float* to, int rows) const {
    const std::ptrdiff_t step = geometry.stride_y * from_pitch;
    if (geometry.stride_x == 2) {
      kernels->split({from, to, phases_x == 2 ? to + plane : nullptr, step, pitch, rows, count(0), count(1)});
      return;
    }
    for (int px = 0; px < phases_x; ++px)
      for (int y = 0; y < rows; ++y) kernels->pick(from + px + y * step, geometry.stride_x, to + px * plane + y * pitch, count(px));
  }
  int count(int px) const { return std::min((width - px + geometry.stride_x - 1) / geometry.stride_x, columns); }
};

}  // namespace suite

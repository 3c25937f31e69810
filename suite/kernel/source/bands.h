// Which rows of a value a layer needs, and which thread has them.
#pragma once

#include "engine.h"
#include "parts.h"

namespace suite {

// The input rows that output rows first..last - 1 read, from the first to behind the last; some may lie outside of the input.
inline std::pair<int, int> reads(const Geometry& g, int first, int last) {
  return {g.stride_y * first - g.top, g.stride_y * (last - 1) - g.top + (g.kernel_y - 1) * g.dilation_y + 1};
}

// Those of them that are in an input of `height` rows.
inline std::pair<int, int> needs(const Geometry& g, int first, int last, int height) {
  const auto [begin, end] = reads(g, first, last);
  return {std::clamp(begin, 0, height), std::clamp(end, 0, height)};
}

// Whether every band of `input` has all rows that the same band of the output needs.
inline bool has_own(const Value& input, const std::vector<const Buffer*>& outputs, const Geometry& g) {
  if (input.banded() && input.bands.size() != outputs.size()) return false;
  for (std::size_t i = 0; input.banded() && i < outputs.size(); ++i) {
    const auto [first, last] = needs(g, outputs[i]->top, outputs[i]->bottom(), input.height);
    if (first < last && (first < input.bands[i].top || last > input.bands[i].bottom())) return false;
  }
  return true;
}

// Whether it has them, and the zeros around the input, with copies of as many of its neighbours' rows as there is room for.
inline bool has_near(const Value& input, const std::vector<const Buffer*>& outputs, const Geometry& g) {
  if (input.banded() && input.bands.size() != outputs.size()) return false;
  for (std::size_t i = 0; input.banded() && i < outputs.size(); ++i) {
    const auto [first, last] = reads(g, outputs[i]->top, outputs[i]->bottom());
    const Buffer& band = input.bands[i];
    if (first < band.top - band.pad || last > band.bottom() + band.pad) return false;
  }
  return true;
}

// The first channel of a value that a thread works on, and the one behind its last.
inline std::pair<std::ptrdiff_t, std::ptrdiff_t> channels(const Value& value, int thread, int threads) {
  return value.banded() ? std::pair<std::ptrdiff_t, std::ptrdiff_t>(0, value.channels) : share(value.channels, thread, threads);
}

}  // namespace suite

// How memory is laid out and how work is shared out: small functions of several files.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace suite {

constexpr std::ptrdiff_t line = 16;  // floats in a cache line, and in the longest vector
constexpr int most_threads = 256;

// Zeroed floats at the beginning of a cache line.
inline std::shared_ptr<float[]> zeros(std::size_t size) {
  float* const start = static_cast<float*>(std::aligned_alloc(64, (size * sizeof(float) + 63) / 64 * 64));
  if (!start) throw std::bad_alloc();
  std::memset(start, 0, size * sizeof(float));
  return {start, [](float* pointer) { std::free(pointer); }};
}

inline std::ptrdiff_t rounded(std::ptrdiff_t size) { return (size + line - 1) / line * line; }

// The distance between planes of `size` floats: no multiple of 4 KiB, which would give all planes one set of the L1 cache.
inline std::ptrdiff_t plane_distance(std::ptrdiff_t size) {
  const std::ptrdiff_t distance = rounded(size);
  return distance % 1024 == 0 ? distance + line : distance;
}

// Where each of `parts` parts begins among items of about equal cost in all; `cumulative` starts with 0.
inline std::vector<int64_t> cut(const std::vector<int64_t>& cumulative, int parts) {
  std::vector<int64_t> begin(parts + 1, static_cast<int64_t>(cumulative.size()) - 1);
  begin[0] = 0;
  for (int part = 1; part < parts; ++part) {
    const int64_t wanted = cumulative.back() * part / parts;
    begin[part] = std::lower_bound(cumulative.begin(), cumulative.end(), wanted) - cumulative.begin();
  }
  return begin;
}

// The first of a thread's items and the one behind its last.
inline std::pair<std::ptrdiff_t, std::ptrdiff_t> share(std::ptrdiff_t size, int thread, int threads) {
  return {size * thread / threads, size * (thread + 1) / threads};
}

}  // namespace suite

#include "engine.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "bands.h"

namespace suite {
namespace {

const Kernels* choose(const std::string& simd) {
#ifdef SUITE_X86
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  if (simd == "avx512" || (simd.empty() && has_avx512)) {
    if (!has_avx512) throw std::invalid_argument("this CPU has no AVX-512; SUITE_SIMD may be avx2 or portable");
    return &avx512;
  }
  if (simd == "avx2" || (simd.empty() && has_avx2)) {
    if (!has_avx2) throw std::invalid_argument("this CPU has no AVX2; SUITE_SIMD may be portable");
    return &avx2;
  }
#endif
  if (simd.empty() || simd == "portable") return &portable;
  throw std::invalid_argument("SUITE_SIMD is '" + simd + "'; it may be avx512, avx2 or portable");
}

constexpr int fewest_rows = 4;  // of a band: with less, threads that share the weights are faster than those that share the rows

}  // namespace

Buffer::Buffer(int channels, int height, int width, int pad, bool compact, bool whole)
    : channels(channels), height(height), width(width), pad(compact ? 0 : pad), compact(compact), rows(height) {
  pitch = width + this->pad;
  const std::ptrdiff_t above = whole ? 0 : this->pad * pitch;
  // A kernel that writes row by row may write whole vectors; those of the last row, too, have to end within the plane.
  const std::ptrdiff_t below = std::max((height + this->pad) * pitch, (height - 1) * pitch + rounded(width));
  plane = compact ? static_cast<std::ptrdiff_t>(height) * width : plane_distance(above + below);
  // In front of the first plane its upper and left edge; behind the last one what the last vector of a tile reads too much.
  edge = rounded(this->pad * pitch + this->pad);
  size = rounded(edge + channels * plane + edge + 2 * line);
}

void Buffer::clear(bool row_ends) const {
  std::fill(first - edge, first, 0.0f);
  for (int c = 0; c < channels; ++c) {
    float* const start = pixel(c);
    for (int row = 0; row_ends && row + 1 < height; ++row) std::fill_n(start + row * pitch + width, pad, 0.0f);
    std::fill(start + span(), start + plane, 0.0f);
  }
  std::fill(pixel(channels), first - edge + size, 0.0f);
}

std::vector<const Buffer*> Value::parts(int threads) const {
  std::vector<const Buffer*> found;
  for (int i = 0; i < (banded() ? static_cast<int>(bands.size()) : threads); ++i) found.push_back(&of(i));
  return found;
}

const float* Value::row(int channel, int y) const {
  const auto band = std::find_if(bands.begin(), bands.end(), [y](const Buffer& item) { return y < item.bottom(); });
  return band->pixel(channel) + (y - band->top) * band->pitch;
}

Engine::Engine(const std::string& simd, int threads) : kernels_(choose(simd)) {
  if (threads < 1 || threads > most_threads)
    throw std::invalid_argument(std::to_string(threads) + " threads are not possible; it may be 1 to " +
                                std::to_string(most_threads));
  team_ = std::make_unique<Team>(threads);
  scratch_.resize(threads);
}

std::unique_ptr<Value> Engine::value(int channels, int height, int width, int pad, bool compact, int each) const {
  const int most = std::min(each, height / (fewest_rows * threads()));
  const int count = compact || most < 1 ? 1 : most * threads(), tallest = (height + count - 1) / count;
  auto made = std::make_unique<Value>(Value{channels, height, width, pad, compact, {}});
  for (int i = 0; i < count; ++i) {
    const auto [top, bottom] = share(height, i, count);
    Buffer& band = made->bands.emplace_back(channels, tallest, width, pad, compact, count == 1);
    band.top = static_cast<int>(top);
    band.height = static_cast<int>(bottom - top);
  }
  return made;
}

int Engine::place(std::unique_ptr<Value> made, std::shared_ptr<Memory> memory) {
  const std::size_t each = made->bands.size() / memory->blocks.size();
  const std::size_t distance = memory->size / each / line * line;  // the same for values of fewer channels
  for (std::size_t i = 0; i < made->bands.size(); ++i)
    made->bands[i].lay(memory->blocks[i / each].get() + i % each * distance);
  memory->layout = &made->bands[0];
  made->memory = std::move(memory);
  values_.push_back(std::move(made));
  return static_cast<int>(values_.size()) - 1;
}

int Engine::buffer(int channels, int height, int width, int pad, bool compact, int each) {
  auto made = value(channels, height, width, pad, compact, each);
  const std::size_t count = made->banded() ? threads() : 1, size = made->bands.size() / count * made->bands[0].size;
  auto memory = std::make_shared<Memory>(Memory{{}, size, nullptr, channels, static_cast<int>(values_.size())});
  for (std::size_t i = 0; i < count; ++i) memory->blocks.push_back(zeros(size));
  floats_ += count * size;
  return place(std::move(made), std::move(memory));
}

int Engine::reuse(int buffer, int channels, int height, int width, int pad, bool compact, int each) {
  auto made = value(channels, height, width, pad, compact, each);
  const auto memory = at(buffer).memory;
  const std::size_t count = made->banded() ? threads() : 1;
  const std::size_t wanted = made->bands.size() / count * made->bands[0].size;
  if (memory->blocks.size() != count || wanted > memory->size / line * line) return -1;
  const Buffer &old = *memory->layout, &now = made->bands[0];
  const bool alike = old.rows == now.rows && old.width == now.width && old.pad == now.pad && old.compact == now.compact &&
                     old.plane == now.plane && at(buffer).bands.size() == made->bands.size() && channels <= memory->channels;
  if (!alike && 4 * wanted < memory->size) return -1;
  const int number = place(std::move(made), memory);
  if (!alike) {
    memory->mixed = true;
    memory->channels = channels;
    clear(at(number));
  }
  return number;
}

// Of another layout's pixels some lie where this one needs zeros. All threads must be done with the other.
void Engine::clear(const Value& value) {
  append(false, value, [&value](int number, int) {
    if (value.banded() || number == 0) value.of(number).clear(!value.ended);
  });
}

int Engine::finish() {
  for (std::size_t i = 0; i < values_.size(); ++i)
    if (values_[i]->memory->mixed && values_[i]->memory->owner == static_cast<int>(i)) clear(*values_[i]);
  return static_cast<int>(steps_.size()) - 1;
}

// Memory of every thread for `size` floats.
std::vector<Scratch*> Engine::scratch(int kind, std::size_t size) {
  std::vector<Scratch*> found;
  for (auto& kinds : scratch_) {
    Scratch& mine = kinds[kind];
    if (size > mine.size) {
      floats_ += size - mine.size;
      mine.memory = zeros(mine.size = size);
    }
    found.push_back(&mine);
  }
  return found;
}

// A value that a step now writes.
Value& Engine::target(int number) {
  Value& value = *values_.at(number);
  value.exchanged = false;
  ++value.writers;
  return value;
}

int Engine::append(bool local, const Value& output, Work work, std::string how) {
  steps_.push_back({local, static_cast<int>(output.bands.size()), std::move(work), std::move(how)});
  return static_cast<int>(steps_.size()) - 1;
}

const int32_t* Engine::mask(const Buffer& of) {
  std::vector<int32_t>& made = masks_[{of.height, of.width, of.pitch}];
  made.resize(rounded(of.span()), 0);
  for (int y = 0; y < of.height; ++y) std::fill_n(made.begin() + y * of.pitch, of.width, -1);
  return made.data();
}

std::vector<const float*> Engine::residual(int number, const Value& output) const {
  std::vector<const float*> found(output.parts(threads()).size(), nullptr);
  if (number < 0) return found;
  const Value& added = at(number);
  const Buffer &like = added.bands[0], &to = output.bands[0];
  if (added.bands.size() != output.bands.size() || like.pitch != to.pitch || like.plane != to.plane || added.compact ||
      added.channels < output.channels)
    throw std::invalid_argument("a residual must be laid out like the output");
  for (std::size_t i = 0; i < found.size(); ++i) found[i] = added.of(static_cast<int>(i)).first;
  return found;
}

// Copies to all bands the rows next to their own.
void Engine::exchange(int number) {
  Value& value = *values_.at(number);
  if (value.exchanged || !value.banded()) return;
  value.exchanged = true;
  append(false, value, [&value](int band, int) {
    const Buffer& mine = value.of(band);
    const int above = std::max(0, mine.top - mine.pad), below = std::min(value.height, mine.bottom() + mine.pad);
    const auto fetch = [&](int c, int y) {
      std::memcpy(mine.pixel(c) + (y - mine.top) * mine.pitch, value.row(c, y), mine.width * sizeof(float));
    };
    for (int c = 0; c < value.channels; ++c) {
      for (int y = above; y < mine.top; ++y) fetch(c, y);
      for (int y = mine.bottom(); y < below; ++y) fetch(c, y);
    }
  });
}

void Engine::write(int number, const float* from, std::size_t size) {
  const Value& to = at(number);
  if (size != to.size()) throw std::invalid_argument("an array of another size than its buffer");
  const std::lock_guard lock(running_);
  team_->run([&](int thread) {
    const auto [first, last] = to.banded() ? share(to.bands.size(), thread, threads()) : std::pair<std::ptrdiff_t, std::ptrdiff_t>(0, 1);
    const auto [begin, end] = channels(to, thread, threads());
    for (auto i = first; i < last; ++i)
      for (auto c = begin; c < end; ++c)
        for (int row = 0; row < to.bands[i].height; ++row)
          std::memcpy(to.bands[i].pixel(c) + row * to.bands[i].pitch, from + (c * to.height + to.bands[i].top + row) * to.width,
                      to.width * sizeof(float));
  });
}

void Engine::read(int number, float* to, std::size_t size) const {
  const Value& from = at(number);
  if (size != from.size()) throw std::invalid_argument("an array of another size than its buffer");
  for (int c = 0; c < from.channels; ++c)
    for (int y = 0; y < from.height; ++y, to += from.width) std::memcpy(to, from.row(c, y), from.width * sizeof(float));
}

void Engine::run(int first, int last) {
  if (first < 0 || first > last || last > static_cast<int>(steps_.size())) throw std::invalid_argument("no such steps");
  const std::lock_guard lock(running_);
  team_->run([&](int thread) {
    for (int number = first, end; number < last; number = end) {
      if (number > first) team_->meet();
      end = number + 1;
      while (steps_[number].local && end < last && steps_[end].local && steps_[end].bands == steps_[number].bands) ++end;
      work(thread, number, end);
    }
  });
}

// A thread's part of steps that are local, or of one that need not be.
void Engine::work(int thread, int first, int last) const {
  const int bands = steps_[first].bands;
  if (bands == 1) return steps_[first].work(thread, threads());
  const auto [begin, end] = share(bands, thread, threads());
  for (auto band = begin; band < end; ++band)
    for (int number = first; number < last; ++number) steps_[number].work(static_cast<int>(band), bands);
}

}  // namespace suite

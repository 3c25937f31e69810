#include "ceilings.h"

#include <chrono>
#include <stdexcept>
#include <vector>

#include "simd.h"

namespace suite {
namespace {

// Calls work(count) with growing counts until one call takes `seconds`; units of work per second in that call.
template <class Work>
double rate(double seconds, const Work& work) {
  for (int64_t count = 1;; count *= 2) {
    const auto start = std::chrono::steady_clock::now();
    work(count);
    const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (spent >= seconds) return static_cast<double>(count) / spent;
  }
}

volatile float sink;

}  // namespace

double fma_rate(const std::string& simd, double seconds) {
  const Burner* burner = simd == "portable" ? &portable_burner : nullptr;
#ifdef SUITE_X86
  if (simd == "avx2") burner = &avx2_burner;
  if (simd == "avx512") burner = &avx512_burner;
#endif
  if (!burner) throw std::invalid_argument("there is no SIMD path '" + simd + "'");
  const double rounds = rate(seconds, [burner](int64_t count) { sink = burner->burn(count, 0.5f, 0.5f); });
  return rounds * burner->chains * burner->lanes * 2e-9;
}

double read_rate(const std::string& simd, int64_t bytes, double seconds) {
  const Kernels* kernels = simd == "portable" ? &portable : nullptr;
#ifdef SUITE_X86
  if (simd == "avx2") kernels = &avx2;
  if (simd == "avx512") kernels = &avx512;
#endif
  if (!kernels) throw std::invalid_argument("there is no SIMD path '" + simd + "'");
  const std::vector<float> data(static_cast<std::size_t>(bytes) / sizeof(float), 1.0f);
  const auto read = [&](int64_t count) {
    float sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += kernels->sum(data.data(), static_cast<std::ptrdiff_t>(data.size()));
    sink = sum;
  };
  return rate(seconds, read) * static_cast<double>(data.size() * sizeof(float)) * 1e-9;
}

}  // namespace suite

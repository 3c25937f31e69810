// What the processor gives at most: the roofs of a roofline, measured with the vectors that the kernels use.
#pragma once

#include <cstdint>
#include <string>

namespace suite {

// One thread's multiply-adds on registers, in 1e9 floating-point operations (two each) per second, over about `seconds`.
// `simd` names a path that this CPU has; std::invalid_argument for an unknown one.
double fma_rate(const std::string& simd, double seconds);

// One thread's reading of `bytes` bytes again and again, in 1e9 bytes per second, over about `seconds`.
double read_rate(const std::string& simd, int64_t bytes, double seconds);

// `rounds` rounds of `chains` independent multiply-adds; the result is of no use but to be one.
struct Burner {
  int chains, lanes;
  float (*burn)(int64_t rounds, float factor, float summand);
};

extern const Burner portable_burner;
#ifdef SUITE_X86
extern const Burner avx2_burner;
extern const Burner avx512_burner;
#endif

}  // namespace suite

// Multiply-adds and nothing else; compiled once per instruction set like kernels.cpp.
#include "ceilings.h"

namespace suite {
namespace {

constexpr int lanes = SUITE_LANES;
typedef float Vector __attribute__((vector_size(lanes * 4)));

#ifdef SUITE_LARGE_REGISTERS
constexpr int chains = 24;
#else
constexpr int chains = 12;  // with the two operands they fit 16 registers
#endif

// Each chain waits for itself alone; more chains than latency times ports keep every port busy.
__attribute__((noinline)) float burn(int64_t rounds, float factor, float summand) {
  const Vector a = factor - Vector{}, b = summand - Vector{};
  Vector sum[chains];
#pragma GCC unroll 24
  for (int i = 0; i < chains; ++i) sum[i] = b * static_cast<float>(i);  // were they equal, one would do
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) sum[i] = sum[i] * a + b;
  }
  Vector all = sum[0];
#pragma GCC unroll 24
  for (int i = 1; i < chains; ++i) all += sum[i];
  return all[0];
}

#define SUITE_JOIN_(a, b) a##b
#define SUITE_JOIN(a, b) SUITE_JOIN_(a, b)
}  // namespace

extern constexpr Burner SUITE_JOIN(SUITE_TABLE, _burner) = {chains, lanes, burn};

}  // namespace suite

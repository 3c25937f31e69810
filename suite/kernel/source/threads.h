// A small team of threads that runs one job together and meets at barriers.
//
// A waiting thread spins for a few microseconds, then yields for a hundred, then sleeps: a busy neighbour on the
// same core costs a time slice now and then, never a frozen barrier.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace suite {

class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls job(i) for i = 0..size()-1 at once, 0 on the calling thread; returns when all are done.
  void run(const std::function<void(int)>& job);

  // To be called by every thread of the running job.
  void meet();

 private:
  void work(int index);

  std::vector<std::thread> workers_;
  const std::function<void(int)>* job_ = nullptr;
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> started_{0};  // jobs begun
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> rounds_{0};  // barriers passed
};

}  // namespace suite

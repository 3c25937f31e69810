// A small team of threads that runs one job together and meets at barriers.
//
// A waiting thread spins for a few microseconds, then yields for a hundred, then sleeps: a busy neighbour on the
// same core costs a time slice now and then, never a frozen barrier.
//
// Threads do not survive a fork: a team used in a child process starts its own first, and never waits for its parent's.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace suite {

class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Calls job(i) for i = 0..size()-1 at once, 0 on the calling thread; returns when all are done.
  void run(const std::function<void(int)>& job);

  // To be called by every thread of the running job.
  void meet();

 private:
  void work(int index);
  void start();
  bool forked() const { return process_ != getpid(); }

  int size_;
  pid_t process_ = 0;  // whose threads the workers are
  std::unique_ptr<std::vector<std::thread>> workers_;
  const std::function<void(int)>* job_ = nullptr;
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> started_{0};  // jobs begun
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> rounds_{0};  // barriers passed
};

}  // namespace suite

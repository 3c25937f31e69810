#include "threads.h"

#include <algorithm>

namespace suite {
namespace {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void await(const std::atomic<uint32_t>& word, uint32_t old) {
  constexpr int spins = 100, yields = 200;
  for (int i = 0; i < spins; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    pause();
  }
  for (int i = 0; i < yields; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  word.wait(old, std::memory_order_acquire);
}

void announce(std::atomic<uint32_t>& word) {
  word.fetch_add(1, std::memory_order_release);
  word.notify_all();
}

}  // namespace

Team::Team(int threads) : size_(std::max(1, threads)) { start(); }

void Team::start() {
  workers_.release();  // null, or threads of another process: to join, detach or destroy their handles is an error
  process_ = getpid();
  started_ = arrived_ = rounds_ = 0;
  workers_ = std::make_unique<std::vector<std::thread>>();
  for (int i = 1; i < size_; ++i) workers_->emplace_back([this, i] { work(i); });
}

Team::~Team() {
  if (forked()) {
    workers_.release();
    return;
  }
  stop_ = true;
  announce(started_);
  for (auto& worker : *workers_) worker.join();
}

void Team::run(const std::function<void(int)>& job) {
  if (size_ > 1 && forked()) start();
  job_ = &job;
  if (size_ > 1) announce(started_);
  job(0);
  meet();
}

void Team::meet() {
  if (size_ == 1) return;
  const uint32_t round = rounds_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size())) {
    arrived_.store(0, std::memory_order_relaxed);
    announce(rounds_);
  } else {
    await(rounds_, round);
  }
}

void Team::work(int index) {
  uint32_t seen = 0;
  for (;;) {
    await(started_, seen);
    ++seen;
    if (stop_) return;
    (*job_)(index);
    meet();
  }
}

}  // namespace suite

#include "allocations.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

namespace {

std::atomic<size_t> asked{0}, fail_from{~size_t{0}}, held{0}, most{0};

void* take(size_t size, size_t alignment) {
  if (++asked >= fail_from) throw std::bad_alloc();
  const size_t rounded = (std::max<size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* const p = rounded < size ? nullptr : std::aligned_alloc(alignment, rounded);
  if (p == nullptr) throw std::bad_alloc();
  const size_t now = held += malloc_usable_size(p);
  for (size_t before = most; before < now && !most.compare_exchange_weak(before, now);) continue;
  return p;
}

void give_back(void* p) {
  if (p != nullptr) held -= malloc_usable_size(p);
  std::free(p);
}

}  // namespace

void* operator new(size_t size) { return take(size, alignof(std::max_align_t)); }
void* operator new(size_t size, std::align_val_t at) { return take(size, size_t(at)); }
// Sanitizers have one of their own, whose memory `give_back` must not get.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return take(size, alignof(std::max_align_t));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* p) noexcept { give_back(p); }
void operator delete(void* p, size_t) noexcept { give_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { give_back(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { give_back(p); }

// ggml's reader lets go of what it has made when an exception passes through it.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:gguf_init_from"; }

namespace kvsplice::memory {

NoMemoryFrom::NoMemoryFrom(size_t first) {
  ::asked = 0;
  fail_from = first;
}
NoMemoryFrom::~NoMemoryFrom() { fail_from = ~size_t{0}; }
size_t NoMemoryFrom::asked() const { return ::asked; }

PeakMemory::PeakMemory() : before_(held) { most = before_; }
size_t PeakMemory::bytes() const { return most - before_; }

namespace {

TEST(Allocations, AreCountedAndRefused) {
  const PeakMemory peak;
  { const std::vector<char> large(1 << 20); }
  EXPECT_GE(peak.bytes(), size_t{1} << 20);
  EXPECT_LT(peak.bytes(), size_t{3} << 20);
  const NoMemoryFrom second(2);
  const auto first = std::make_unique<int>(1);
  EXPECT_THROW((void)std::make_unique<int>(2), std::bad_alloc);
  EXPECT_THROW((void)std::make_unique<int>(3), std::bad_alloc);
  EXPECT_EQ(std::unique_ptr<int>(new (std::nothrow) int(4)), nullptr);
}

}  // namespace
}  // namespace kvsplice::memory

#include "solve/blas_memory.h"

#include <lapacke.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <vector>

#include "core/threads.h"

// OpenBLAS's own, not in its headers. Absent from other libraries, which then are not helped.
extern "C" {
[[gnu::weak]] void* blas_memory_alloc(int where);
[[gnu::weak]] void blas_memory_free(void* buffer);
}

namespace kvsplice {

namespace {

// 128 MiB on all processors but POWER, and some room for what else is wanted meanwhile. These are
// addresses: what is not used takes no memory.
constexpr size_t kBuffer = size_t{144} << 20;

std::atomic<size_t> running{0};  // calls
std::atomic<size_t> taken{0};    // buffers that OpenBLAS has

bool room_for(size_t bytes) {
  void* const room =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return false;
  ::munmap(room, bytes);
  return true;
}

// All at once, so that each call gets another one.
void take(size_t buffers) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (taken >= buffers) return;
  if (blas_memory_alloc == nullptr || blas_memory_free == nullptr) {
    taken = ~size_t{0};
    return;
  }
  std::vector<void*> held(buffers);
  if (!room_for((buffers - taken) * kBuffer)) throw std::bad_alloc();
  for (void*& buffer : held) buffer = blas_memory_alloc(0);
  for (void* buffer : held) blas_memory_free(buffer);
  taken = buffers;
}

}  // namespace

BlasBuffer::BlasBuffer() {
  const size_t needed = ++running;
  if (needed <= taken) return;
  try {
    take(std::max(needed, static_cast<size_t>(thread_count())));
  } catch (...) {
    --running;
    throw;
  }
}

BlasBuffer::~BlasBuffer() { --running; }

int lapack_done(int info) {
  if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR) {
    throw std::bad_alloc();
  }
  return info;
}

}  // namespace kvsplice

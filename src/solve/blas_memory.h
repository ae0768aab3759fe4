// Memory for OpenBLAS and LAPACK. Every call that runs at the same time as others needs a buffer of
// its own, which OpenBLAS keeps for good. Where there is no memory for one, OpenBLAS 0.3.21 asks
// again for ever; so buffers are taken ahead of the calls, once it is known that there is room for
// them.
#pragma once

namespace kvsplice {

// For the length of a scope: a buffer is there for a call. Throws std::bad_alloc.
class BlasBuffer {
 public:
  BlasBuffer();
  ~BlasBuffer();
  BlasBuffer(const BlasBuffer&) = delete;
  BlasBuffer& operator=(const BlasBuffer&) = delete;
};

// What LAPACKE answered, which is 0 if all is well. Throws std::bad_alloc if it had no memory.
int lapack_done(int info);

}  // namespace kvsplice

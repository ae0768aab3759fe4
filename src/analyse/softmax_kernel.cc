#include "analyse/softmax_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "analyse/softmax_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "analyse/softmax_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::softmax_kernel {

HWY_EXPORT(softmax);

void softmax(float* x, size_t n) { HWY_DYNAMIC_DISPATCH(softmax)(x, n); }

}  // namespace kvsplice::softmax_kernel
#endif

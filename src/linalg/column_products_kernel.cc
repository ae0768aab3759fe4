#include "linalg/column_products_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "linalg/column_products_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "linalg/column_products_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::column_products_kernel {

HWY_EXPORT(add);

void add(size_t rows, const Columns& x, const Columns& y, double sign, double* out, size_t stride) {
  if (rows == 0) return;  // and there may be no data
  HWY_DYNAMIC_DISPATCH(add)(rows, x, y, sign, out, stride);
}

}  // namespace kvsplice::column_products_kernel
#endif  // HWY_ONCE

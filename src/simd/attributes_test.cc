// What compilers may use in a target is what its processors have.
#include <gtest/gtest.h>

#include <string_view>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/attributes_test.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvsplice::HWY_NAMESPACE {

#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
constexpr std::string_view kAttributes = HWY_TARGET_STR;
static_assert(kAttributes.find("avxvnni") == std::string_view::npos);
static_assert(HWY_TARGET != HWY_AVX3_DL ||
              kAttributes.find("avx512vnni") != std::string_view::npos);
#endif

// Sums of products of halves, which compilers make of a loop with VNNI where they may.
int products(const short* a, const short* b, size_t n) {
  int sum = 0;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace kvsplice::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvsplice {
namespace {

HWY_EXPORT(products);

TEST(Attributes, ProductsRunOnThisProcessor) {
  short a[100], b[100];
  int wanted = 0;
  for (int i = 0; i < 100; ++i) {
    a[i] = short(i - 50), b[i] = short(3 * i);
    wanted += (i - 50) * 3 * i;
  }
  EXPECT_EQ(HWY_DYNAMIC_DISPATCH(products)(a, b, 100), wanted);
}

}  // namespace
}  // namespace kvsplice
#endif

// Highway before 1.0.4 lets compilers use AVX-VNNI in its target AVX3_DL. Processors of that target
// need not have it, only AVX512-VNNI (google/highway#1176), and stop at such an instruction. This
// file is found before Highway's own, once for every target.
#pragma GCC system_header
#include_next <hwy/ops/set_macros-inl.h>
#if HWY_TARGET == HWY_AVX3_DL
#undef HWY_TARGET_STR
#define HWY_TARGET_STR \
  HWY_TARGET_STR_AVX3  \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avx512vnni,avx512bitalg,avx512vpopcntdq"
#endif

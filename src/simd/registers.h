// For bodies of kernels, which are compiled once per SIMD target: whether the target at hand has 32
// vector registers; others have 16.
#pragma once

#define KVSPLICE_HAS_32_REGISTERS (HWY_ARCH_ARM_A64 || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3))

// Of every test program: products of matrices are as fast in tests as in the program.
#include <gmock/gmock.h>

#include <cstdio>

#include "solve/blas_core.h"

int main(int argc, char** argv) {
  if (const auto corrected = kvsplice::correct_blas_core(argv); !corrected.ok()) {
    std::fprintf(stderr, "%s\n", corrected.error().message.c_str());
  }
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}

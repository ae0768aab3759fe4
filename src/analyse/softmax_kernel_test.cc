#include "analyse/softmax_kernel.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/random.h"
#include "simd/target.h"

namespace kvsplice::softmax_kernel {
namespace {

std::vector<float> scores(size_t n, double scale) {
  Random random(n);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(scale * random.normal());
  return x;
}

// In double.
std::vector<double> exact(const std::vector<float>& x) {
  double top = x[0], sum = 0;
  for (float v : x) top = std::max<double>(top, v);
  std::vector<double> made;
  for (float v : x) made.push_back(std::exp(v - top));
  for (double e : made) sum += e;
  for (double& e : made) e /= sum;
  return made;
}

TEST(Softmax, EveryTargetAgreesWithDoublePrecision) {
  for (size_t n : {1, 2, 7, 16, 33, 1000, 9001}) {
    for (double scale : {0.01, 1.0, 20.0}) {
      const std::vector<float> x = scores(n, scale);
      const std::vector<double> wanted = exact(x);
      const auto check = [&](const std::vector<float>& y, const std::string& name) {
        for (size_t i = 0; i < n; ++i) {
          EXPECT_NEAR(y[i], wanted[i], 1e-5 * wanted[i] + 1e-30) << name << " " << n << " " << i;
        }
      };
      std::vector<float> y = x;
      reference::softmax(y.data(), n);
      check(y, "reference");
      for_each_simd_target([&](const std::string& name) {
        y = x;
        softmax(y.data(), n);
        check(y, name);
      });
    }
  }
}

}  // namespace
}  // namespace kvsplice::softmax_kernel

#include "functions/spline.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "simd/target.h"

namespace kvsplice::functions {
namespace {

// Ascending knots in every column; some equal their neighbours, some columns are constant.
Matrix<float> random_knots(Random& random, size_t knots, size_t dim) {
  Matrix<float> m(knots, dim);
  for (size_t c = 0; c < dim; ++c) {
    const bool constant = random.below(8) == 0;
    float at = float(random.normal());
    for (size_t k = 0; k < knots; ++k) {
      m(k, c) = at;
      if (!constant && random.below(4) != 0) at += float(random.uniform(0.01, 1));
    }
  }
  return m;
}

Spline<float> random_spline(Random& random, size_t knots, size_t dim) {
  Spline<float> spline(random_knots(random, knots, dim));
  for (float& p : spline.parameters()) p = float(2 * random.normal());
  spline.parameters_changed();
  return spline;
}

// Values inside the knots, far outside and on them.
Matrix<float> random_values(Random& random, const Matrix<float>& knots, size_t rows) {
  Matrix<float> x(rows, knots.cols());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < knots.cols(); ++c) {
      const float knot = knots(random.below(knots.rows()), c);
      const float far = float(random.normal()) * (random.below(4) == 0 ? 100.f : 1.f);
      x(r, c) = random.below(3) == 0 ? knot : knot + far;
    }
  }
  return x;
}

// Rounding of z in column c: that of its lines' offsets, which may be large where one line is
// steep.
double rounding(const Spline<float>& spline, size_t c, float z) {
  const auto to = spline.forward_pieces();
  double size = std::abs(z);
  for (size_t s = 0; s < to.segments; ++s) {
    size = std::max(size, std::abs(double(to.offset[s * to.dim + c])));
  }
  return 1e-6 * (1 + size);
}

double steepest_back(const Spline<float>& spline, size_t c) {
  const auto back = spline.inverse_pieces();
  double steepest = 0;
  for (size_t s = 0; s < back.segments; ++s) {
    steepest = std::max(steepest, double(back.slope[s * back.dim + c]));
  }
  return steepest;
}

RC_GTEST_PROP(Spline, InverseUndoesForward, (uint64_t seed)) {
  Random random(seed);
  const size_t dim = 1 + random.below(40);
  const Spline<float> spline = random_spline(random, 2 + random.below(8), dim);
  const Matrix<float> x = random_values(random, spline.knots(), 1 + random.below(20));
  Matrix<float> z(x.rows(), dim), back(x.rows(), dim);
  spline.forward(x, z);
  spline.inverse(z, back);
  for (size_t r = 0; r < x.rows(); ++r) {
    for (size_t c = 0; c < dim; ++c) {
      const double error = std::abs(double(back(r, c)) - double(x(r, c)));
      RC_ASSERT(error <= (1 + steepest_back(spline, c)) * rounding(spline, c, z(r, c)));
    }
  }
}

RC_GTEST_PROP(Spline, IsMonotone, (uint64_t seed)) {
  Random random(seed);
  const Spline<float> spline = random_spline(random, 2 + random.below(8), 5);
  Matrix<float> x = random_values(random, spline.knots(), 30), z(30, 5);
  for (size_t c = 0; c < 5; ++c) {
    std::vector<float> column(30);
    for (size_t r = 0; r < 30; ++r) column[r] = x(r, c);
    std::sort(column.begin(), column.end());
    for (size_t r = 0; r < 30; ++r) x(r, c) = column[r];
  }
  spline.forward(x, z);
  for (size_t r = 1; r < 30; ++r) {
    for (size_t c = 0; c < 5; ++c) {
      RC_ASSERT(double(z(r, c)) >= double(z(r - 1, c)) - rounding(spline, c, z(r, c)));
    }
  }
}

TEST(Spline, StartsAsALineOfSlopeLog2) {
  Random random(3);
  const Matrix<float> knots = random_knots(random, 7, 9);
  const Spline<float> spline(knots);
  const Matrix<float> x = random_values(random, knots, 10);
  Matrix<float> z(10, 9);
  spline.forward(x, z);
  const double slope = std::log(2.0) + 1e-3;
  for (size_t r = 0; r < 10; ++r) {
    for (size_t c = 0; c < 9; ++c) {
      const double line = slope * (double(x(r, c)) - double(knots(0, c)));
      EXPECT_NEAR(z(r, c), line, 1e-5 * std::abs(line) + 1e-5);
    }
  }
}

// The map written as in the header, without tables or segments' offsets.
double by_definition(const Matrix<double>& knots, std::span<const double> p, size_t c, double x) {
  const size_t segments = knots.rows() - 1, dim = knots.cols();
  const auto softplus = [](double v) { return std::log1p(std::exp(v)); };
  double weighted = 0;
  for (size_t s = 0; s < segments; ++s) {
    weighted += (softplus(p[s * dim + c]) + 1e-4) * (knots(s + 1, c) - knots(s, c));
  }
  const double mean = weighted / (knots(segments, c) - knots(0, c)) + 1e-8;
  double y = 0;
  for (size_t s = 0; s < segments; ++s) {  // the length of x's way through segment s
    const double low = knots(s, c), high = knots(s + 1, c);
    const double upper = s + 1 == segments ? x : std::min(x, high);
    const double way = s == 0 ? upper - low : std::max(0.0, upper - low);
    y += (softplus(p[s * dim + c]) + 1e-4) / mean * way;
  }
  return (softplus(p[segments * dim + c]) + 1e-3) * y + p[(segments + 1) * dim + c];
}

TEST(Spline, IsWhatItsDefinitionSays) {
  Random random(5);
  Matrix<double> knots(7, 3);
  for (size_t c = 0; c < 3; ++c) {
    for (size_t k = 0; k < 7; ++k) knots(k, c) = double(k) + random.uniform(0, 0.9);
  }
  Spline<double> spline(knots);
  for (double& p : spline.parameters()) p = random.normal();
  spline.parameters_changed();
  Matrix<double> x(50, 3), z(50, 3);
  for (double& v : x.flat()) v = random.uniform(-5, 12);
  spline.forward(x, z);
  for (size_t r = 0; r < 50; ++r) {
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_NEAR(z(r, c), by_definition(knots, spline.parameters(), c, x(r, c)), 1e-12);
    }
  }
}

// Every target against the scalar reference, on sizes around a vector's, odd numbers of rows, and
// more knots than are taken at once.
TEST(SplineKernel, AllTargetsAgreeWithTheReference) {
  for_each_simd_target([](const std::string& target) {
    Random random(11);
    for (size_t knots : {2, 7, 10}) {
      for (size_t dim : {1, 7, 8, 16, 37}) {
        for (size_t rows : {1, 2, 5, 19}) {
          const Spline<float> spline = random_spline(random, knots, dim);
          const auto pieces = spline.forward_pieces();
          const spline_kernel::Bends<float> bends{dim, knots - 1, spline.knots().data()};
          const Matrix<float> x = random_values(random, spline.knots(), rows);
          const Matrix<float> aim = random_values(random, spline.knots(), rows);
          const auto near = [&](const Matrix<float>& a, const Matrix<float>& b, double scale) {
            for (size_t i = 0; i < a.size(); ++i) {
              const double limit = 1e-6 * (scale + std::abs(b.flat()[i]));
              ASSERT_NEAR(a.flat()[i], b.flat()[i], limit) << target << " " << rows << " x " << dim;
            }
          };
          Matrix<float> z(rows, dim), wanted(rows, dim);
          spline_kernel::map(pieces, x.data(), dim, z.data(), dim, rows);
          spline_kernel::reference::map(pieces, x.data(), dim, wanted.data(), dim, rows);
          near(z, wanted, 100);

          Matrix<float> out(rows, dim), g = x, wanted_g(rows, dim);
          const double squares = spline_kernel::map_error(pieces, g.data(), aim.data(), rows, 0.5f,
                                                          out.data(), g.data());
          const double wanted_squares = spline_kernel::reference::map_error(
              pieces, x.data(), aim.data(), rows, 0.5f, wanted.data(), wanted_g.data());
          near(out, wanted, 100);
          near(g, wanted_g, 1000);
          EXPECT_NEAR(squares, wanted_squares, 1e-5 * wanted_squares) << target;

          Matrix<float> sums(knots, dim), wanted_sums(knots, dim);
          for (size_t i = 0; i < sums.size(); ++i) sums.flat()[i] = wanted_sums.flat()[i] = 3;
          spline_kernel::add_bend_sums(bends, x.data(), dim, aim.data(), dim, rows, -1.f,
                                       sums.data());
          spline_kernel::reference::add_bend_sums(bends, x.data(), dim, aim.data(), dim, rows, -1.f,
                                                  wanted_sums.data());
          near(sums, wanted_sums, 1e5);

          Matrix<float> counts(knots - 1, dim), wanted_counts(knots - 1, dim);
          spline_kernel::count_above(pieces, x.data(), dim, rows, counts.data());
          spline_kernel::reference::count_above(pieces, x.data(), dim, rows, wanted_counts.data());
          EXPECT_EQ(counts, wanted_counts) << target;
        }
      }
    }
  });
}

}  // namespace
}  // namespace kvsplice::functions

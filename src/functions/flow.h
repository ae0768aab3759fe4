// RealNVP, the seed's second warp: blocks of an affine coupling and a fixed random permutation.
//
// A block keeps one half of the columns, x1 (the first in even blocks, the second in odd ones), and
// changes the other by what two networks of x1 say:
//
//   y2 = x2 exp(tanh(scale net(x1))) + shift net(x1)
//
// Networks: half -> hidden -> hidden -> half, exact GELU. The last layers start at zero, so that
// the flow starts as a permutation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::functions {

struct FlowShape {
  size_t dim = 0;  // even
  size_t blocks = 3;
  size_t hidden = 128;
  bool operator==(const FlowShape&) const = default;
};

enum class InputGradient { unwanted, wanted };

template <class T>
class Flow {
 public:
  using Scalar = T;

  // Weights by Kaiming's uniform rule for leaky ReLU of slope 0.2, permutations and all from
  // `seed`.
  static Result<Flow> create(const FlowShape& shape, uint64_t seed);
  static Result<> check(const FlowShape& shape);
  static size_t parameter_count(const FlowShape& shape);
  // With parameters to come; permutations: [blocks x dim], column c of a block's output is column
  // permutation[c] of its coupling's.
  Flow(const FlowShape& shape, std::vector<uint32_t> permutations);

  const FlowShape& shape() const { return shape_; }
  size_t dim() const { return shape_.dim; }
  const std::vector<uint32_t>& permutations() const { return permutations_; }
  std::span<T> parameters() { return parameters_; }
  std::span<const T> parameters() const { return parameters_; }
  void parameters_changed() {}

  // What the reverse of one coupling needs.
  struct CouplingTrace {
    Matrix<T> kept;           // x1
    Matrix<T> changed;        // x2
    Matrix<T> first, second;  // outputs of the hidden layers, scale net beside shift net
    Matrix<T> first_by_input, second_by_input;  // derivatives of GELU there
    Matrix<T> bounded, factor;                  // tanh and exp(tanh) of the scale net
    Matrix<T> shift;
  };
  using Trace = std::vector<CouplingTrace>;  // by block
  using BackTrace = Trace;

  // Of any number of rows, on all threads; out may be in.
  void forward(MatrixView<const T> x, MatrixView<T> z) const;
  void inverse(MatrixView<const T> z, MatrixView<T> x) const;
  // Of one chunk of rows on the caller's thread, keeping what the reverse needs.
  void forward(MatrixView<const T> x, MatrixView<T> z, Trace& trace) const;
  void inverse(MatrixView<const T> z, MatrixView<T> x, Trace& trace) const;

  // These add to the gradient of the parameters; dx becomes dz. dz becomes dx if that is wanted,
  // and is spent otherwise.
  size_t sums_size() const { return parameters_.size(); }
  void forward_backward(const Trace& trace, MatrixView<T> dz, std::span<T> gradient,
                        InputGradient input = InputGradient::unwanted) const;
  void inverse_backward(const Trace& trace, MatrixView<T> dx, std::span<T> gradient) const;
  // The way back of z, what it misses x by, and the reverse of both: z becomes its gradient of
  // weight / 2 times the sum of squares that is returned.
  double inverse_error(Matrix<T>& z, const Matrix<T>& x, T weight, BackTrace& trace,
                       std::span<T> gradient) const;
  void parameter_gradient(std::span<const T> sums, std::span<T> gradient) const;

 private:
  MatrixView<T> kept(MatrixView<T> x, size_t block) const;
  MatrixView<T> changed(MatrixView<T> x, size_t block) const;
  void permute(size_t block, MatrixView<T> x) const;
  void permute_back(size_t block, MatrixView<T> x) const;
  void couple(size_t block, MatrixView<T> x, CouplingTrace& t) const;
  void uncouple(size_t block, MatrixView<T> x, CouplingTrace& t) const;
  void run_networks(size_t block, CouplingTrace& t) const;
  void networks_backward(size_t block, const CouplingTrace& t, Matrix<T>& d_scale,
                         Matrix<T>& d_shift, std::span<T> gradient, MatrixView<T> d_kept) const;

  FlowShape shape_;
  std::vector<uint32_t> permutations_;  // [blocks x dim]
  std::vector<T> parameters_;
};

extern template class Flow<float>;
extern template class Flow<double>;

}  // namespace kvsplice::functions

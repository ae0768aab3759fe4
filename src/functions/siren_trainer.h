// Loss, gradient and Adam step of one sine network over all rows of its targets.
#pragma once

#include <optional>

#include "core/matrix.h"
#include "functions/siren_block.h"

namespace kvsplice::functions {

// Adam of the reference recipe; epochs count from 1.
template <class T>
siren_kernel::AdamStep<T> adam_step(double rate, size_t epoch) {
  constexpr double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  return {T(rate),
          T(beta1),
          T(beta2),
          T(epsilon),
          T(1 - std::pow(beta1, double(epoch))),
          T(1 - std::pow(beta2, double(epoch)))};
}

// Rows are cut into chunks of a fixed size; every chunk has a gradient of its own and they are
// added in order, so that results do not depend on the number of threads.
template <class T>
class SirenTrainer {
 public:
  // targets: [n x outputs], row i at position i / (n - 1).
  SirenTrainer(const SirenShape& shape, std::span<const double> parameters,
               MatrixView<const float> targets);

  double loss();               // mean of squares over all rows and outputs
  double loss_and_gradient();  // also computes what step() and gradient() use
  void step(const siren_kernel::AdamStep<T>& adam);
  // What the read-out sees: [n x hidden + 1], the last column 1 (for its biases).
  Matrix<float> features();
  // weights: [hidden + 1 x outputs], as they multiply features().
  void set_read_out(MatrixView<const double> weights);
  std::vector<double> gradient() const;
  std::vector<double> parameters() const { return net_.parameters(); }
  const PanelNet<T>& net() const { return net_; }

 private:
  struct Chunk {
    size_t first, rows;
    SirenBlock<T> block;
    AlignedVector<T> gradient;
    double squares = 0;
  };
  static constexpr size_t kChunkRows = 512;

  double pass(bool with_gradient);
  void run(Chunk& chunk, bool with_gradient);

  size_t rows_;
  PanelNet<T> net_;
  std::vector<T> positions_;
  AlignedVector<T> targets_;  // in panels, block by block
  std::vector<Chunk> chunks_;
  AlignedVector<T> mean_, square_;  // Adam's moments
};

extern template class SirenTrainer<float>;
extern template class SirenTrainer<double>;

}  // namespace kvsplice::functions

// Some rows (positions) on their way through a sine network, forward and back. A block is small
// enough that its activations stay in the second-level cache.
#pragma once

#include <algorithm>
#include <span>

#include "functions/siren_kernel.h"
#include "functions/siren_net.h"

namespace kvsplice::functions {

template <class T>
class SirenBlock {
 public:
  // Rows per block for best use of the cache: whole tiles of the kernel.
  static constexpr size_t kRows = 174;

  SirenBlock(const PanelLayout& layout, size_t max_rows)
      : layout_(layout),
        input_(max_rows * layout.width),
        sine_(layout.layers.size() - 1),
        cosine_(layout.layers.size() - 1) {
    size_t most = 0;
    for (size_t l = 0; l < layout.layers.size(); ++l) {
      const size_t size = layout.layers[l].out_panels * layout.width * max_rows;
      most = std::max(most, size);
      if (l < sine_.size()) sine_[l].resize(size), cosine_[l].resize(size);
    }
    delta_.resize(most);
    below_.resize(most);
  }

  // Sine layers: position to features.
  void features(const PanelNet<T>& net, std::span<const T> positions) {
    rows_ = positions.size();
    for (size_t r = 0; r < rows_; ++r) input_[r * layout_.width] = positions[r];
    for (size_t l = 0; l < sine_.size(); ++l) {
      const auto& layer = layout_.layers[l];
      for (size_t j = 0; j < layer.out_panels; ++j) {
        T* sine = at(sine_[l], j);
        siren_kernel::product(input_of(l), rows_, layer.in, net.panel(l, j), sine);
        siren_kernel::sine_rows(sine, rows_, net.bias(l, j), T(net.shape.omega), sine,
                                at(cosine_[l], j));
      }
    }
  }

  // Read-out: (prediction - target) * scale becomes the delta; returns the sum of squares of
  // (prediction - target). targets: in panels of these rows.
  double read_out(const PanelNet<T>& net, const T* targets, T scale) {
    const size_t last = sine_.size();
    const auto& layer = layout_.layers[last];
    double squares = 0;
    for (size_t j = 0; j < layer.out_panels; ++j) {
      T* delta = at(delta_, j);
      siren_kernel::product(input_of(last), rows_, layer.in, net.panel(last, j), delta);
      squares += siren_kernel::residual(delta, rows_, net.bias(last, j),
                                        targets + j * rows_ * layout_.width, scale);
    }
    return squares;
  }

  // Adds the gradient of the read-out's parameters.
  void add_read_out_gradient(T* gradient) { add_gradient(sine_.size(), gradient); }

  // Takes the delta down from the read-out and adds the gradients of the sine layers' parameters,
  // but for the factor omega. The delta is lost.
  void add_sine_gradients(const PanelNet<T>& net, T* gradient) {
    for (size_t l = sine_.size(); l-- > 0;) {
      const auto& above = layout_.layers[l + 1];
      for (size_t j = 0; j < above.in_panels; ++j) {
        T* below = at(below_, j);
        siren_kernel::product(delta_.data(), rows_, above.out, net.transposed_panel(l + 1, j),
                              below);
        siren_kernel::multiply(at(cosine_[l], j), rows_ * layout_.width, below);
      }
      std::swap(delta_, below_);
      add_gradient(l, gradient);
    }
  }

  size_t rows() const { return rows_; }
  const T* last_features() const { return sine_.back().data(); }  // in panels
  const T* delta() const { return delta_.data(); }                // in panels

 private:
  T* at(AlignedVector<T>& panels, size_t j) { return panels.data() + j * rows_ * layout_.width; }
  const T* input_of(size_t layer) const {
    return layer == 0 ? input_.data() : sine_[layer - 1].data();
  }
  void add_gradient(size_t l, T* gradient) {
    const auto& layer = layout_.layers[l];
    for (size_t j = 0; j < layer.out_panels; ++j) {
      const T* delta = at(delta_, j);
      siren_kernel::outer(input_of(l), layer.in, rows_, delta,
                          gradient + layer.weights + j * layer.in * layout_.width);
      siren_kernel::add_columns(delta, rows_, gradient + layer.bias + j * layout_.width);
    }
  }

  PanelLayout layout_;
  size_t rows_ = 0;
  AlignedVector<T> input_;                       // one panel; only column 0 is used
  std::vector<AlignedVector<T>> sine_, cosine_;  // of every sine layer
  AlignedVector<T> delta_, below_;               // gradient by a layer's linear part, in panels
};

}  // namespace kvsplice::functions

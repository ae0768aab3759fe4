// The sine network from position to cache vector: a first sine layer 1 -> hidden, `layers` more
// hidden -> hidden, a linear read-out hidden -> outputs. A sine layer is sin(omega (W x + b)).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/aligned.h"
#include "core/matrix.h"

namespace kvsplice::functions {

struct SirenShape {
  size_t hidden = 256;
  size_t layers = 2;  // sine layers behind the first
  size_t outputs = 0;
  double omega = 30;

  size_t parameters() const;
  bool operator==(const SirenShape&) const = default;
};

// The seven configurations of the study.
struct SirenPreset {
  const char* name;
  SirenShape shape;
};
inline constexpr SirenPreset kSirenPresets[] = {
    {"tiny", {64, 1, 0, 30}},   {"small", {128, 1, 0, 30}}, {"medium", {256, 2, 0, 30}},
    {"large", {512, 2, 0, 30}}, {"deep", {256, 3, 0, 30}},  {"hifreq", {256, 2, 0, 60}},
    {"lofreq", {256, 2, 0, 15}}};

struct LayerSize {
  size_t in, out;
};

std::vector<LayerSize> layer_sizes(const SirenShape& shape);  // in order, the read-out last

// Parameters in their portable order: layer by layer, weights [out x in] row-major, then biases
// [out]. Drawn in that order, uniform within 1/in for the first layer and sqrt(6/in)/omega for all
// others, biases as weights.
std::vector<double> initial_parameters(const SirenShape& shape, uint64_t seed);

// Where the kernels keep parameters, and gradients: the outputs of a layer in panels of `width`
// columns, a panel [in x width], missing outputs zero; then the biases. Sine layers come first, so
// that [0, read_out) and [read_out, size) are the parameters inside and outside of sines.
struct PanelLayout {
  struct Layer {
    size_t in, out;
    size_t out_panels, in_panels;
    size_t weights, bias;  // offsets of values
    size_t transposed;     // offset in the transposed copy
  };
  size_t width = 0;
  std::vector<Layer> layers;
  size_t read_out = 0;
  size_t size = 0;
  size_t transposed_size = 0;

  PanelLayout(const SirenShape& shape, size_t panel_width);
  size_t panels(size_t columns) const { return (columns + width - 1) / width; }
};

// A network as the kernels want it. `transposed` holds the weights of all layers but the first in
// panels of inputs [out x width], times omega where the layer below is a sine: what takes the
// gradient by a layer's output to its input.
template <class T>
struct PanelNet {
  SirenShape shape;
  PanelLayout layout;
  AlignedVector<T> values, transposed;

  explicit PanelNet(const SirenShape& s);
  void set(std::span<const double> parameters);
  std::vector<double> parameters() const { return portable(values.data()); }
  std::vector<double> portable(const T* panels) const;  // of values or of a gradient
  // weights: [hidden x outputs], then a row of biases.
  void set_read_out(MatrixView<const double> weights);
  void transpose();  // after every change of values

  const T* panel(size_t layer, size_t j) const {
    const auto& l = layout.layers[layer];
    return values.data() + l.weights + j * l.in * layout.width;
  }
  const T* bias(size_t layer, size_t j) const {
    return values.data() + layout.layers[layer].bias + j * layout.width;
  }
  const T* transposed_panel(size_t layer, size_t j) const {
    const auto& l = layout.layers[layer];
    return transposed.data() + l.transposed + j * l.out * layout.width;
  }

 private:
  void transpose_panel(size_t layer, size_t j);
};

extern template struct PanelNet<float>;
extern template struct PanelNet<double>;

}  // namespace kvsplice::functions

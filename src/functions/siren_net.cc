#include "functions/siren_net.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/random.h"
#include "functions/siren_kernel.h"

namespace kvsplice::functions {

std::vector<LayerSize> layer_sizes(const SirenShape& shape) {
  std::vector<LayerSize> sizes = {{1, shape.hidden}};
  for (size_t i = 0; i < shape.layers; ++i) sizes.push_back({shape.hidden, shape.hidden});
  sizes.push_back({shape.hidden, shape.outputs});
  return sizes;
}

size_t SirenShape::parameters() const {
  size_t sum = 0;
  for (const auto& size : layer_sizes(*this)) sum += size.out * (size.in + 1);
  return sum;
}

std::vector<double> initial_parameters(const SirenShape& shape, uint64_t seed) {
  Random random(seed);
  std::vector<double> all;
  all.reserve(shape.parameters());
  for (const auto& size : layer_sizes(shape)) {
    const bool first = all.empty();
    const double bound =
        first ? 1.0 / double(size.in) : std::sqrt(6.0 / double(size.in)) / shape.omega;
    for (size_t i = 0; i < size.out * (size.in + 1); ++i) {
      all.push_back(random.uniform(-bound, bound));
    }
  }
  return all;
}

PanelLayout::PanelLayout(const SirenShape& shape, size_t panel_width) : width(panel_width) {
  for (const auto& [in, out] : layer_sizes(shape)) {
    Layer layer{in, out, panels(out), panels(in), size, 0, transposed_size};
    layer.bias = layer.weights + layer.out_panels * in * width;
    read_out = size;
    size = layer.bias + layer.out_panels * width;
    if (!layers.empty()) transposed_size += layer.in_panels * out * width;
    layers.push_back(layer);
  }
}

template <class T>
PanelNet<T>::PanelNet(const SirenShape& s)
    : shape(s),
      layout(s, siren_kernel::panel_width(T())),
      values(layout.size),
      transposed(layout.transposed_size) {}

template <class T>
void PanelNet<T>::set(std::span<const double> parameters) {
  assert(parameters.size() == shape.parameters());
  const size_t width = layout.width;
  auto next = parameters.begin();
  for (const auto& layer : layout.layers) {
    for (size_t o = 0; o < layer.out; ++o) {
      T* panel = values.data() + layer.weights + o / width * layer.in * width;
      for (size_t i = 0; i < layer.in; ++i) panel[i * width + o % width] = T(*next++);
    }
    for (size_t o = 0; o < layer.out; ++o) values[layer.bias + o] = T(*next++);
  }
  transpose();
}

template <class T>
std::vector<double> PanelNet<T>::portable(const T* panels) const {
  const size_t width = layout.width;
  std::vector<double> all;
  all.reserve(shape.parameters());
  for (const auto& layer : layout.layers) {
    for (size_t o = 0; o < layer.out; ++o) {
      const T* panel = panels + layer.weights + o / width * layer.in * width;
      for (size_t i = 0; i < layer.in; ++i) all.push_back(panel[i * width + o % width]);
    }
    for (size_t o = 0; o < layer.out; ++o) all.push_back(panels[layer.bias + o]);
  }
  return all;
}

template <class T>
void PanelNet<T>::set_read_out(MatrixView<const double> weights) {
  const auto& layer = layout.layers.back();
  const size_t width = layout.width;
  assert(weights.rows == layer.in + 1 && weights.cols == layer.out);
  for (size_t o = 0; o < layer.out; ++o) {
    T* panel = values.data() + layer.weights + o / width * layer.in * width;
    for (size_t i = 0; i < layer.in; ++i) panel[i * width + o % width] = T(weights(i, o));
    values[layer.bias + o] = T(weights(layer.in, o));
  }
  transpose();
}

template <class T>
void PanelNet<T>::transpose() {
  for (size_t l = 1; l < layout.layers.size(); ++l) {
    for (size_t j = 0; j < layout.layers[l].in_panels; ++j) transpose_panel(l, j);
  }
}

// Goes tile by tile, [width x width], so that reads and writes stay in the first-level cache.
template <class T>
void PanelNet<T>::transpose_panel(size_t l, size_t j) {
  const auto& layer = layout.layers[l];
  const size_t width = layout.width, columns = std::min(width, layer.in - j * width);
  const T factor = l + 1 < layout.layers.size() ? T(shape.omega) : T(1);
  T* out = transposed.data() + layer.transposed + j * layer.out * width;
  for (size_t p = 0; p < layer.out_panels; ++p) {
    const T* from = panel(l, p) + j * width * width;
    const size_t rows = std::min(width, layer.out - p * width);
    for (size_t o = 0; o < rows; ++o, out += width) {
      for (size_t c = 0; c < columns; ++c) out[c] = factor * from[c * width + o];
    }
  }
}

template struct PanelNet<float>;
template struct PanelNet<double>;

}  // namespace kvsplice::functions

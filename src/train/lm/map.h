// What a cache is made by: a chain of differentiable maps of rows. Somewhere in the chain stands a
// bar: what arrives there is cached, and the maps behind it make keys and values of it.
//
//   keys and values themselves   linear |
//   a latent                     linear | linear
//   the seed's layer B           linear affine linear | linear affine^-1 linear
#pragma once

#include <memory>
#include <vector>

#include "core/random.h"
#include "train/lm/layout.h"

namespace kvsplice::train::lm {

template <class T>
struct Pass {
  std::span<const T> parameters;
  uint64_t noise = 0;  // seed of what maps draw in training; 0: nothing is drawn
};

template <class T>
class Map {
 public:
  virtual ~Map() = default;
  virtual size_t width() const = 0;             // of what it makes
  virtual bool affine() const { return true; }  // a matrix and a constant, whatever its parameters
  virtual void start(std::span<T> /*parameters*/, Random& /*random*/) const {}
  // y [n x width] of x; returns what the rows add to the loss.
  virtual double forward(const Pass<T>& pass, const Matrix<T>& x, Matrix<T>& y) const = 0;
  // Adds to the gradient of the parameters; dx has the size of x.
  virtual void backward(const Pass<T>& pass, const Matrix<T>& x, const Matrix<T>& y,
                        const Matrix<T>& dy, Matrix<T>& dx, std::span<T> gradient) const = 0;
};

template <class T>
struct Chain {
  std::vector<std::unique_ptr<Map<T>>> maps;
  size_t bar = 0;  // so many maps stand before the cache
};

enum class Warp { none, affine, spline, flow };

// What is cached of a token and layer.
struct CacheForm {
  size_t latent = 0;       // so many numbers of a latent; 0: keys and values themselves
  size_t inner = 0;        // of a wider latent, which they are made of; 0: of none
  bool norm = false;       // the wider latent is divided by its rms
  Warp warp = Warp::none;  // around the way from the wider latent to the narrow one and back
  double step = 0;         // of a quantiser, whose noise is added in training; 0: none
  double price = 0;        // nats a bit costs in training
};

// Keys and values side by side, `kv_width` each, of rows of `width`.
template <class T>
Chain<T> make_chain(const CacheForm& form, size_t layer, size_t width, size_t kv_width,
                    Layout& layout);

// y = x / rms(x), row by row; and its reverse, of gradients with respect to y.
template <class T>
void divide_by_rms(MatrixView<const T> x, MatrixView<T> y);
template <class T>
void divide_by_rms_backward(MatrixView<const T> x, MatrixView<const T> y, MatrixView<const T> dy,
                            MatrixView<T> dx);

}  // namespace kvsplice::train::lm

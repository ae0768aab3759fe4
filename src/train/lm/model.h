// A small language model of Llama's blocks (RMSNorm, rotary attention, SwiGLU, tied head) whose
// cache is made by a chain of maps. Forward and backward are by hand; in double they are what
// gradients are checked by.
#pragma once

#include <functional>

#include "kvsplice/result.h"
#include "train/lm/attention.h"
#include "train/lm/map.h"

namespace kvsplice::train::lm {

using Token = int32_t;

struct Shape {
  size_t vocabulary = 0, width = 0, layers = 0, hidden = 0;
  size_t heads = 0, kv_heads = 0, head_dim = 0;
  size_t length = 0;  // tokens of a sequence
  double rope_base = 10000;

  size_t query_width() const { return heads * head_dim; }
  size_t kv_width() const { return kv_heads * head_dim; }
};

template <class T>
class Model {
 public:
  Model(const Shape& shape, const CacheForm& form);

  const Shape& shape() const { return shape_; }
  const CacheForm& form() const { return form_; }
  const Layout& layout() const { return layout_; }
  size_t cached_width() const;  // numbers of a token and layer
  std::vector<T> start(uint64_t seed) const;
  // Whether keys and values are a matrix times what comes in, and a constant.
  bool affine() const;
  // That matrix [2 kv_width x width] and constant of a layer, keys first.
  struct Merged {
    Matrix<T> matrix;
    std::vector<T> constant;
  };
  Merged merged(std::span<const T> parameters, size_t layer) const;

  // Mean loss in nats a token of sequences [n x length + 1], with what the cache adds to it; the
  // gradient is added. On the caller's thread.
  double loss(const Pass<T>& pass, MatrixView<const Token> sequences, std::span<T> gradient) const;

  // Shown what every layer caches of all tokens, before anything is made of it; may change it.
  using Look = std::function<Result<>(size_t layer, Matrix<T>& rows)>;
  // The loss of each token; without noise.
  Result<std::vector<T>> losses(std::span<const T> parameters, MatrixView<const Token> sequences,
                                const Look& look = {}) const;
  // Of sequences [n x length]: row s * length + i belongs to the token behind i.
  Matrix<T> logits(std::span<const T> parameters, MatrixView<const Token> sequences) const;

 private:
  struct Layer {
    Group norm, query, output, fed_norm, gate, up, down;
    Chain<T> chain;
  };
  struct Trace;  // of one layer
  struct Run;    // of all

  Heads heads() const { return {shape_.heads, shape_.kv_heads, shape_.head_dim, shape_.length}; }
  Result<Run> forward(const Pass<T>& pass, MatrixView<const Token> sequences,
                      const Look& look) const;
  Result<> attention_forward(const Pass<T>& pass, size_t layer, const Look& look, Trace& t,
                             Matrix<T>& stream, double& added) const;
  void feed_forward(const Pass<T>& pass, size_t layer, Trace& t, Matrix<T>& stream) const;
  void attention_backward(const Pass<T>& pass, size_t layer, const Trace& t, Matrix<T>& d,
                          std::span<T> gradient) const;
  void feed_backward(const Pass<T>& pass, size_t layer, const Trace& t, Matrix<T>& d,
                     std::span<T> gradient) const;

  Shape shape_;
  CacheForm form_;
  Layout layout_;
  Group embedding_, last_norm_;
  std::vector<Layer> layers_;
  Rotation<T> rotation_;
};

extern template class Model<float>;
extern template class Model<double>;

}  // namespace kvsplice::train::lm

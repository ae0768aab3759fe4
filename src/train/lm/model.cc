#include "train/lm/model.h"

#include <algorithm>
#include <cmath>

#include "solve/solve.h"

namespace kvsplice::train::lm {

namespace {

// y = x W^T of parameters, and the reverse: dx += dy W, gradient += dy^T x.
template <class T>
Matrix<T> times(const Matrix<T>& x, const Group& weights, std::span<const T> parameters) {
  Matrix<T> y(x.rows(), weights.rows);
  gemm(Trans::no, Trans::yes, T(1), x, weights.matrix(parameters), T(0), y);
  return y;
}
template <class T>
void times_backward(const Matrix<T>& x, const Group& weights, std::span<const T> parameters,
                    MatrixView<const T> dy, Matrix<T>& dx, std::span<T> gradient) {
  gemm(Trans::yes, Trans::no, T(1), dy, x, T(1), weights.matrix(gradient));
  gemm(Trans::no, Trans::no, T(1), dy, weights.matrix(parameters), T(1), dx);
}

template <class T>
struct Normed {
  Matrix<T> unit, out;  // before the gain and behind it
};
template <class T>
Normed<T> norm(const Matrix<T>& x, const Group& gain, std::span<const T> parameters) {
  Normed<T> n{Matrix<T>(x.rows(), x.cols()), Matrix<T>(x.rows(), x.cols())};
  divide_by_rms<T>(x, n.unit);
  const auto by = gain.in(parameters);
  for (size_t r = 0; r < x.rows(); ++r) {
    for (size_t c = 0; c < x.cols(); ++c) n.out(r, c) = n.unit(r, c) * by[c];
  }
  return n;
}
// d += the gradient of x; dy is spent.
template <class T>
void norm_backward(const Matrix<T>& x, const Normed<T>& n, const Group& gain,
                   std::span<const T> parameters, Matrix<T>& dy, Matrix<T>& d,
                   std::span<T> gradient) {
  const auto by = gain.in(parameters);
  const auto g = gain.in(gradient);
  for (size_t r = 0; r < x.rows(); ++r) {
    for (size_t c = 0; c < x.cols(); ++c) {
      g[c] += dy(r, c) * n.unit(r, c);
      dy(r, c) *= by[c];
    }
  }
  Matrix<T> dx(x.rows(), x.cols());
  divide_by_rms_backward<T>(x, n.unit, dy, dx);
  for (size_t i = 0; i < d.size(); ++i) d.data()[i] += dx.data()[i];
}

template <class T>
void add(const Matrix<T>& more, Matrix<T>& to) {
  for (size_t i = 0; i < to.size(); ++i) to.data()[i] += more.data()[i];
}

}  // namespace

template <class T>
struct Model<T>::Trace {
  Matrix<T> in;                 // what entered the layer
  Normed<T> attended;           // what attention is made of
  std::vector<Matrix<T>> made;  // by each map of the chain
  Matrix<T> q, k, v;            // turned
  Matrix<T> weights, mixed;     // of attention, and its outcome
  Matrix<T> middle;             // behind attention
  Normed<T> fed;
  Matrix<T> gate, up, gated;
};

template <class T>
struct Model<T>::Run {
  std::vector<Trace> layers;
  Matrix<T> last;  // what leaves the last layer
  Normed<T> normed;
  double added = 0;  // to the loss
};

template <class T>
Model<T>::Model(const Shape& shape, const CacheForm& form)
    : shape_(shape), form_(form), rotation_(shape.rope_base, shape.head_dim, shape.length) {
  embedding_ = layout_.add_matrix("token_embd.weight", shape.vocabulary, shape.width);
  for (size_t i = 0; i < shape.layers; ++i) {
    const std::string prefix = "blk." + std::to_string(i) + ".";
    const auto matrix = [&](const char* name, size_t rows, size_t cols) {
      return layout_.add_matrix(prefix + name + ".weight", rows, cols);
    };
    Layer layer;
    layer.norm = layout_.add_vectors(prefix + "attn_norm.weight", 1, shape.width);
    layer.query = matrix("attn_q", shape.query_width(), shape.width);
    layer.chain = make_chain<T>(form, i, shape.width, shape.kv_width(), layout_);
    layer.output = matrix("attn_output", shape.width, shape.query_width());
    layer.fed_norm = layout_.add_vectors(prefix + "ffn_norm.weight", 1, shape.width);
    layer.gate = matrix("ffn_gate", shape.hidden, shape.width);
    layer.up = matrix("ffn_up", shape.hidden, shape.width);
    layer.down = matrix("ffn_down", shape.width, shape.hidden);
    layers_.push_back(std::move(layer));
  }
  last_norm_ = layout_.add_vectors("output_norm.weight", 1, shape.width);
}

template <class T>
size_t Model<T>::cached_width() const {
  const Chain<T>& chain = layers_.front().chain;
  return chain.maps[chain.bar - 1]->width();
}

template <class T>
bool Model<T>::affine() const {
  const auto& maps = layers_.front().chain.maps;
  return std::all_of(maps.begin(), maps.end(), [](const auto& map) { return map->affine(); });
}

// Every group has its own random numbers, so that models that differ in their caches start alike in
// all the rest.
template <class T>
std::vector<T> Model<T>::start(uint64_t seed) const {
  std::vector<T> p(layout_.size());
  const auto fill = [&](const Group& group, double deviation, size_t number) {
    Random random(seed * 4096 + number);
    for (T& w : group.in(std::span<T>(p))) w = T(deviation * random.normal());
  };
  const auto ones = [&](const Group& group) {
    for (T& w : group.in(std::span<T>(p))) w = 1;
  };
  const double width = 1 / std::sqrt(double(shape_.width));
  const double depth = 1 / std::sqrt(2 * double(shape_.layers));  // of what adds to the stream
  fill(embedding_, width, 0);
  ones(last_norm_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& l = layers_[i];
    const size_t number = 8 * (i + 1);
    ones(l.norm);
    ones(l.fed_norm);
    fill(l.query, width, number);
    fill(l.output, depth / std::sqrt(double(shape_.query_width())), number + 1);
    fill(l.gate, width, number + 2);
    fill(l.up, width, number + 3);
    fill(l.down, depth / std::sqrt(double(shape_.hidden)), number + 4);
    Random random(seed * 4096 + number + 5);
    for (const auto& map : l.chain.maps) map->start(p, random);
  }
  return p;
}

template <class T>
typename Model<T>::Merged Model<T>::merged(std::span<const T> parameters, size_t layer) const {
  const size_t width = shape_.width;
  Matrix<T> x(width + 1, width);  // all directions, and nothing
  for (size_t i = 0; i < width; ++i) x(i, i) = 1;
  for (const auto& map : layers_[layer].chain.maps) {
    Matrix<T> y(x.rows(), map->width());
    map->forward({parameters, 0}, x, y);
    x = std::move(y);
  }
  Merged m{Matrix<T>(x.cols(), width), {x.row(width).begin(), x.row(width).end()}};
  for (size_t i = 0; i < width; ++i) {
    for (size_t c = 0; c < x.cols(); ++c) m.matrix(c, i) = x(i, c) - m.constant[c];
  }
  return m;
}

template <class T>
Result<> Model<T>::attention_forward(const Pass<T>& pass, size_t layer, const Look& look, Trace& t,
                                     Matrix<T>& stream, double& added) const {
  const Layer& l = layers_[layer];
  const size_t rows = stream.rows(), kv = shape_.kv_width();
  t.in = stream;
  t.attended = norm(stream, l.norm, pass.parameters);
  for (size_t i = 0; i < l.chain.maps.size(); ++i) {
    const Matrix<T>& x = i == 0 ? t.attended.out : t.made[i - 1];
    Matrix<T> y(rows, l.chain.maps[i]->width());
    added += l.chain.maps[i]->forward(pass, x, y);
    if (look && i + 1 == l.chain.bar) KVS_TRY(look(layer, y));
    t.made.push_back(std::move(y));
  }
  t.q = times(t.attended.out, l.query, pass.parameters);
  t.k = copy(t.made.back().view().col_range(0, kv));
  t.v = copy(t.made.back().view().col_range(kv, kv));
  rotation_.turn(t.q);
  rotation_.turn(t.k);
  t.weights = Matrix<T>(rows * shape_.heads, shape_.length);
  t.mixed = Matrix<T>(rows, shape_.query_width());
  attend<T>(heads(), t.q, t.k, t.v, t.weights, t.mixed);
  gemm(Trans::no, Trans::yes, T(1), t.mixed, l.output.matrix(pass.parameters), T(1), stream);
  return {};
}

template <class T>
void Model<T>::feed_forward(const Pass<T>& pass, size_t layer, Trace& t, Matrix<T>& stream) const {
  const Layer& l = layers_[layer];
  t.middle = stream;
  t.fed = norm(stream, l.fed_norm, pass.parameters);
  t.gate = times(t.fed.out, l.gate, pass.parameters);
  t.up = times(t.fed.out, l.up, pass.parameters);
  t.gated = Matrix<T>(t.up.rows(), t.up.cols());
  for (size_t i = 0; i < t.up.size(); ++i) {
    const T x = t.gate.data()[i];
    t.gated.data()[i] = x / (1 + std::exp(-x)) * t.up.data()[i];
  }
  gemm(Trans::no, Trans::yes, T(1), t.gated, l.down.matrix(pass.parameters), T(1), stream);
}

template <class T>
Result<typename Model<T>::Run> Model<T>::forward(const Pass<T>& pass,
                                                 MatrixView<const Token> sequences,
                                                 const Look& look) const {
  const size_t length = shape_.length;
  Run run;
  run.layers.resize(shape_.layers);
  Matrix<T> stream(sequences.rows * length, shape_.width);
  const auto embedding = embedding_.matrix(pass.parameters);
  for (size_t r = 0; r < stream.rows(); ++r) {
    const auto row = embedding.row(size_t(sequences(r / length, r % length)));
    std::copy(row.begin(), row.end(), stream.row(r).begin());
  }
  for (size_t i = 0; i < shape_.layers; ++i) {
    KVS_TRY(attention_forward(pass, i, look, run.layers[i], stream, run.added));
    feed_forward(pass, i, run.layers[i], stream);
  }
  run.normed = norm(stream, last_norm_, pass.parameters);
  run.last = std::move(stream);
  return run;
}

namespace {

// Logits become probabilities; the loss of each token.
template <class T>
std::vector<T> softmax(Matrix<T>& logits, MatrixView<const Token> sequences, size_t length) {
  std::vector<T> losses(logits.rows());
  for (size_t r = 0; r < logits.rows(); ++r) {
    const std::span<T> row = logits.row(r);
    const T most = *std::max_element(row.begin(), row.end());
    const T right = row[size_t(sequences(r / length, r % length + 1))];
    T sum = 0;
    for (T& x : row) sum += x = std::exp(x - most);
    for (T& x : row) x /= sum;
    losses[r] = std::log(sum) + most - right;
  }
  return losses;
}

}  // namespace

template <class T>
Result<std::vector<T>> Model<T>::losses(std::span<const T> parameters,
                                        MatrixView<const Token> sequences, const Look& look) const {
  KVS_ASSIGN(const Run run, forward({parameters, 0}, sequences, look));
  Matrix<T> logits = times(run.normed.out, embedding_, parameters);
  return softmax(logits, sequences, shape_.length);
}

template <class T>
Matrix<T> Model<T>::logits(std::span<const T> parameters, MatrixView<const Token> sequences) const {
  const Run run = *forward({parameters, 0}, sequences, {});
  return times(run.normed.out, embedding_, parameters);
}

template <class T>
double Model<T>::loss(const Pass<T>& pass, MatrixView<const Token> sequences,
                      std::span<T> gradient) const {
  const Run run = *forward(pass, sequences, {});
  Matrix<T> logits = times(run.normed.out, embedding_, pass.parameters);
  const size_t rows = logits.rows(), length = shape_.length;
  double sum = 0;
  for (const T loss : softmax(logits, sequences, length)) sum += double(loss);

  for (size_t r = 0; r < rows; ++r) {
    logits(r, size_t(sequences(r / length, r % length + 1))) -= 1;
    for (T& x : logits.row(r)) x /= T(rows);
  }
  Matrix<T> d(rows, shape_.width), d_normed(rows, shape_.width);
  times_backward<T>(run.normed.out, embedding_, pass.parameters, logits, d_normed, gradient);
  norm_backward(run.last, run.normed, last_norm_, pass.parameters, d_normed, d, gradient);
  for (size_t i = shape_.layers; i-- > 0;) {
    feed_backward(pass, i, run.layers[i], d, gradient);
    attention_backward(pass, i, run.layers[i], d, gradient);
  }
  const auto embedding = embedding_.matrix(gradient);
  for (size_t r = 0; r < rows; ++r) {
    const auto row = embedding.row(size_t(sequences(r / length, r % length)));
    for (size_t c = 0; c < row.size(); ++c) row[c] += d(r, c);
  }
  return sum / double(rows) + run.added;
}

template <class T>
void Model<T>::feed_backward(const Pass<T>& pass, size_t layer, const Trace& t, Matrix<T>& d,
                             std::span<T> gradient) const {
  const Layer& l = layers_[layer];
  Matrix<T> d_gate(t.gate.rows(), t.gate.cols()), d_up(t.up.rows(), t.up.cols());
  times_backward<T>(t.gated, l.down, pass.parameters, d, d_up, gradient);  // of what is gated
  for (size_t i = 0; i < d_up.size(); ++i) {
    const T x = t.gate.data()[i], sigmoid = 1 / (1 + std::exp(-x)), dy = d_up.data()[i];
    d_gate.data()[i] = dy * t.up.data()[i] * sigmoid * (1 + x * (1 - sigmoid));
    d_up.data()[i] = dy * x * sigmoid;
  }
  Matrix<T> d_fed(d.rows(), d.cols());
  times_backward<T>(t.fed.out, l.gate, pass.parameters, d_gate, d_fed, gradient);
  times_backward<T>(t.fed.out, l.up, pass.parameters, d_up, d_fed, gradient);
  norm_backward(t.middle, t.fed, l.fed_norm, pass.parameters, d_fed, d, gradient);
}

template <class T>
void Model<T>::attention_backward(const Pass<T>& pass, size_t layer, const Trace& t, Matrix<T>& d,
                                  std::span<T> gradient) const {
  const Layer& l = layers_[layer];
  const size_t rows = d.rows(), kv = shape_.kv_width();
  Matrix<T> d_mixed(rows, shape_.query_width()), d_q(rows, shape_.query_width());
  times_backward<T>(t.mixed, l.output, pass.parameters, d, d_mixed, gradient);
  Matrix<T> d_made(rows, 2 * kv);
  const auto d_k = d_made.view().col_range(0, kv), d_v = d_made.view().col_range(kv, kv);
  attend_backward<T>(heads(), t.q, t.k, t.v, t.weights, d_mixed, d_q, d_k, d_v);
  rotation_.turn_back(d_q);
  rotation_.turn_back(d_k);
  for (size_t i = l.chain.maps.size(); i-- > 0;) {
    const Matrix<T>& x = i == 0 ? t.attended.out : t.made[i - 1];
    Matrix<T> dx(rows, x.cols());
    l.chain.maps[i]->backward(pass, x, t.made[i], d_made, dx, gradient);
    d_made = std::move(dx);
  }
  times_backward<T>(t.attended.out, l.query, pass.parameters, d_q, d_made, gradient);
  norm_backward(t.in, t.attended, l.norm, pass.parameters, d_made, d, gradient);
}

template class Model<float>;
template class Model<double>;

}  // namespace kvsplice::train::lm

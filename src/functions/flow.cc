#include "functions/flow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/random.h"
#include "core/threads.h"
#include "functions/elementwise_kernel.h"
#include "linalg/linalg.h"

namespace kvsplice::functions {

namespace {

constexpr size_t kChunk = 256;  // rows of a task when all threads work
constexpr double kLeakySlope = 0.2;

size_t block_size(const FlowShape& s) {
  const size_t half = s.dim / 2, h = s.hidden;
  return half * 2 * h + 2 * h + 2 * h * h + 2 * h + 2 * h * half + 2 * half;
}

// The parameters of one block; [0] belongs to the scale net, [1] to the shift net. The first layers
// see the same input and stand side by side.
template <class U>
struct Layers {
  MatrixView<U> first;                   // [half x 2 hidden]
  MatrixView<U> second[2];               // [hidden x hidden]
  MatrixView<U> last[2];                 // [hidden x half]
  std::span<U> first_bias, second_bias;  // [2 hidden]
  std::span<U> last_bias[2];             // [half]

  Layers(const FlowShape& s, std::span<U> all, size_t block) {
    const size_t half = s.dim / 2, h = s.hidden;
    U* at = all.data() + block * block_size(s);
    const auto take = [&](size_t n) { return std::exchange(at, at + n); };
    first = {take(half * 2 * h), half, 2 * h};
    first_bias = {take(2 * h), 2 * h};
    for (auto& w : second) w = {take(h * h), h, h};
    second_bias = {take(2 * h), 2 * h};
    for (auto& w : last) w = {take(h * half), h, half};
    for (auto& b : last_bias) b = {take(half), half};
  }
};

template <class T>
void resize(Matrix<T>& m, size_t rows, size_t cols) {
  if (m.rows() != rows || m.cols() != cols) m = Matrix<T>(rows, cols);
}

template <class T>
void copy_into(MatrixView<const T> from, MatrixView<T> to) {
  for (size_t r = 0; r < from.rows; ++r) std::copy_n(&from(r, 0), from.cols, &to(r, 0));
}

// c = op(a) op(b) + beta c. In double only gradients are checked, where nothing has to be fast.
void product(Trans ta, Trans tb, MatrixView<const float> a, MatrixView<const float> b, float beta,
             MatrixView<float> c) {
  gemm(ta, tb, 1.f, a, b, beta, c);
}
void product(Trans ta, Trans tb, MatrixView<const double> a, MatrixView<const double> b,
             double beta, MatrixView<double> c) {
  const size_t inner = ta == Trans::no ? a.cols : a.rows;
  for (size_t r = 0; r < c.rows; ++r) {
    for (size_t k = 0; k < c.cols; ++k) {
      double sum = beta == 0 ? 0 : beta * c(r, k);
      for (size_t i = 0; i < inner; ++i) {
        sum += (ta == Trans::no ? a(r, i) : a(i, r)) * (tb == Trans::no ? b(i, k) : b(k, i));
      }
      c(r, k) = sum;
    }
  }
}

// to += column sums of d.
template <class T>
void add_column_sums(const MatrixView<const T>& d, std::span<T> to) {
  for (size_t r = 0; r < d.rows; ++r) {
    const T* row = &d(r, 0);
    for (size_t c = 0; c < d.cols; ++c) to[c] += row[c];
  }
}

template <class T>
void multiply(const Matrix<T>& by, Matrix<T>& d) {
  for (size_t i = 0; i < d.size(); ++i) d.data()[i] *= by.data()[i];
}

template <class T>
void uniform(Random& random, double bound, MatrixView<T> m) {
  for (size_t r = 0; r < m.rows; ++r) {
    for (T& w : m.row(r)) w = T(random.uniform(-bound, bound));
  }
}

double kaiming_bound(size_t inputs) {
  return std::sqrt(6 / ((1 + kLeakySlope * kLeakySlope) * double(inputs)));
}

}  // namespace

template <class T>
Flow<T>::Flow(const FlowShape& shape, std::vector<uint32_t> permutations)
    : shape_(shape), permutations_(std::move(permutations)), parameters_(parameter_count(shape)) {
  assert(permutations_.size() == shape.blocks * shape.dim);
}

template <class T>
size_t Flow<T>::parameter_count(const FlowShape& shape) {
  return shape.blocks * block_size(shape);
}

template <class T>
Result<> Flow<T>::check(const FlowShape& shape) {
  if (shape.dim > 0 && shape.dim % 2 == 0) return {};
  return Error{
      ErrorKind::usage,
      fmt::format("flow over {} columns, which it halves; legal: an even number", shape.dim)};
}

template <class T>
Result<Flow<T>> Flow<T>::create(const FlowShape& shape, uint64_t seed) {
  KVS_TRY(check(shape));
  Random random(seed);
  std::vector<uint32_t> permutations(shape.blocks * shape.dim);
  for (size_t b = 0; b < shape.blocks; ++b) {
    const auto part = std::span(permutations).subspan(b * shape.dim, shape.dim);
    std::iota(part.begin(), part.end(), 0);
    random.shuffle(part);
  }
  Flow flow(shape, std::move(permutations));
  for (size_t b = 0; b < shape.blocks; ++b) {
    Layers<T> l(shape, flow.parameters(), b);
    uniform(random, kaiming_bound(shape.dim / 2), l.first);
    for (auto& w : l.second) uniform(random, kaiming_bound(shape.hidden), w);
  }
  return flow;
}

template <class T>
MatrixView<T> Flow<T>::kept(MatrixView<T> x, size_t block) const {
  return x.col_range(block % 2 == 0 ? 0 : dim() / 2, dim() / 2);
}

template <class T>
MatrixView<T> Flow<T>::changed(MatrixView<T> x, size_t block) const {
  return x.col_range(block % 2 == 0 ? dim() / 2 : 0, dim() / 2);
}

template <class T>
void Flow<T>::permute(size_t block, MatrixView<T> x) const {
  const uint32_t* order = &permutations_[block * dim()];
  std::vector<T> row(dim());
  for (size_t r = 0; r < x.rows; ++r) {
    std::copy_n(&x(r, 0), dim(), row.begin());
    for (size_t c = 0; c < dim(); ++c) x(r, c) = row[order[c]];
  }
}

template <class T>
void Flow<T>::permute_back(size_t block, MatrixView<T> x) const {
  const uint32_t* order = &permutations_[block * dim()];
  std::vector<T> row(dim());
  for (size_t r = 0; r < x.rows; ++r) {
    std::copy_n(&x(r, 0), dim(), row.begin());
    for (size_t c = 0; c < dim(); ++c) x(r, order[c]) = row[c];
  }
}

template <class T>
void Flow<T>::run_networks(size_t block, CouplingTrace& t) const {
  const size_t n = t.kept.rows(), half = dim() / 2, h = shape_.hidden;
  const Layers<const T> l(shape_, parameters(), block);
  for (Matrix<T>* m : {&t.first, &t.first_by_input, &t.second, &t.second_by_input}) {
    resize(*m, n, 2 * h);
  }
  for (Matrix<T>* m : {&t.bounded, &t.factor, &t.shift}) resize(*m, n, half);

  product(Trans::no, Trans::no, t.kept, l.first, T(0), t.first);
  elementwise_kernel::gelu(t.first.data(), l.first_bias.data(), n, 2 * h, t.first.data(),
                           t.first_by_input.data());
  for (size_t net : {0, 1}) {
    product(Trans::no, Trans::no, t.first.view().col_range(net * h, h), l.second[net], T(0),
            t.second.view().col_range(net * h, h));
  }
  elementwise_kernel::gelu(t.second.data(), l.second_bias.data(), n, 2 * h, t.second.data(),
                           t.second_by_input.data());
  Matrix<T>* out[2] = {&t.bounded, &t.shift};
  for (size_t net : {0, 1}) {
    for (size_t r = 0; r < n; ++r) {
      std::copy_n(l.last_bias[net].data(), half, out[net]->row(r).data());
    }
    product(Trans::no, Trans::no, t.second.view().col_range(net * h, h), l.last[net], T(1),
            *out[net]);
  }
  elementwise_kernel::bounded_exp(t.bounded.data(), t.bounded.size(), t.bounded.data(),
                                  t.factor.data());
}

// From the gradients of tanh(scale net) and of the shift net (both spent) to those of the
// parameters and, unless it is empty, of the kept columns.
template <class T>
void Flow<T>::networks_backward(size_t block, const CouplingTrace& t, Matrix<T>& d_scale,
                                Matrix<T>& d_shift, std::span<T> gradient,
                                MatrixView<T> d_kept) const {
  const size_t n = t.kept.rows(), h = shape_.hidden;
  const Layers<const T> l(shape_, parameters(), block);
  const Layers<T> g(shape_, gradient, block);
  for (size_t i = 0; i < d_scale.size(); ++i) {
    d_scale.data()[i] *= 1 - t.bounded.data()[i] * t.bounded.data()[i];
  }
  Matrix<T> d_second(n, 2 * h), d_first(n, 2 * h);
  const Matrix<T>* d_last[2] = {&d_scale, &d_shift};
  for (size_t net : {0, 1}) {
    const auto side = [&](auto&& m) { return m.view().col_range(net * h, h); };
    add_column_sums<T>(*d_last[net], g.last_bias[net]);
    product(Trans::yes, Trans::no, side(t.second), *d_last[net], T(1), g.last[net]);
    product(Trans::no, Trans::yes, *d_last[net], l.last[net], T(0), side(d_second));
  }
  multiply(t.second_by_input, d_second);
  add_column_sums<T>(d_second, g.second_bias);
  for (size_t net : {0, 1}) {
    const auto side = [&](auto&& m) { return m.view().col_range(net * h, h); };
    product(Trans::yes, Trans::no, side(t.first), side(d_second), T(1), g.second[net]);
    product(Trans::no, Trans::yes, side(d_second), l.second[net], T(0), side(d_first));
  }
  multiply(t.first_by_input, d_first);
  add_column_sums<T>(d_first, g.first_bias);
  product(Trans::yes, Trans::no, t.kept, d_first, T(1), g.first);
  if (d_kept.rows > 0) product(Trans::no, Trans::yes, d_first, l.first, T(1), d_kept);
}

template <class T>
void Flow<T>::couple(size_t block, MatrixView<T> x, CouplingTrace& t) const {
  for (Matrix<T>* m : {&t.kept, &t.changed}) resize(*m, x.rows, dim() / 2);
  copy_into<T>(kept(x, block), t.kept);
  copy_into<T>(changed(x, block), t.changed);
  run_networks(block, t);
  const MatrixView<T> out = changed(x, block);
  for (size_t r = 0; r < x.rows; ++r) {
    const T *x2 = &t.changed(r, 0), *factor = &t.factor(r, 0), *shift = &t.shift(r, 0);
    for (size_t c = 0; c < out.cols; ++c) out(r, c) = x2[c] * factor[c] + shift[c];
  }
}

// Keeps the outcome, the columns before the coupling changed them, as `changed`.
template <class T>
void Flow<T>::uncouple(size_t block, MatrixView<T> x, CouplingTrace& t) const {
  for (Matrix<T>* m : {&t.kept, &t.changed}) resize(*m, x.rows, dim() / 2);
  copy_into<T>(kept(x, block), t.kept);
  run_networks(block, t);
  const MatrixView<T> y = changed(x, block);
  for (size_t r = 0; r < x.rows; ++r) {
    const T *factor = &t.factor(r, 0), *shift = &t.shift(r, 0);
    for (size_t c = 0; c < y.cols; ++c) t.changed(r, c) = (y(r, c) - shift[c]) / factor[c];
  }
  copy_into<T>(t.changed, y);
}

template <class T>
void Flow<T>::forward(MatrixView<const T> x, MatrixView<T> z, Trace& trace) const {
  trace.resize(shape_.blocks);
  if (z.data != x.data) copy_into(x, z);
  for (size_t b = 0; b < shape_.blocks; ++b) {
    couple(b, z, trace[b]);
    permute(b, z);
  }
}

template <class T>
void Flow<T>::inverse(MatrixView<const T> z, MatrixView<T> x, Trace& trace) const {
  trace.resize(shape_.blocks);
  if (z.data != x.data) copy_into(z, x);
  for (size_t b = shape_.blocks; b-- > 0;) {
    permute_back(b, x);
    uncouple(b, x, trace[b]);
  }
}

template <class T>
void Flow<T>::forward(MatrixView<const T> x, MatrixView<T> z) const {
  parallel_chunks(x.rows, kChunk, [&](size_t first, size_t n) {
    Trace trace;
    forward(x.row_range(first, n), z.row_range(first, n), trace);
  });
}

template <class T>
void Flow<T>::inverse(MatrixView<const T> z, MatrixView<T> x) const {
  parallel_chunks(x.rows, kChunk, [&](size_t first, size_t n) {
    Trace trace;
    inverse(z.row_range(first, n), x.row_range(first, n), trace);
  });
}

template <class T>
void Flow<T>::forward_backward(const Trace& trace, MatrixView<T> dz, std::span<T> gradient,
                               InputGradient input) const {
  Matrix<T> d_scale(dz.rows, dim() / 2), d_shift(dz.rows, dim() / 2);
  for (size_t b = shape_.blocks; b-- > 0;) {
    const CouplingTrace& t = trace[b];
    permute_back(b, dz);
    const MatrixView<T> d = changed(dz, b);
    for (size_t r = 0; r < dz.rows; ++r) {
      for (size_t c = 0; c < d.cols; ++c) {
        const T dy = d(r, c);
        d_shift(r, c) = dy;
        d(r, c) = dy * t.factor(r, c);
        d_scale(r, c) = d(r, c) * t.changed(r, c);
      }
    }
    const bool wanted = b > 0 || input == InputGradient::wanted;
    networks_backward(b, t, d_scale, d_shift, gradient, wanted ? kept(dz, b) : MatrixView<T>());
  }
}

template <class T>
void Flow<T>::inverse_backward(const Trace& trace, MatrixView<T> dx, std::span<T> gradient) const {
  Matrix<T> d_scale(dx.rows, dim() / 2), d_shift(dx.rows, dim() / 2);
  for (size_t b = 0; b < shape_.blocks; ++b) {
    const CouplingTrace& t = trace[b];
    const MatrixView<T> d = changed(dx, b);
    for (size_t r = 0; r < dx.rows; ++r) {
      for (size_t c = 0; c < d.cols; ++c) {
        d_scale(r, c) = -d(r, c) * t.changed(r, c);
        d(r, c) /= t.factor(r, c);
        d_shift(r, c) = -d(r, c);
      }
    }
    networks_backward(b, t, d_scale, d_shift, gradient, kept(dx, b));
    permute(b, dx);
  }
}

template <class T>
double Flow<T>::inverse_error(Matrix<T>& z, const Matrix<T>& x, T weight, BackTrace& trace,
                              std::span<T> gradient) const {
  inverse(z, z, trace);
  const double squares = elementwise_kernel::residual(z.data(), x.data(), z.size(), weight);
  inverse_backward(trace, z, gradient);
  return squares;
}

template <class T>
void Flow<T>::parameter_gradient(std::span<const T> sums, std::span<T> gradient) const {
  std::copy(sums.begin(), sums.end(), gradient.begin());
}

template class Flow<float>;
template class Flow<double>;

}  // namespace kvsplice::functions

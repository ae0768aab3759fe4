#include "train/lm/map.h"

#include <algorithm>
#include <cmath>

#include "functions/elementwise_kernel.h"
#include "functions/flow.h"
#include "functions/spline.h"
#include "solve/solve.h"

namespace kvsplice::train::lm {

namespace {

constexpr double kEpsilon = 1e-5;  // beside mean squares, as exported

template <class T>
void add_to(std::span<T> sum, std::span<const T> more) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
}

template <class T>
class Linear : public Map<T> {
 public:
  explicit Linear(const Group& weights) : weights_(weights) {}
  size_t width() const override { return weights_.rows; }
  void start(std::span<T> parameters, Random& random) const override {
    const double deviation = 1 / std::sqrt(double(weights_.cols));
    for (T& w : weights_.in(parameters)) w = T(deviation * random.normal());
  }
  double forward(const Pass<T>& pass, const Matrix<T>& x, Matrix<T>& y) const override {
    gemm(Trans::no, Trans::yes, T(1), x, weights_.matrix(pass.parameters), T(0), y);
    return 0;
  }
  void backward(const Pass<T>& pass, const Matrix<T>& x, const Matrix<T>&, const Matrix<T>& dy,
                Matrix<T>& dx, std::span<T> gradient) const override {
    gemm(Trans::yes, Trans::no, T(1), dy, x, T(1), weights_.matrix(gradient));
    gemm(Trans::no, Trans::no, T(1), dy, weights_.matrix(pass.parameters), T(0), dx);
  }

 private:
  Group weights_;
};

// From the narrow latent back; starts as the transpose of the way there, whose rows it makes
// orthonormal. Both are learned freely after that, as in the seed's layer.
template <class T>
class Back : public Linear<T> {
 public:
  Back(const Group& there, const Group& back) : Linear<T>(back), there_(there), back_(back) {}
  void start(std::span<T> parameters, Random&) const override {
    const auto there = there_.matrix(parameters);
    const auto back = back_.matrix(parameters);
    for (size_t r = 0; r < there.rows; ++r) {  // Gram and Schmidt
      for (size_t before = 0; before < r; ++before) {
        take_away(there.row(before), there.row(r));
      }
      const double norm = std::sqrt(dot(there.row(r), there.row(r)));
      for (T& w : there.row(r)) w = T(w / norm);
      for (size_t c = 0; c < there.cols; ++c) back(c, r) = there(r, c);
    }
  }

 private:
  static double dot(std::span<const T> a, std::span<const T> b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
    return sum;
  }
  static void take_away(std::span<const T> unit, std::span<T> row) {
    const double along = dot(unit, row);
    for (size_t i = 0; i < row.size(); ++i) row[i] -= T(along * double(unit[i]));
  }

  Group there_, back_;
};

template <class T>
class DivideByRms : public Map<T> {
 public:
  explicit DivideByRms(size_t width) : width_(width) {}
  size_t width() const override { return width_; }
  bool affine() const override { return false; }
  double forward(const Pass<T>&, const Matrix<T>& x, Matrix<T>& y) const override {
    divide_by_rms<T>(x, y);
    return 0;
  }
  void backward(const Pass<T>&, const Matrix<T>& x, const Matrix<T>& y, const Matrix<T>& dy,
                Matrix<T>& dx, std::span<T>) const override {
    divide_by_rms_backward<T>(x, y, dy, dx);
  }

 private:
  size_t width_;
};

enum class Way { there, back };

// z = softplus(a) x + b, or x of z. Parameters: a row of a, a row of b; a starts where softplus
// is 1.
template <class T>
class Affine : public Map<T> {
 public:
  Affine(const Group& group, Way way) : group_(group), way_(way) {}
  size_t width() const override { return group_.cols; }
  void start(std::span<T> parameters, Random&) const override {
    const auto rows = group_.matrix(parameters);
    for (T& a : rows.row(0)) a = T(std::log(std::expm1(1.0)));
    for (T& b : rows.row(1)) b = 0;
  }
  double forward(const Pass<T>& pass, const Matrix<T>& x, Matrix<T>& y) const override {
    const Tables t(group_.matrix(pass.parameters));
    for (size_t r = 0; r < x.rows(); ++r) {
      for (size_t c = 0; c < x.cols(); ++c) {
        y(r, c) = way_ == Way::there ? t.scale[c] * x(r, c) + t.shift[c]
                                     : (x(r, c) - t.shift[c]) / t.scale[c];
      }
    }
    return 0;
  }
  void backward(const Pass<T>& pass, const Matrix<T>& x, const Matrix<T>& y, const Matrix<T>& dy,
                Matrix<T>& dx, std::span<T> gradient) const override {
    const Tables t(group_.matrix(pass.parameters));
    const auto g = group_.matrix(gradient);
    for (size_t r = 0; r < x.rows(); ++r) {
      for (size_t c = 0; c < x.cols(); ++c) {
        const bool there = way_ == Way::there;
        dx(r, c) = there ? dy(r, c) * t.scale[c] : dy(r, c) / t.scale[c];
        // If the map f changes by df, its inverse changes by -df / f'.
        const T by_shift = there ? dy(r, c) : -dx(r, c);
        g(0, c) += by_shift * (there ? x(r, c) : y(r, c)) * t.derivative[c];
        g(1, c) += by_shift;
      }
    }
  }

 private:
  struct Tables {
    explicit Tables(MatrixView<const T> rows)
        : scale(rows.cols), derivative(rows.cols), shift(rows.row(1)) {
      elementwise_kernel::softplus(rows.data, rows.cols, scale.data(), derivative.data());
    }
    std::vector<T> scale, derivative;
    std::span<const T> shift;
  };

  Group group_;
  Way way_;
};

// Quantiles of a normal distribution: the columns have mean square 1.
constexpr double kKnots[] = {-1.465, -0.792, -0.366, 0, 0.366, 0.792, 1.465};

// The seed's spline in every column.
template <class T>
class SplineWarp : public Map<T> {
 public:
  static constexpr size_t kRows = std::size(kKnots) + 1;  // of parameters
  SplineWarp(const Group& group, Way way) : group_(group), way_(way) {}
  size_t width() const override { return group_.cols; }
  bool affine() const override { return false; }
  // A stretch about 0.
  void start(std::span<T> parameters, Random&) const override {
    const auto all = group_.in(parameters);
    std::fill(all.begin(), all.end(), T(0));
    const T stretch = spline(parameters).forward_pieces().slope[0];
    for (T& shift : group_.matrix(parameters).row(kRows - 1)) shift = stretch * T(kKnots[0]);
  }
  double forward(const Pass<T>& pass, const Matrix<T>& x, Matrix<T>& y) const override {
    const auto s = spline(pass.parameters);
    way_ == Way::there ? s.forward(x, y) : s.inverse(x, y);
    return 0;
  }
  void backward(const Pass<T>& pass, const Matrix<T>& x, const Matrix<T>& y, const Matrix<T>& dy,
                Matrix<T>& dx, std::span<T> gradient) const override {
    const auto s = spline(pass.parameters);
    const bool there = way_ == Way::there;
    const Matrix<T>& plain = there ? x : y;
    Matrix<T> by_shift(dy.rows(), dy.cols());
    for (size_t r = 0; r < dy.rows(); ++r) {
      for (size_t c = 0; c < dy.cols(); ++c) {
        const T slope = slope_at(s, plain(r, c), c);
        dx(r, c) = there ? dy(r, c) * slope : dy(r, c) / slope;
        by_shift(r, c) = there ? dy(r, c) : -dx(r, c);
      }
    }
    std::vector<T> sums(s.sums_size()), own(group_.size());
    s.forward_backward(plain, by_shift, sums);
    s.parameter_gradient(sums, own);
    add_to<T>(group_.in(gradient), own);
  }

 private:
  functions::Spline<T> spline(std::span<const T> parameters) const {
    Matrix<T> knots(std::size(kKnots), group_.cols);
    for (size_t k = 0; k < knots.rows(); ++k) {
      std::fill(knots.row(k).begin(), knots.row(k).end(), T(kKnots[k]));
    }
    functions::Spline<T> s(std::move(knots));
    const auto own = group_.in(parameters);
    std::copy(own.begin(), own.end(), s.parameters().begin());
    s.parameters_changed();
    return s;
  }
  static T slope_at(const functions::Spline<T>& s, T x, size_t column) {
    const auto inner = std::begin(kKnots) + 1;
    const auto above = std::upper_bound(inner, std::end(kKnots) - 1, double(x));
    return s.forward_pieces().slope[size_t(above - inner) * s.dim() + column];
  }

  Group group_;
  Way way_;
};

// The seed's flow, which starts as a permutation.
template <class T>
class FlowWarp : public Map<T> {
 public:
  FlowWarp(const functions::FlowShape& shape, const Group& group, Way way)
      : shape_(shape), group_(group), way_(way) {}
  size_t width() const override { return shape_.dim; }
  bool affine() const override { return false; }
  void start(std::span<T> parameters, Random&) const override {
    const auto fresh = flow();
    std::copy(fresh.parameters().begin(), fresh.parameters().end(), group_.in(parameters).begin());
  }
  double forward(const Pass<T>& pass, const Matrix<T>& x, Matrix<T>& y) const override {
    const auto f = flow(pass.parameters);
    way_ == Way::there ? f.forward(x, y) : f.inverse(x, y);
    return 0;
  }
  void backward(const Pass<T>& pass, const Matrix<T>& x, const Matrix<T>& y, const Matrix<T>& dy,
                Matrix<T>& dx, std::span<T> gradient) const override {
    const auto f = flow(pass.parameters);
    typename functions::Flow<T>::Trace trace;
    Matrix<T> again(y.rows(), y.cols());
    std::copy(dy.flat().begin(), dy.flat().end(), dx.flat().begin());
    if (way_ == Way::there) {
      f.forward(x, again, trace);
      f.forward_backward(trace, dx, group_.in(gradient), functions::InputGradient::wanted);
    } else {
      f.inverse(x, again, trace);
      f.inverse_backward(trace, dx, group_.in(gradient));
    }
  }

 private:
  // Permutations are the same whenever it is made.
  functions::Flow<T> flow() const { return *functions::Flow<T>::create(shape_, 0); }
  functions::Flow<T> flow(std::span<const T> parameters) const {
    functions::Flow<T> f(shape_, permutations_);
    const auto own = group_.in(parameters);
    std::copy(own.begin(), own.end(), f.parameters().begin());
    return f;
  }

  functions::FlowShape shape_;
  Group group_;
  Way way_;
  std::vector<uint32_t> permutations_ = flow().permutations();
};

// What a quantiser does behind an orthonormal transform: noise of its step in all directions. The
// rows pay for the bits they take then, as if they were Gaussian,
//
//   1/2 log2 det(1 + 12 C / step^2) of a row,
//
// where C is the covariance of the rows: a transform need not be known.
template <class T>
class Rate : public Map<T> {
 public:
  Rate(std::vector<size_t> units, size_t layer, double step, double price)
      : units_(std::move(units)), layer_(layer), step_(step), price_(price) {}
  size_t width() const override {
    size_t sum = 0;
    for (const size_t unit : units_) sum += unit;
    return sum;
  }
  double forward(const Pass<T>& pass, const Matrix<T>& x, Matrix<T>& y) const override {
    std::copy(x.flat().begin(), x.flat().end(), y.flat().begin());
    if (pass.noise == 0) return 0;
    Random random(pass.noise * 1024 + layer_);
    for (T& value : y.flat()) value += T(step_ * (random.uniform() - 0.5));
    double cost = 0;
    for_units(x, [&](size_t, const Spread& s) { cost += price_ / std::log(2.) / 2 * s.log_det; });
    return cost;
  }
  void backward(const Pass<T>& pass, const Matrix<T>& x, const Matrix<T>&, const Matrix<T>& dy,
                Matrix<T>& dx, std::span<T>) const override {
    std::copy(dy.flat().begin(), dy.flat().end(), dx.flat().begin());
    if (pass.noise == 0) return;
    for_units(x, [&](size_t first, const Spread& s) {
      const double weight = price_ / std::log(2.) * s.gain / double(x.rows());
      const auto inverse = inverse_spd(s.matrix);
      if (!inverse.ok()) return;  // rows that are no numbers, as the loss told
      Matrix<double> push(x.rows(), inverse->cols());
      gemm(Trans::no, Trans::no, weight, s.centred, *inverse, 0., push);
      for (size_t r = 0; r < push.rows(); ++r) {
        for (size_t c = 0; c < push.cols(); ++c) dx(r, first + c) += T(push(r, c));
      }
    });
  }

 private:
  struct Spread {
    Matrix<double> centred, matrix;  // 1 + gain C
    double gain = 0, log_det = 0;
  };

  Spread spread_of(const Matrix<T>& x, size_t first, size_t n) const {
    Spread s{Matrix<double>(x.rows(), n), Matrix<double>(n, n), 12 / (step_ * step_), 0};
    for (size_t c = 0; c < n; ++c) {
      double mean = 0;
      for (size_t r = 0; r < x.rows(); ++r) mean += double(x(r, first + c)) / double(x.rows());
      for (size_t r = 0; r < x.rows(); ++r) s.centred(r, c) = double(x(r, first + c)) - mean;
      s.matrix(c, c) = 1;
    }
    gemm(Trans::yes, Trans::no, s.gain / double(x.rows()), s.centred, s.centred, 1., s.matrix);
    const auto factor = cholesky(s.matrix);
    // Rows that are no numbers: the loss is none either, and training ends.
    if (!factor.ok()) s.log_det = std::nan("");
    for (size_t i = 0; factor.ok() && i < n; ++i) s.log_det += 2 * std::log((*factor)(i, i));
    return s;
  }

  template <class Body>
  void for_units(const Matrix<T>& x, const Body& body) const {
    size_t first = 0;
    for (const size_t unit : units_) {
      body(first, spread_of(x, first, unit));
      first += unit;
    }
  }

  std::vector<size_t> units_;
  size_t layer_;
  double step_, price_;
};

template <class T>
void add_warp(const CacheForm& form, const Group& group, const functions::FlowShape& flow, Way way,
              Chain<T>& chain) {
  auto& maps = chain.maps;
  if (form.warp == Warp::affine) maps.push_back(std::make_unique<Affine<T>>(group, way));
  if (form.warp == Warp::spline) maps.push_back(std::make_unique<SplineWarp<T>>(group, way));
  if (form.warp == Warp::flow) maps.push_back(std::make_unique<FlowWarp<T>>(flow, group, way));
}

}  // namespace

template <class T>
Chain<T> make_chain(const CacheForm& form, size_t layer, size_t width, size_t kv_width,
                    Layout& layout) {
  const std::string prefix = "blk." + std::to_string(layer) + ".cache.";
  const auto matrix = [&](const char* name, size_t rows, size_t cols) {
    return layout.add_matrix(prefix + name, rows, cols);
  };
  Chain<T> chain;
  auto& maps = chain.maps;
  const size_t first = form.latent == 0 ? 2 * kv_width : form.inner > 0 ? form.inner : form.latent;
  maps.push_back(std::make_unique<Linear<T>>(matrix("down", first, width)));
  const size_t inner = form.inner;
  if (form.latent > 0 && inner > 0) {
    if (form.norm) maps.push_back(std::make_unique<DivideByRms<T>>(inner));
    const functions::FlowShape flow{inner, 2, inner};
    Group warp;
    if (form.warp == Warp::affine) warp = layout.add_vectors(prefix + "warp", 2, inner);
    if (form.warp == Warp::spline) {
      warp = layout.add_vectors(prefix + "warp", SplineWarp<T>::kRows, inner);
    }
    if (form.warp == Warp::flow) {
      warp = layout.add_vectors(prefix + "warp", 1, functions::Flow<T>::parameter_count(flow));
    }
    add_warp(form, warp, flow, Way::there, chain);
    const Group there = matrix("there", form.latent, inner);
    maps.push_back(std::make_unique<Linear<T>>(there));
    chain.bar = maps.size();
    maps.push_back(std::make_unique<Back<T>>(there, matrix("back", inner, form.latent)));
    add_warp(form, warp, flow, Way::back, chain);
  }
  if (form.step > 0) {
    const std::vector<size_t> units =
        form.latent > 0 ? std::vector{form.latent} : std::vector{kv_width, kv_width};
    maps.push_back(std::make_unique<Rate<T>>(units, layer, form.step, form.price));
  }
  if (chain.bar == 0) chain.bar = maps.size();
  if (form.latent > 0) {
    maps.push_back(std::make_unique<Linear<T>>(matrix("up", 2 * kv_width, first)));
  }
  return chain;
}

template <class T>
void divide_by_rms(MatrixView<const T> x, MatrixView<T> y) {
  for (size_t r = 0; r < x.rows; ++r) {
    const T* in = &x(r, 0);
    T squares = 0, *out = &y(r, 0);
    for (size_t c = 0; c < x.cols; ++c) squares += in[c] * in[c];
    const T factor = 1 / std::sqrt(squares / T(x.cols) + T(kEpsilon));
    for (size_t c = 0; c < x.cols; ++c) out[c] = in[c] * factor;
  }
}

// y = x f with f = (x.x / n + e)^(-1/2): dx = f (dy - y (y.dy) / n).
template <class T>
void divide_by_rms_backward(MatrixView<const T> x, MatrixView<const T> y, MatrixView<const T> dy,
                            MatrixView<T> dx) {
  for (size_t r = 0; r < x.rows; ++r) {
    const T *in = &x(r, 0), *out = &y(r, 0), *d = &dy(r, 0);
    T squares = 0, along = 0, *to = &dx(r, 0);
    for (size_t c = 0; c < x.cols; ++c) squares += in[c] * in[c], along += out[c] * d[c];
    const T factor = 1 / std::sqrt(squares / T(x.cols) + T(kEpsilon)), back = along / T(x.cols);
    for (size_t c = 0; c < x.cols; ++c) to[c] = factor * (d[c] - out[c] * back);
  }
}

template Chain<float> make_chain(const CacheForm&, size_t, size_t, size_t, Layout&);
template Chain<double> make_chain(const CacheForm&, size_t, size_t, size_t, Layout&);
template void divide_by_rms(MatrixView<const float>, MatrixView<float>);
template void divide_by_rms(MatrixView<const double>, MatrixView<double>);
template void divide_by_rms_backward(MatrixView<const float>, MatrixView<const float>,
                                     MatrixView<const float>, MatrixView<float>);
template void divide_by_rms_backward(MatrixView<const double>, MatrixView<const double>,
                                     MatrixView<const double>, MatrixView<double>);

}  // namespace kvsplice::train::lm

// Kernels of the sine network: plain pointers and sizes.
//
// Activations of a block of rows are kept in panels of P = panel_width() columns, each panel
// [rows x P] contiguous; unused columns of the last panel are zero. Weights are kept the same way,
// [inputs x P] per panel of outputs. Every kernel then reads and writes memory in order.
//
// The float versions are compiled per SIMD target and dispatched at run time. The templates beside
// them are the scalar reference, and what double precision uses (gradient checks).
#pragma once

#include <cmath>
#include <cstddef>

namespace kvsplice::siren_kernel {

// What one step of Adam needs; `correction` are the bias corrections 1 - beta^t.
template <class T>
struct AdamStep {
  T rate, beta1, beta2, epsilon, correction1, correction2;
};

// Columns of a panel for the current SIMD target (float), at most 64; a multiple of one vector.
size_t panel_width(float);
constexpr size_t panel_width(double) { return 4; }
constexpr size_t kMaxPanelWidth = 64;

// out [rows x P] = a [rows x depth] * weights [depth x P]; a in panels of `rows` rows.
void product(const float* a, size_t rows, size_t depth, const float* weights, float* out);

// sum [width x P] += a^T [width x rows] * d [rows x P]; a in panels of `rows` rows.
void outer(const float* a, size_t width, size_t rows, const float* d, float* sum);

// z [rows x P] -> sine = sin(omega (z + bias)), cosine likewise; sine may be z. |omega (z + bias)|
// up to 3,000 is computed with an absolute error below 5e-7 plus the rounding of the argument.
void sine_rows(const float* z, size_t rows, const float* bias, float omega, float* sine,
               float* cosine);

// d [n] *= c [n].
void multiply(const float* c, size_t n, float* d);

// sum [P] += column sums of d [rows x P].
void add_columns(const float* d, size_t rows, float* sum);

// prediction [rows x P] -> (prediction + bias - target) * scale in place; returns the sum of
// squares of (prediction + bias - target).
double residual(float* prediction, size_t rows, const float* bias, const float* target,
                float scale);

// Parameters p [n] and moments m, v [n] after the gradient `scale * g`.
void adam(const AdamStep<float>& step, const float* g, float scale, size_t n, float* p, float* m,
          float* v);

namespace reference {

template <class T>
void product(size_t P, const T* a, size_t rows, size_t depth, const T* weights, T* out) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < P; ++j) {
      T sum = 0;
      for (size_t k = 0; k < depth; ++k) {
        sum += a[(k / P * rows + r) * P + k % P] * weights[k * P + j];
      }
      out[r * P + j] = sum;
    }
  }
}

template <class T>
void outer(size_t P, const T* a, size_t width, size_t rows, const T* d, T* sum) {
  for (size_t i = 0; i < width; ++i) {
    for (size_t j = 0; j < P; ++j) {
      T add = 0;
      for (size_t r = 0; r < rows; ++r) {
        add += a[(i / P * rows + r) * P + i % P] * d[r * P + j];
      }
      sum[i * P + j] += add;
    }
  }
}

template <class T>
void sine_rows(size_t P, const T* z, size_t rows, const T* bias, T omega, T* sine, T* cosine) {
  for (size_t i = 0; i < rows * P; ++i) {
    const T x = omega * (z[i] + bias[i % P]);
    sine[i] = std::sin(x);
    cosine[i] = std::cos(x);
  }
}

template <class T>
void multiply(const T* c, size_t n, T* d) {
  for (size_t i = 0; i < n; ++i) d[i] *= c[i];
}

template <class T>
void add_columns(size_t P, const T* d, size_t rows, T* sum) {
  for (size_t i = 0; i < rows * P; ++i) sum[i % P] += d[i];
}

template <class T>
double residual(size_t P, T* prediction, size_t rows, const T* bias, const T* target, T scale) {
  double sum = 0;
  for (size_t i = 0; i < rows * P; ++i) {
    const T difference = prediction[i] + bias[i % P] - target[i];
    sum += double(difference) * difference;
    prediction[i] = difference * scale;
  }
  return sum;
}

template <class T>
void adam(const AdamStep<T>& step, const T* g, T scale, size_t n, T* p, T* m, T* v) {
  for (size_t i = 0; i < n; ++i) {
    const T gradient = scale * g[i];
    m[i] = step.beta1 * m[i] + (1 - step.beta1) * gradient;
    v[i] = step.beta2 * v[i] + (1 - step.beta2) * gradient * gradient;
    const T root = std::sqrt(v[i] / step.correction2) + step.epsilon;
    p[i] -= step.rate / step.correction1 * m[i] / root;
  }
}

}  // namespace reference

inline void product(const double* a, size_t rows, size_t depth, const double* w, double* out) {
  reference::product(panel_width(0.0), a, rows, depth, w, out);
}
inline void outer(const double* a, size_t width, size_t rows, const double* d, double* sum) {
  reference::outer(panel_width(0.0), a, width, rows, d, sum);
}
inline void sine_rows(const double* z, size_t rows, const double* bias, double omega, double* sine,
                      double* cosine) {
  reference::sine_rows(panel_width(0.0), z, rows, bias, omega, sine, cosine);
}
inline void multiply(const double* c, size_t n, double* d) { reference::multiply(c, n, d); }
inline void add_columns(const double* d, size_t rows, double* sum) {
  reference::add_columns(panel_width(0.0), d, rows, sum);
}
inline double residual(double* prediction, size_t rows, const double* bias, const double* target,
                       double scale) {
  return reference::residual(panel_width(0.0), prediction, rows, bias, target, scale);
}
inline void adam(const AdamStep<double>& step, const double* g, double scale, size_t n, double* p,
                 double* m, double* v) {
  reference::adam(step, g, scale, n, p, m, v);
}

}  // namespace kvsplice::siren_kernel

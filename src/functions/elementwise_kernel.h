// Elementwise kernels of the trainers: plain pointers and sizes. The templates are the scalar
// reference, and what double precision uses (gradient checks).
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>

namespace kvsplice::elementwise_kernel {

// value = log(1 + exp(x)), derivative = 1 / (1 + exp(-x)).
void softplus(const float* x, size_t n, float* value, float* derivative);

// value = x Phi(x), derivative = Phi(x) + x phi(x), Phi the normal distribution, of x + bias;
// x is [rows x cols], bias [cols]. Absolute error of Phi below 2e-7. value may be x.
void gelu(const float* x, const float* bias, size_t rows, size_t cols, float* value,
          float* derivative);

// bounded = tanh(x), factor = exp(tanh(x)). bounded may be x.
void bounded_exp(const float* x, size_t n, float* bounded, float* factor);

// y = scale (y - x); returns the sum of (y - x)^2.
double residual(float* y, const float* x, size_t n, float scale);

double sum_of_squares(const float* x, size_t n);

// One step of AdamW on parameters p with moments m, v after the gradient scale * g.
template <class T>
struct AdamWStep {
  T beta1, beta2, epsilon;
  T keep;    // 1 - rate * decay
  T rate;    // rate / (1 - beta1^t)
  T unbias;  // 1 / sqrt(1 - beta2^t)
};
void adamw(const AdamWStep<float>& step, const float* g, float scale, size_t n, float* p, float* m,
           float* v);

namespace reference {

template <class T>
void softplus(const T* x, size_t n, T* value, T* derivative) {
  for (size_t i = 0; i < n; ++i) {
    const T small = std::exp(-std::abs(x[i]));
    value[i] = (x[i] > 0 ? x[i] : T(0)) + std::log1p(small);
    derivative[i] = (x[i] > 0 ? T(1) : small) / (1 + small);
  }
}

template <class T>
void gelu(const T* x, const T* bias, size_t rows, size_t cols, T* value, T* derivative) {
  for (size_t i = 0; i < rows * cols; ++i) {
    const T u = x[i] + bias[i % cols];
    const T below = std::erfc(-u / std::numbers::sqrt2_v<T>) / 2;
    const T density =
        std::exp(-u * u / 2) * std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
    value[i] = u * below;
    derivative[i] = below + u * density;
  }
}

template <class T>
void bounded_exp(const T* x, size_t n, T* bounded, T* factor) {
  for (size_t i = 0; i < n; ++i) {
    bounded[i] = std::tanh(x[i]);
    factor[i] = std::exp(bounded[i]);
  }
}

template <class T>
double residual(T* y, const T* x, size_t n, T scale) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    const T difference = y[i] - x[i];
    sum += double(difference) * double(difference);
    y[i] = scale * difference;
  }
  return sum;
}

template <class T>
double sum_of_squares(const T* x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += double(x[i]) * double(x[i]);
  return sum;
}

template <class T>
void adamw(const AdamWStep<T>& s, const T* g, T scale, size_t n, T* p, T* m, T* v) {
  for (size_t i = 0; i < n; ++i) {
    const T gradient = scale * g[i];
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * gradient;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * gradient * gradient;
    p[i] = s.keep * p[i] - s.rate * m[i] / (s.unbias * std::sqrt(v[i]) + s.epsilon);
  }
}

}  // namespace reference

inline void softplus(const double* x, size_t n, double* value, double* derivative) {
  reference::softplus(x, n, value, derivative);
}
inline void gelu(const double* x, const double* bias, size_t rows, size_t cols, double* value,
                 double* derivative) {
  reference::gelu(x, bias, rows, cols, value, derivative);
}
inline void bounded_exp(const double* x, size_t n, double* bounded, double* factor) {
  reference::bounded_exp(x, n, bounded, factor);
}
inline double residual(double* y, const double* x, size_t n, double scale) {
  return reference::residual(y, x, n, scale);
}
inline void adamw(const AdamWStep<double>& step, const double* g, double scale, size_t n, double* p,
                  double* m, double* v) {
  reference::adamw(step, g, scale, n, p, m, v);
}

}  // namespace kvsplice::elementwise_kernel

// What ggml tensors hold, element by element in the order of their dimensions, whatever their
// strides.
#pragma once

#include <ggml.h>

#include <vector>

#include "host/derivatives.h"
#include "kvsplice/result.h"

namespace kvsplice::host {

// Error unsupported: the derivative of a node is not known, and why.
Error unknown_derivative(const ggml_tensor* node, const char* why);

inline size_t count(const ggml_tensor* t) { return static_cast<size_t>(ggml_nelements(t)); }

inline Sizes sizes_of(const ggml_tensor* t) {
  return {size_t(t->ne[0]), size_t(t->ne[1]), size_t(t->ne[2]), size_t(t->ne[3])};
}

float float_param(const ggml_tensor* node, int i);  // the i-th 4 bytes of its parameters
int int_param(const ggml_tensor* node, int i);

// Calls body(i, offset in bytes) for every element of t, in order.
template <class Body>
void for_elements(const ggml_tensor* t, const Body& body) {
  size_t i = 0;
  for (int64_t i3 = 0; i3 < t->ne[3]; ++i3) {
    for (int64_t i2 = 0; i2 < t->ne[2]; ++i2) {
      for (int64_t i1 = 0; i1 < t->ne[1]; ++i1) {
        size_t at = size_t(i1) * t->nb[1] + size_t(i2) * t->nb[2] + size_t(i3) * t->nb[3];
        for (int64_t i0 = 0; i0 < t->ne[0]; ++i0, at += t->nb[0]) body(i++, at);
      }
    }
  }
}

// Of f32 or f16.
Result<std::vector<float>> values_of(const ggml_tensor* t);
// Of row numbers, i32 or i64.
Result<std::vector<int64_t>> rows_of(const ggml_tensor* t);

}  // namespace kvsplice::host

// Arrays of Python's, of whatever library has DLPack, as descriptors of the C interface.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <exception>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvsplice/kvsplice.h"

namespace kvsplice::python {

namespace nb = nanobind;

using Arrays = nb::typed<nb::list, nb::object>;  // of each layer
using Numbers = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Data = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Becomes kvsplice.Error.
struct StatusError {
  kvs_status status;
  std::string message;
};

// Throws what an error says.
void check(kvs_status status, const kvs_error& error);

// Rows of all layers, keys or values. It holds the arrays, and copies of those whose heads do not
// lie in one row.
class Rows {
 public:
  // Each array is [count, heads, dim] or [count, heads * dim]. None stands for no rows.
  static Rows read(const Arrays& arrays, kvs_kind kind, std::span<const kvs_layer> layers,
                   size_t count);
  // The same, for rows that are written.
  static Rows write(const Arrays& arrays, kvs_kind kind, std::span<const kvs_layer> layers,
                    size_t count);

  const kvs_rows* c() const { return rows_.data(); }

 private:
  template <class Array>
  void add(const Array& array, kvs_kind kind, const kvs_layer& layer, size_t index, size_t count);

  std::vector<kvs_rows> rows_;
  std::vector<nb::object> arrays_;
  std::vector<std::vector<uint8_t>> copies_;
};

// A Python object that has `dim` and `rows(tokens)`, as the library asks for embeddings.
class Lookup {
 public:
  explicit Lookup(nb::object embeddings);

  const kvs_embeddings* c() const { return embeddings_.is_none() ? nullptr : &c_; }
  // Throws what rows(tokens) has thrown since the last call.
  void rethrow();

 private:
  static int call(void* self, const int32_t* tokens, size_t n, float* rows);
  void fill(const int32_t* tokens, size_t n, float* rows) const;

  nb::object embeddings_;
  kvs_embeddings c_{};
  std::exception_ptr thrown_;
};

}  // namespace kvsplice::python

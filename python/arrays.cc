#include "arrays.h"

#include <cstring>

namespace kvsplice::python {

namespace {

StatusError usage(std::string message) { return {KVS_ERROR_USAGE, std::move(message)}; }

std::string text(size_t number) { return std::to_string(number); }

kvs_element element_of(nb::dlpack::dtype type, const std::string& what) {
  const auto is = [&](nb::dlpack::dtype_code code, int bits) {
    return type.code == static_cast<uint8_t>(code) && type.bits == bits && type.lanes == 1;
  };
  if (is(nb::dlpack::dtype_code::Float, 32)) return KVS_F32;
  if (is(nb::dlpack::dtype_code::Float, 16)) return KVS_F16;
  if (is(nb::dlpack::dtype_code::Bfloat, 16)) return KVS_BF16;
  throw usage(what + " are of another element type; legal: float32, float16, bfloat16");
}

template <class Array>
void check_shape(const Array& array, const std::string& what, size_t count, size_t heads,
                 size_t dim) {
  const bool flat = array.ndim() == 2 && array.shape(1) == heads * dim;
  const bool parted = array.ndim() == 3 && array.shape(1) == heads && array.shape(2) == dim;
  if ((flat || parted) && array.shape(0) == count) return;
  std::string met;
  for (size_t i = 0; i < array.ndim(); ++i) met += (i > 0 ? ", " : "") + text(array.shape(i));
  throw usage(what + " have the shape [" + met + "]; legal: [" + text(count) + ", " + text(heads) +
              ", " + text(dim) + "] or [" + text(count) + ", " + text(heads * dim) + "]");
}

// Whether number h * dim + d of a row is so many strides behind its first.
template <class Array>
bool has_flat_rows(const Array& array) {
  if (array.ndim() == 2 || array.shape(1) <= 1) return true;
  return array.stride(1) == static_cast<int64_t>(array.shape(2)) * array.stride(2);
}

template <class Array>
std::vector<uint8_t> flattened(const Array& array, size_t bytes) {
  std::vector<uint8_t> copy(array.size() * bytes);
  const auto* from = static_cast<const uint8_t*>(array.data());
  uint8_t* to = copy.data();
  const auto size = static_cast<int64_t>(bytes);
  for (size_t n = 0; n < array.shape(0); ++n) {
    for (size_t h = 0; h < array.shape(1); ++h) {
      const uint8_t* head = from + (static_cast<int64_t>(n) * array.stride(0) +
                                    static_cast<int64_t>(h) * array.stride(1)) *
                                       size;
      for (size_t d = 0; d < array.shape(2); ++d, to += bytes) {
        std::memcpy(to, head + static_cast<int64_t>(d) * array.stride(2) * size, bytes);
      }
    }
  }
  return copy;
}

const char* name(kvs_kind kind) { return kind == KVS_KEY ? "keys" : "values"; }

void check_layers(size_t met, kvs_kind kind, size_t layers) {
  if (met == layers) return;
  throw usage(std::string(name(kind)) + " of " + text(met) + " layers; there are " + text(layers));
}

}  // namespace

void check(kvs_status status, const kvs_error& error) {
  if (status != KVS_OK) throw StatusError{status, error.message};
}

template <class Array>
void Rows::add(const Array& array, kvs_kind kind, const kvs_layer& layer, size_t index,
               size_t count) {
  constexpr bool writes = !std::is_const_v<std::remove_pointer_t<decltype(array.data())>>;
  const std::string what = std::string("the ") + name(kind) + " of layer " + text(index);
  const auto heads = static_cast<size_t>(layer.kv_heads);
  const auto dim = static_cast<size_t>(kind == KVS_KEY ? layer.key_dim : layer.value_dim);
  check_shape(array, what, count, heads, dim);
  const kvs_element element = element_of(array.dtype(), what);
  const auto width = static_cast<ptrdiff_t>(heads * dim);
  if (has_flat_rows(array)) {
    const size_t last = array.ndim() - 1;
    const ptrdiff_t stride = last == 2 && dim == 1 ? array.stride(1) : array.stride(last);
    rows_.push_back({const_cast<void*>(static_cast<const void*>(array.data())), array.stride(0),
                     stride, element});
  } else if (writes) {
    throw usage(what + " are to be written where the heads of a token do not lie in one row");
  } else {
    copies_.push_back(flattened(array, element == KVS_F32 ? 4 : 2));
    rows_.push_back({copies_.back().data(), width, 1, element});
  }
}

Rows Rows::read(const Arrays& arrays, kvs_kind kind, std::span<const kvs_layer> layers,
                size_t count) {
  check_layers(arrays.size(), kind, layers.size());
  Rows rows;
  for (size_t l = 0; l < layers.size(); ++l) {
    if (arrays[l].is_none()) {
      rows.rows_.push_back({nullptr, 0, 0, KVS_F32});
      continue;
    }
    const auto array = nb::cast<nb::ndarray<nb::ro, nb::device::cpu>>(arrays[l]);
    rows.arrays_.push_back(nb::borrow(arrays[l]));
    rows.add(array, kind, layers[l], l, count);
  }
  return rows;
}

Rows Rows::write(const Arrays& arrays, kvs_kind kind, std::span<const kvs_layer> layers,
                 size_t count) {
  check_layers(arrays.size(), kind, layers.size());
  Rows rows;
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto array = nb::cast<nb::ndarray<nb::device::cpu>>(arrays[l], false);
    rows.arrays_.push_back(nb::borrow(arrays[l]));
    rows.add(array, kind, layers[l], l, count);
  }
  return rows;
}

Lookup::Lookup(nb::object embeddings) : embeddings_(std::move(embeddings)) {
  if (embeddings_.is_none()) return;
  c_ = {this, nb::cast<int>(embeddings_.attr("dim")), call};
}

void Lookup::rethrow() {
  if (thrown_ == nullptr) return;
  std::rethrow_exception(std::exchange(thrown_, nullptr));
}

// The library calls from its own threads, which do not hold Python's lock.
int Lookup::call(void* self, const int32_t* tokens, size_t n, float* rows) {
  auto& lookup = *static_cast<Lookup*>(self);
  const nb::gil_scoped_acquire lock;
  try {
    lookup.fill(tokens, n, rows);
    return 0;
  } catch (...) {
    lookup.thrown_ = std::current_exception();
    return 1;
  }
}

void Lookup::fill(const int32_t* tokens, size_t n, float* rows) const {
  // A copy, because Python may keep the array.
  auto* copy = new int32_t[n];
  std::copy(tokens, tokens + n, copy);
  nb::capsule owner(copy, [](void* p) noexcept { delete[] static_cast<int32_t*>(p); });
  nb::ndarray<nb::numpy, int32_t, nb::ndim<1>> asked(copy, {n}, owner);
  const auto dim = static_cast<size_t>(c_.dim);
  using Table = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
  const auto table = nb::cast<Table>(embeddings_.attr("rows")(nb::cast(asked)));
  if (table.shape(0) != n || table.shape(1) != dim) {
    throw usage("rows(tokens) of the embeddings gave [" + text(table.shape(0)) + ", " +
                text(table.shape(1)) + "]; [" + text(n) + ", " + text(dim) + "] is wanted");
  }
  std::memcpy(rows, table.data(), n * dim * sizeof(float));
}

}  // namespace kvsplice::python

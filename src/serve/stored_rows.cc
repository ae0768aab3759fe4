#include "serve/stored_rows.h"

#include <algorithm>
#include <numeric>

namespace kvsplice::serve {

namespace {

// One layer's rows of an object, as floats before rotary embedding.
Result<Matrix<float>> rows_of(const store::Object& object, const session::Coder& coder, Kind kind,
                              size_t layer) {
  const size_t n = object.tokens.size(), first = object.head.first;
  const LayerShape& shape = coder.shape.layers[layer];
  Matrix<uint16_t> halves(n, size_t(shape.width(kind)));
  KvPlace place;
  place.count = n;
  place.keys.resize(coder.shape.layers.size());
  place.values.resize(coder.shape.layers.size());
  place.of(kind)[layer] = RowsPlace(halves.view());
  KVS_ASSIGN(const auto cells, store::StoredCells::parse(object.cells, object.tokens, first));
  KVS_TRY(cells.decode_exact(coder, kind, layer, place, first));
  Matrix<float> rows(n, halves.cols());
  read_rows(RowsView(std::as_const(halves).view()), rows.view());
  if (kind == Kind::value) return rows;
  std::vector<int32_t> positions(n);
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first));
  turn_keys(rows.view(), shape, positions, Space::cached, Space::raw);
  return rows;
}

}  // namespace

Result<StoredRows> StoredRows::gather(const store::Store& store,
                                      const std::vector<store::Hash>& names,
                                      const ModelShape& shape, size_t sinks) {
  StoredRows rows;
  rows.coder_.shape = shape;
  for (const store::Hash& name : names) {
    Part part;
    KVS_ASSIGN(part.object, store.get(name));
    const size_t n = part.object.tokens.size(), first = part.object.head.first;
    part.left_out = std::min(n, sinks - std::min(sinks, first));
    for (size_t i = part.left_out; i < n; ++i) {
      rows.tokens_.push_back(part.object.tokens[i]);
      rows.positions_.push_back(static_cast<int32_t>(first + i));
    }
    rows.parts_.push_back(std::move(part));
  }
  return rows;
}

Result<Matrix<float>> StoredRows::read(Kind kind, int layer) const {
  const auto l = static_cast<size_t>(layer);
  Matrix<float> all(tokens_.size(), size_t(coder_.shape.layers[l].width(kind)));
  size_t row = 0;
  for (const Part& part : parts_) {
    KVS_ASSIGN(const Matrix<float> rows, rows_of(part.object, coder_, kind, l));
    for (size_t i = part.left_out; i < rows.rows(); ++i, ++row) {
      std::copy(rows.row(i).begin(), rows.row(i).end(), all.row(row).begin());
    }
  }
  return all;
}

Result<KvBlock<uint16_t>> exact_cells(const store::Store& store,
                                      const std::vector<store::Hash>& names,
                                      const ModelShape& shape, size_t most) {
  std::vector<store::Object> objects;
  size_t n = 0;
  for (const store::Hash& name : names) {
    if (n >= most) break;
    KVS_ASSIGN(store::Object object, store.get(name));
    n = object.head.first + object.tokens.size();
    objects.push_back(std::move(object));
  }
  n = std::min(n, most);
  KvBlock<uint16_t> all(shape, Space::cached, 0, n);
  for (const store::Object& object : objects) {
    const size_t first = object.head.first;
    KVS_TRY(store::decode_object(object, {shape, nullptr, nullptr}, place_of(all, n)));
    for (size_t i = 0; i < object.tokens.size() && first + i < n; ++i) {
      all.tokens[first + i] = object.tokens[i];
    }
  }
  return all;
}

}  // namespace kvsplice::serve

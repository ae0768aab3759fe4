#include "session/state_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/half.h"

namespace kvsplice::session {

namespace {

constexpr size_t kQ8Values = 32;  // a q8_0 block: f16 scale, 32 signed bytes
constexpr size_t kQ8Bytes = 34;

// Side of the Hadamard matrix llama.cpp turns heads by when it quantises them; 0: it does not.
size_t rotation_size(size_t head_dim, Kind kind) {
  if (head_dim % 64 != 0) return 0;
  size_t size = 64;
  while (kind == Kind::key && head_dim % (2 * size) == 0) size *= 2;
  return size;
}

// Walsh-Hadamard transform of each `size` values, orthonormal and its own inverse.
void rotate(std::span<float> row, size_t size) {
  if (size == 0) return;
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  for (size_t first = 0; first < row.size(); first += size) {
    float* x = &row[first];
    for (size_t half = 1; half < size; half *= 2) {
      for (size_t i = 0; i < size; i += 2 * half) {
        for (size_t j = i; j < i + half; ++j) {
          const float a = x[j], b = x[j + half];
          x[j] = a + b;
          x[j + half] = a - b;
        }
      }
    }
    for (size_t i = 0; i < size; ++i) x[i] *= scale;
  }
}

template <class T>
T load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

void decode_q8(const uint8_t* bytes, std::span<float> row) {
  for (size_t first = 0; first < row.size(); first += kQ8Values, bytes += kQ8Bytes) {
    const float scale = from_half(load<uint16_t>(bytes));
    for (size_t i = 0; i < kQ8Values; ++i) {
      row[first + i] = scale * static_cast<int8_t>(bytes[2 + i]);
    }
  }
}

void encode_q8(std::span<const float> row, ByteWriter& out) {
  for (size_t first = 0; first < row.size(); first += kQ8Values) {
    float largest = 0;
    for (size_t i = 0; i < kQ8Values; ++i) largest = std::max(largest, std::abs(row[first + i]));
    const float scale = largest / 127;
    const float inverse = scale >= std::numeric_limits<float>::min() ? 1 / scale : 0;
    out.put(to_half(scale));
    for (size_t i = 0; i < kQ8Values; ++i) {
      out.put(static_cast<int8_t>(std::lround(row[first + i] * inverse)));
    }
  }
}

// Cells order[0], order[1], ... of one layer.
Result<Matrix<uint16_t>> read_rows(const StateCache& cache, const StateRows& rows,
                                   const LayerShape& layer, Kind kind,
                                   std::span<const size_t> order) {
  const auto type = static_cast<CellType>(rows.type);
  const size_t width = layer.width(kind);
  const bool transposed = cache.values_transposed && kind == Kind::value;
  if (transposed && type == CellType::q8_0) {
    return Error{ErrorKind::unsupported, "transposed values of type q8_0"};
  }
  Matrix<uint16_t> out(order.size(), width);
  std::vector<float> row(width);
  for (size_t r = 0; r < order.size(); ++r) {
    if (type == CellType::q8_0) {
      decode_q8(&rows.data[order[r] * rows.row_bytes], row);
      rotate(row, rotation_size(layer.heads_dim(kind), kind));
      std::transform(row.begin(), row.end(), out.row(r).begin(), to_half);
      continue;
    }
    for (size_t c = 0; c < width; ++c) {
      const size_t i = transposed ? c * cache.cells() + order[r] : order[r] * width + c;
      out(r, c) = type == CellType::f16 ? load<uint16_t>(&rows.data[2 * i])
                                        : to_half(load<float>(&rows.data[4 * i]));
    }
  }
  return out;
}

Bytes write_rows(const Matrix<uint16_t>& rows, const LayerShape& layer, Kind kind, CellType type) {
  ByteWriter out;
  std::vector<float> row(rows.cols());
  for (size_t r = 0; r < rows.rows(); ++r) {
    if (type == CellType::f16) {
      out.put_array(rows.row(r));
      continue;
    }
    std::transform(rows.row(r).begin(), rows.row(r).end(), row.begin(), from_half);
    if (type == CellType::f32) {
      out.put_array(std::span<const float>(row));
    } else {
      rotate(row, rotation_size(layer.heads_dim(kind), kind));
      encode_q8(row, out);
    }
  }
  return out.take();
}

// Cells by position; error if the positions are not 0, 1, ...
Result<std::vector<size_t>> order_of(const StateCache& cache) {
  std::vector<size_t> order(cache.cells(), cache.cells());
  for (size_t i = 0; i < cache.cells(); ++i) {
    const int32_t position = cache.positions[i];
    if (position < 0 || static_cast<size_t>(position) >= order.size() ||
        order[position] != cache.cells()) {
      return Error{ErrorKind::unsupported,
                   fmt::format("cell {} is at position {}; positions must be 0 ... {}, each once",
                               i, position, order.size() - 1)};
    }
    order[position] = i;
  }
  return order;
}

Error windows_unsupported() {
  return {ErrorKind::unsupported, "states of models with sliding windows are not handled yet"};
}

}  // namespace

Result<StateCells> to_cells(const StateBlob& blob, const ModelShape& shape,
                            std::span<const int32_t> tokens) {
  KVS_ASSIGN(const std::vector<int> layers, layers_of_cache(blob, 0, shape));
  if (layers.size() != shape.layers.size()) return windows_unsupported();
  const StateCache& cache = blob.caches[0];
  if (tokens.size() < cache.cells()) {
    return Error{ErrorKind::usage,
                 fmt::format("the state has {} cells but only {} tokens are known", cache.cells(),
                             tokens.size())};
  }
  KVS_ASSIGN(const std::vector<size_t> order, order_of(cache));
  StateCells made;
  const auto behind = tokens.begin() + static_cast<ptrdiff_t>(cache.cells());
  made.cells.tokens.assign(tokens.begin(), behind);
  made.pending.assign(behind, tokens.end());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < layers.size(); ++l) {
      if (cache.cells() == 0) {
        made.cells.of(kind).emplace_back(0, shape.layers[l].width(kind));
        continue;
      }
      const StateRows& rows = (kind == Kind::key ? cache.keys : cache.values)[l];
      KVS_ASSIGN(Matrix<uint16_t> read, read_rows(cache, rows, shape.layers[l], kind, order));
      made.cells.of(kind).push_back(std::move(read));
    }
  }
  return made;
}

Result<Bytes> to_state(const Cells& cells, std::span<const int32_t> pending,
                       const ModelShape& shape, StateForm form, CellType type) {
  KVS_TRY(check_cells(cells, shape));
  StateBlob blob;
  blob.form = form;
  blob.architecture = shape.architecture;
  blob.tokens = cells.tokens;
  blob.tokens.insert(blob.tokens.end(), pending.begin(), pending.end());
  StateCache cache;
  for (size_t i = 0; i < cells.count(); ++i) {
    cache.positions.push_back(static_cast<int32_t>(cells.first + i));
  }
  std::vector<Bytes> kept;  // what the blob's spans point into
  kept.reserve(2 * shape.layers.size());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      if (shape.layers[l].window > 0) return windows_unsupported();
      const auto number = static_cast<int32_t>(type);
      KVS_ASSIGN(const size_t bytes, row_bytes(number, shape.layers[l].width(kind)));
      kept.push_back(write_rows(cells.of(kind)[l], shape.layers[l], kind, type));
      (kind == Kind::key ? cache.keys : cache.values).push_back({number, bytes, kept.back()});
    }
  }
  blob.caches.push_back(std::move(cache));
  return write_state(blob);
}

}  // namespace kvsplice::session

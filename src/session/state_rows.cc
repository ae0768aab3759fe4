#include "session/state_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
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

Bytes write_rows(MatrixView<const uint16_t> rows, const LayerShape& layer, Kind kind,
                 CellType type) {
  ByteWriter out;
  std::vector<float> row(rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) {
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

// The cells of positions first ... end - 1, in this order; each must be there once, and cells at
// lower positions are passed over.
Result<std::vector<size_t>> order_of(const StateCache& cache, size_t first, size_t end) {
  const size_t none = cache.cells();
  std::vector<size_t> order(end - first, none);
  for (size_t i = 0; i < cache.cells(); ++i) {
    const int64_t position = cache.positions[i];
    if (position >= 0 && position < int64_t(first)) continue;
    if (position < 0 || position >= int64_t(end) || order[size_t(position) - first] != none) {
      return Error{ErrorKind::unsupported,
                   fmt::format("cell {} is at position {}; positions must be {} ... {}, each once",
                               i, position, first, int64_t(end) - 1)};
    }
    order[size_t(position) - first] = i;
  }
  if (const auto gap = std::find(order.begin(), order.end(), none); gap != order.end()) {
    return Error{ErrorKind::unsupported,
                 fmt::format("no cell is at position {}; {} ... {} are needed",
                             first + size_t(gap - order.begin()), first, end - 1)};
  }
  return order;
}

// Rows of the layers of one cache of the state, into cells from `absent` on.
Result<> read_layers(const StateBlob& blob, size_t index, const ModelShape& shape, size_t absent,
                     Cells& cells) {
  const StateCache& cache = blob.caches[index];
  KVS_ASSIGN(const std::vector<int> layers, layers_of_cache(blob, index, shape));
  KVS_ASSIGN(const std::vector<size_t> order, order_of(cache, absent, cells.count()));
  if (order.empty()) return {};
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const StateRows& rows = (kind == Kind::key ? cache.keys : cache.values)[i];
      KVS_ASSIGN(const Matrix<uint16_t> read,
                 read_rows(cache, rows, shape.layers[layers[i]], kind, order));
      Matrix<uint16_t>& to = cells.of(kind)[layers[i]];
      std::copy_n(read.data(), read.size(), to.data() + absent * to.cols());
    }
  }
  return {};
}

// Where the bytes of written rows stay while spans point to them.
using Kept = std::deque<Bytes>;

// The cache of the layers with a window, or of those without one.
Result<StateCache> make_cache(const Cells& cells, const ModelShape& shape, bool windows,
                              CellType type, Kept& kept) {
  const size_t absent = windows ? shape.tokens_out_of_sight(cells.count()) : 0;
  StateCache cache;
  for (size_t i = absent; i < cells.count(); ++i) {
    cache.positions.push_back(static_cast<int32_t>(cells.first + i));
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const LayerShape& layer = shape.layers[l];
      if ((layer.window > 0) != windows) continue;
      const auto number = static_cast<int32_t>(type);
      KVS_ASSIGN(const size_t bytes, row_bytes(number, layer.width(kind)));
      const MatrixView<const uint16_t> all = cells.of(kind)[l];
      const auto rows = all.row_range(absent, cells.count() - absent);
      kept.push_back(write_rows(rows, layer, kind, type));
      (kind == Kind::key ? cache.keys : cache.values).push_back({number, bytes, kept.back()});
    }
  }
  return cache;
}

}  // namespace

Result<StateCells> to_cells(const StateBlob& blob, const ModelShape& shape,
                            std::span<const int32_t> tokens) {
  KVS_TRY(layers_of_cache(blob, 0, shape));
  const size_t n = blob.caches[0].cells();
  if (tokens.size() < n) {
    return Error{
        ErrorKind::usage,
        fmt::format("the state has {} cells but only {} tokens are known", n, tokens.size())};
  }
  StateCells made;
  made.cells = make_cells(shape, 0, n);
  std::copy_n(tokens.begin(), n, made.cells.tokens.begin());
  made.pending.assign(tokens.begin() + static_cast<ptrdiff_t>(n), tokens.end());
  KVS_TRY(read_layers(blob, 0, shape, 0, made.cells));
  if (blob.caches.size() == 1) return made;
  made.cells.absent = shape.tokens_out_of_sight(n);
  KVS_TRY(read_layers(blob, 1, shape, made.cells.absent, made.cells));
  return made;
}

Result<Bytes> to_state(const Cells& cells, std::span<const int32_t> pending,
                       const ModelShape& shape, StateForm form, CellType type) {
  KVS_TRY(check_cells(cells, shape));
  if (const size_t needed = shape.tokens_out_of_sight(cells.count()); cells.absent > needed) {
    return Error{ErrorKind::unsupported,
                 fmt::format("layers with a sliding window have no rows of tokens {} ... {}, which "
                             "the next tokens see; only the whole session has what they need",
                             cells.first + needed, cells.first + cells.absent - 1)};
  }
  StateBlob blob;
  blob.form = form;
  blob.architecture = shape.architecture;
  blob.tokens = cells.tokens;
  blob.tokens.insert(blob.tokens.end(), pending.begin(), pending.end());
  Kept kept;
  for (const bool windows : {false, true}) {
    if (windows && shape.longest_window() == 0) continue;
    KVS_ASSIGN(StateCache cache, make_cache(cells, shape, windows, type, kept));
    blob.caches.push_back(std::move(cache));
  }
  return write_state(blob);
}

}  // namespace kvsplice::session

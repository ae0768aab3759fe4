#include "session/recurrent.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/half.h"
#include "core/kv_block.h"
#include "core/limits.h"

namespace kvsplice::session {

namespace {

constexpr int32_t kF32 = 0, kF16 = 1;

size_t value_bytes(int32_t type) { return type == kF32 ? sizeof(float) : sizeof(uint16_t); }

const char* name(StatePart part) { return part == StatePart::r ? "r" : "s"; }

size_t count(const StateRow& row) { return row.data.size() / value_bytes(row.type); }

RowsView view_of(const Bytes& data, size_t n, Element element) {
  return {data.data(), 1, n, ptrdiff_t(n), 1, element};
}

std::vector<float> floats_of(const Bytes& data, Element element) {
  const size_t n = data.size() / (element == Element::f32 ? sizeof(float) : sizeof(uint16_t));
  std::vector<float> values(n);
  read_rows(view_of(data, n, element), MatrixView<float>(values.data(), 1, n, n));
  return values;
}

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  ByteWriter out;
  out.put_array(std::span<const T>(values));
  return out.take();
}

Bytes halved(const StateRow& row) {
  const size_t n = count(row);
  std::vector<uint16_t> halves(n);
  read_rows(view_of(row.data, n, Element::f32), MatrixView<uint16_t>(halves.data(), 1, n, n));
  return bytes_of(halves);
}

constexpr size_t kBlock = 32;  // values of q8 that share a scale
constexpr size_t kScale = sizeof(uint16_t);

size_t block_count(size_t values) { return (values + kBlock - 1) / kBlock; }

// No less than a 127th of the largest value, so that its integer fits, if that is finite.
uint16_t scale_of(std::span<const float> block) {
  float most = 0;
  for (const float v : block) most = std::max(most, std::abs(v));
  uint16_t scale = to_finite_half(most / 127);
  const auto next = static_cast<uint16_t>(scale + 1);
  if (from_half(scale) * 127 < most && is_finite_half(next)) scale = next;
  return scale;
}

Bytes in_eighths(const StateRow& row) {
  const std::vector<float> values = floats_of(row.data, Element::f32);
  const size_t n = values.size();
  ByteWriter out;
  out.reserve(n + kScale * block_count(n));
  for (size_t at = 0; at < n; at += kBlock) {
    const auto block = std::span(values).subspan(at, std::min(kBlock, n - at));
    const uint16_t scale = scale_of(block);
    const float step = from_half(scale);
    out.put(scale);
    for (const float v : block) {
      const float code = step > 0 ? std::round(v / step) : 0;
      out.put(static_cast<int8_t>(std::clamp(code, -127.f, 127.f)));
    }
  }
  return out.take();
}

Result<Bytes> from_eighths(ByteSpan data) {
  const size_t rest = data.size() % (kBlock + kScale);
  if (rest > 0 && rest <= kScale) {
    return format_error(fmt::format("{} bytes of blocks of {}", data.size(), kBlock));
  }
  ByteReader in(data);
  std::vector<float> values;
  values.reserve(data.size() - kScale * (data.size() / (kBlock + kScale) + (rest > 0)));
  while (in.left() > 0) {
    KVS_ASSIGN(const uint16_t scale, in.get<uint16_t>());
    KVS_ASSIGN(const auto codes, in.get_array<int8_t>(std::min(kBlock, in.left())));
    for (const int8_t code : codes) values.push_back(from_half(scale) * float(code));
  }
  return bytes_of(values);
}

Bytes doubled(const Bytes& halves) { return bytes_of(floats_of(halves, Element::f16)); }

Result<uint64_t> get_number(ByteReader& in, const char* what, uint64_t most) {
  KVS_ASSIGN(const uint64_t number, in.get_varint());
  if (number <= most) return number;
  return format_error(fmt::format("{} = {}; legal: 0 ... {}", what, number, most));
}

Result<StateRow> get_row(ByteReader& in) {
  constexpr uint64_t kMostBytes = uint64_t{limits::kStateValues} * sizeof(float);
  StateRow row;
  KVS_ASSIGN(const uint64_t layer, get_number(in, "layer of a state", limits::kLayers));
  KVS_ASSIGN(const uint64_t part, get_number(in, "part of a state", 1));
  KVS_ASSIGN(const uint64_t type, get_number(in, "type of a state", kF16));
  KVS_ASSIGN(const uint64_t encoding, get_number(in, "encoding of a state", 2));
  KVS_ASSIGN(const uint64_t bytes, get_number(in, "bytes of a state", kMostBytes));
  row.layer = static_cast<int>(layer);
  row.part = static_cast<StatePart>(part);
  row.type = static_cast<int32_t>(type);
  const auto kept = static_cast<StateEncoding>(encoding);
  const size_t unit = kept == StateEncoding::exact ? value_bytes(row.type)
                      : kept == StateEncoding::f16 ? sizeof(uint16_t)
                                                   : 1;
  if ((kept != StateEncoding::exact && row.type != kF32) || bytes % unit != 0) {
    return format_error(fmt::format("a state of {} bytes, encoding {}, of values of type {}", bytes,
                                    encoding, type));
  }
  KVS_ASSIGN(const ByteSpan data, in.take(bytes));
  if (kept == StateEncoding::q8) {
    KVS_ASSIGN(row.data, from_eighths(data));
    return row;
  }
  row.data.assign(data.begin(), data.end());
  if (kept == StateEncoding::f16) row.data = doubled(row.data);
  return row;
}

Error other_rows(const StateRow& row, size_t wanted) {
  return {ErrorKind::mismatch,
          fmt::format("row {} of recurrent layer {} has {} bytes of type {}, the model's {} values",
                      name(row.part), row.layer, row.data.size(), row.type, wanted)};
}

}  // namespace

size_t RecurrentState::bytes() const {
  size_t sum = 0;
  for (const StateRow& row : rows) sum += row.data.size();
  return sum;
}

Result<StateEncoding> parse_state_encoding(const std::string& text) {
  if (text == "exact") return StateEncoding::exact;
  if (text == "f16") return StateEncoding::f16;
  if (text == "q8") return StateEncoding::q8;
  return Error{ErrorKind::usage, fmt::format("states as '{}'; legal: exact, f16, q8", text)};
}

Bytes encode_state(const RecurrentState& state, StateEncoding encoding) {
  constexpr size_t kNumbers = 20;  // of a row, at most
  ByteWriter out;
  out.reserve(kNumbers + state.bytes() + kNumbers * state.rows.size());
  out.put_varint(state.model_layers);
  out.put_varint(state.rows.size());
  for (const StateRow& row : state.rows) {
    const StateEncoding kept = row.type == kF32 ? encoding : StateEncoding::exact;
    const Bytes rounded = kept == StateEncoding::f16  ? halved(row)
                          : kept == StateEncoding::q8 ? in_eighths(row)
                                                      : Bytes();
    const Bytes& data = kept == StateEncoding::exact ? row.data : rounded;
    out.put_varint(static_cast<uint64_t>(row.layer));
    out.put_varint(static_cast<uint64_t>(row.part));
    out.put_varint(static_cast<uint64_t>(row.type));
    out.put_varint(static_cast<uint64_t>(kept));
    out.put_varint(data.size());
    out.put_bytes(data);
  }
  return out.take();
}

Result<RecurrentState> decode_state(ByteSpan payload, size_t position) {
  ByteReader in(payload);
  RecurrentState state;
  state.position = position;
  KVS_ASSIGN(const uint64_t layers, get_number(in, "layers of a model", limits::kLayers));
  state.model_layers = static_cast<uint32_t>(layers);
  KVS_ASSIGN(const uint64_t rows, get_number(in, "rows of a state", 2 * limits::kLayers));
  for (uint64_t i = 0; i < rows; ++i) {
    KVS_ASSIGN(StateRow row, get_row(in));
    state.rows.push_back(std::move(row));
  }
  if (in.left() > 0) return format_error(fmt::format("{} bytes behind a state", in.left()));
  return state;
}

std::string list_positions(std::span<const size_t> positions) {
  constexpr size_t kMost = 16;
  if (positions.empty()) return "none";
  std::string text;
  for (size_t i = 0; i < positions.size(); ++i) {
    const bool left_out = positions.size() > kMost && i >= kMost && i + 1 < positions.size();
    if (left_out && i == kMost) text += ", ...";
    if (!left_out) text += fmt::format("{}token {}", text.empty() ? "" : ", ", positions[i]);
  }
  return text;
}

Error no_state_behind(size_t token, std::span<const size_t> positions) {
  return {ErrorKind::mismatch,
          fmt::format("a hybrid model goes on only where a recurrent state is stored, not behind "
                      "token {}; stored: behind {}",
                      token, list_positions(positions))};
}

Result<> check_state(const RecurrentState& state, const ModelShape& shape) {
  const size_t layers = shape.recurrent.size();
  if (state.rows.size() != 2 * layers) {
    return Error{ErrorKind::mismatch,
                 fmt::format("a recurrent state of {} rows, the model has {} recurrent layers of "
                             "two each",
                             state.rows.size(), layers)};
  }
  for (size_t i = 0; i < 2 * layers; ++i) {
    const StateRow& row = state.rows[i];
    const RecurrentLayer& layer = shape.recurrent[i % layers];
    const StatePart part = i < layers ? StatePart::r : StatePart::s;
    const size_t wanted = part == StatePart::r ? layer.r : layer.s;
    if (row.layer != layer.layer || row.part != part ||
        row.data.size() != wanted * value_bytes(row.type)) {
      return other_rows(row, wanted);
    }
  }
  return {};
}

Result<> check_finite(const RecurrentState& state) {
  for (const StateRow& row : state.rows) {
    const auto values = floats_of(row.data, row.type == kF32 ? Element::f32 : Element::f16);
    const auto met =
        std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
    if (met == values.end()) continue;
    return Error{ErrorKind::numeric,
                 fmt::format("value {} of row {} of recurrent layer {} is {}", met - values.begin(),
                             name(row.part), row.layer, *met)};
  }
  return {};
}

}  // namespace kvsplice::session

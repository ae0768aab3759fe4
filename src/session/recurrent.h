// What the recurrent layers of a hybrid model carry from token to token. Unlike cells it cannot be
// cut: where a text goes on, the state behind the token before must be there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/shape.h"

namespace kvsplice::session {

// llama.cpp's names of a layer's rows: what a convolution has seen, and the recurrence itself.
enum class StatePart : uint8_t { r = 0, s = 1 };

struct StateRow {
  int layer = 0;  // of the model
  StatePart part = StatePart::r;
  int32_t type = 0;  // as llama.cpp numbers it: 0 f32, 1 f16
  Bytes data;

  bool operator==(const StateRow&) const = default;
};

struct RecurrentState {
  size_t position = 0;        // how many tokens it has seen
  uint32_t model_layers = 0;  // of all kinds
  std::vector<StateRow> rows;

  size_t bytes() const;
  bool operator==(const RecurrentState&) const = default;
};

// How f32 rows are kept: to the bit, rounded to half precision, or in blocks of 32 as a scale of
// half precision and integers of 8 bits that it multiplies.
enum class StateEncoding : uint8_t { exact = 0, f16 = 1, q8 = 2 };
Result<StateEncoding> parse_state_encoding(const std::string& name);  // error lists the legal ones

// The payload of a record of it, without its position; and back. The bytes are hostile.
// Values that are infinite or not numbers have no place in q8; check_finite() finds them before.
Bytes encode_state(const RecurrentState& state, StateEncoding encoding);
Result<RecurrentState> decode_state(ByteSpan payload, size_t position);

// "token 256, token 512"; of many the first and the last.
std::string list_positions(std::span<const size_t> positions);
// That a prefix ends where no state is.
Error no_state_behind(size_t token, std::span<const size_t> positions);

// Error mismatch unless it has the rows that a model of this shape keeps.
Result<> check_state(const RecurrentState& state, const ModelShape& shape);
// Error numeric that names a layer with a value that is infinite or not a number.
Result<> check_finite(const RecurrentState& state);

}  // namespace kvsplice::session

#include "range/block.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "range/coder_kernel.h"

namespace kvsplice::range {

namespace {

const char* sentence(DecodeError error) {
  switch (error) {
    case DecodeError::none:
      return "";
    case DecodeError::words_missing:
      return "truncated: the codes need more words than there are";
    case DecodeError::escape_bad:
      return "an escaped code is missing or too large";
    case DecodeError::left_over:
      return "damaged: the coder does not end where encoding began";
  }
  return "";
}

Result<Encoded> read(const Model& model, ByteReader& in) {
  Encoded encoded;
  KVS_ASSIGN(const auto states, in.get_array<uint32_t>(kLanes));
  std::copy(states.begin(), states.end(), encoded.states.begin());
  for (uint32_t state : states) {
    if (state < kStateLow) return format_error(fmt::format("coder state {}", state));
  }
  KVS_ASSIGN(const uint64_t words, in.get_varint());
  KVS_ASSIGN(encoded.words, in.get_array<uint16_t>(words));
  encoded.words.resize(words + padding_words(model));
  KVS_ASSIGN(const ByteSpan escapes, in.take(in.left()));
  encoded.escapes.assign(escapes.begin(), escapes.end());
  return encoded;
}

}  // namespace

void encode_block(const Model& model, MatrixView<const int32_t> codes, ByteWriter& out) {
  const Encoded encoded = encode(model, codes.data, codes.rows);
  out.put_array(std::span<const uint32_t>(encoded.states));
  out.put_varint(encoded.words.size());
  out.put_array(std::span<const uint16_t>(encoded.words));
  out.put_bytes(encoded.escapes);
}

Result<> decode_block(const Model& model, ByteReader& in, Matrix<int32_t>& codes) {
  KVS_ASSIGN(const Encoded encoded, read(model, in));
  const DecodeError error = decode(model, encoded, codes.rows(), codes.data());
  if (error != DecodeError::none) return format_error(sentence(error));
  return {};
}

}  // namespace kvsplice::range

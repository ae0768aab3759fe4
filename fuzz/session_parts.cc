// Bytes of a session, part by part: header, index, trailer, cells without loss.
#include "session/format.h"
#include "session/lossless_record.h"
#include "support/driver.h"
#include "support/session_mutator.h"

using namespace kvsplice;
using namespace kvsplice::session;

const double fuzz::least_accepted = 0.1;

namespace {

// With a length and a checksum that are right, so that the fields before it are looked at.
Result<> parse_any_header(ByteSpan bytes) {
  Bytes header(bytes.begin(), bytes.end());
  fuzz::repair_header(header);
  KVS_TRY(parse_header(header));
  return {};
}

// More cells than there is a place for, and some that lie before it.
Result<> decode_cells(ByteSpan bytes, const SessionInfo& info) {
  constexpr size_t kTokens = 5;
  ByteReader in(bytes);
  KVS_TRY(get_tokens(in, kTokens));
  KVS_ASSIGN(const auto record, LosslessRecord::parse(in, kTokens, info.layers));
  ModelShape shape;
  shape.layers = info.layers;
  KvBlock<uint16_t> cells(shape, Space::cached, 0, 3);
  for (Kind kind : {Kind::key, Kind::value}) {
    KVS_TRY(record.decode(kind, 0, -1, place_of(cells, cells.count())));
  }
  return {};
}

Result<> parse_part(uint8_t part, ByteSpan bytes, const SessionInfo& info) {
  switch (part) {
    case 0:
      return parse_any_header(bytes);
    case 1: {
      KVS_TRY(parse_index(bytes, info, 16, 1 << 20));
      return {};
    }
    case 2: {
      KVS_TRY(parse_trailer(bytes, 1000));
      return {};
    }
    default:
      return decode_cells(bytes, info);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteSpan bytes(data + 1, size - 1);
  SessionInfo info;
  info.layers.resize(1);
  info.layers[0].kv_heads = 1;
  info.layers[0].key_dim = info.layers[0].value_dim = 3;
  info.layers[0].window = data[0] % 8 < 4 ? 0 : 2;
  if (parse_part(data[0] % 4, bytes, info).ok()) fuzz::accept();
  return 0;
}

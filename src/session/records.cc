#include "session/records.h"

#include <numeric>

#include "core/same_cache.h"
#include "session/lossless_record.h"

namespace kvsplice::session {

namespace {

Result<LosslessRecord> parse_lossless(const CodedCells& cells, const Coder& coder) {
  ByteReader in(cells.bytes);
  return LosslessRecord::parse(in, cells.tokens.size(), coder.shape.layers);
}

std::vector<int32_t> positions_of(const CodedCells& cells) {
  std::vector<int32_t> positions(cells.tokens.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(cells.first));
  return positions;
}

Result<const codec::Codec*> codec_of(const Coder& coder) {
  if (coder.codec != nullptr) return coder.codec;
  return Error{ErrorKind::format, "a coded record, and no codec was named"};
}

Result<> decode_coded(const CodedCells& cells, const Coder& coder, const KvSink& sink) {
  KVS_ASSIGN(const codec::Codec* const codec, codec_of(coder));
  return codec->decode(cells.bytes, cells.tokens, positions_of(cells), coder.embeddings,
                       Space::cached, sink);
}

Result<> decode_exact(const CodedCells& cells, const Coder& coder, ptrdiff_t at,
                      const KvPlace& to) {
  KVS_ASSIGN(const LosslessRecord record, parse_lossless(cells, coder));
  for (size_t l = 0; l < coder.shape.layers.size(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) KVS_TRY(record.decode(kind, l, at, to));
  }
  return {};
}

}  // namespace

Result<> Coder::check() const {
  if (codec == nullptr) return {};
  KVS_TRY(same_cache("the codec was fitted for", codec->shape(), "the model at hand", shape));
  if (codec->needs_embeddings() && embeddings == nullptr) {
    return Error{ErrorKind::usage, "this codec reads token embeddings: name the model (-m)"};
  }
  return {};
}

Result<Bytes> encode_cells(const KvView& cells, RecordKind kind, const Coder& coder) {
  if (kind != RecordKind::exact) return coder.codec->encode(cells, coder.embeddings);
  ByteWriter out;
  put_lossless(cells, coder.shape.layers, out);
  return out.take();
}

Result<bool> CodedCells::lack_windows(const Coder& coder) const {
  if (kind == RecordKind::exact) {
    KVS_ASSIGN(const LosslessRecord record, parse_lossless(*this, coder));
    return record.lacks_windows();
  }
  KVS_ASSIGN(const codec::Codec* const codec, codec_of(coder));
  return codec->lacks_windows(bytes);
}

Result<> CodedCells::decode(const Coder& coder, ptrdiff_t at, const KvPlace& to) const {
  if (kind == RecordKind::exact) return decode_exact(*this, coder, at, to);
  return decode_coded(*this, coder,
                      [&](Kind of, size_t layer, MatrixView<const float> rows) -> Result<> {
                        to.put(of, layer, at, rows);
                        return {};
                      });
}

Result<KvBlock<uint16_t>> CodedCells::decode_apart(const Coder& coder) const {
  KvBlock<uint16_t> block;
  if (kind == RecordKind::exact) {
    KVS_TRY(parse_lossless(*this, coder));
    block = KvBlock<uint16_t>(coder.shape, Space::cached, first, tokens.size());
    KVS_TRY(decode_exact(*this, coder, 0, place_of(block, tokens.size())));
  } else {
    block = KvBlock<uint16_t>(coder.shape, Space::cached, first, 0);
    KVS_TRY(decode_coded(*this, coder,
                         [&](Kind of, size_t layer, MatrixView<const float> rows) -> Result<> {
                           Matrix<uint16_t> halves(rows.rows, rows.cols);
                           to_halves(rows, halves);
                           block.of(of)[layer] = std::move(halves);
                           return {};
                         }));
    block.positions = positions_of(*this);
  }
  block.tokens.assign(tokens.begin(), tokens.end());
  return block;
}

}  // namespace kvsplice::session

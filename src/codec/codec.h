// A fitted codec: pipelines for the keys and values of every layer of one model. Codecs are made by
// fit_codec (fit/fit_codec.h), or loaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codec/block_coding.h"
#include "codec/embedding_basis.h"
#include "codec/entropy_meter.h"
#include "codec/pipeline.h"
#include "core/byte_source.h"
#include "core/kv_block.h"
#include "core/limits.h"
#include "core/output_file.h"

namespace kvsplice::codec {

// Of codec.gguf, as it is written; readers accept formats 1 ... kCodecFormat.
inline constexpr int kCodecFormat = 1;
// Coded together where nothing asks for more.
inline constexpr size_t kBlockTokens = 256;

class Codec {
 public:
  static Result<Codec> load(const std::string& path, const ReadLimits& limits = {});
  // name: of the source, for messages.
  static Result<Codec> load(std::shared_ptr<const ByteSource> source, const std::string& name,
                            const ReadLimits& limits = {});
  Result<> save(OutputFile out) const;
  Result<> save(const std::string& path) const;

  // The rows of a block of tokens, of any element type and in either space.
  Result<Bytes> encode(const KvView& block, const Embeddings* embeddings) const;
  // tokens and positions are stored beside the encoded block, not in it. `sink` is given the rows
  // of every layer the block has, keys in `space`; when it fails, decoding ends with its error.
  Result<> decode(ByteSpan bytes, std::span<const int32_t> tokens,
                  std::span<const int32_t> positions, const Embeddings* embeddings, Space space,
                  const KvSink& sink) const;
  Result<KvBlock<float>> decode(ByteSpan bytes, std::span<const int32_t> tokens,
                                std::span<const int32_t> positions, const Embeddings* embeddings,
                                Space space = Space::raw) const;
  // decode(encode(block)) without the bytes; counts codes if a meter is given.
  Result<KvBlock<float>> roundtrip(const KvView& block, const Embeddings* embeddings,
                                   EntropyMeter* meter) const;
  // The bytes of each unit within an encoded block, in the order of units().
  Result<std::vector<ByteSpan>> payloads(ByteSpan bytes) const;
  // Whether an encoded block has no rows of layers with a window.
  Result<bool> lacks_windows(ByteSpan bytes) const;

  const CodecText& text() const { return text_; }
  const ModelShape& shape() const { return shape_; }
  std::string fingerprint() const;  // of text, shape and every fitted value
  size_t state_bytes() const;       // side data of the codec file: what the state takes on disk
  bool whole_block() const { return traits_.whole_block; }  // some stage encodes blocks, not rows
  // Rows depend on rows before them in their block, in runs of so many; 0 or 1: on none.
  size_t reach() const { return traits_.reach; }
  // Tokens that are best coded together: 256, or as many as rows reach.
  size_t block_tokens() const { return std::max(kBlockTokens, reach()); }
  bool needs_embeddings() const { return traits_.embeddings; }
  bool of_cells() const { return traits_.cells; }  // works on cells, and keeps them to the bit
  size_t calibration_tokens() const { return calibration_tokens_; }
  const std::vector<UnitCoder>& units() const { return units_; }
  const EmbeddingBasis& embedding_basis() const { return basis_; }

  // A codec whose stages need not learn; error usage, naming the stage, if one has to.
  static Result<Codec> create(const CodecText& text, const ModelShape& shape);

  // Units that still have to learn, in coding order, and the codec they make when they have.
  // versions: of the keys' stages, then of the values'; empty: those this program writes.
  static Result<std::vector<UnitCoder>> make_units(const CodecText& text, const ModelShape& shape,
                                                   std::span<const int32_t> versions = {});
  Codec(CodecText text, ModelShape shape, std::vector<UnitCoder> fitted, size_t calibration_tokens,
        EmbeddingBasis basis = {});

 private:
  Result<> for_units(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                     const Embeddings* embeddings, const std::vector<bool>& left_out,
                     const std::function<Result<>(size_t unit, BlockCoding&)>& body) const;
  Result<> hand_on(const Unit& unit, Matrix<float>& rows, std::span<const int32_t> positions,
                   Space space, const KvSink& sink) const;
  // Whether each unit is of a layer that a block which lacks layers with a window lacks.
  Result<std::vector<bool>> units_left_out(bool lacking) const;

  CodecText text_;
  ModelShape shape_;
  StageInfo::Traits traits_;      // of all stages
  std::vector<UnitCoder> units_;  // in coding order: keys then values, layer by layer
  size_t calibration_tokens_ = 0;
  EmbeddingBasis basis_;
};

}  // namespace kvsplice::codec

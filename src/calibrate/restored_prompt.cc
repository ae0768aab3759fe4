#include "calibrate/restored_prompt.h"

#include <algorithm>
#include <numeric>

namespace kvsplice::calibrate {

RestoredPrompt::RestoredPrompt(const codec::Codec& codec, std::vector<int32_t> tokens, size_t sinks)
    : codec_(&codec),
      tokens_(std::move(tokens)),
      positions_(tokens_.size()),
      sinks_(std::min(sinks, tokens_.size())) {
  std::iota(positions_.begin(), positions_.end(), 0);
}

Result<RestoredPrompt> RestoredPrompt::begin(const codec::Codec& codec, std::vector<int32_t> tokens,
                                             size_t sinks, const codec::Embeddings& embeddings) {
  for (const codec::UnitCoder& unit : codec.units()) {
    if (unit.unit().layer >= 0) continue;
    return Error{ErrorKind::unsupported, "rows are restored layer by layer, not layers joined"};
  }
  RestoredPrompt prompt(codec, std::move(tokens), sinks);
  for (size_t at = prompt.sinks_; at < prompt.tokens_.size(); at += codec.block_tokens()) {
    KVS_TRY(prompt.add_block(at, embeddings));
  }
  return prompt;
}

Result<> RestoredPrompt::add_block(size_t first, const codec::Embeddings& embeddings) {
  const size_t n = std::min(codec_->block_tokens(), tokens_.size() - first);
  KVS_ASSIGN(codec::BlockCoding block,
             codec::BlockCoding::begin(codec_->shape(), codec::traits_of(codec_->text()),
                                       std::span(tokens_).subspan(first, n),
                                       std::span(positions_).subspan(first, n), &embeddings));
  KVS_TRY(block.project(codec_->embedding_basis()));
  blocks_.push_back(std::move(block));
  return {};
}

Result<> RestoredPrompt::restore(Kind kind, int layer, MatrixView<float> rows) {
  const auto& units = codec_->units();
  const auto unit = std::find_if(units.begin(), units.end(), [&](const codec::UnitCoder& u) {
    return u.unit().kind == kind && u.unit().layer == layer;
  });
  if (unit == units.end()) return {};  // a layer without values
  size_t at = sinks_;
  for (codec::BlockCoding& block : blocks_) {
    const size_t n = std::min(codec_->block_tokens(), rows.rows - at);
    const MatrixView<float> part = rows.row_range(at, n);
    KVS_ASSIGN(Matrix<float> made,
               unit->roundtrip(copy(MatrixView<const float>(part)), block.context(*unit), nullptr));
    for (size_t r = 0; r < n; ++r) std::ranges::copy(made.row(r), part.row(r).begin());
    block.keep(unit->unit(), std::move(made));
    at += n;
  }
  return {};
}

}  // namespace kvsplice::calibrate

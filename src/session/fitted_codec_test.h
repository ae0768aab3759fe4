// Codecs of the generated cells' model.
#pragma once

#include "fit/fit_codec.h"
#include "session/generated_cells.h"

namespace kvsplice::session {

class BlockRows : public codec::RowSource {
 public:
  explicit BlockRows(KvBlock<float> block) : block_(std::move(block)) {}
  std::span<const int32_t> tokens() const override { return block_.tokens; }
  std::span<const int32_t> positions() const override { return block_.positions; }
  Result<Matrix<float>> read(Kind kind, int layer) const override { return block_.of(kind)[layer]; }

 private:
  KvBlock<float> block_;
};

inline codec::Codec fitted(const ModelShape& shape, const std::string& text) {
  const Cells cells = generate_cells(shape, 0, 400, 99);
  const BlockRows rows(convert<float>(cells, shape, Space::raw));
  auto codec = codec::fit_codec(codec::parse_codec(text).value(), shape, rows, nullptr, {});
  EXPECT_TRUE(codec.ok()) << codec.error().message;
  return std::move(codec).value();
}

}  // namespace kvsplice::session

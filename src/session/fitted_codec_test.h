// Codecs of the generated cells' model.
#pragma once

#include "fit/block_rows.h"
#include "fit/fit_codec.h"
#include "session/generated_cells.h"

namespace kvsplice::session {

inline codec::Codec fitted(const ModelShape& shape, const std::string& text) {
  const Cells cells = generate_cells(shape, 0, 400, 99);
  const codec::BlockRows rows(convert<float>(cells, shape, Space::raw));
  auto codec = codec::fit_codec(codec::parse_codec(text).value(), shape, rows, nullptr, {});
  EXPECT_TRUE(codec.ok()) << codec.error().message;
  return std::move(codec).value();
}

}  // namespace kvsplice::session

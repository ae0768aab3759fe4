// Cells that a store keeps without loss, as rows that a codec can be fitted to.
#pragma once

#include <vector>

#include "fit/row_source.h"
#include "store/cells.h"
#include "store/store.h"

namespace kvsplice::serve {

class StoredRows : public codec::RowSource {
 public:
  // Of these objects, one behind the other; the first `sinks` tokens of all are left out. They stay
  // in memory as they are stored, and are decoded layer by layer. Errors: of the store; unsupported
  // if cells are coded.
  static Result<StoredRows> gather(const store::Store& store, const std::vector<store::Hash>& names,
                                   const ModelShape& shape, size_t sinks);

  std::span<const int32_t> tokens() const override { return tokens_; }
  std::span<const int32_t> positions() const override { return positions_; }
  Result<Matrix<float>> read(Kind kind, int layer) const override;

 private:
  struct Part {
    store::Object object;
    size_t left_out = 0;  // first tokens
  };
  session::Coder coder_;
  std::vector<Part> parts_;
  std::vector<int32_t> tokens_, positions_;
};

// The cells of a chain of objects, from position 0 on.
Result<KvBlock<uint16_t>> exact_cells(const store::Store& store,
                                      const std::vector<store::Hash>& names,
                                      const ModelShape& shape, size_t most);

}  // namespace kvsplice::serve

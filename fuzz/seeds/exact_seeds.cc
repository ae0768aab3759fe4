#include "seeds.h"
#include "support/exact_cells.h"

namespace kvsplice::fuzz {

namespace {

// Codes and bits of rows the stage has not seen, if the codes are as small as the driver's.
Result<Bytes> encode(uint64_t seed) {
  const ExactCells& cells = exact_cells();
  codec::Rows rows = exact_rows(seed);
  ByteWriter side;
  KVS_TRY(cells.stage->encode(rows, cells.context(), side));
  ByteWriter out;
  out.put(uint8_t{0});
  for (int32_t code : rows.codes.flat()) {
    if (std::abs(code) > kSmallCode) return Error{ErrorKind::usage, "a code is too large"};
    out.put(static_cast<int8_t>(code));
  }
  out.put_bytes(side.bytes());
  return out.take();
}

}  // namespace

Seeds exact_seeds() {
  return {"exact", [](const std::string&) -> Result<std::vector<Bytes>> {
            std::vector<Bytes> seeds;
            for (uint64_t seed = 2; seed < 8; ++seed) {
              KVS_ASSIGN(Bytes made, encode(seed));
              seeds.push_back(std::move(made));
            }
            return seeds;
          }};
}

}  // namespace kvsplice::fuzz

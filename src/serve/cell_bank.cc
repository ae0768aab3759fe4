#include "serve/cell_bank.h"

#include <algorithm>

#include "core/memory.h"
#include "host/state_rows.h"
#include "serve/mapped_file.h"

namespace kvsplice::serve {

Result<size_t> CellBank::write_slot(const store::Match& match, std::span<const int32_t> tokens,
                                    const host::StateTarget& target,
                                    const std::string& path) const {
  return within_memory([&]() -> Result<size_t> {
    const ModelShape& shape = coder().shape;
    std::optional<MappedFile> file;
    const auto room = [&](size_t most) -> Result<uint8_t*> {
      KVS_ASSIGN(file, MappedFile::create(path, most));
      return file->data();
    };
    KVS_ASSIGN(host::StateFrame frame, host::StateFrame::make(tokens, 0, {}, shape, target, room));
    // A cache of another type than f16 is filled from cells apart.
    KvBlock<uint16_t> apart;
    auto place = frame.place();
    if (!place) {
      apart = KvBlock<uint16_t>(shape, Space::cached, 0, tokens.size());
      std::copy(tokens.begin(), tokens.end(), apart.tokens.begin());
    }
    KVS_TRY(read(match, tokens, place ? *place : place_of(apart, tokens.size())));
    if (!place) frame.fill(apart);
    KVS_TRY(file->shrink(frame.size()));
    return frame.size();
  });
}

Result<CellBank::Kept> CellBank::keep(std::string_view tenant, const std::string& path,
                                      size_t prompt, size_t fewest) const {
  return within_memory([&]() -> Result<Kept> {
    const ModelShape& shape = coder().shape;
    KVS_ASSIGN(const MappedFile file, MappedFile::open(path));
    KVS_ASSIGN(const host::StateBlob blob, host::parse_state(file.bytes(), host::hints_of(shape)));
    KVS_ASSIGN(const host::StateCells state, host::to_cells(blob, shape, blob.tokens));
    if (state.cells.count() < fewest) return Kept();
    return keep(tenant, state.cells, prompt);
  });
}

}  // namespace kvsplice::serve

#include "serve/cell_bank.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "core/memory.h"
#include "core/threads.h"
#include "host/state_rows.h"
#include "serve/mapped_file.h"

namespace kvsplice::serve {

namespace {

constexpr size_t kFewestInTail = 16;  // tokens; fewer are evaluated as fast

// Whether the object says what the tokens want from its place on.
bool agrees(const store::Object& object, std::span<const int32_t> tokens) {
  if (object.head.first >= tokens.size()) return false;
  const auto wanted = tokens.subspan(object.head.first);
  const size_t n = std::min(wanted.size(), object.tokens.size());
  return std::equal(wanted.begin(), wanted.begin() + ptrdiff_t(n), object.tokens.begin());
}

}  // namespace

std::vector<store::Hash> objects_of(const store::Match& match) {
  std::vector<store::Hash> all = match.blocks;
  if (match.behind) all.push_back(*match.behind);
  return all;
}

CellBank::CellBank(store::Store& store, session::Coder coder, std::string settings,
                   std::shared_ptr<const codec::Codec> codec)
    : store_(store), codec_(std::move(codec)), coder_(std::move(coder)) {
  if (codec_) coder_.codec = codec_.get();
  cells_of_.model = coder_.shape.fingerprint;
  cells_of_.settings = std::move(settings);
  cells_of_.block_tokens = codec::kBlockTokens;
  if (coder_.codec == nullptr) return;
  cells_of_.codec = coder_.codec->fingerprint();
  cells_of_.block_tokens = coder_.codec->block_tokens();
}

store::Hash CellBank::root_of(std::string_view tenant) const {
  return store::root_of(cells_of_, store_.key(), tenant);
}

Result<store::Match> CellBank::find(std::string_view tenant, std::span<const int32_t> tokens,
                                    std::optional<store::TimePoint> remote_until) const {
  return store_.find(root_of(tenant), tokens, block_tokens(), remote_until);
}

Result<size_t> CellBank::write_slot(const store::Match& match, std::span<const int32_t> tokens,
                                    const host::StateTarget& target,
                                    const std::string& path) const {
  return within_memory([&]() -> Result<size_t> {
    std::optional<MappedFile> file;
    const auto room = [&](size_t most) -> Result<uint8_t*> {
      KVS_ASSIGN(file, MappedFile::create(path, most));
      return file->data();
    };
    KVS_ASSIGN(host::StateFrame frame,
               host::StateFrame::make(tokens, 0, {}, coder_.shape, target, room));
    // A cache of another type than f16 is filled from cells apart.
    KvBlock<uint16_t> apart;
    auto place = frame.place();
    if (!place) {
      apart = KvBlock<uint16_t>(coder_.shape, Space::cached, 0, tokens.size());
      std::copy(tokens.begin(), tokens.end(), apart.tokens.begin());
    }
    const KvPlace to = place ? *place : place_of(apart, tokens.size());
    const std::vector<store::Hash> wanted = objects_of(match);
    KVS_TRY(parallel_try(wanted.size(), [&](size_t i) -> Result<> {
      KVS_ASSIGN(const store::Object object, store_.get(wanted[i]));
      if (!agrees(object, tokens)) {
        return Error{ErrorKind::mismatch, "an object is of other tokens than its name"};
      }
      return store::decode_object(object, coder_, to);
    }));
    if (!place) frame.fill(apart);
    KVS_TRY(file->shrink(frame.size()));
    return frame.size();
  });
}

Result<> CellBank::keep_object(store::ObjectHead& head, std::span<const int32_t> tokens,
                               const CellsAt& cells_at, Kept& kept) const {
  const bool tail = head.kind == store::ObjectKind::tail;
  head.own = store::child_of(head.parent, tokens, tail);
  if (store_.has(head.own)) return {};
  KVS_ASSIGN(const KvView cells, cells_at(head.first, tokens.size()));
  store::Object object;
  object.head = head;
  object.head.count = static_cast<uint32_t>(tokens.size());
  object.head.made = static_cast<uint64_t>(std::time(nullptr));
  object.tokens.assign(tokens.begin(), tokens.end());
  KVS_ASSIGN(object.cells, store::write_cells(cells, tail, coder_, {}));
  KVS_TRY(store_.put(object));
  kept.objects += 1;
  kept.bytes += object.cells.size();
  kept.coded += tokens.size();
  return {};
}

Result<CellBank::Kept> CellBank::keep_all(std::string_view tenant, std::span<const int32_t> tokens,
                                          size_t prompt, const CellsAt& cells_at) const {
  Kept kept;
  store::ObjectHead head;
  head.root = head.parent = root_of(tenant);
  head.owner = store_.key().owner_of(tenant);
  kept.tokens.assign(tokens.begin(), tokens.end());
  const size_t block = block_tokens();
  for (size_t at = 0; at < tokens.size();) {
    const size_t count = std::min(block, tokens.size() - at);
    if (count < block && count < kFewestInTail) break;
    head.kind = count < block ? store::ObjectKind::tail : store::ObjectKind::block;
    head.first = at;
    head.answered = at + count / 2 >= prompt;
    KVS_TRY(keep_object(head, tokens.subspan(at, count), cells_at, kept));
    head.parent = head.own;
    at += count;
    kept.stored = at;
  }
  return kept;
}

Result<CellBank::Kept> CellBank::keep(std::string_view tenant, const std::string& path,
                                      size_t prompt, size_t fewest) const {
  return within_memory([&]() -> Result<Kept> {
    KVS_ASSIGN(const MappedFile file, MappedFile::open(path));
    KVS_ASSIGN(const host::StateBlob blob,
               host::parse_state(file.bytes(), host::hints_of(coder_.shape)));
    KVS_ASSIGN(const host::StateCells state, host::to_cells(blob, coder_.shape, blob.tokens));
    if (state.cells.count() < fewest) return Kept();
    return keep_cells(tenant, state.cells, prompt);
  });
}

Result<CellBank::Kept> CellBank::keep_cells(std::string_view tenant, const KvView& cells,
                                            size_t prompt) const {
  KVS_TRY(session::check_finite(cells, coder_.shape));
  return keep_all(tenant, cells.tokens, prompt, [&](size_t first, size_t count) {
    return Result<KvView>(cells.slice(first, count));
  });
}

// A line is decoded piece by piece: blocks of both banks may differ in length.
Result<size_t> CellBank::take_over(const store::Line& line, const CellBank& other,
                                   std::string_view tenant) const {
  return within_memory([&]() -> Result<size_t> {
    std::vector<store::Object> objects;
    std::vector<int32_t> tokens;
    size_t prompt = store::tokens_of(line);
    for (const store::Entry& entry : line) {
      KVS_ASSIGN(store::Object object, store_.get(entry.head.own));
      if (entry.head.answered) prompt = std::min<size_t>(prompt, entry.head.first);
      tokens.insert(tokens.end(), object.tokens.begin(), object.tokens.end());
      objects.push_back(std::move(object));
    }
    KvBlock<uint16_t> part;
    const auto cells_at = [&](size_t first, size_t count) -> Result<KvView> {
      part = KvBlock<uint16_t>(coder_.shape, Space::cached, first, count);
      std::copy_n(tokens.begin() + ptrdiff_t(first), count, part.tokens.begin());
      for (const store::Object& object : objects) {
        const size_t begin = object.head.first, end = begin + object.tokens.size();
        if (end <= first || begin >= first + count) continue;
        KVS_TRY(store::decode_object(object, other.coder_, place_of(part, count), first));
      }
      return part.view();
    };
    KVS_ASSIGN(const Kept kept, keep_all(tenant, tokens, prompt, cells_at));
    return kept.stored;
  });
}

}  // namespace kvsplice::serve

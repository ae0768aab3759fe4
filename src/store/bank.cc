#include "store/bank.h"

#include <algorithm>
#include <ctime>

#include "core/errors.h"
#include "core/memory.h"
#include "core/threads.h"
#include "session/cells.h"

namespace kvsplice::store {

namespace {

constexpr size_t kFewestInTail = 16;  // tokens; fewer are evaluated as fast

// What a match is made of, in order.
std::vector<Hash> objects_of(const Match& match) {
  std::vector<Hash> all = match.blocks;
  if (match.behind) all.push_back(*match.behind);
  return all;
}

// Whether the object says what the tokens want from its place on.
bool agrees(const Object& object, std::span<const int32_t> tokens) {
  if (object.head.first >= tokens.size()) return false;
  const auto wanted = tokens.subspan(object.head.first);
  const size_t n = std::min(wanted.size(), object.tokens.size());
  return std::equal(wanted.begin(), wanted.begin() + ptrdiff_t(n), object.tokens.begin());
}

Result<> check_kept(const KvView& cells, const session::Coder& coder) {
  if (coder.shape.longest_window() > 0) {
    return Error{ErrorKind::unsupported,
                 "layers with a sliding window: a store keeps cells of all tokens, or none"};
  }
  if (coder.shape.hybrid()) {
    return Error{ErrorKind::unsupported,
                 "recurrent layers: a store keeps cells alone, from which no text can go on"};
  }
  KVS_TRY(session::check_cells(cells, coder.shape));
  if (cells.count() > 0 && cells.positions[0] != 0) {
    return usage_error("the first cell is not at position 0");
  }
  KVS_TRY(session::check_rounding(cells, coder.shape, coder.keeps_all()));
  return session::check_finite(cells, coder.shape);
}

}  // namespace

Bank::Bank(Store& store, session::Coder coder, std::string settings,
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

Hash Bank::root_of(std::string_view tenant) const {
  return store::root_of(cells_of_, store_.key(), tenant);
}

Result<Match> Bank::find(std::string_view tenant, std::span<const int32_t> tokens,
                         std::optional<TimePoint> remote_until) const {
  return store_.find(root_of(tenant), tokens, block_tokens(), remote_until);
}

Result<> Bank::read(const Match& match, std::span<const int32_t> tokens, const KvPlace& to) const {
  if (to.count > std::min(match.tokens, tokens.size())) {
    return usage_error("a place for more tokens than the match covers");
  }
  const auto wanted = tokens.first(to.count);
  return within_memory([&]() -> Result<> {
    const std::vector<Hash> names = objects_of(match);
    return parallel_try(names.size(), [&](size_t i) -> Result<> {
      if (i * block_tokens() >= wanted.size()) return {};
      KVS_ASSIGN(const Object object, store_.get(names[i]));
      if (!agrees(object, wanted)) {
        return Error{ErrorKind::mismatch, "an object is of other tokens than its name"};
      }
      return decode_object(object, coder_, to);
    });
  });
}

Result<> Bank::keep_object(ObjectHead& head, std::span<const int32_t> tokens,
                           const CellsAt& cells_at, Kept& kept) const {
  const bool tail = head.kind == ObjectKind::tail;
  head.own = child_of(head.parent, tokens, tail);
  if (store_.has(head.own)) return {};
  KVS_ASSIGN(const KvView cells, cells_at(head.first, tokens.size()));
  Object object;
  object.head = head;
  object.head.count = static_cast<uint32_t>(tokens.size());
  object.head.made = static_cast<uint64_t>(std::time(nullptr));
  object.tokens.assign(tokens.begin(), tokens.end());
  KVS_ASSIGN(object.cells, write_cells(cells, tail, coder_, {}));
  KVS_TRY(store_.put(object));
  kept.objects += 1;
  kept.bytes += object.cells.size();
  kept.coded += tokens.size();
  return {};
}

Result<Bank::Kept> Bank::keep_all(std::string_view tenant, std::span<const int32_t> tokens,
                                  size_t prompt, const CellsAt& cells_at) const {
  Kept kept;
  ObjectHead head;
  head.root = head.parent = root_of(tenant);
  head.owner = store_.key().owner_of(tenant);
  kept.tokens.assign(tokens.begin(), tokens.end());
  const size_t block = block_tokens();
  for (size_t at = 0; at < tokens.size();) {
    const size_t count = std::min(block, tokens.size() - at);
    if (count < block && count < kFewestInTail) break;
    head.kind = count < block ? ObjectKind::tail : ObjectKind::block;
    head.first = at;
    head.answered = at + count / 2 >= prompt;
    KVS_TRY(keep_object(head, tokens.subspan(at, count), cells_at, kept));
    head.parent = head.own;
    at += count;
    kept.stored = at;
  }
  return kept;
}

Result<Bank::Kept> Bank::keep(std::string_view tenant, const KvView& cells, size_t prompt) const {
  return within_memory([&]() -> Result<Kept> {
    KVS_TRY(check_kept(cells, coder_));
    return keep_all(tenant, cells.tokens, prompt, [&](size_t first, size_t count) {
      return Result<KvView>(cells.slice(first, count));
    });
  });
}

// A line is decoded piece by piece: blocks of both banks may differ in length.
Result<size_t> Bank::take_over(const Line& line, const Bank& other, std::string_view tenant) const {
  return within_memory([&]() -> Result<size_t> {
    std::vector<Object> objects;
    std::vector<int32_t> tokens;
    size_t prompt = tokens_of(line);
    for (const Entry& entry : line) {
      KVS_ASSIGN(Object object, store_.get(entry.head.own));
      if (entry.head.answered) prompt = std::min<size_t>(prompt, entry.head.first);
      tokens.insert(tokens.end(), object.tokens.begin(), object.tokens.end());
      objects.push_back(std::move(object));
    }
    KvBlock<uint16_t> part;
    const auto cells_at = [&](size_t first, size_t count) -> Result<KvView> {
      part = KvBlock<uint16_t>(coder_.shape, Space::cached, first, count);
      std::copy_n(tokens.begin() + ptrdiff_t(first), count, part.tokens.begin());
      for (const Object& object : objects) {
        const size_t begin = object.head.first, end = begin + object.tokens.size();
        if (end <= first || begin >= first + count) continue;
        KVS_TRY(decode_object(object, other.coder_, place_of(part, count), first));
      }
      return part.view();
    };
    KVS_ASSIGN(const Kept kept, keep_all(tenant, tokens, prompt, cells_at));
    return kept.stored;
  });
}

}  // namespace kvsplice::store

#include "serve/slot_trial.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/file.h"
#include "host/state_rows.h"
#include "store/chain.h"

namespace kvsplice::serve {

namespace {

constexpr int kNext = 8;  // tokens that must come out the same
constexpr size_t kMost =
    96;  // tokens of the prompt: an 8B model reads them in seconds on two cores
constexpr size_t kLookedAt = 24;  // first tokens whose cells tell one server from another

// Any text will do; it has few words in common with what people ask.
const char* const kText =
    "The lighthouse keeper wrote down the weather every evening: wind from the north-west, a low "
    "sky, "
    "two fishing boats at anchor behind the mole. On the third day the barometer fell, the gulls "
    "came "
    "inland, and he carried oil up the ninety-one steps before he sat down to his supper. Nobody "
    "had "
    "asked him for the book, but he kept it, because his father had kept it, and because";

Error unfit(const std::string& why) { return {ErrorKind::unsupported, why}; }

struct Seen {
  Bytes bytes;
  host::StateBlob blob;
  host::StateTarget target;
};

Result<Seen> read_slot(const std::string& path, const ModelShape& shape) {
  Seen seen;
  KVS_ASSIGN(seen.bytes, read_file(path));
  KVS_ASSIGN(seen.blob, host::parse_state(seen.bytes, host::hints_of(shape)));
  KVS_ASSIGN(seen.target, host::target_like(seen.blob, shape));
  return seen;
}

// The slot's cells, read and written by us.
Result<> rewrite(const Seen& seen, const ModelShape& shape, const std::string& path) {
  KVS_ASSIGN(const host::StateCells state, host::to_cells(seen.blob, shape, seen.blob.tokens));
  KVS_ASSIGN(const Bytes bytes, host::to_state(state.cells, {}, shape, seen.target));
  return write_file(path, bytes);
}

}  // namespace

std::string why_never(const ModelShape& shape) {
  if (shape.longest_window() > 0) {
    return "layers with a sliding window: slot files hold too little of them to go on from";
  }
  if (shape.hybrid()) {
    return "recurrent layers: of their state slot files hold only the last one";
  }
  return {};
}

Result<SlotTrial> try_slots(const Upstream& upstream, int slots, const std::string& folder,
                            const ModelShape& shape) {
  if (const std::string why = why_never(shape); !why.empty()) return unfit(why);
  const int other = slots > 1 ? 1 : 0;
  KVS_ASSIGN(std::vector<int32_t> prompt, upstream.tokens_of(kText));
  prompt.resize(std::min(prompt.size(), kMost));
  KVS_TRY(upstream.erase(0));
  KVS_TRY(upstream.complete(0, prompt, 1));
  // Again, from its own cache: so the last token is evaluated alone, as it is behind a restore.
  KVS_ASSIGN(const auto wanted, upstream.complete(0, prompt, kNext));
  const std::string saved = "self-test-saved", back = "self-test-back";
  const auto path_of = [&](const std::string& name) {
    return (std::filesystem::path(folder) / name).string();
  };
  const auto done = upstream.save(0, saved);
  if (!done.ok()) return unfit(done.error().message);
  const auto seen = read_slot(path_of(saved), shape);
  if (!seen.ok()) {
    return unfit(std::filesystem::exists(path_of(saved))
                     ? "its slot file: " + seen.error().message
                     : fmt::format("the folder {} is not the server's --slot-save-path", folder));
  }
  KVS_TRY(rewrite(*seen, shape, path_of(back)));
  KVS_TRY(upstream.erase(0));
  KVS_ASSIGN(const auto restored, upstream.restore(other, back));
  KVS_ASSIGN(const auto got, upstream.complete(other, prompt, kNext));
  std::error_code ignored;
  for (const auto& name : {saved, back}) std::filesystem::remove(path_of(name), ignored);
  for (const int slot : {0, other}) KVS_TRY(upstream.erase(slot));
  if (restored.tokens < prompt.size())
    return unfit("the server restores fewer tokens than it saved");
  if (got.cached + 1 < prompt.size()) {
    return unfit(
        fmt::format("the server evaluates restored tokens again: it took {} of {} from the "
                    "cache",
                    got.cached, prompt.size()));
  }
  if (got.tokens != wanted.tokens) {
    return unfit("other tokens follow restored cells than followed the ones it computed");
  }
  KVS_ASSIGN(const host::StateCells cells, host::to_cells(seen->blob, shape, seen->blob.tokens));
  const KvView first = cells.cells.slice(0, std::min(kLookedAt, cells.cells.count()));
  const host::StateTarget& target = seen->target;
  return SlotTrial{target, store::settings_of(name(target.key_type), name(target.value_type)),
                   convert<uint16_t>(first, shape, Space::cached)};
}

}  // namespace kvsplice::serve

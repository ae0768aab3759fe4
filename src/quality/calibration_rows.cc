#include "quality/calibration_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/bytes.h"

namespace kvsplice::quality {

namespace {

constexpr size_t kSequencesPerDump = 4;

// Whether a dump holds queries, by its number: some of every text, then every fourth.
bool holds_queries(size_t dump) { return dump < 4 || dump % 4 == 0; }

}  // namespace

std::string hash_of(const host::Model& model, std::span<const extract::Sequence> sequences) {
  ByteWriter content;
  for (const auto& s : sequences) {
    content.put_varint(s.tokens.size());
    content.put_array(std::span<const int32_t>(s.tokens));
  }
  const std::string& fingerprint = model.shape().fingerprint;
  content.put_bytes({reinterpret_cast<const uint8_t*>(fingerprint.data()), fingerprint.size()});
  return hash128_hex(content.bytes()).substr(0, 16);
}

Result<std::vector<extract::Sequence>> spread_sequences(const host::Model& model,
                                                        const std::vector<std::string>& texts,
                                                        size_t tokens, size_t length) {
  if (texts.empty()) return Error{ErrorKind::usage, "no text is given"};
  if (length < 1) return Error{ErrorKind::usage, "sequences of 0 tokens; at least 1 is needed"};
  const size_t wanted = std::max<size_t>(1, tokens / texts.size() / length);
  std::vector<std::vector<extract::Sequence>> of_text;
  for (const std::string& path : texts) {
    KVS_ASSIGN(const extract::Sequence whole, extract::read_sequence(model, path));
    const size_t all = whole.tokens.size(), count = std::min(wanted, all / length);
    if (count == 0) {
      return Error{ErrorKind::usage,
                   fmt::format("{} has {} tokens, a sequence needs {}", path, all, length)};
    }
    auto& made = of_text.emplace_back();
    for (size_t i = 0; i < count; ++i) {
      const auto first =
          whole.tokens.begin() + ptrdiff_t(i * length + (all - count * length) * i / count);
      made.push_back({whole.text, whole.hash, {first, first + ptrdiff_t(length)}});
      if (model.adds_bos()) made.back().tokens[0] = model.bos();
    }
  }
  std::vector<extract::Sequence> sequences;
  for (size_t turn = 0; turn < wanted; ++turn) {
    for (auto& one : of_text) {
      if (turn < one.size()) sequences.push_back(std::move(one[turn]));
    }
  }
  return sequences;
}

Result<std::vector<std::string>> dump_sequences(const host::Model& model,
                                                const std::vector<extract::Sequence>& sequences,
                                                bool queries, const std::string& folder,
                                                int threads, const Progress& progress) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return Error{ErrorKind::io, fmt::format("{}: {}", folder, failed.message())};
  extract::ExtractOptions options;
  options.keys_after_rope = false;
  options.threads = threads;
  std::vector<std::string> paths;
  for (size_t first = 0; first < sequences.size(); first += kSequencesPerDump) {
    const std::span part =
        std::span(sequences).subspan(first, std::min(kSequencesPerDump, sequences.size() - first));
    const std::string hash = hash_of(model, part);
    const auto path = [&](const char* what) {
      return (std::filesystem::path(folder) / fmt::format("{}-{}.gguf", what, hash)).string();
    };
    const std::string more = path("rows-and-queries");
    options.queries = queries && holds_queries(first / kSequencesPerDump);
    const bool has_more = std::filesystem::exists(more, failed);
    paths.push_back(options.queries || has_more ? more : path("rows"));
    KVS_TRY(progress.step("extract", first, sequences.size()));
    if (std::filesystem::exists(paths.back(), failed)) continue;
    const std::vector<extract::Sequence> some(part.begin(), part.end());
    const auto at_this_place = [&](const std::string&, size_t, size_t) {
      return progress.step("extract", first, sequences.size()).ok();
    };
    KVS_TRY(extract::extract(model, some, options, paths.back(), {at_this_place}));
  }
  return paths;
}

}  // namespace kvsplice::quality

#include "calibrate/calibration_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/bytes.h"
#include "core/threads.h"

namespace kvsplice::calibrate {

namespace {

constexpr size_t kSequencesPerDump = 4;

// Whether a dump holds queries, by its number: some of every text, then every fourth.
bool holds_queries(size_t dump) { return dump < 4 || dump % 4 == 0; }

// With queries, or where others have wanted them already.
std::string path_of_dump(const std::string& folder, const std::string& hash, bool queries) {
  const std::filesystem::path in = folder;
  const std::string more = (in / fmt::format("rows-and-queries-{}.gguf", hash)).string();
  std::error_code unknown;
  if (queries || std::filesystem::exists(more, unknown)) return more;
  return (in / fmt::format("rows-{}.gguf", hash)).string();
}

Result<> dump(const host::Model& model, std::span<const extract::Sequence> part,
              const extract::ExtractOptions& options, const std::string& path,
              const Progress& progress) {
  KVS_TRY(progress.step("", 0, 1));
  const std::vector<extract::Sequence> sequences(part.begin(), part.end());
  KVS_TRY(extract::extract(model, sequences, options, path, progress));
  return {};
}

// Sequences spread evenly over a text that make up `tokens`, or all that it has; at least one, if
// it is long enough.
std::vector<extract::Sequence> cut(const host::Model& model, const extract::Sequence& text,
                                   size_t tokens, size_t length) {
  const size_t all = text.tokens.size();
  const size_t count = std::min(std::max<size_t>(1, tokens / length), all / length);
  std::vector<extract::Sequence> made;
  for (size_t i = 0; i < count; ++i) {
    const auto first =
        text.tokens.begin() + ptrdiff_t(i * length + (all - count * length) * i / count);
    made.push_back({text.text, text.hash, {first, first + ptrdiff_t(length)}});
    if (model.adds_bos()) made.back().tokens[0] = model.bos();
  }
  return made;
}

// Side by side: tokenizing takes a second for every megabyte or two.
Result<std::vector<extract::Sequence>> read_sequences(const host::Model& model,
                                                      const std::vector<std::string>& texts) {
  std::vector<extract::Sequence> read(texts.size());
  KVS_TRY(parallel_try(texts.size(), [&](size_t i) -> Result<> {
    KVS_ASSIGN(read[i], extract::read_sequence(model, texts[i]));
    return {};
  }));
  return read;
}

std::string count_of(const std::vector<extract::Sequence>& texts) {
  return texts.size() == 1 ? texts[0].text : fmt::format("{} texts", texts.size());
}

extract::Sequence joined(const std::vector<extract::Sequence>& texts) {
  extract::Sequence all{count_of(texts), {}, {}};
  std::string hashes;
  for (const auto& text : texts) {
    all.tokens.insert(all.tokens.end(), text.tokens.begin(), text.tokens.end());
    hashes += text.hash;
  }
  all.hash = hash128_hex({reinterpret_cast<const uint8_t*>(hashes.data()), hashes.size()});
  return all;
}

// The first of every text, then the second of every text, ...
void take_turns(std::vector<std::vector<extract::Sequence>>& of_text,
                std::vector<extract::Sequence>& out) {
  size_t most = 0;
  for (const auto& one : of_text) most = std::max(most, one.size());
  for (size_t turn = 0; turn < most; ++turn) {
    for (auto& one : of_text) {
      if (turn < one.size()) out.push_back(std::move(one[turn]));
    }
  }
}

}  // namespace

std::string hash_of(const host::Model& model, std::span<const extract::Sequence> sequences) {
  ByteWriter content;
  for (const auto& s : sequences) {
    content.put_varint(s.tokens.size());
    content.put_array(std::span<const int32_t>(s.tokens));
  }
  // Dumps of such models have not always held what they hold now.
  const auto extraordinary = [](const Scoring& of) { return of != Scoring(); };
  if (std::ranges::any_of(model.scoring(), extraordinary)) content.put_varint(1);
  if (model.shape().lacks_values()) content.put_varint(3);
  if (model.options().context > 0) content.put_varint(2);  // it turns by another table
  const std::string& fingerprint = model.shape().fingerprint;
  content.put_bytes({reinterpret_cast<const uint8_t*>(fingerprint.data()), fingerprint.size()});
  return hash128_hex(content.bytes()).substr(0, 16);
}

Result<Spread> spread_sequences(const host::Model& model, const std::vector<std::string>& texts,
                                size_t tokens, size_t length) {
  if (texts.empty()) return Error{ErrorKind::usage, "no text is given"};
  if (length < 1) return Error{ErrorKind::usage, "sequences of 0 tokens; at least 1 is needed"};
  const size_t share = tokens / texts.size();
  std::vector<std::vector<extract::Sequence>> of_text;
  std::vector<extract::Sequence> shorter;
  KVS_ASSIGN(std::vector<extract::Sequence> wholes, read_sequences(model, texts));
  for (extract::Sequence& whole : wholes) {
    if (whole.tokens.size() < length) {
      shorter.push_back(std::move(whole));
    } else {
      of_text.push_back(cut(model, whole, share, length));
    }
  }
  Spread spread;
  if (!shorter.empty()) {
    const extract::Sequence all = joined(shorter);
    of_text.push_back(cut(model, all, share * shorter.size(), length));
    if (of_text.size() == 1 && of_text[0].empty()) {
      return Error{ErrorKind::usage,
                   fmt::format("{} has {} tokens, a sequence needs {}",
                               texts.size() == 1 ? texts[0] : all.text, all.tokens.size(), length)};
    }
    spread.note = fmt::format("{} with fewer than {} tokens {}", count_of(shorter), length,
                              of_text.back().empty() ? "left out" : "joined");
  }
  take_turns(of_text, spread.sequences);
  return spread;
}

Result<std::vector<std::string>> dump_sequences(const host::Model& model,
                                                const std::vector<extract::Sequence>& sequences,
                                                bool queries, const std::string& folder,
                                                int threads, const sweep::Team& team,
                                                const Progress& progress) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return Error{ErrorKind::io, fmt::format("{}: {}", folder, failed.message())};
  extract::ExtractOptions options;
  options.keys_after_rope = false;
  options.threads = threads;
  std::vector<std::string> paths;
  std::vector<sweep::Job> jobs;
  for (size_t first = 0; first < sequences.size(); first += kSequencesPerDump) {
    const size_t count = std::min(kSequencesPerDump, sequences.size() - first);
    const std::span part = std::span(sequences).subspan(first, count);
    options.queries = queries && holds_queries(first / kSequencesPerDump);
    const std::string path = path_of_dump(folder, hash_of(model, part), options.queries);
    const auto work = [&model, &progress, part, options, path, first, all = sequences.size()] {
      const auto at_this_place = [&](const std::string&, size_t, size_t) {
        return progress.step("extract", first, all).ok();
      };
      return dump(model, part, options, path, {at_this_place});
    };
    jobs.push_back(sweep::job_of_file(path, work));
    paths.push_back(path);
  }
  KVS_TRY(team.share(folder, jobs, progress));
  return paths;
}

}  // namespace kvsplice::calibrate

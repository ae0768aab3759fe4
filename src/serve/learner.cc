#include "serve/learner.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "calibrate/default_pipeline.h"
#include "calibrate/target.h"
#include "fit/fit_codec.h"
#include "serve/divergence.h"
#include "serve/stored_rows.h"
#include "store/cells.h"

namespace kvsplice::serve {

namespace {

constexpr size_t kSinks = 4;
constexpr size_t kMostHeld = 4;                          // conversations
constexpr size_t kFewestHeld = 128, kHeldTokens = 1024;  // tokens of each
constexpr size_t kPredictions = 48;                      // of all together
constexpr double kFactors[] = {2, 1.4, 1, 0.7, 0.5};     // of the default pipeline's step

// What of the default pipeline needs neither queries nor gradients.
Result<codec::CodecText> pipeline_for(const ModelShape& shape) {
  KVS_ASSIGN(codec::CodecText text, codec::parse_codec(calibrate::default_pipeline(shape)));
  return codec::without("focus", codec::without("fisher", std::move(text)));
}

// The cells of the first n tokens as a restore brings them back: whole blocks, then a tail.
Result<KvBlock<uint16_t>> through_codec(const KvView& cells, const session::Coder& coder) {
  const size_t block = coder.codec->block_tokens(), n = cells.count();
  KvBlock<uint16_t> out(coder.shape, Space::cached, 0, n);
  std::copy(cells.tokens.begin(), cells.tokens.end(), out.tokens.begin());
  for (size_t at = 0; at < n; at += block) {
    const size_t count = std::min(block, n - at);
    const KvView part = cells.slice(at, count);
    KVS_ASSIGN(const Bytes bytes, store::write_cells(part, count < block, coder, {}));
    KVS_ASSIGN(const auto stored, store::StoredCells::parse(bytes, part.tokens, at));
    KVS_TRY(stored.decode(coder, place_of(out, n)));
  }
  return out;
}

// Lengths of `count` prefixes spread over the second half of n tokens.
std::vector<size_t> prefixes(size_t n, size_t count) {
  std::vector<size_t> lengths;
  for (size_t i = 0; i < count; ++i) lengths.push_back(n / 2 + (n - n / 2 - 1) * i / count);
  return lengths;
}

}  // namespace

Learner::Learner(const store::Store& store, std::vector<store::Hash> roots, session::Coder coder,
                 LearnOptions options)
    : store_(store), roots_(std::move(roots)), coder_(std::move(coder)), options_(options) {}

bool Learner::is_ours(const store::Entry& entry) const {
  return std::count(roots_.begin(), roots_.end(), entry.head.root) > 0;
}

Result<size_t> Learner::tokens() const {
  size_t tokens = 0;
  for (const store::Hash& root : roots_) {
    KVS_ASSIGN(const store::Totals totals, store_.totals_of(root));
    tokens += totals.tokens;
  }
  return tokens;
}

// A few of the shorter conversations are held out whole; what others share with them, too.
Learner::Parts Learner::divide(const std::vector<store::Line>& lines) const {
  Parts parts;
  std::set<store::Hash> begun, held;
  const size_t wanted = std::max<size_t>(1, std::min(kMostHeld, lines.size() / 4));
  for (auto line = lines.rbegin(); line != lines.rend() && parts.held.size() < wanted; ++line) {
    if (store::tokens_of(*line) < kFewestHeld) continue;
    if (begun.insert(line->front().head.own).second) parts.held.push_back(*line);
  }
  for (const store::Line& line : parts.held) {
    for (const store::Entry& entry : line) held.insert(entry.head.own);
  }
  std::set<store::Hash> taken;
  size_t tokens = 0;
  for (const store::Line& line : lines) {
    for (const store::Entry& entry : line) {
      if (held.contains(entry.head.own) || !taken.insert(entry.head.own).second) continue;
      if (tokens >= options_.most_tokens) return parts;
      parts.fit.push_back(entry.head.own);
      tokens += entry.head.count;
    }
  }
  return parts;
}

Result<Learner::Costs> Learner::costs_behind(const Laboratory& at, const KvView& exact,
                                             std::span<const int32_t> tokens,
                                             const session::Coder& coder) const {
  const Predictor predictor(at.upstream, at.slot, at.folder, coder_.shape, at.target);
  KVS_ASSIGN(const auto wanted, predictor.behind(exact, tokens));
  KVS_ASSIGN(const auto coded, through_codec(exact, coder));
  KVS_ASSIGN(const auto got, predictor.behind(coded, tokens));
  KVS_ASSIGN(const auto rough, predictor.behind(through_q4_0(exact, coder_.shape), tokens));
  return Costs{divergence(wanted, got), divergence(wanted, rough)};
}

// A slot is borrowed for one prediction at a time, so that clients wait for a moment only.
Result<> Learner::judge(const Borrow& borrow, const std::vector<KvBlock<uint16_t>>& held,
                        const codec::Codec& codec, const Progress& progress, Learnt& learnt) const {
  const session::Coder coder{coder_.shape, &codec, coder_.embeddings};
  Costs sum;
  size_t n = 0;
  const size_t each = kPredictions / std::max<size_t>(held.size(), 1);
  for (const KvBlock<uint16_t>& cells : held) {
    for (const size_t prefix : prefixes(cells.count(), each)) {
      KVS_TRY(progress.step("judge", n, held.size() * each));
      KVS_TRY(borrow([&](const Laboratory& at) -> Result<> {
        KVS_ASSIGN(const Costs costs,
                   costs_behind(at, cells.view().slice(0, prefix),
                                std::span(cells.tokens).first(prefix + 1), coder));
        sum.codec += costs.codec;
        sum.q4_0 += costs.q4_0;
        return {};
      }));
      ++n;
    }
  }
  if (n == 0) return Error{ErrorKind::usage, "no conversation is left to judge by"};
  learnt.kld = sum.codec / double(n);
  learnt.q4_0 = sum.q4_0 / double(n);
  learnt.predictions = n;
  return {};
}

Result<Learnt> Learner::learn(const Borrow& borrow, const Progress& progress) const {
  KVS_ASSIGN(const codec::CodecText text, pipeline_for(coder_.shape));
  KVS_ASSIGN(const auto entries, store_.entries());
  const Parts parts =
      divide(store::lines_of(entries, [&](const store::Entry& e) { return is_ours(e); }));
  KVS_ASSIGN(const StoredRows rows, StoredRows::gather(store_, parts.fit, coder_.shape, kSinks));
  std::vector<KvBlock<uint16_t>> held;
  for (const store::Line& line : parts.held) {
    std::vector<store::Hash> names;
    for (const store::Entry& entry : line) names.push_back(entry.head.own);
    KVS_ASSIGN(auto cells, exact_cells(store_, names, coder_.shape, kHeldTokens));
    held.push_back(std::move(cells));
  }
  Learnt learnt;
  learnt.tokens = rows.tokens().size();
  for (const double factor : kFactors) {
    KVS_ASSIGN(codec::Codec codec,
               codec::fit_codec(calibrate::scale_steps(text, factor), coder_.shape, rows,
                                coder_.embeddings, progress));
    KVS_TRY(judge(borrow, held, codec, progress, learnt));
    if (learnt.kld <= options_.kld.value_or(learnt.q4_0)) {
      learnt.codec = std::make_shared<const codec::Codec>(std::move(codec));
      return learnt;
    }
  }
  return Error{ErrorKind::numeric,
               fmt::format("no codec does as little harm as it must: the best costs {:.4f} nats a "
                           "token, q4_0 {:.4f}",
                           learnt.kld, learnt.q4_0)};
}

}  // namespace kvsplice::serve

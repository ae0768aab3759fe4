#include "generation.h"

#include <fmt/format.h>

#include "terminal.h"

namespace kvsplice::app {

Result<> Generation::restore() {
  const Stopwatch watch;
  auto tokens = archive_.fill(context_);
  if (!tokens.ok() && context_.size() == 0) tokens_.clear();
  KVS_ASSIGN(tokens_, std::move(tokens));
  restored_ = {context_.size(), watch.seconds()};
  return {};
}

void Generation::add(std::span<const host::Token> tokens) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void Generation::clear() {
  context_.clear();
  tokens_.clear();
}

Result<> Generation::evaluate() {
  const Stopwatch watch;
  if (context_.size() == tokens_.size()) KVS_TRY(context_.truncate(tokens_.size() - 1));
  constexpr size_t kPiece = 512;  // between two looks at Ctrl-C
  while (context_.size() < tokens_.size() && !interrupted()) {
    const size_t at = context_.size();
    const size_t n = until_checkpoint(at, std::min(kPiece, tokens_.size() - at), a_.checkpoint);
    KVS_TRY(context_.decode(std::span(tokens_).subspan(at, n), at + n == tokens_.size() ? 1 : 0));
    evaluated_.tokens += n;
    KVS_TRY(archive_.note(context_));
  }
  evaluated_.seconds += watch.seconds();
  return {};
}

Result<> Generation::generate(size_t most) {
  const Stopwatch watch;
  stopped_for_room_ = false;
  const auto done = add_tokens(most);
  generated_.seconds += watch.seconds();
  return done;
}

Result<> Generation::add_tokens(size_t most) {
  for (size_t made = 0; made < most && !interrupted();) {
    KVS_ASSIGN(const host::Token token, sampler_.sample(context_.logits(0), tokens_));
    if (model_.ends_generation(token) && !a_.ignore_end) break;
    stopped_for_room_ = room_left() == 0;
    if (stopped_for_room_) break;
    tokens_.push_back(token);
    ++generated_.tokens;
    put_out(model_.piece(token));
    if (++made == most) break;  // the last token waits for what comes next
    KVS_TRY(context_.decode(std::span(tokens_).last(1), 1));
    KVS_TRY(archive_.note(context_));
  }
  return {};
}

std::string Generation::describe_restoring() const {
  return fmt::format("restored {} tokens in {:.2f} s ({:.0f}/s)", restored_.tokens,
                     restored_.seconds, restored_.rate());
}

std::string Generation::describe_speed() const {
  return fmt::format(
      "evaluated {} tokens in {:.2f} s ({:.0f}/s), generated {} in {:.2f} s ({:.1f}/s)",
      evaluated_.tokens, evaluated_.seconds, evaluated_.rate(), generated_.tokens,
      generated_.seconds, generated_.rate());
}

std::string Generation::describe_cache() const {
  const double f16 = model_.shape().f16_bytes(context_.size());
  const auto bytes = double(context_.cache_bytes());
  const auto cells = context_.live_cells();
  if (!cells) {
    return fmt::format("cache: {:.3f} MB for up to {} tokens, {:g} bits a value", bytes / 1e6,
                       room_.tokens, host::bits_per_value(context_.cache_type()));
  }
  return fmt::format("cache: {:.3f} MB for {} tokens, {:.2f} times smaller than f16", bytes / 1e6,
                     context_.size(), f16 / bytes);
}

std::vector<std::string> Generation::statistics() const {
  std::vector<std::string> lines = {
      fmt::format("{} tokens; room for {} more ({})", tokens_.size(), room_left(),
                  room_.bounded_by),
      describe_cache(),
      fmt::format("f16 would take {:.3f} MB", model_.shape().f16_bytes(context_.size()) / 1e6)};
  if (const auto cells = context_.live_cells(); cells && cells->tokens > 0) {
    lines.push_back(fmt::format(
        "{} tokens are coded, in {:.2f} bits a value; sinks and window are {:.3f} MB",
        cells->tokens, 16 * double(cells->coded) / double(cells->f16), double(cells->exact) / 1e6));
  }
  lines.push_back(describe_speed());
  return lines;
}

}  // namespace kvsplice::app

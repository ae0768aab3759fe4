#include "quality/quality.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/same_cache.h"
#include "quality/run.h"

namespace kvsplice::quality {

namespace {

constexpr int kLlamaStep = 512;  // llama-perplexity's micro-batch
constexpr int kCodecStep = 32;

int step_of(const Subject& subject, const Options& options) {
  if (subject.type) return std::min(kLlamaStep, options.n_ctx);
  if (options.step > 0) return std::min(options.step, options.n_ctx);
  const bool whole = subject.codec != nullptr && subject.codec->whole_block();
  return std::min(options.n_ctx, whole ? std::max(1, options.n_ctx / 2) : kCodecStep);
}

Error out_of_range(const char* name, int value, const std::string& allowed) {
  return {ErrorKind::usage, fmt::format("{} = {} is not allowed; legal: {}", name, value, allowed)};
}

Result<> check(const host::Model& model, size_t tokens, const std::vector<Subject>& subjects,
               const Options& o) {
  if (o.n_ctx < 8) return out_of_range("ctx", o.n_ctx, "8 or more");
  if (o.n_ctx > model.context_limit()) {
    return out_of_range(
        "ctx", o.n_ctx,
        fmt::format("at most {}, what the model was trained for", model.context_limit()));
  }
  if (o.chunks < 1) return out_of_range("chunks", o.chunks, "1 or more");
  if (o.skip_chunks < 0) return out_of_range("skip-chunks", o.skip_chunks, "0 or more");
  if (o.sinks < 0 || o.sinks >= o.n_ctx) {
    return out_of_range("sinks", o.sinks, fmt::format("0 ... {}", o.n_ctx - 1));
  }
  if (o.window < 0 || o.window >= o.n_ctx) {
    return out_of_range("window", o.window, fmt::format("0 ... {}", o.n_ctx - 1));
  }
  const size_t needed = size_t(o.skip_chunks + o.chunks) * size_t(o.n_ctx);
  if (tokens < needed) {
    return Error{ErrorKind::usage,
                 fmt::format("the text has {} tokens; {} chunks of {} after {} skipped need {}",
                             tokens, o.chunks, o.n_ctx, o.skip_chunks, needed)};
  }
  for (const Subject& s : subjects) {
    if (s.codec == nullptr) continue;
    KVS_TRY(same_cache(s.name + " was fitted for", s.codec->shape(), "the model at hand",
                       model.shape()));
  }
  return {};
}

// Subjects evaluated in steps of one size, behind their f16 base.
struct Group {
  int step;
  std::vector<Run> runs;  // the first is the base

  size_t steps(size_t tokens) const { return (tokens + size_t(step) - 1) / size_t(step); }
};

struct Work {
  const Progress& progress;
  size_t done = 0, total = 0;

  Result<> next(const std::string& name) {
    return progress.step("quality of " + name, done++, total);
  }
};

// All runs of a group go through a chunk step by step, side by side.
Result<> evaluate(Group& group, std::span<const host::Token> chunk,
                  std::span<const host::Token> targets, Work& work) {
  for (Run& run : group.runs) run.begin();
  for (size_t step = 0; step < group.steps(chunk.size()); ++step) {
    for (Run& run : group.runs) {
      KVS_TRY(work.next(run.name()));
      const Run* base = &run == &group.runs[0] ? nullptr : &group.runs[0];
      const auto done = run.step(chunk, targets, base);
      if (!done.ok()) return Error{done.error().kind, run.name() + ": " + done.error().message};
    }
  }
  for (Run& run : group.runs) KVS_TRY(run.end(chunk));
  return {};
}

Result<std::vector<Group>> make_groups(const host::Model& model,
                                       const std::vector<Subject>& subjects,
                                       const Options& options) {
  std::vector<Group> groups;
  auto group_of = [&](int step) -> Result<Group*> {
    for (Group& g : groups) {
      if (g.step == step) return &g;
    }
    const bool first = groups.empty();
    const std::string name = first ? "f16" : fmt::format("f16 (step {})", step);
    KVS_ASSIGN(Run base, Run::create(model, {name, host::CacheType::f16, nullptr}, step, options));
    groups.push_back({step, {}});
    groups.back().runs.push_back(std::move(base));
    return &groups.back();
  };
  const Subject llama{"f16", host::CacheType::f16, nullptr};
  KVS_TRY(group_of(step_of(llama, options)));
  for (const Subject& subject : subjects) {
    if (subject.type == host::CacheType::f16) continue;  // it is the base
    const int step = step_of(subject, options);
    KVS_ASSIGN(Group * group, group_of(step));
    KVS_ASSIGN(Run run, Run::create(model, subject, step, options));
    group->runs.push_back(std::move(run));
  }
  return groups;
}

}  // namespace

Result<std::vector<Outcome>> measure(const host::Model& model, std::span<const host::Token> tokens,
                                     const std::vector<Subject>& subjects, const Options& options,
                                     const Progress& progress) {
  KVS_TRY(check(model, tokens.size(), subjects, options));
  KVS_ASSIGN(std::vector<Group> groups, make_groups(model, subjects, options));
  const size_t n = size_t(options.n_ctx), chunks = size_t(options.chunks);
  Work work{progress};
  for (const Group& g : groups) work.total += chunks * g.steps(n) * g.runs.size();
  for (size_t c = 0; c < chunks; ++c) {
    const auto text = tokens.subspan((size_t(options.skip_chunks) + c) * n, n);
    std::vector<host::Token> chunk(text.begin(), text.end());
    if (model.adds_bos()) chunk[0] = model.bos();
    for (Group& group : groups) KVS_TRY(evaluate(group, chunk, text.subspan(n / 2 + 1), work));
  }
  std::vector<Outcome> outcomes;
  for (const Group& group : groups) {
    for (const Run& run : group.runs) outcomes.push_back(run.outcome());
  }
  return outcomes;
}

}  // namespace kvsplice::quality

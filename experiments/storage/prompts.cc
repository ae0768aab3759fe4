#include "experiments/storage/prompts.h"

#include <fmt/format.h>

#include <algorithm>

#include "quality/retrieval.h"

namespace kvsplice::experiment::storage {

namespace {

using quality::Agreement;
using quality::StoredPrompt;
using Tokens = std::vector<host::Token>;

// Restores one prompt in every cache in turn. What is computed exactly is computed once.
class Prompts {
 public:
  Prompts(const Ground& ground, Tokens tokens, size_t room)
      : ground_(ground), tokens_(std::move(tokens)) {
    options_.room = room;
    options_.sinks = size_t(ground.options.sinks);
    options_.threads = ground.options.threads;
    options_.live_options.sinks = options_.sinks;
  }

  // The prompt as the cache brings it back, and the f16 bytes over its bytes.
  Result<StoredPrompt*> restored(const Cache& cache, double& ratio) {
    const auto type = cache.type.value_or(host::CacheType::f16);
    if (!prompt_ || options_.cache != type || options_.live != cache.live) {
      options_.cache = type;
      options_.live = cache.live;
      prompt_.reset();  // one context at a time
      KVS_ASSIGN(prompt_, StoredPrompt::evaluate(ground_.model, tokens_, options_));
    }
    KVS_ASSIGN(const auto codec, codec_of(ground_, cache));
    KVS_ASSIGN(const size_t bytes, prompt_->restore(codec.get()));
    const double row = double(ground_.model.shape().f16_bytes_per_token());
    if (const auto cells = prompt_->context().live_cells()) {
      ratio = row * double(tokens_.size()) / double(cells->coded + cells->exact);
      return &*prompt_;
    }
    ratio = codec ? row * double(tokens_.size()) / (double(bytes) + row * double(options_.sinks))
                  : 16 / host::bits_per_value(type);
    return &*prompt_;
  }

 private:
  const Ground& ground_;
  Tokens tokens_;
  quality::PromptOptions options_;
  std::optional<StoredPrompt> prompt_;
};

void add(Restored& row, double depth, const Agreement& a) {
  row.depth.push_back(depth);
  row.tokens.push_back(a.tokens);
  row.until_divergence.push_back(a.until_divergence);
  row.share.push_back(a.share);
  row.log_prob.push_back(a.log_prob);
}

// A codec may have the name of a cache type: f16.
std::string key_of(const Ground& ground, const Cache& cache) {
  const bool learns = cache.text && cache.learns;
  if (cache.live) return "live " + cache.live->codec();
  const std::string what = cache.text ? "codec " + codec::print(*cache.text) : cache.method;
  return (learns ? ground.calibrated + "/" : "") + what;
}

std::vector<Cache> missing(const Ground& ground, std::span<const Cache> caches,
                           const std::string& prefix, Journal<Restored>& journal) {
  std::vector<Cache> some;
  for (const Cache& cache : caches) {
    if (!journal.has(prefix + key_of(ground, cache))) some.push_back(cache);
  }
  return some;
}

// A prompt, and the caches that are restored behind one evaluation of it.
struct Group {
  std::string prefix;  // of keys of the journal
  std::span<const Cache> caches;
  std::function<Result<>(const Group&, const std::vector<Cache>& missing)> measure;
};

// The codecs first, so that all processes of a team have something to fit.
Result<std::vector<Restored>> measure_groups(const Ground& ground, const std::vector<Group>& groups,
                                             Journal<Restored>& journal) {
  std::vector<Fit> fits;
  std::vector<sweep::Job> jobs;
  for (const Group& group : groups) {
    const auto missing_of = [&] { return missing(ground, group.caches, group.prefix, journal); };
    for (const Cache& cache : missing_of()) {
      if (const auto fit = fit_of(ground, cache)) fits.push_back(*fit);
    }
    jobs.push_back({group.prefix + key_of(ground, group.caches[0]),
                    [missing_of] { return missing_of().empty(); },
                    [missing_of, &group] { return group.measure(group, missing_of()); }});
  }
  KVS_TRY(make_fits(ground, fits));
  KVS_TRY(ground.team.share(ground.dir, jobs, ground.progress));
  std::vector<Restored> all;
  for (const Group& group : groups) {
    for (const Cache& cache : group.caches) {
      all.push_back(*journal.find(group.prefix + key_of(ground, cache)));
    }
  }
  return all;
}

Result<> ask(const Ground& ground, const quality::RetrievalTask& task, size_t tokens,
             const std::vector<Cache>& caches, const std::string& prefix,
             Journal<Restored>& journal) {
  Prompts prompts(ground, task.prompt, quality::room_for(task));
  for (size_t i = 0; i < caches.size(); ++i) {
    KVS_TRY(ground.progress.step("retrieval", i, caches.size()));
    Restored row;
    row.cache = caches[i].name();
    row.prompt_tokens = tokens;
    row.pairs = task.pairs;
    KVS_ASSIGN(StoredPrompt * prompt, prompts.restored(caches[i], row.ratio));
    KVS_ASSIGN(const auto answers, quality::answer(*prompt, task));
    for (size_t q = 0; q < answers.size(); ++q) add(row, task.questions[q].depth, answers[q]);
    KVS_TRY(journal.add(prefix + key_of(ground, caches[i]), row));
  }
  return {};
}

}  // namespace

Result<std::vector<Restored>> measure_retrieval(const Ground& ground) {
  constexpr size_t kTogether = 5;  // caches
  const Options& o = ground.options;
  KVS_ASSIGN(auto journal, Journal<Restored>::open(ground.dir / "retrieval.jsonl"));
  KVS_ASSIGN(const auto caches, prompt_caches(o));
  std::vector<Group> groups;
  for (int tokens : o.retrieval_tokens) {
    for (int seed = 0; seed < o.retrieval_prompts; ++seed) {
      const std::string prefix =
          fmt::format("{}/tokens{}/questions{}/seed{}/sinks{}/", ground.model.shape().fingerprint,
                      tokens, o.retrieval_questions, seed, o.sinks);
      const auto measure = [&, tokens, seed](const Group& group,
                                             const std::vector<Cache>& some) -> Result<> {
        KVS_ASSIGN(const auto task,
                   quality::make_retrieval_task(ground.model, size_t(tokens),
                                                size_t(o.retrieval_questions), uint64_t(seed)));
        return ask(ground, task, size_t(tokens), some, group.prefix, journal);
      };
      for (size_t first = 0; first < caches.size(); first += kTogether) {
        const size_t count = std::min(kTogether, caches.size() - first);
        groups.push_back({prefix, std::span(caches).subspan(first, count), measure});
      }
    }
  }
  return measure_groups(ground, groups, journal);
}

namespace {

// Tokens of a prompt from the text: its last is fed behind the restored rest.
Tokens prompt_of(const Ground& ground, const TestText& text, int number) {
  const size_t length = size_t(ground.options.greedy_prefix);
  const size_t left = text.tokens.size() - length;
  const auto first = text.tokens.begin() +
                     ptrdiff_t(left * size_t(number) / size_t(ground.options.greedy_prompts));
  Tokens tokens(first, first + ptrdiff_t(length));
  if (ground.model.adds_bos()) tokens[0] = ground.model.bos();
  return tokens;
}

Result<> go_on(const Ground& ground, const TestText& text, const Tokens& tokens,
               const std::vector<Cache>& caches, const std::string& prefix,
               Journal<Restored>& journal) {
  const size_t count = size_t(ground.options.greedy_tokens);
  const Tokens before(tokens.begin(), tokens.end() - 1), lead(tokens.end() - 1, tokens.end());
  Prompts prompts(ground, before, count + 1);
  double ratio;
  KVS_ASSIGN(StoredPrompt * exact,
             prompts.restored({"f16", 0, host::CacheType::f16, {}, false}, ratio));
  KVS_ASSIGN(const Tokens reference, quality::continue_greedily(exact->context(), lead, count));
  for (size_t i = 0; i < caches.size(); ++i) {
    KVS_TRY(ground.progress.step("greedy decoding of " + text.name, i, caches.size()));
    Restored row;
    row.cache = caches[i].name();
    row.text = text.name;
    row.prompt_tokens = before.size();
    KVS_ASSIGN(StoredPrompt * prompt, prompts.restored(caches[i], row.ratio));
    KVS_ASSIGN(const auto ratings, quality::follow(prompt->context(), lead, reference));
    add(row, 0, quality::agreement(ratings));
    KVS_TRY(journal.add(prefix + key_of(ground, caches[i]), row));
  }
  return {};
}

}  // namespace

Result<std::vector<Restored>> measure_greedy(const Ground& ground,
                                             const std::vector<TestText>& texts) {
  const Options& o = ground.options;
  KVS_ASSIGN(auto journal, Journal<Restored>::open(ground.dir / "greedy.jsonl"));
  KVS_ASSIGN(auto caches, prompt_caches(o));
  std::erase_if(caches, [](const Cache& cache) { return cache.type == host::CacheType::f16; });
  std::vector<Group> groups;
  for (const TestText& text : texts) {
    for (int number = 0; number < o.greedy_prompts; ++number) {
      const std::string prefix = fmt::format(
          "{}/{}/prefix{}/prompt{}of{}/tokens{}/sinks{}/", ground.model.shape().fingerprint,
          text.hash, o.greedy_prefix, number, o.greedy_prompts, o.greedy_tokens, o.sinks);
      const auto measure = [&, number](const Group& group, const std::vector<Cache>& some) {
        return go_on(ground, text, prompt_of(ground, text, number), some, group.prefix, journal);
      };
      groups.push_back({prefix, caches, measure});
    }
  }
  return measure_groups(ground, groups, journal);
}

}  // namespace kvsplice::experiment::storage

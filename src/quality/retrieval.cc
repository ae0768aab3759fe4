#include "quality/retrieval.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/random.h"
#include "host/texts.h"

namespace kvsplice::quality {

namespace {

using Tokens = std::vector<host::Token>;

// Pieces are tokenised apart, so that a question repeats the tokens of its pair exactly.
Result<Tokens> tokens_of(const host::Model& model, const std::string& text) {
  return host::tokenize(model, text, {.begins = false});
}

std::string random_name(Random& random) {
  std::string name;
  for (size_t length : {8, 4, 4, 4, 12}) {
    if (!name.empty()) name += '-';
    for (size_t i = 0; i < length; ++i) name += "0123456789abcdef"[random.below(16)];
  }
  return name;
}

void append(Tokens& to, const Tokens& more) { to.insert(to.end(), more.begin(), more.end()); }

struct Pair {
  Tokens lead, answer;  // `"key": "` and the value
};

Result<Pair> make_pair(const host::Model& model, Random& random) {
  Pair pair;
  KVS_ASSIGN(pair.lead, tokens_of(model, fmt::format("\"{}\": \"", random_name(random))));
  KVS_ASSIGN(pair.answer, tokens_of(model, random_name(random)));
  return pair;
}

}  // namespace

Result<RetrievalTask> make_retrieval_task(const host::Model& model, size_t tokens, size_t questions,
                                          uint64_t seed) {
  if (questions < 1) return Error{ErrorKind::usage, "0 questions; at least 1 is needed"};
  Random random(seed);
  RetrievalTask task;
  if (model.adds_bos()) task.prompt.push_back(model.bos());
  KVS_ASSIGN(const Tokens intro, tokens_of(model, "Pairs of keys and values:\n"));
  KVS_ASSIGN(const Tokens end, tokens_of(model, "\",\n"));
  append(task.prompt, intro);
  std::vector<Pair> pairs;
  while (true) {
    KVS_ASSIGN(Pair pair, make_pair(model, random));
    const size_t size = pair.lead.size() + pair.answer.size() + end.size();
    if (task.prompt.size() + size > tokens) break;
    for (const Tokens& piece : {pair.lead, pair.answer, end}) append(task.prompt, piece);
    pairs.push_back(std::move(pair));
  }
  if (pairs.size() < questions) {
    return Error{ErrorKind::usage, fmt::format("{} tokens hold {} pairs of keys and values; {} "
                                               "questions need as many",
                                               tokens, pairs.size(), questions)};
  }
  task.pairs = pairs.size();
  for (size_t q = 0; q < questions; ++q) {
    const size_t at = (2 * q + 1) * pairs.size() / (2 * questions);
    const double depth = pairs.size() > 1 ? double(at) / double(pairs.size() - 1) : 0;
    task.questions.push_back({depth, pairs[at].lead, pairs[at].answer});
  }
  return task;
}

size_t room_for(const RetrievalTask& task) {
  size_t room = 0;
  for (const auto& q : task.questions) room = std::max(room, q.lead.size() + q.answer.size());
  return room;
}

Result<std::vector<Agreement>> answer(StoredPrompt& prompt, const RetrievalTask& task) {
  std::vector<Agreement> answers;
  for (const auto& question : task.questions) {
    KVS_TRY(prompt.rewind());
    KVS_ASSIGN(const auto ratings, follow(prompt.context(), question.lead, question.answer));
    answers.push_back(agreement(ratings));
  }
  return answers;
}

}  // namespace kvsplice::quality

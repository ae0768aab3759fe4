// Retrieval of key-value pairs: a prompt of random pairs, then keys of some of them; the value must
// come word for word. Nothing of it can be guessed.
#pragma once

#include <cstdint>
#include <vector>

#include "host/model.h"
#include "quality/follow.h"
#include "quality/stored_prompt.h"

namespace kvsplice::quality {

struct RetrievalTask {
  struct Question {
    double depth;  // of the pair in the prompt: 0 first, 1 last
    std::vector<host::Token> lead, answer;
  };
  std::vector<host::Token> prompt;
  std::vector<Question> questions;
  size_t pairs = 0;
};

// As many pairs as fit into `tokens`; the pairs asked for are spread evenly over them. Keys and
// values look like UUIDs and follow from the seed. Error: fewer pairs than questions.
Result<RetrievalTask> make_retrieval_task(const host::Model& model, size_t tokens, size_t questions,
                                          uint64_t seed);

// Tokens that the longest question and its answer take behind the prompt.
size_t room_for(const RetrievalTask& task);

// Every question behind the restored prompt alone, in the order of the task.
Result<std::vector<Agreement>> answer(StoredPrompt& prompt, const RetrievalTask& task);

}  // namespace kvsplice::quality

// Where a long text can be cut so that the tokens of its pieces, one behind the other, are those of
// the whole: behind a letter or digit and before a blank (or newline) that is followed by another,
// if no token of the vocabulary reaches across such a place.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/model.h"

namespace kvsplice::host {

struct TextCuts {
  bool at_blanks = false, at_newlines = false;
  bool drops_blank = false;  // the tokenizer itself puts a blank before a text: leave it out
  bool recurses = false;     // some of its kind call themselves once for each letter of a run
  size_t longest_token = 1;  // bytes

  // The end of the piece that begins at `at`: some 64 KiB further if there is a place.
  size_t next(std::string_view text, size_t at) const;
};

// Longer stretches without a blank, or of nothing else, are cut for tokenizers that recurse.
constexpr size_t kLongestRun = 1 << 20;
size_t longest_run(std::string_view text);

using Tokenizer = std::function<std::vector<Token>(const std::string&)>;
// `pieces`: the texts of all tokens. Does not say whether the tokenizer recurses.
TextCuts learn_cuts(const std::vector<std::string>& pieces, const Tokenizer& tokenizer);

// The first `bytes`, or fewer so that no character is cut.
std::string_view whole_characters(std::string_view text, size_t bytes);

}  // namespace kvsplice::host

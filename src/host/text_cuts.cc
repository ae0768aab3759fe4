#include "host/text_cuts.h"

#include <algorithm>

namespace kvsplice::host {

namespace {

constexpr size_t kPiece = 1 << 16;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Whether a token goes on with `next` behind a letter or digit.
bool reaches_across(const std::string& piece, std::string_view next) {
  for (size_t at = piece.find(next); at != piece.npos; at = piece.find(next, at + 1)) {
    if (at > 0 && is_plain(piece[at - 1])) return true;
  }
  return false;
}

bool joins(const Tokenizer& tokenizer, const std::string& whole, const std::string& first,
           const std::string& second) {
  std::vector<Token> tokens = tokenizer(first);
  const std::vector<Token> more = tokenizer(second);
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens == tokenizer(whole);
}

// Where the run that begins at `at` ends.
size_t end_of_run(std::string_view text, size_t at) {
  const bool blank = is_blank(text[at]);
  return size_t(std::find_if(text.begin() + ptrdiff_t(at), text.end(),
                             [&](char c) { return is_blank(c) != blank; }) -
                text.begin());
}

}  // namespace

size_t TextCuts::next(std::string_view text, size_t at) const {
  size_t run = at;
  while (run < text.size()) {
    const size_t end = end_of_run(text, run);
    if (recurses && end - run > kLongestRun) {
      return run + whole_characters(text.substr(run), kLongestRun).size();
    }
    const bool far = end >= at + kPiece && end + 1 < text.size();
    const bool place =
        far && ((text[end] == ' ' && at_blanks) || (text[end] == '\n' && at_newlines));
    if (place && is_plain(text[end - 1]) && is_plain(text[end + 1])) return end;
    run = end;
  }
  return text.size();
}

size_t longest_run(std::string_view text) {
  size_t longest = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = end_of_run(text, at);
    longest = std::max(longest, end - at);
    at = end;
  }
  return longest;
}

TextCuts learn_cuts(const std::vector<std::string>& pieces, const Tokenizer& tokenizer) {
  const std::string first = "of the old 7", second = "sea and 19 men", escaped = "\xe2\x96\x81";
  TextCuts cuts;
  cuts.at_blanks = joins(tokenizer, first + " " + second, first, " " + second);
  cuts.drops_blank = !cuts.at_blanks && joins(tokenizer, first + " " + second, first, second);
  cuts.at_blanks |= cuts.drops_blank;
  cuts.at_newlines =
      !cuts.drops_blank && joins(tokenizer, first + "\n" + second, first, "\n" + second);
  for (const std::string& piece : pieces) {
    if (reaches_across(piece, " ") || reaches_across(piece, escaped)) cuts.at_blanks = false;
    if (reaches_across(piece, "\n")) cuts.at_newlines = false;
    cuts.longest_token = std::max(cuts.longest_token, piece.size());
  }
  return cuts;
}

std::string_view whole_characters(std::string_view text, size_t bytes) {
  if (bytes >= text.size()) return text;
  const size_t least = bytes > 3 ? bytes - 3 : 0;  // bytes that are no text end there, too
  while (bytes > least && (text[bytes] & 0xc0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

}  // namespace kvsplice::host

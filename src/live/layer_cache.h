// The cache of one layer, as attention reads it: the first tokens and the newest ones as they are,
// in half precision, and all between in groups of 256 tokens, coded. Of a group, the tokens that
// coarse blocks would harm most go to the finest ones: what these would change of a token, times
// the attention it got while it was as it is.
#pragma once

#include "live/form.h"

namespace kvsplice::live {

struct LiveOptions {
  size_t sinks = 4;     // first tokens that stay as they are
  size_t window = 128;  // newest tokens that do, at least

  bool operator==(const LiveOptions&) const = default;
};

// Bytes of cells.
struct CellBytes {
  size_t tokens = 0;  // that are coded
  size_t f16 = 0;     // what these would take uncompressed
  size_t coded = 0;   // and take, with their order
  size_t exact = 0;   // of those that stay as they are
};

class LayerCache {
 public:
  LayerCache(const LiveForm& form, size_t layer, const LiveOptions& options);

  size_t count() const { return count_; }
  size_t coded() const { return coded_; }  // tokens, with those in groups that were forgotten
  size_t groups() const { return groups_.size(); }
  const LiveForm& form() const { return *form_; }
  const LiveOptions& options() const { return options_; }
  CellBytes bytes() const;                                        // the form's tables are shared
  static size_t row_bytes(const LiveForm& form, size_t layer);    // of a token that is not coded
  static size_t group_bytes(const LiveForm& form, size_t layer);  // of 256 that are

  // As it is saved (live/saved_cache.h), and back: empty, it takes the groups that are left of so
  // many coded tokens, and the rows of the others. Error format or numeric, and it is of no use.
  void write(ByteWriter& to) const;
  Result<> read(ByteReader& from, size_t groups, size_t coded, size_t exact);

  // The next tokens' rows, as the cache holds them: [n x width]. What has left the window by then
  // is coded first, so that tokens appended together see each other as they are.
  Result<> append(MatrixView<const float> keys, MatrixView<const float> values);

  // Attention of the newest n tokens, each to itself and what its layer lets it see of those before
  // it: queries [n x query heads * key dim], out [n x query heads * value dim]. Scores are scale x
  // query . key before what `scoring` does to them.
  void attend(MatrixView<const float> queries, float scale, const Scoring& scoring,
              MatrixView<float> out);

 private:
  struct Group {
    size_t start = 0;                     // position of its first token
    std::array<uint8_t, kGroup> order{};  // of the tokens in its blocks, behind the first
    Bytes keys, values;
    size_t end() const { return start + kGroup; }
    const uint8_t* of(Kind kind) const { return (kind == Kind::key ? keys : values).data(); }
  };
  struct Part;
  struct Asked;

  Result<> move_group();
  void forget(size_t position);
  Result<GroupColumns> oldest(Kind kind) const;
  std::array<uint8_t, kGroup> order_of(const GroupColumns& keys, const GroupColumns& values) const;
  const FoldedUnit& unit(Kind kind) const { return form_->unit(kind, layer_); }
  const LayerShape& shape() const { return form_->shape().layers[layer_]; }
  size_t first_exact() const { return options_.sinks + coded_; }  // behind the sinks
  size_t exact_rows() const { return keys_.size() / size_t(shape().width(Kind::key)); }
  size_t position_of_exact(size_t row) const;
  size_t query_heads_per_head() const;

  Asked prepare(MatrixView<const float> queries, float scale, float cap) const;
  bool all_see(const Asked& asked, size_t first, size_t last) const;
  void hide(const Asked& asked, std::span<const size_t> positions, MatrixView<float> scores) const;
  void hide(const Asked& asked, const Group& group, MatrixView<float> scores) const;
  void hide_exact(const Asked& asked, MatrixView<float> scores) const;
  static std::vector<RoundedRows> fold(const Asked& asked, const Band& band,
                                       const RoundedRows& queries);
  void attend_groups(const Asked& asked, size_t first, size_t end, Part& part) const;
  void ask_group(const Asked& asked, const Group& group, const Matrix<float>& means,
                 MatrixView<float> scores) const;
  void add_sums(const Group& group, MatrixView<const float> weights, Part& part) const;
  Matrix<float> decode_rows(const Asked& asked, Kind kind, const Group& group) const;
  void attend_densely(const Asked& asked, size_t first, size_t end, Part& part) const;
  void attend_exact(const Asked& asked, size_t head, MatrixView<float> scores, Part& part) const;
  plane_kernel::HalfRows exact(Kind kind, size_t head) const;
  void join(const Part& other, Part& all) const;
  void unfold(Part& part) const;
  void note_attention(const Matrix<float>& weights, std::span<const float> peaks, const Part& all);

  const LiveForm* form_;
  size_t layer_;
  LiveOptions options_;
  size_t count_ = 0;
  size_t coded_ = 0;  // tokens that were moved to groups, with those since forgotten
  std::vector<uint16_t> keys_, values_;  // rows as they are: sinks, then the window
  std::vector<float> attention_;         // that those behind the sinks got
  std::vector<Group> groups_;
};

}  // namespace kvsplice::live

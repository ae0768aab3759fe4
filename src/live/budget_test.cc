// What is promised of bytes holds for caches that are filled.
#include "live/budget.h"

#include <gtest/gtest.h>

#include "session/fitted_codec_test.h"

namespace kvsplice::live {
namespace {

constexpr LiveOptions kOptions{4, 40};
constexpr size_t kAtOnce = 100, kTokens = 2000;

// The most that a cache ever takes whose tokens come `at_once`.
uint64_t bytes_filled(const LiveForm& form, size_t tokens, size_t at_once) {
  const session::Cells cells = session::generate_cells(form.shape(), 0, tokens, 3);
  uint64_t most = 0;
  std::vector<LayerCache> layers;
  for (size_t l = 0; l < form.shape().layers.size(); ++l) layers.emplace_back(form, l, kOptions);
  for (size_t at = 0; at < tokens; at += at_once) {
    const size_t n = std::min(at_once, tokens - at);
    uint64_t bytes = form.table_bytes();
    for (size_t l = 0; l < layers.size(); ++l) {
      Matrix<float> keys(n, cells.keys[l].cols()), values(n, cells.values[l].cols());
      read_rows(RowsView(cells.keys[l].view().row_range(at, n)), keys.view());
      read_rows(RowsView(cells.values[l].view().row_range(at, n)), values.view());
      EXPECT_TRUE(layers[l].append(keys, values).ok());
      bytes += layers[l].bytes().coded + layers[l].bytes().exact;
    }
    most = std::max(most, bytes);
  }
  return most;
}

class BudgetOf : public ::testing::TestWithParam<int> {};  // the window of the second layer

TEST_P(BudgetOf, ACacheIsKeptAndNotMuchTooLarge) {
  ModelShape shape = session::small_shape();
  shape.layers[1].window = GetParam();
  const LiveForm form =
      LiveForm::of(session::fitted(shape, "k: rotate|klt|widths(delta=1); v: klt|widths(delta=1)"))
          .value();
  const Budget budget(form, kOptions, kAtOnce);
  for (const size_t tokens : {size_t{1}, size_t{300}, size_t{399}, size_t{1000}, kTokens}) {
    const uint64_t promised = budget.bytes(tokens);
    uint64_t most = 0;
    for (const size_t at_once : {size_t{1}, size_t{7}, kAtOnce}) {
      const uint64_t taken = bytes_filled(form, tokens, at_once);
      EXPECT_LE(taken, promised) << tokens << " " << at_once;
      most = std::max(most, taken);
    }
    // A group of each layer at most, and in layers with a window two more.
    uint64_t slack = 0;
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      slack += (shape.layers[l].window > 0 ? 3 : 1) * LayerCache::group_bytes(form, l) +
               kAtOnce * LayerCache::row_bytes(form, l);
    }
    EXPECT_GE(most + slack, promised) << tokens;
  }
}

TEST_P(BudgetOf, TokensAreTheMostThatFit) {
  ModelShape shape = session::small_shape();
  shape.layers[1].window = GetParam();
  const LiveForm form =
      LiveForm::of(session::fitted(shape, "k: rotate|klt|widths(delta=1); v: klt|widths(delta=1)"))
          .value();
  const Budget budget(form, kOptions, kAtOnce);
  EXPECT_EQ(budget.least_tokens(), 4 + 40 + 255 + 100 + 256u);
  for (const size_t tokens : {size_t{0}, size_t{1}, size_t{300}, size_t{655}, size_t{5000}}) {
    const size_t fit = budget.tokens(budget.bytes(tokens), 100'000);
    EXPECT_GE(fit, tokens);
    EXPECT_EQ(budget.bytes(fit), budget.bytes(tokens));
    EXPECT_GT(budget.bytes(fit + 1), budget.bytes(tokens));
    EXPECT_EQ(budget.tokens(budget.bytes(tokens), tokens), tokens);
  }
  EXPECT_EQ(budget.tokens(0, 5000), 0u);
}

INSTANTIATE_TEST_SUITE_P(Windows, BudgetOf, ::testing::Values(0, 100, 600));

}  // namespace
}  // namespace kvsplice::live

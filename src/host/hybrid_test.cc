// Models with recurrent layers: what is found of them, and that their states come back to the bit.
#include <gmock/gmock.h>
#include <llama.h>

#include <cmath>

#include "core/file.h"
#include "host/batch.h"
#include "host/context_cells.h"
#include "host/model_impl.h"
#include "host/session_state.h"
#include "host/tiny_model_test.h"
#include "kvsplice/kvsplice.hpp"
#include "session/generated_cells.h"

namespace kvsplice::host {
namespace {

using kvsplice::testing::family;
using kvsplice::testing::family_name;
using kvsplice::testing::letters;
using kvsplice::testing::must;
using kvsplice::testing::TempDir;
using kvsplice::testing::TinyModel;
using kvsplice::testing::TinyOptions;
using ::testing::HasSubstr;

constexpr size_t kTokens = 40;

class Hybrid : public ::testing::TestWithParam<const char*> {
 protected:
  Hybrid() {
    TinyModel(options_).save(dir_.file("m.gguf"));
    model_.emplace(must(Model::load(dir_.file("m.gguf"))));
  }
  Context context(CacheType type = CacheType::f16) const {
    ContextOptions options;
    options.n_ctx = 96;
    options.threads = 1;
    options.cache = type;
    return must(Context::create(*model_, options));
  }
  static std::vector<float> next(Context& context, size_t n = 20) {
    std::vector<float> all;
    for (const Token token : letters(n, 9)) {
      must(context.decode({&token, 1}, 1));
      all.insert(all.end(), context.logits(0).begin(), context.logits(0).end());
    }
    return all;
  }
  const ModelShape& shape() const { return model_->shape(); }

  const TinyOptions options_ = family(GetParam());
  const TempDir dir_;
  std::optional<Model> model_;
  const std::vector<int32_t> tokens_ = letters(kTokens);
};

TEST_P(Hybrid, LayersAreFound) {
  const bool both = options_.architecture == "falcon-h1";
  std::vector<int> attend, recur, met_attend, met_recur;
  for (int i = 0; i < options_.layers; ++i) {
    const bool feeds = options_.architecture == "nemotron_h" && i % 3 == 2;
    if (both || options_.kv_heads_of(i) > 0) attend.push_back(i);
    if (both || (options_.kv_heads_of(i) == 0 && !feeds)) recur.push_back(i);
  }
  for (const LayerShape& l : shape().layers) {
    met_attend.push_back(l.layer);
    EXPECT_EQ(l.kv_heads, 2);
    EXPECT_EQ(l.key_dim, options_.head_dim);
    EXPECT_EQ(l.window, options_.slides ? options_.window : 0);
  }
  for (const RecurrentLayer& l : shape().recurrent) {
    met_recur.push_back(l.layer);
    EXPECT_GT(l.r, 0u);
    EXPECT_EQ(l.s > 0, options_.architecture != "lfm2");
  }
  EXPECT_EQ(met_attend, attend);
  EXPECT_EQ(met_recur, recur);
  EXPECT_TRUE(shape().empty_layers.empty());
}

TEST_P(Hybrid, StatesComeBackToTheByte) {
  Context made = context();
  must(made.decode(tokens_));
  const Bytes state = must(made.save_state());
  const StateCells cells = must(cells_of(made, shape(), tokens_));
  ASSERT_TRUE(cells.recurrent);
  EXPECT_EQ(cells.recurrent->position, kTokens);
  EXPECT_EQ(cells.recurrent->bytes(), shape().recurrent_bytes());
  const StateTarget target{.form = StateForm::sequence_data};
  EXPECT_EQ(must(to_state(cells.cells, {}, shape(), target, &*cells.recurrent)), state);
  Context other = context();
  must(restore_cells(cells.cells, shape(), other, &*cells.recurrent));
  EXPECT_EQ(next(other), next(made));
}

TEST_P(Hybrid, SessionsBringThemBack) {
  Context made = context();
  must(made.decode(tokens_));
  const Bytes state = must(made.save_state());
  const StateCells cells = must(cells_of(made, shape(), tokens_));
  const session::Coder coder{shape(), nullptr, nullptr};
  must(session::pack(dir_.file("s.kvz"), cells.cells, {}, coder, {}, {},
                     {.states = {&*cells.recurrent, 1}}));
  const auto session = must(session::Session::open(dir_.file("s.kvz"), coder));
  const StateTarget target{.form = StateForm::sequence_data};
  EXPECT_EQ(must(to_state(session, kTokens, {}, shape(), target, true, {})).bytes, state);
  Context other = context();
  must(restore_session(session, shape(), other, {}));
  EXPECT_EQ(next(other), next(made));
}

// What a caller of the C interface has of an engine's cache, and what it gets back.
TEST_P(Hybrid, SessionsOfTheCInterfaceBringThemBack) {
  Context made = context();
  must(made.decode(tokens_));
  const Bytes state = must(made.save_state());
  const StateCells cells = must(cells_of(made, shape(), tokens_));
  const size_t absent = cells.cells.absent;
  std::vector<kvs_layer> layers;
  std::vector<int> numbers;
  std::vector<kvs_rows> keys, values;
  for (size_t l = 0; l < shape().layers.size(); ++l) {
    const LayerShape& of = shape().layers[l];
    layers.push_back({of.kv_heads, of.key_dim, of.value_dim, of.window});
    numbers.push_back(of.layer);
    for (Kind kind : {Kind::key, Kind::value}) {
      // Rows that slid away have no place, and are not read.
      const RowsView& rows = cells.cells.of(kind)[l];
      const auto gone = ptrdiff_t(kTokens - rows.rows) * rows.row_stride;
      auto* data = static_cast<uint16_t*>(const_cast<void*>(rows.data)) - gone;
      (kind == Kind::key ? keys : values)
          .push_back({data, rows.row_stride, rows.col_stride, KVS_F16});
    }
  }
  std::vector<kvs_state_row> rows;
  for (const session::StateRow& row : cells.recurrent->rows) {
    rows.push_back({row.layer, kvs_state_part(row.part), KVS_F32, row.data.data(),
                    row.data.size() / sizeof(float)});
  }
  const kvs_state recurrent{kTokens, int(cells.recurrent->model_layers), rows.data(), rows.size()};
  const kvs_states states{&recurrent, 1, KVS_STATES_EXACT, 0};
  const kvs_block block{kTokens,    tokens_.data(), cells.cells.positions.data(),
                        KVS_CACHED, keys.data(),    values.data(),
                        absent,     &states};
  const kvs_model model{
      shape().fingerprint.c_str(), "", "", int(layers.size()), layers.data(), numbers.data()};
  kvs_error error{};
  ASSERT_EQ(kvs_session_pack(dir_.file("c.kvz").c_str(), &block, nullptr, 0, nullptr, &model,
                             nullptr, nullptr, nullptr, &error),
            KVS_OK)
      << error.message;
  const session::Coder coder{shape(), nullptr, nullptr};
  const auto session = must(session::Session::open(dir_.file("c.kvz"), coder));
  const StateTarget target{.form = StateForm::sequence_data};
  EXPECT_EQ(must(to_state(session, kTokens, {}, shape(), target, true, {})).bytes, state);

  must(session::pack(dir_.file("s.kvz"), cells.cells, {}, coder, {}, {},
                     {.states = {&*cells.recurrent, 1}}));
  const auto opened = must(kvsplice::Session::open(dir_.file("s.kvz"), nullptr));
  EXPECT_EQ(opened.states(), std::vector<size_t>{kTokens});
  const auto met = must(opened.state(kTokens));
  ASSERT_EQ(met.c.row_count, rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(met.c.rows[i].layer, rows[i].layer);
    const auto* data = static_cast<const uint8_t*>(met.c.rows[i].data);
    EXPECT_EQ(Bytes(data, data + met.c.rows[i].count * sizeof(float)),
              cells.recurrent->rows[i].data);
  }
}

TEST_P(Hybrid, AStateGoesBackToWhereItWasTaken) {
  Context made = context();
  must(made.decode(std::span(tokens_).first(16)));
  const session::RecurrentState early = must(made.recurrent_state());
  EXPECT_EQ(early.position, 16u);
  const std::vector<float> first = next(made);
  EXPECT_THAT(made.truncate(20).error().message, HasSubstr("cannot go back from token 36 to 20"));
  must(made.truncate(36));  // all of them
  must(made.go_back(early));
  EXPECT_EQ(made.size(), 16u);
  EXPECT_EQ(must(made.recurrent_state()), early);
  EXPECT_EQ(next(made), first);
  made.clear();
  EXPECT_EQ(made.go_back(early).error().kind, ErrorKind::usage);
  EXPECT_THAT(made.recurrent_state().error().message, HasSubstr("no token has been evaluated"));
}

TEST_P(Hybrid, PrefixesComeBackWhereStatesAre) {
  std::vector<session::RecurrentState> states;
  Context made = context();
  for (size_t at = 0; at < kTokens; at += 16) {
    must(made.decode(std::span(tokens_).subspan(at, std::min<size_t>(16, kTokens - at))));
    states.push_back(must(made.recurrent_state()));
  }
  const StateCells cells = must(cells_of(made, shape(), tokens_));
  const session::Coder coder{shape(), nullptr, nullptr};
  must(session::pack(dir_.file("s.kvz"), cells.cells, {}, coder, {}, {}, {.states = states}));
  const auto session = must(session::Session::open(dir_.file("s.kvz"), coder));
  const StateTarget target{.form = StateForm::sequence_data};
  const auto prefix = [&](size_t n) { return to_state(session, n, {}, shape(), target, true, {}); };
  EXPECT_THAT(prefix(20).error().message,
              HasSubstr("not behind token 20; stored: behind token 16, token 32, token 40"));
  if (options_.slides) return;  // rows of layers that slide are gone, but at the end
  for (const size_t n : {16, 32}) {
    Context shorter = context(), own = context();
    must(shorter.load_state(must(prefix(n)).bytes));
    for (size_t at = 0; at < n; at += 16) must(own.decode(std::span(tokens_).subspan(at, 16)));
    EXPECT_EQ(must(shorter.save_state()), must(own.save_state())) << n;
    EXPECT_EQ(next(shorter), next(own)) << n;
  }
}

TEST_P(Hybrid, AFailedEvaluationLeavesNothing) {
  ContextOptions options;
  options.n_ctx = 96;
  options.n_ubatch = 8;
  options.threads = 1;
  bool fails = true;
  options.signals = {Signal::key};
  options.capture = [&](const Capture& c) -> Result<> {
    if (!fails || c.first < 24) return {};
    return Error{ErrorKind::interrupted, "stopped"};
  };
  Context c = must(Context::create(*model_, options));
  EXPECT_EQ(c.decode(tokens_).error().kind, ErrorKind::interrupted);
  EXPECT_EQ(c.size(), 0u);
  fails = false;
  must(c.decode(tokens_));
  Context other = must(Context::create(*model_, options));
  must(other.decode(tokens_));
  EXPECT_EQ(must(c.save_state()), must(other.save_state()));
}

double distance(std::span<const float> a, std::span<const float> b) {
  double error = 0, power = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(double(a[i]) - b[i], 2);
    power += double(b[i]) * b[i];
  }
  return std::sqrt(error / power);
}

TEST_P(Hybrid, OtherCachesHoldThem) {
  for (const auto type : {CacheType::f32, CacheType::q8_0}) {
    Context made = context(type), other = context(type);
    must(made.decode(tokens_));
    const StateCells cells = must(cells_of(made, shape(), tokens_));
    must(restore_cells(cells.cells, shape(), other, &*cells.recurrent));
    EXPECT_EQ(must(other.recurrent_state()), *cells.recurrent);
    EXPECT_LT(distance(next(other), next(made)), 2e-3) << int(type);
  }
}

// What llama.cpp itself writes to files, and reads from ours.
TEST_P(Hybrid, FilesOfLlamaComeBackToTheByte) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = 96;
  params.n_threads = params.n_threads_batch = 1;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  const LlamaContext llama(llama_init_from_model(model_->impl().model.get(), params));
  Batch batch(kTokens);
  batch.fill(tokens_, 0, 1);
  ASSERT_EQ(llama_decode(llama.get(), batch.get()), 0);
  std::vector<llama_token> listed = tokens_;
  ASSERT_GT(llama_state_seq_save_file(llama.get(), dir_.file("sequence").c_str(), 0, listed.data(),
                                      listed.size()),
            0u);
  listed.push_back(270);  // waits to be evaluated
  ASSERT_TRUE(llama_state_save_file(llama.get(), dir_.file("session").c_str(), listed.data(),
                                    listed.size()));
  for (const std::string name : {"sequence", "session"}) {
    const Bytes file = must(read_file(dir_.file(name)));
    const StateBlob alone = must(parse_state(file));  // as without a model
    ASSERT_TRUE(alone.recurrent) << name;
    EXPECT_EQ(alone.recurrent->position, kTokens);
    const StateBlob blob = must(parse_state(file, hints_of(shape())));
    EXPECT_EQ(blob.bytes_behind, 0u);
    const StateCells cells = must(to_cells(blob, shape(), blob.tokens));
    const StateTarget target = must(target_like(blob, shape()));
    const Bytes again =
        must(to_state(cells.cells, cells.pending, shape(), target, &*cells.recurrent));
    // Whole sessions also hold cells that slid away.
    const bool all = name == "session" && options_.slides;
    EXPECT_EQ(again == file, !all) << name;
    EXPECT_EQ(must(parse_state(again, hints_of(shape()))).recurrent, blob.recurrent) << name;
    EXPECT_FALSE(to_state(cells.cells, cells.pending, shape(), target).ok());
  }
}

TEST_P(Hybrid, DamagedPartsAreRefused) {
  Context made = context();
  must(made.decode(tokens_));
  const Bytes state = must(made.save_state());
  const auto cells = [&](const Bytes& bytes) -> Result<StateCells> {
    KVS_ASSIGN(const StateBlob blob, parse_state(bytes, hints_of(shape())));
    return to_cells(blob, shape(), tokens_);
  };
  const size_t part =
      state.size() - part_of_recurrent(must(made.recurrent_state()), shape()).size();
  for (size_t size = part; size < state.size(); ++size) {
    ASSERT_FALSE(cells(Bytes(state.begin(), state.begin() + ptrdiff_t(size))).ok()) << size;
  }
  // cells, position, sequences, transposed, layers; then type and bytes of the first row
  const size_t begin =
      state.size() - (16 + 4 + 12 * 2 * shape().recurrent.size()) - shape().recurrent_bytes();
  const auto with = [&](size_t at, uint32_t number) {
    Bytes bytes = state;
    std::memcpy(&bytes[begin + at], &number, sizeof number);
    const auto read = cells(bytes);
    return read.ok() ? "" : read.error().message;
  };
  EXPECT_THAT(with(0, 1), "");
  EXPECT_THAT(with(0, 2), HasSubstr("several sequences"));
  EXPECT_THAT(with(4, 38), HasSubstr("40 cells, its recurrent layers have seen 39 tokens"));
  EXPECT_THAT(with(4, 0x80000000), HasSubstr("legal: 0 ..."));
  EXPECT_THAT(with(8, 7), HasSubstr("of 7 sequences"));
  EXPECT_THAT(with(12, 1), HasSubstr("transposed = 1"));
  EXPECT_THAT(with(16, 0x80000000), HasSubstr("2147483648 layers"));
  EXPECT_THAT(with(20, 8), HasSubstr("type 8; legal"));
  EXPECT_THAT(with(28, 0x7fffffff), HasSubstr("truncated"));
  EXPECT_NE(with(24, 8), "");
  for (size_t bit = 0; bit < 8 * 32; ++bit) {  // none of these may crash
    Bytes bytes = state;
    bytes[begin + bit / 8] ^= uint8_t(1u << bit % 8);
    (void)cells(bytes).ok();
  }
}

std::string test_name(const ::testing::TestParamInfo<const char*>& info) {
  return family_name(info.param);
}

TEST(HybridModels, OthersHaveNoRecurrentState) {
  const TempDir dir;
  TinyModel({}).save(dir.file("m.gguf"));
  const Model model = must(Model::load(dir.file("m.gguf")));
  EXPECT_FALSE(model.shape().hybrid());
  ContextOptions options;
  options.n_ctx = 64;
  Context context = must(Context::create(model, options));
  must(context.decode(letters(8)));
  EXPECT_EQ(context.recurrent_state().error().kind, ErrorKind::usage);
  session::RecurrentState none;
  none.position = 4;
  EXPECT_EQ(context.go_back(none).error().kind, ErrorKind::usage);
  EXPECT_EQ(context.size(), 8u);
}

INSTANTIATE_TEST_SUITE_P(All, Hybrid,
                         ::testing::Values("qwen3next", "qwen35", "granitehybrid", "lfm2",
                                           "lfm2+window", "nemotron_h", "jamba", "falcon-h1"),
                         test_name);

}  // namespace
}  // namespace kvsplice::host

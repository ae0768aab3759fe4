// llama.cpp itself is the judge: the files it saves are read, and the files made here it loads and
// continues from.
#include <gmock/gmock.h>
#include <llama.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "core/file.h"
#include "host/gemma_test.h"
#include "host/model.h"
#include "host/state_rows.h"
#include "host/state_target.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

// Models, by name: the small one of the tests, a generated one with sliding windows, and Gemma 3
// 270M, which is only there after `tools/setup.sh --gemma`.
struct Case {
  const char* model;
  CellType type;
};

struct FreeContext {
  void operator()(llama_context* c) const { llama_free(c); }
};
struct FreeModel {
  void operator()(llama_model* m) const { llama_model_free(m); }
};
using LlamaContext = std::unique_ptr<llama_context, FreeContext>;

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, power = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(double(a[i]) - b[i], 2);
    power += double(a[i]) * a[i];
  }
  return std::sqrt(error / power);
}

class LlamaFiles : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    const std::string file = model_file();
    if (!std::filesystem::exists(file)) {
      GTEST_SKIP() << kvsplice::testing::no_gemma(file);
    }
    described = Model::load(file).value();
    shape = described->shape();
    // Some more than a window holds.
    count = shape.longest_window() + 40;
    const auto text = read_text(std::string(KVSPLICE_SOURCE_DIR) + "/samples/news.txt").value();
    tokens = described->tokenize(text).value();
    tokens.resize(count + 1);
    auto params = llama_model_default_params();
    params.n_gpu_layers = 0;
    model.reset(llama_model_load_from_file(file.c_str(), params));
    ASSERT_NE(model, nullptr);
  }

  std::string model_file() const {
    const std::string name = GetParam().model;
    if (name == "small") return KVSPLICE_TEST_MODEL;
    if (name == "gemma") return KVSPLICE_TEST_GEMMA;
    kvsplice::testing::TinyOptions options;
    options.architecture = "gemma3";
    options.head_dim = 64;
    kvsplice::testing::TinyModel(options).save(folder_.file("tiny.gguf"));
    return folder_.file("tiny.gguf");
  }
  bool slides() const { return shape.longest_window() > 0; }
  static bool is_f16() { return GetParam().type == CellType::f16; }

  // `full`: the cache of layers with a window keeps what the window has passed.
  LlamaContext make_context(bool full, uint32_t streams = 1) const {
    auto params = llama_context_default_params();
    params.n_ctx = 1024 * streams;
    params.n_seq_max = streams;
    params.kv_unified = false;
    params.swa_full = full;
    params.n_threads = params.n_threads_batch = 2;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.type_k = params.type_v = is_f16() ? GGML_TYPE_F16 : GGML_TYPE_Q8_0;
    return LlamaContext(llama_init_from_model(model.get(), params));
  }
  // Evaluates tokens [first, first + n); the logits behind the last.
  std::vector<float> evaluate(llama_context* context, size_t first, size_t n) {
    EXPECT_EQ(llama_decode(context, llama_batch_get_one(&tokens[first], int32_t(n))), 0);
    const float* row = llama_get_logits_ith(context, -1);
    return {row, row + shape.vocabulary};
  }
  // Between logits behind all tokens, evaluated at once or in two halves.
  double noise_of_steps() {
    const LlamaContext whole = make_context(true), halves = make_context(true);
    evaluate(whole.get(), 0, count);
    evaluate(halves.get(), 0, count / 2);
    evaluate(halves.get(), count / 2, count - count / 2);
    return distance(evaluate(whole.get(), count, 1), evaluate(halves.get(), count, 1));
  }
  // As llama.cpp's programs do: a sequence lists what the cache holds, a session one token more.
  size_t listed(StateForm form) const {
    return form == StateForm::session_file ? count + 1 : count;
  }
  bool save(llama_context* context, StateForm form) const {
    return form == StateForm::sequence_file
               ? llama_state_seq_save_file(context, path_.c_str(), 0, tokens.data(), count) > 0
               : llama_state_save_file(context, path_.c_str(), tokens.data(), count + 1);
  }
  bool load(llama_context* context, StateForm form, llama_seq_id sequence = 0) const {
    std::vector<llama_token> found(1024);
    size_t n = 0;
    const bool ok =
        form == StateForm::sequence_file
            ? llama_state_seq_load_file(context, path_.c_str(), sequence, found.data(),
                                        found.size(), &n) > 0
            : llama_state_load_file(context, path_.c_str(), found.data(), found.size(), &n);
    found.resize(n);
    const auto end = tokens.begin() + static_cast<ptrdiff_t>(listed(form));
    EXPECT_TRUE(!ok || found == std::vector<llama_token>(tokens.begin(), end));
    return ok;
  }

  std::optional<Model> described;
  std::unique_ptr<llama_model, FreeModel> model;
  ModelShape shape;
  size_t count = 0;
  std::vector<llama_token> tokens;  // one more than `count`
  const kvsplice::testing::TempDir folder_;
  const std::string path_ = folder_.file("state");
};

// How q8_0 blocks written here differ from those that were read. Between lie f16 cells that are not
// turned: rounding them moves a turned value by at most 2^-11 of the length of its head (64 values
// for most), so by less than the half step of a code, 1/254 of the block's largest, unless the head
// has another block far larger. The largest value has code 127 and stays so; the scale may move to
// the next half.
struct Moved {
  size_t blocks = 0, scales = 0, codes = 0;
  int most_of_scale = 0, most_of_code = 0;

  void compare(ByteSpan a, ByteSpan b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t at = 0; at < a.size(); at += 34, ++blocks) {
      const int scale = std::abs(half_at(a, at) - half_at(b, at));
      scales += scale > 0;
      most_of_scale = std::max(most_of_scale, scale);
      for (size_t i = at + 2; i < at + 34; ++i) {
        const int code = std::abs(int8_t(a[i]) - int8_t(b[i]));
        codes += code > 0;
        most_of_code = std::max(most_of_code, code);
      }
    }
  }
  static int half_at(ByteSpan bytes, size_t at) { return bytes[at] | bytes[at + 1] << 8; }
};

void expect_rounded_alike(const StateBlob& a, const StateBlob& b) {
  Moved moved;
  for (size_t c = 0; c < a.caches.size(); ++c) {
    for (size_t l = 0; l < a.caches[c].keys.size(); ++l) {
      moved.compare(a.caches[c].keys[l].data, b.caches[c].keys[l].data);
      moved.compare(a.caches[c].values[l].data, b.caches[c].values[l].data);
    }
  }
  ASSERT_GT(moved.blocks, 0u);
  EXPECT_LE(moved.most_of_scale, 1);
  EXPECT_LT(moved.scales, moved.blocks / 50);
  EXPECT_LE(moved.most_of_code, 1);
  EXPECT_LT(moved.codes, moved.blocks * 32 / 1000);
  ::testing::Test::RecordProperty("scales", std::to_string(double(moved.scales) / moved.blocks));
  ::testing::Test::RecordProperty("codes", std::to_string(double(moved.codes) / moved.blocks / 32));
}

TEST_P(LlamaFiles, SavedByLlamaReadHereWrittenHereLoadedByLlama) {
  const LlamaContext first = make_context(false);
  ASSERT_NE(first, nullptr);
  evaluate(first.get(), 0, count);
  for (StateForm form : {StateForm::sequence_file, StateForm::session_file}) {
    ASSERT_TRUE(save(first.get(), form));
    const Bytes saved = read_file(path_).value();
    const auto blob = parse_state(saved);
    ASSERT_TRUE(blob.ok()) << blob.error().message;
    EXPECT_EQ(blob->form, form);
    const auto made = to_cells(*blob, shape, blob->tokens);
    ASSERT_TRUE(made.ok()) << made.error().message;
    ASSERT_EQ(made->cells.count(), count);
    const Bytes written =
        to_state(made->cells, made->pending, shape,
                 {.form = form, .key_type = GetParam().type, .value_type = GetParam().type})
            .value();
    // Whole sessions also have cells the window has passed; they are not written.
    const bool same_cells = !slides() || form == StateForm::sequence_file;
    EXPECT_TRUE(same_cells ? written.size() == saved.size() : written.size() < saved.size());
    EXPECT_TRUE(!is_f16() || !same_cells || written == saved) << name(form);
    if (!is_f16() && same_cells) expect_rounded_alike(*blob, parse_state(written).value());
    ASSERT_TRUE(write_file(path_, written).ok());
    const LlamaContext second = make_context(true);
    ASSERT_TRUE(load(second.get(), form)) << name(form);
    // From the same cells come the same logits. A scale that has moved anywhere moves them by the
    // noise of a host that rounds activations to 8 bits (docs/quality.md).
    const LlamaContext third = make_context(true);
    ASSERT_TRUE(write_file(path_, saved).ok());
    ASSERT_TRUE(load(third.get(), form));
    const double apart =
        distance(evaluate(third.get(), count, 1), evaluate(second.get(), count, 1));
    RecordProperty("apart", std::to_string(apart));
    // Without the passed cells the others have other places, and sums over them another order: that
    // is noise too, of the order of that of evaluating in other steps.
    const double most = !is_f16() ? 0.05 : same_cells ? 0 : 4 * noise_of_steps() + 1e-6;
    EXPECT_LE(apart, most) << name(form);
  }
}

// A server with -np 4 has a stream for each of its slots.
TEST_P(LlamaFiles, OneOfSeveralStreamsGoesInAndComesOut) {
  const StateForm form = StateForm::sequence_file;
  const LlamaContext first = make_context(true, 4);
  ASSERT_NE(first, nullptr);
  evaluate(first.get(), 0, count);
  ASSERT_TRUE(save(first.get(), form));
  const Bytes saved = read_file(path_).value();
  const StateBlob blob = parse_state(saved, hints_of(shape)).value();
  EXPECT_EQ(blob.streams, 4u);
  const StateCells made = to_cells(blob, shape, blob.tokens).value();
  for (const uint32_t streams : {1u, 4u}) {
    const StateTarget target{
        .key_type = GetParam().type, .value_type = GetParam().type, .streams = streams};
    ASSERT_TRUE(write_file(path_, to_state(made.cells, {}, shape, target).value()).ok());
    const LlamaContext second = make_context(true, 4);
    EXPECT_EQ(load(second.get(), form, 3), streams == 4);
    if (streams == 1) continue;
    ASSERT_TRUE(load(second.get(), form, 0));
    const double apart =
        distance(evaluate(first.get(), count, 1), evaluate(second.get(), count, 1));
    EXPECT_LE(apart, is_f16() ? 4 * noise_of_steps() + 1e-6 : 0.05);
  }
}

// The cells of a rotated q8_0 cache are those of an f16 cache, but for rounding. A value is rounded
// to a multiple of the largest of its block of 32 over 127: the error's rms is 1 / (127 sqrt(12))
// of the largest, which is between 1 and sqrt(32) times the rms of the block.
TEST_P(LlamaFiles, CellsAreThoseOfAnUnroundedCache) {
  const LlamaContext context = make_context(false);
  evaluate(context.get(), 0, count);
  ASSERT_TRUE(save(context.get(), StateForm::sequence_file));
  const Bytes saved = read_file(path_).value();
  const StateCells made = to_cells(*parse_state(saved), shape, tokens).value();
  const KvView& cells = made.cells;
  ContextOptions options;
  options.n_ctx = static_cast<int>(count);
  auto plain = Context::create(*described, options).value();
  ASSERT_TRUE(plain.decode(std::span(tokens).first(count)).ok());
  const double least = 1 / (127 * std::sqrt(12.0)), most = std::sqrt(32.0) * least;
  for (Kind kind : {Kind::key, Kind::value}) {
    const size_t held = count - cells.absent;  // of the first layer
    Matrix<float> wanted(held, shape.layers[0].width(kind));
    ASSERT_TRUE(plain.read_cache(kind, 0, cells.absent, wanted).ok());
    const RowsView& rows = cells.of(kind)[0];
    Matrix<float> met(held, rows.cols);
    read_rows(rows.row_range(rows.rows - held, held), met);
    const double apart = distance({wanted.flat().begin(), wanted.flat().end()},
                                  {met.flat().begin(), met.flat().end()});
    RecordProperty(name(kind), std::to_string(apart));
    if (is_f16()) {
      EXPECT_LT(apart, 2e-3) << name(kind);
    } else {
      EXPECT_THAT(apart, ::testing::AllOf(::testing::Gt(least), ::testing::Lt(most))) << name(kind);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, LlamaFiles,
    ::testing::Values(Case{"small", CellType::f16}, Case{"small", CellType::q8_0},
                      Case{"sliding", CellType::f16}, Case{"sliding", CellType::q8_0},
                      Case{"gemma", CellType::f16}, Case{"gemma", CellType::q8_0}),
    [](const auto& tested) {
      return std::string(tested.param.model) + "_" + name(tested.param.type);
    });

}  // namespace
}  // namespace kvsplice::host

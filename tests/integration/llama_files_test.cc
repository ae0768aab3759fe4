// llama.cpp itself is the judge: the files it saves are read, and the files made here it loads and
// continues from.
#include <gmock/gmock.h>
#include <llama.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>

#include "core/file.h"
#include "core/half.h"
#include "host/model.h"
#include "session/state_rows.h"

namespace kvsplice::session {
namespace {

constexpr size_t kTokens = 40;

struct FreeContext {
  void operator()(llama_context* c) const { llama_free(c); }
};
using LlamaContext = std::unique_ptr<llama_context, FreeContext>;

class LlamaFiles : public testing::TestWithParam<CellType> {
 protected:
  static void SetUpTestSuite() {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    auto described = host::Model::load(KVSPLICE_TEST_MODEL).value();
    shape = described.shape();
    const auto text = read_text(std::string(KVSPLICE_SOURCE_DIR) + "/samples/news.txt").value();
    tokens = described.tokenize(text).value();
    tokens.resize(kTokens + 1);
    auto params = llama_model_default_params();
    params.n_gpu_layers = 0;
    model = llama_model_load_from_file(KVSPLICE_TEST_MODEL, params);
    ASSERT_NE(model, nullptr);
  }
  static void TearDownTestSuite() { llama_model_free(model); }

  LlamaFiles() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvsplice-XXXXXX").string();
    path_ = std::string(mkdtemp(pattern.data())) + "/state";
  }
  ~LlamaFiles() override {
    std::filesystem::remove_all(std::filesystem::path(path_).parent_path());
  }

  static LlamaContext make_context() {
    auto params = llama_context_default_params();
    params.n_ctx = 256;
    params.n_threads = params.n_threads_batch = 2;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    params.type_k = params.type_v = GetParam() == CellType::f16 ? GGML_TYPE_F16 : GGML_TYPE_Q8_0;
    return LlamaContext(llama_init_from_model(model, params));
  }
  // Evaluates tokens [first, first + n); the logits behind the last.
  static std::vector<float> evaluate(llama_context* context, size_t first, size_t n) {
    EXPECT_EQ(llama_decode(context, llama_batch_get_one(&tokens[first], int32_t(n))), 0);
    const float* row = llama_get_logits_ith(context, -1);
    return {row, row + shape.vocabulary};
  }
  bool save(llama_context* context, StateForm form) const {
    return form == StateForm::sequence_file
               ? llama_state_seq_save_file(context, path_.c_str(), 0, tokens.data(), kTokens) > 0
               : llama_state_save_file(context, path_.c_str(), tokens.data(), kTokens);
  }
  bool load(llama_context* context, StateForm form) const {
    std::vector<llama_token> found(256);
    size_t n = 0;
    const bool ok =
        form == StateForm::sequence_file
            ? llama_state_seq_load_file(context, path_.c_str(), 0, found.data(), found.size(), &n) >
                  0
            : llama_state_load_file(context, path_.c_str(), found.data(), found.size(), &n);
    found.resize(n);
    EXPECT_EQ(found, std::vector<llama_token>(tokens.begin(), tokens.begin() + kTokens));
    return ok;
  }

  static inline llama_model* model = nullptr;
  static inline ModelShape shape;
  static inline std::vector<llama_token> tokens;
  std::string path_;
};

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, power = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(double(a[i]) - b[i], 2);
    power += double(a[i]) * a[i];
  }
  return std::sqrt(error / power);
}

TEST_P(LlamaFiles, SavedByLlamaReadHereWrittenHereLoadedByLlama) {
  const LlamaContext first = make_context();
  ASSERT_NE(first, nullptr);
  evaluate(first.get(), 0, kTokens);
  for (StateForm form : {StateForm::sequence_file, StateForm::session_file}) {
    ASSERT_TRUE(save(first.get(), form));
    const Bytes saved = read_file(path_).value();
    const auto blob = parse_state(saved);
    ASSERT_TRUE(blob.ok()) << blob.error().message;
    EXPECT_EQ(blob->form, form);
    const auto made = to_cells(*blob, shape, blob->tokens);
    ASSERT_TRUE(made.ok()) << made.error().message;
    ASSERT_EQ(made->cells.count(), kTokens);
    const Bytes written = to_state(made->cells, {}, shape, form, GetParam()).value();
    ASSERT_EQ(written.size(), saved.size());
    EXPECT_TRUE(GetParam() != CellType::f16 || written == saved) << name(form);
    ASSERT_TRUE(write_file(path_, written).ok());
    const LlamaContext second = make_context();
    ASSERT_TRUE(load(second.get(), form)) << name(form);
    // From the same cells come the same logits.
    const LlamaContext third = make_context();
    ASSERT_TRUE(write_file(path_, saved).ok());
    ASSERT_TRUE(load(third.get(), form));
    const double apart =
        distance(evaluate(third.get(), kTokens, 1), evaluate(second.get(), kTokens, 1));
    EXPECT_LE(apart, GetParam() == CellType::f16 ? 0 : 0.05) << name(form);
  }
}

// The cells of a rotated q8_0 cache are those of an f16 cache, but for rounding.
TEST_P(LlamaFiles, CellsAreThoseOfAnUnroundedCache) {
  const LlamaContext context = make_context();
  evaluate(context.get(), 0, kTokens);
  ASSERT_TRUE(save(context.get(), StateForm::sequence_file));
  const Bytes saved = read_file(path_).value();
  const Cells cells = to_cells(*parse_state(saved), shape, tokens).value().cells;
  auto described = host::Model::load(KVSPLICE_TEST_MODEL).value();
  auto plain = host::Context::create(described, {}).value();
  ASSERT_TRUE(plain.decode(std::span(tokens).first(kTokens)).ok());
  for (Kind kind : {Kind::key, Kind::value}) {
    Matrix<float> wanted(kTokens, shape.layers[0].width(kind));
    ASSERT_TRUE(plain.read_cache(kind, 0, 0, wanted).ok());
    std::vector<float> met(wanted.size());
    std::transform(cells.of(kind)[0].flat().begin(), cells.of(kind)[0].flat().end(), met.begin(),
                   from_half);
    const double apart = distance({wanted.flat().begin(), wanted.flat().end()}, met);
    EXPECT_LT(apart, GetParam() == CellType::f16 ? 2e-3 : 0.02) << name(kind);
    EXPECT_TRUE(GetParam() == CellType::f16 || apart > 1e-3) << "nothing was rounded: " << apart;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LlamaFiles, testing::Values(CellType::f16, CellType::q8_0),
                         [](const auto& tested) { return name(tested.param); });

}  // namespace
}  // namespace kvsplice::session

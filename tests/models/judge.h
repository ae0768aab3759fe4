// What this program does with a model, found by doing it.
#pragma once

#include <gmock/gmock.h>

#include <cmath>

#include "calibrate/calibrate.h"
#include "core/file.h"
#include "host/cache_block.h"
#include "host/context_cells.h"
#include "host/differences_test.h"
#include "quality/quality.h"
#include "quality/score.h"
#include "toy_model.h"

namespace kvsplice::testing {

struct Verdict {
  std::string refused;  // why; nothing else is said then
  std::string caches, session, codec, gradients;
};

// What becomes of a conversation's cells: ratios of f16 to what sessions hold of them, and the
// divergence that the codec costs in the loop.
struct Trial {
  double lossless, coded, divergence;
  std::string session;  // the logits behind the lossless one
};

class Judge {
 public:
  explicit Judge(const std::string& path) : loaded_(host::Model::load(path)) {}

  Verdict verdict() const {
    if (!loaded_.ok()) return {reason(loaded_.error().message), "", "", "", ""};
    return {"", caches(), session(), codec(), gradients()};
  }

  Trial trial() const {
    const codec::Codec codec = std::move(calibrated().codec);
    const codec::Embeddings embeddings = host::embeddings_of(model());
    const Restored exact = restored({shape(), nullptr, nullptr});
    const Restored coded = restored({shape(), &codec, &embeddings});
    quality::Options loop;
    loop.n_ctx = 128;
    loop.chunks = 2;
    const auto outcomes =
        must(quality::measure(model(), letters(256), {{"codec", std::nullopt, &codec}}, loop, {}));
    const double f16 = shape().f16_bytes(kTokens);
    return {f16 / exact.bytes, f16 / coded.bytes, outcomes.back().kld_mean, same_or_other(exact)};
  }

 private:
  static constexpr size_t kTokens = 100, kGradientTokens = 24, kText = 3000;

  // Behind "PATH: architecture 'NAME'", before what is handled.
  static std::string reason(const std::string& message) {
    const size_t quote = message.rfind("'");
    const std::string why = message.substr(quote + 1, message.find(';') - quote - 1);
    return why.substr(why.find_first_not_of(": "));
  }

  const host::Model& model() const { return *loaded_; }
  const ModelShape& shape() const { return model().shape(); }

  host::Context context(size_t tokens) const {
    host::ContextOptions options;
    options.n_ctx = static_cast<int>(tokens);
    options.threads = 1;
    return must(host::Context::create(model(), options));
  }
  static std::vector<float> next_logits(host::Context& context) {
    const host::Token token = 270;
    must(context.decode({&token, 1}, 1));
    return {context.logits(0).begin(), context.logits(0).end()};
  }

  std::string caches() const {
    size_t slide = 0, chunked = 0;
    for (const LayerShape& l : shape().layers) (l.chunked ? chunked : slide) += l.window > 0;
    std::string text = fmt::format("{}", shape().layers.size());
    if (slide > 0) text += fmt::format(", {} sliding", slide);
    if (chunked > 0) text += fmt::format(", {} in chunks", chunked);
    if (shape().lacks_values()) text += ", latent";
    if (shape().hybrid()) text += fmt::format("; {} recurrent", shape().recurrent.size());
    return text;
  }

  struct Restored {
    std::vector<float> before, after;  // logits behind a conversation, and behind its session
    double bytes;                      // that the file has of cells
  };
  Restored restored(const session::Coder& coder) const {
    const auto tokens = letters(kTokens);
    const std::string file = dir_.file("s.kvz");
    host::Context before = context(kTokens + 1), after = context(kTokens + 1);
    must(before.decode(tokens));
    const auto state = must(host::cells_of(before, shape(), tokens));
    std::vector<session::RecurrentState> states;
    if (state.recurrent) states.push_back(*state.recurrent);
    must(session::pack(file, state.cells, {}, coder, {}, {}, {.states = states}));
    const auto session = must(session::Session::open(file, coder));
    EXPECT_EQ(must(host::restore_session(session, shape(), after, {})), tokens);
    size_t bytes = std::filesystem::file_size(file);
    for (const auto& recurrent : states) {
      for (const auto& row : recurrent.rows) bytes -= row.data.size();
    }
    return {next_logits(before), next_logits(after), double(bytes)};
  }

  std::string session() const { return same_or_other(restored({shape(), nullptr, nullptr})); }
  static std::string same_or_other(const Restored& found) {
    return found.before == found.after ? "same" : "other";
  }

  // By the default pipeline, or what of it the model allows.
  calibrate::Calibration calibrated() const {
    std::string text;
    for (int32_t token : letters(kText)) text += char('a' + (token - 260));
    must(write_text(dir_.file("text"), text));
    calibrate::CalibrateOptions options;
    options.tokens = 1024;
    options.sequence = 256;
    options.threads = 1;
    return must(calibrate::calibrate(model(), {dir_.file("text")}, options, {}));
  }

  std::string codec() const {
    const calibrate::Calibration made = calibrated();
    const codec::Embeddings embeddings = host::embeddings_of(model());
    const Restored found = restored({shape(), &made.codec, &embeddings});
    EXPECT_GT(double(kTokens * shape().f16_bytes_per_token()) / found.bytes, 2);
    EXPECT_LT(divergence(found), 0.1);
    EXPECT_NE(found.before, found.after);  // it went through the codec
    std::string stages;
    for (const std::string stage : {"layers", "focus", "fisher"}) {
      if (print(made.codec.text()).find(stage) == std::string::npos) continue;
      stages += (stages.empty() ? "" : ", ") + stage;
    }
    return stages;
  }

  static double divergence(const Restored& found) {
    const quality::LogProbs before(found.before), after(found.after);
    return quality::Divergence::compare(before, after, 0).kld;
  }

  std::string gradients() const {
    const auto tokens = letters(kGradientTokens), next = letters(kGradientTokens, 8);
    host::GradientOptions options;
    options.next = next;
    const auto all = host::gradients_of(model(), tokens, options);
    if (!all.ok()) return operation_in(all.error());
    const auto found = host::Differences(model(), tokens, next).agreement(*all, 24);
    EXPECT_LT(found.changed, 24);
    EXPECT_GT(found.cosine, 0.99);
    EXPECT_NEAR(found.size, 1, 0.05);
    return "agree";
  }
  static std::string operation_in(const Error& error) {
    EXPECT_EQ(error.kind, ErrorKind::unsupported) << error.message;
    const std::string& text = error.message;
    const size_t begin = text.find('('), end = text.find(')');
    return begin < end ? "none (" + text.substr(begin + 1, end - begin - 1) + ")" : text;
  }

  const TempDir dir_;
  const Result<host::Model> loaded_;
};

}  // namespace kvsplice::testing

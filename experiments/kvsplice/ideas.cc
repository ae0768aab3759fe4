#include "experiments/kvsplice/ideas.h"

#include <fmt/format.h>

#include <cmath>

#include "codec/warp/training_fit.h"
#include "experiments/kvsplice/adaptive.h"
#include "experiments/kvsplice/rows.h"
#include "linalg/linalg.h"
#include "train/pca.h"

namespace kvsplice::experiment {

namespace {

constexpr size_t kMixed = 8;  // columns of a block that are mixed before the warp

struct Method {
  std::string idea, name;
  std::function<Result<CodedRows>()> code;
};

// Rows of all heads below each other: what is learnt then holds for every head.
Matrix<float> heads_as_rows(const Matrix<float>& rows, size_t heads) {
  Matrix<float> out(rows.rows() * heads, rows.cols() / heads);
  std::copy_n(rows.data(), rows.size(), out.data());
  return out;
}

Result<CodedRows> code_heads_as_rows(const std::string& pipeline, const IdeaData& d) {
  KVS_ASSIGN(auto coded,
             code_rows(pipeline, heads_as_rows(d.train, d.heads), heads_as_rows(d.test, d.heads)));
  Matrix<float> rows(d.test.rows(), d.test.cols());
  std::copy_n(coded.rows.data(), rows.size(), rows.data());
  return CodedRows{std::move(rows), coded.bytes * double(d.heads)};
}

std::vector<Method> methods_of(const IdeaData& d, const StudyOptions& options) {
  const auto spline = [&](size_t rank) {
    return fmt::format("spline(epochs={},rank={}) | ", options.spline_epochs, rank);
  };
  const size_t k = d.rank, per_head = k / d.heads;
  std::vector<Method> methods;
  // Plain, and behind a spline.
  const auto pair = [&](const std::string& idea, const std::string& pipeline, size_t rank) {
    for (const std::string& text : {pipeline, spline(rank) + pipeline}) {
      methods.push_back(
          {idea, text, [text, &d] { return code_rows(text, d.train, d.test, d.heads); }});
    }
  };
  pair("the seed's", fmt::format("klt(rank={})", k), k);
  pair("per head", fmt::format("klt(scope=head,rank={})", per_head), k);
  for (const std::string& warp : {std::string(), spline(per_head)}) {
    const std::string text = fmt::format("{}klt(rank={})", warp, per_head);
    methods.push_back(
        {"one for all heads", text, [text, &d] { return code_heads_as_rows(text, d); }});
  }
  const std::string mixed = fmt::format("klt(scope=head) | {}klt(rank={})", spline(k), k);
  methods.push_back({"blocks of 8 mixed first", mixed, [mixed, &d] {
                       return code_rows(mixed, d.train, d.test, d.train.cols() / kMixed);
                     }});
  pair("int8", fmt::format("klt(rank={}) | uniform(bits=8,block={})", 2 * k, 2 * k), 2 * k);
  pair("4 bits", fmt::format("klt(rank={}) | uniform(bits=4,block={})", 4 * k, 4 * k), 4 * k);
  for (bool warp : {false, true}) {
    for (bool online : {false, true}) {
      const std::string name =
          fmt::format("{}, {}", warp ? "spline and PCA" : "PCA", online ? "online" : "frozen");
      methods.push_back(
          {"adaptive", name, [=, &d, &options] {
             const AdaptiveOptions adaptive{k, warp, online, size_t(options.spline_epochs)};
             return code_stream(d.train, d.test, adaptive);
           }});
    }
  }
  for (const char* text : {"klt(rank=1)", "curve"}) {
    methods.push_back(
        {"one number", text, [text, &d] { return code_rows(text, d.train, d.test); }});
  }
  return methods;
}

std::string name_of(const IdeaData& data, const Method& method) {
  return fmt::format("ideas on {}: {}, {}", data.name, method.idea, method.name);
}

// Bytes of a row, its error and, where something attends, the error of attention.
Result<std::vector<double>> measured(const IdeaData& data, const Method& method) {
  KVS_ASSIGN(const CodedRows coded, method.code());
  const double error = std::sqrt(train::mean_squared_error(coded.rows, data.test));
  std::vector<double> numbers = {coded.bytes, error / rms_about_mean(data.test)};
  if (data.attention_error) {
    KVS_ASSIGN(const double attention, data.attention_error(coded.rows));
    numbers.push_back(attention);
  }
  return numbers;
}

}  // namespace

void plan_ideas(const IdeaData& data, const StudyOptions& options, Kept& kept) {
  for (const Method& m : methods_of(data, options)) {
    kept.want(name_of(data, m), [&data, m] { return measured(data, m); });
  }
}

std::vector<IdeaRow> ideas_of(const IdeaData& data, const StudyOptions& options, const Kept& kept) {
  std::vector<IdeaRow> rows;
  for (const Method& m : methods_of(data, options)) {
    const auto& numbers = kept.of(name_of(data, m));
    rows.push_back(
        {m.idea, data.name, m.name, numbers[0], numbers[1], numbers.size() > 2 ? numbers[2] : NAN});
  }
  return rows;
}

}  // namespace kvsplice::experiment

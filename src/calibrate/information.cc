#include "calibrate/information.h"

#include <fmt/format.h>

#include <filesystem>

#include "calibrate/calibration_rows.h"
#include "gguf/gguf_file.h"
#include "host/gradient.h"
#include "solve/solve.h"

namespace kvsplice::calibrate {

namespace {

// Changes whenever the same sequence would give something else.
constexpr int kMethod = 3;
constexpr size_t kMostSequences = 10, kMostTokens = 1024;

using codec::Information;

std::vector<Information>& of(ModelInformation& all, Kind kind) {
  return kind == Kind::key ? all.keys : all.values;
}

std::string tensor_name(Kind kind, size_t layer) {
  return fmt::format("{}.{}", kind == Kind::key ? "k" : "v", layer);
}

ModelInformation nothing_yet(const ModelShape& shape) {
  ModelInformation all;
  for (const LayerShape& l : shape.layers) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const auto dim = size_t(l.heads_dim(kind));
      of(all, kind).push_back({std::vector(size_t(l.kv_heads), Matrix<double>(dim, dim))});
    }
  }
  return all;
}

// Calls body(kind, layer, information) for all.
template <class Body>
Result<> for_units(ModelInformation& all, const Body& body) {
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < of(all, kind).size(); ++l) {
      if (!of(all, kind)[l].heads[0].empty()) KVS_TRY(body(kind, l, of(all, kind)[l]));
    }
  }
  return {};
}

void add_products(Information& to, MatrixView<const float> rows, double weight) {
  size_t first = 0;
  for (Matrix<double>& head : to.heads) {
    const Matrix<double> products = scatter(rows.col_range(first, head.cols()), {});
    for (size_t i = 0; i < head.size(); ++i) head.flat()[i] += weight * products.flat()[i];
    first += head.cols();
  }
}

// The mean over the tokens of one sequence.
Result<ModelInformation> measure(const host::Model& model, std::span<const int32_t> tokens,
                                 const host::GradientOptions& options, size_t sinks,
                                 const Progress& progress) {
  ModelInformation all = nothing_yet(model.shape());
  KVS_TRY(progress.step("", 0, 1));
  const auto take = [&](Kind kind, int layer, MatrixView<const float> rows) -> Result<> {
    KVS_TRY(progress.step("", 0, 1));  // a sequence takes long
    const size_t skip = std::min(sinks, rows.rows);
    add_products(of(all, kind)[size_t(layer)], rows.row_range(skip, rows.rows - skip),
                 1 / double(tokens.size()));
    return {};
  };
  KVS_TRY(host::predicted_gradients(model, tokens, options, take));
  return all;
}

Result<> save(ModelInformation& all, const std::string& path) {
  KVS_ASSIGN(auto file, gguf::GgufWriter::create(path));
  file.set("kvsplice.kind", std::string("information"));
  const auto declare = [&](Kind kind, size_t l, const Information& one) -> Result<> {
    const size_t dim = one.heads[0].cols();
    file.declare({tensor_name(kind, l), gguf::TensorType::f32, {one.heads.size() * dim, dim}});
    return {};
  };
  const auto write = [&](Kind kind, size_t l, const Information& one) -> Result<> {
    size_t at = 0;
    for (const Matrix<double>& head : one.heads) {
      const std::vector<float> values(head.flat().begin(), head.flat().end());
      KVS_TRY(file.write(tensor_name(kind, l), at, std::span<const float>(values)));
      at += values.size();
    }
    return {};
  };
  KVS_TRY(for_units(all, declare));
  KVS_TRY(file.begin_data());
  KVS_TRY(for_units(all, write));
  return file.finish();
}

Result<ModelInformation> load(const ModelShape& shape, const std::string& path) {
  KVS_ASSIGN(const auto file, gguf::GgufReader::open(path));
  ModelInformation all = nothing_yet(shape);
  const auto read = [&](Kind kind, size_t l, Information& one) -> Result<> {
    size_t at = 0;
    for (Matrix<double>& head : one.heads) {
      std::vector<float> values(head.size());
      KVS_TRY(file.read(tensor_name(kind, l), at, std::span<float>(values)));
      std::copy(values.begin(), values.end(), head.data());
      at += values.size();
    }
    return {};
  };
  KVS_TRY(for_units(all, read));
  return all;
}

// Of a sequence whose gradients fit.
Result<size_t> tokens_within(const host::Model& model, size_t memory, size_t sinks) {
  KVS_ASSIGN(const size_t each, host::gradient_bytes_per_token(model));
  const size_t least = sinks + 16, fit = memory / std::max<size_t>(each, 1);
  if (fit >= least) return std::min(fit, kMostTokens);
  return Error{ErrorKind::usage, fmt::format("gradients take {:.0f} MB for each token; legal: "
                                             "memory of {:.1f} GB or more",
                                             double(each) / 1e6, double(each * least) / 1e9)};
}

std::vector<extract::Sequence> first_of(std::span<const extract::Sequence> sequences, size_t tokens,
                                        const std::function<bool(size_t)>& use) {
  std::vector<extract::Sequence> some;
  for (size_t i = 0; i < sequences.size() && some.size() < kMostSequences; ++i) {
    if (use && !use(i)) continue;
    some.push_back(sequences[i]);
    some.back().tokens.resize(std::min(some.back().tokens.size(), tokens));
  }
  return some;
}

// Always of what was saved, in the order of the sequences: whoever measured them, it comes out the
// same.
Result<ModelInformation> mean_of(const ModelShape& shape, const std::vector<std::string>& paths) {
  ModelInformation mean = nothing_yet(shape);
  for (const std::string& path : paths) {
    KVS_ASSIGN(ModelInformation one, load(shape, path));
    KVS_TRY(for_units(one, [&](Kind kind, size_t l, const Information& unit) -> Result<> {
      Information& to = of(mean, kind)[l];
      for (size_t h = 0; h < unit.heads.size(); ++h) {
        for (size_t i = 0; i < unit.heads[h].size(); ++i) {
          to.heads[h].flat()[i] += unit.heads[h].flat()[i] / double(paths.size());
        }
      }
      return {};
    }));
  }
  return mean;
}

}  // namespace

Result<ModelInformation> measure_information(const host::Model& model,
                                             std::span<const extract::Sequence> sequences,
                                             size_t sinks, const std::string& folder, size_t memory,
                                             int threads, const sweep::Team& team,
                                             const Progress& progress,
                                             const std::function<bool(size_t)>& use) {
  KVS_ASSIGN(const size_t most, tokens_within(model, memory, sinks));
  const std::vector<extract::Sequence> some = first_of(sequences, most, use);
  std::vector<std::string> paths;
  std::vector<sweep::Job> jobs;
  for (size_t i = 0; i < some.size(); ++i) {
    const std::string name = fmt::format("information-{}-{}-{}-{}.gguf", kMethod,
                                         hash_of(model, std::span(some).subspan(i, 1)), i, sinks);
    const std::string path = (std::filesystem::path(folder) / name).string();
    const auto work = [&, path, i]() -> Result<> {
      const auto at_this_place = [&](const std::string&, size_t, size_t) {
        return progress.step("gradients", i, some.size()).ok();
      };
      KVS_ASSIGN(
          ModelInformation one,
          measure(model, some[i].tokens, {.seed = i, .threads = threads}, sinks, {at_this_place}));
      return save(one, path);
    };
    jobs.push_back(sweep::job_of_file(path, work));
    paths.push_back(path);
  }
  KVS_TRY(team.share(folder, jobs, progress));
  return mean_of(model.shape(), paths);
}

Result<codec::Information> InformedRows::read_information(Kind kind, int layer) const {
  const auto& layers = kind == Kind::key ? information_.keys : information_.values;
  if (layer >= 0 && size_t(layer) < layers.size()) return layers[size_t(layer)];
  return Error{ErrorKind::usage, "what errors do is known layer by layer, not of layers joined"};
}

}  // namespace kvsplice::calibrate

#include "calibrate/information.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <filesystem>

#include "calibrate/calibration_rows.h"
#include "calibrate/restored_prompt.h"
#include "gguf/gguf_file.h"
#include "host/cache_block.h"
#include "host/gradient.h"
#include "solve/solve.h"

namespace kvsplice::calibrate {

namespace {

// Changes whenever the same sequence would give something else.
constexpr int kMethod = 3;
constexpr size_t kMostTokens = 1024;

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

// Calls body(to, from) for all.
template <class Body>
void for_pairs(ModelInformation& to, const ModelInformation& from, const Body& body) {
  for (size_t l = 0; l < to.keys.size(); ++l) {
    body(to.keys[l], from.keys[l]);
    body(to.values[l], from.values[l]);
  }
}

void add(const Information& from, double weight, Information& to) {
  for (size_t h = 0; h < from.heads.size(); ++h) {
    for (size_t i = 0; i < from.heads[h].size(); ++i) {
      to.heads[h].flat()[i] += weight * from.heads[h].flat()[i];
    }
  }
}

void add_products(Information& to, MatrixView<const float> rows, double weight) {
  size_t first = 0;
  for (Matrix<double>& head : to.heads) {
    const Matrix<double> products = scatter(rows.col_range(first, head.cols()), {});
    for (size_t i = 0; i < head.size(); ++i) head.flat()[i] += weight * products.flat()[i];
    first += head.cols();
  }
}

// The mean over the tokens of one sequence, or of its prompt.
Result<ModelInformation> measure(const host::Model& model, std::span<const int32_t> tokens,
                                 const host::GradientOptions& options, size_t sinks,
                                 const Progress& progress) {
  ModelInformation all = nothing_yet(model.shape());
  KVS_TRY(progress.step("", 0, 1));
  const auto take = [&](Kind kind, int layer, MatrixView<const float> rows) -> Result<> {
    KVS_TRY(progress.step("", 0, 1));  // a sequence takes long
    const size_t skip = std::min(sinks, rows.rows);
    add_products(of(all, kind)[size_t(layer)], rows.row_range(skip, rows.rows - skip),
                 1 / double(rows.rows));
    return {};
  };
  KVS_TRY(host::predicted_gradients(model, tokens, options, take));
  return all;
}

Result<ModelInformation> measure_behind(const host::Model& model, const codec::Codec& codec,
                                        std::span<const int32_t> tokens,
                                        host::GradientOptions options, size_t sinks,
                                        const Progress& progress) {
  options.prompt = tokens.size() / 2;
  const auto prompt = tokens.first(options.prompt);
  KVS_ASSIGN(auto restored, RestoredPrompt::begin(codec, {prompt.begin(), prompt.end()}, sinks,
                                                  host::embeddings_of(model)));
  options.change = [&](Kind kind, int layer, MatrixView<float> rows) {
    return restored.restore(kind, layer, rows);
  };
  return measure(model, tokens, options, sinks, progress);
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

// Which pieces of sequences serve: the first of each, then the second of those that have one, and
// so on, as long as there are fewer than `most`.
struct Pieces {
  size_t most, of_sequence;
  size_t tokens = 0;
};

std::vector<extract::Sequence> pieces_of(std::span<const extract::Sequence> sequences,
                                         const Pieces& wanted,
                                         const std::function<bool(size_t)>& use) {
  std::vector<extract::Sequence> pieces;
  for (size_t n = 0; n < wanted.of_sequence; ++n) {
    const size_t before = pieces.size(), first = n * wanted.tokens;
    for (size_t i = 0; i < sequences.size() && pieces.size() < wanted.most; ++i) {
      const auto& all = sequences[i].tokens;
      if ((use && !use(i)) || (n > 0 && first + wanted.tokens > all.size())) continue;
      extract::Sequence& piece = pieces.emplace_back(sequences[i]);
      const size_t end = std::min(first + wanted.tokens, all.size());
      piece.tokens.assign(all.begin() + ptrdiff_t(first), all.begin() + ptrdiff_t(end));
    }
    if (pieces.size() == before) break;
  }
  return pieces;
}

// Always of what was saved, in the order of the sequences: whoever measured them, it comes out the
// same.
Result<ModelInformation> mean_of(const ModelShape& shape, const std::vector<std::string>& paths) {
  ModelInformation mean = nothing_yet(shape);
  for (const std::string& path : paths) {
    KVS_ASSIGN(const ModelInformation one, load(shape, path));
    for_pairs(mean, one, [&](Information& to, const Information& from) {
      add(from, 1 / double(paths.size()), to);
    });
  }
  return mean;
}

using Measure = std::function<Result<ModelInformation>(std::span<const int32_t> tokens,
                                                       const host::GradientOptions& options,
                                                       const Progress& progress)>;

// Of each piece under a name that begins so.
Result<ModelInformation> measure_each(const host::Model& model,
                                      std::span<const extract::Sequence> sequences, Pieces pieces,
                                      const std::string& name, const GatherOptions& o,
                                      const Progress& progress, const Measure& measure_one) {
  KVS_ASSIGN(pieces.tokens, tokens_within(model, o.memory, o.sinks));
  const std::vector<extract::Sequence> some = pieces_of(sequences, pieces, o.use);
  std::vector<std::string> paths;
  std::vector<sweep::Job> jobs;
  for (size_t i = 0; i < some.size(); ++i) {
    const std::string file = fmt::format("{}-{}-{}-{}-{}.gguf", name, kMethod,
                                         hash_of(model, std::span(some).subspan(i, 1)), i, o.sinks);
    const std::string path = (std::filesystem::path(o.work) / file).string();
    const auto work = [&, path, i]() -> Result<> {
      const auto at_this_place = [&](const std::string&, size_t, size_t) {
        return progress.step("gradients", i, some.size()).ok();
      };
      KVS_ASSIGN(ModelInformation one,
                 measure_one(some[i].tokens, {.seed = i, .threads = o.threads}, {at_this_place}));
      return save(one, path);
    };
    jobs.push_back(sweep::job_of_file(path, work));
    paths.push_back(path);
  }
  KVS_TRY(o.team.share(o.work, jobs, progress));
  return mean_of(model.shape(), paths);
}

double trace(const Information& unit) {
  double sum = 0;
  for (const Matrix<double>& head : unit.heads) {
    for (size_t i = 0; i < head.rows(); ++i) sum += head(i, i);
  }
  return sum;
}

}  // namespace

Result<ModelInformation> measure_information(const host::Model& model,
                                             std::span<const extract::Sequence> sequences,
                                             const GatherOptions& o, const Progress& progress) {
  const Pieces pieces{.most = 10, .of_sequence = 1};
  const auto whole = [&](std::span<const int32_t> sequence, const host::GradientOptions& options,
                         const Progress& at) {
    return measure(model, sequence, options, o.sinks, at);
  };
  return measure_each(model, sequences, pieces, "information", o, progress, whole);
}

Result<ModelInformation> measure_information_behind(const host::Model& model,
                                                    const codec::Codec& codec,
                                                    std::span<const extract::Sequence> sequences,
                                                    const GatherOptions& o,
                                                    const Progress& progress) {
  const Pieces pieces{.most = 30, .of_sequence = SIZE_MAX};
  const auto behind = [&](std::span<const int32_t> sequence, const host::GradientOptions& options,
                          const Progress& at) {
    return measure_behind(model, codec, sequence, options, o.sinks, at);
  };
  return measure_each(model, sequences, pieces, "behind-" + codec.fingerprint(), o, progress,
                      behind);
}

ModelInformation even_mean(ModelInformation one, const ModelInformation& other) {
  double logs = 0, units = 0;
  for_pairs(one, other, [&](const Information& own, const Information& its) {
    if (!(trace(own) > 0 && trace(its) > 0)) return;
    logs += std::log(trace(own) / trace(its));
    units += 1;
  });
  const double scale = units > 0 ? std::exp(logs / units) : 1;
  for_pairs(one, other, [&](Information& own, const Information& its) {
    for (Matrix<double>& head : own.heads) {
      for (double& value : head.flat()) value /= 2;
    }
    add(its, scale / 2, own);
  });
  return one;
}

Result<codec::Information> InformedRows::read_information(Kind kind, int layer) const {
  const auto& layers = kind == Kind::key ? information_.keys : information_.values;
  if (layer >= 0 && size_t(layer) < layers.size()) return layers[size_t(layer)];
  return Error{ErrorKind::usage, "what errors do is known layer by layer, not of layers joined"};
}

}  // namespace kvsplice::calibrate

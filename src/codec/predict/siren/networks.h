// What `siren` and its fit share: both train networks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "codec/stage.h"
#include "functions/siren.h"

namespace kvsplice::codec {

struct SirenParams {
  std::string config = "medium";
  std::optional<int> hidden, layers;
  std::optional<double> omega;
  std::string trainer = "adam";
  std::optional<int> epochs;
  std::optional<double> lr;
  double stop = 0;
  int seed = 0;
  std::string share = "head";

  template <class V>
  void visit(V&& v) {
    v("config", config, "named network that hidden, layers and omega start from",
      Choice{"tiny", "small", "medium", "large", "deep", "hifreq", "lofreq"});
    v("hidden", hidden, "units of a sine layer", Range{1, 4096});
    v("layers", layers, "sine layers behind the first", Range{0, 16});
    v("omega", omega, "factor inside of every sine", Range{0.01, 1000});
    v("trainer", trainer, "the recipe's Adam, or variable projection", Choice{"adam", "varpro"});
    v("epochs", epochs, "passes over the rows (2000 with adam, 20 with varpro)", Range{0, 1e6});
    v("lr", lr, "first learning rate (1e-4 with adam, 1e-3 with varpro)", Range{1e-9, 1});
    v("stop", stop, "stop when a tenth of the epochs gains less than this share", Range{0, 1});
    v("seed", seed, "of the initial parameters", Range{0, 2147483647});
    v("share", share, "what has a network of its own", Choice{"head", "layer"});
  }

  functions::SirenShape shape() const;
  functions::SirenOptions options() const;
};

// The columns of a unit that one network makes.
struct Columns {
  size_t first, count;
};
std::vector<Columns> columns_of_networks(const SirenParams& params, const Unit& unit);

// Networks for rows of a unit, in the order of their columns.
Result<std::vector<functions::SirenModel>> train_networks(const SirenParams& params,
                                                          const Unit& unit,
                                                          MatrixView<const float> rows,
                                                          const Progress& progress);

// What identifies rows that networks were trained on: 64 bits, kept in the state as four exact
// floats.
uint64_t hash_rows(const CodeContext& context);

State save_networks(const std::vector<functions::SirenModel>& models, uint64_t rows);

}  // namespace kvsplice::codec

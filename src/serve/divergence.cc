#include "serve/divergence.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "core/file.h"
#include "core/threads.h"

namespace kvsplice::serve {

double divergence(const Upstream::Likely& p, const Upstream::Likely& q) {
  std::map<int32_t, double> other(q.begin(), q.end());
  double sum = 0, left_p = 1, left_q = 1;
  for (const auto& [token, mine] : p) {
    const auto its = other.find(token);
    if (its == other.end() || !(mine > 0) || !(its->second > 0)) continue;
    sum += mine * std::log(mine / its->second);
    left_p -= mine;
    left_q -= its->second;
  }
  constexpr double kLeast = 1e-9;  // sums of rounded numbers may come out below 0
  left_p = std::max(left_p, kLeast);
  left_q = std::max(left_q, kLeast);
  return std::max(0.0, sum + left_p * std::log(left_p / left_q));
}

Predictor::Predictor(const Upstream& upstream, int slot, std::string folder,
                     const ModelShape& shape, host::StateTarget target)
    : upstream_(upstream),
      slot_(slot),
      folder_(std::move(folder)),
      shape_(shape),
      target_(std::move(target)) {}

Result<Upstream::Likely> Predictor::behind(const KvView& cells,
                                           std::span<const int32_t> tokens) const {
  const std::string file = "kvs-trial-" + std::to_string(slot_);
  const std::string path = (std::filesystem::path(folder_) / file).string();
  KVS_ASSIGN(const Bytes state, host::to_state(cells, {}, shape_, target_));
  KVS_TRY(write_file(path, state));
  const auto restored = upstream_.restore(slot_, file);
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  if (!restored.ok()) return restored.error();
  return upstream_.likely(slot_, tokens);
}

KvBlock<uint16_t> through_q4_0(const KvView& cells, const ModelShape& shape) {
  const std::vector<host::Turns> turns = host::usual_turns(shape);
  KvBlock<uint16_t> out(shape, Space::cached, 0, cells.count());
  std::copy(cells.tokens.begin(), cells.tokens.end(), out.tokens.begin());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      Matrix<float> rows(cells.count(), size_t(shape.layers[l].width(kind)));
      read_rows(cells.of(kind)[l], rows.view());
      for (size_t r = 0; r < rows.rows(); ++r) host::through_q4_0(rows.row(r), turns[l].of(kind));
      to_halves(std::as_const(rows).view(), out.of(kind)[l].view());
    }
  }
  return out;
}

}  // namespace kvsplice::serve

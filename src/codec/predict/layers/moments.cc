#include "codec/predict/layers/moments.h"

#include <algorithm>

#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec::layers {

namespace {

constexpr size_t kHeldEvery = 8;

// Rows of a block: 256, or fewer where that would leave less than two blocks held out.
size_t block_size(size_t rows) { return std::clamp<size_t>(rows / (2 * kHeldEvery), 1, 256); }

Part part_of(size_t block) { return block % kHeldEvery == kHeldEvery - 1 ? kHeld : kLearn; }

Matrix<float> centred(MatrixView<const float> rows, const std::vector<double>& mean) {
  Matrix<float> out(rows.rows, rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) out(r, c) = static_cast<float>(rows(r, c) - mean[c]);
  }
  return out;
}

void add(const Matrix<float>& from, Matrix<double>& to) {
  for (size_t i = 0; i < to.size(); ++i) to.flat()[i] += from.flat()[i];
}

// Blocks are multiplied in float and summed in double, in a fixed number of lanes so that the
// result does not depend on the threads.
Products multiply(MatrixView<const float> a, const std::vector<double>& a_mean,
                  MatrixView<const float> b, const std::vector<double>& b_mean) {
  constexpr size_t kLanes = 8;
  std::vector<Products> lanes(kLanes);
  const size_t size = block_size(a.rows), blocks = (a.rows + size - 1) / size;
  parallel_for(kLanes, [&](size_t lane) {
    for (auto& sum : lanes[lane].of) sum = Matrix<double>(a.cols, b.cols);
    Matrix<float> product(a.cols, b.cols);
    for (size_t block = lane; block < blocks; block += kLanes) {
      const size_t first = block * size, n = std::min(size, a.rows - first);
      gemm(Trans::yes, Trans::no, 1.f, centred(a.row_range(first, n), a_mean),
           centred(b.row_range(first, n), b_mean), 0.f, product);
      add(product, lanes[lane].of[part_of(block)]);
    }
  });
  for (size_t lane = 1; lane < kLanes; ++lane) {
    for (int part : {kLearn, kHeld}) {
      for (size_t i = 0; i < lanes[0].of[part].size(); ++i) {
        lanes[0].of[part].flat()[i] += lanes[lane].of[part].flat()[i];
      }
    }
  }
  return std::move(lanes[0]);
}

void place(const Matrix<double>& block, size_t row, size_t col, bool transposed,
           Matrix<double>& into) {
  for (size_t r = 0; r < block.rows(); ++r) {
    for (size_t c = 0; c < block.cols(); ++c) {
      (transposed ? into(row + c, col + r) : into(row + r, col + c)) = block(r, c);
    }
  }
}

void drop_others(const std::vector<Source>& sources, SharedProducts& shared) {
  const auto given = [&](const std::string& name) {
    return std::any_of(sources.begin(), sources.end(),
                       [&](const Source& s) { return s.name == name; });
  };
  std::erase_if(shared.means, [&](const auto& entry) { return !given(entry.first); });
  std::erase_if(shared.products, [&](const auto& entry) {
    return !given(entry.first.first) || !given(entry.first.second);
  });
}

}  // namespace

Moments measure(const std::vector<Source>& sources, MatrixView<const float> target,
                SharedProducts& shared) {
  drop_others(sources, shared);
  Moments m;
  std::vector<size_t> offset;
  for (const Source& s : sources) {
    auto& mean = shared.means[s.name];
    if (mean.empty()) mean = column_means(s.rows);
    offset.push_back(m.input_mean.size());
    m.input_mean.insert(m.input_mean.end(), mean.begin(), mean.end());
  }
  m.target_mean = column_means(target);
  const size_t inputs = m.input_mean.size();
  for (int part : {kLearn, kHeld}) {
    m.inputs.of[part] = Matrix<double>(inputs, inputs);
    m.cross.of[part] = Matrix<double>(inputs, target.cols);
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto& mean = shared.means[sources[i].name];
    for (size_t j = 0; j <= i; ++j) {
      const auto key = std::minmax(sources[i].name, sources[j].name);
      const Source &a = key.first == sources[i].name ? sources[i] : sources[j],
                   &b = key.first == sources[i].name ? sources[j] : sources[i];
      auto [entry, is_new] = shared.products.try_emplace({a.name, b.name});
      if (is_new) {
        entry->second = multiply(a.rows, shared.means[a.name], b.rows, shared.means[b.name]);
      }
      const size_t at_a = offset[&a - sources.data()], at_b = offset[&b - sources.data()];
      for (int part : {kLearn, kHeld}) {
        place(entry->second.of[part], at_a, at_b, false, m.inputs.of[part]);
        place(entry->second.of[part], at_b, at_a, true, m.inputs.of[part]);
      }
    }
    const Products cross = multiply(sources[i].rows, mean, target, m.target_mean);
    for (int part : {kLearn, kHeld}) place(cross.of[part], offset[i], 0, false, m.cross.of[part]);
  }
  m.targets = multiply(target, m.target_mean, target, m.target_mean);
  for (size_t block = 0, left = target.rows; left > 0; ++block) {
    const size_t n = std::min(block_size(target.rows), left);
    m.rows[part_of(block)] += n;
    left -= n;
  }
  return m;
}

}  // namespace kvsplice::codec::layers

#include "codec/predict/layers/moments_fit.h"

#include <algorithm>

#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec::layers {

namespace {

constexpr size_t kHeldEvery = 8;

// Rows of a block: 256, or fewer where that would leave less than two blocks held out.
size_t block_size(size_t rows) { return std::clamp<size_t>(rows / (2 * kHeldEvery), 1, 256); }

// Consecutive rows of one part: seven blocks to learn from, then one held out.
struct Run {
  Part part;
  size_t first, count;
};

std::vector<Run> runs_of(size_t rows) {
  const size_t held = block_size(rows), learn = held * (kHeldEvery - 1);
  std::vector<Run> runs;
  for (size_t first = 0; first < rows;) {
    const Part part = runs.size() % 2 == 0 ? kLearn : kHeld;
    runs.push_back({part, first, std::min(part == kLearn ? learn : held, rows - first)});
    first += runs.back().count;
  }
  return runs;
}

Centred centred(MatrixView<const float> rows) {
  Centred made{column_means(rows), Matrix<float>(rows.rows, rows.cols)};
  parallel_chunks(rows.rows, 1024, [&](size_t first, size_t n) {
    for (size_t r = first; r < first + n; ++r) {
      for (size_t c = 0; c < rows.cols; ++c) {
        made.rows(r, c) = static_cast<float>(rows(r, c) - made.mean[c]);
      }
    }
  });
  return made;
}

template <class From>
void add(const Matrix<From>& from, Matrix<double>& to) {
  for (size_t i = 0; i < to.size(); ++i) to.flat()[i] += from.flat()[i];
}

// Runs are multiplied in float and summed in double, in a number of lanes that does not depend on
// the threads, so that the result does not: one where products are so large that they have work for
// all threads and are no more than memory should hold.
Products multiply(const Matrix<float>& a, const Matrix<float>& b) {
  constexpr size_t kLargeProduct = 2048 * 1024;
  const std::vector<Run> runs = runs_of(a.rows());
  std::vector<Products> lanes(a.cols() * b.cols() > kLargeProduct ? 1 : 8);
  parallel_for(lanes.size(), [&](size_t lane) {
    for (auto& sum : lanes[lane].of) sum = Matrix<double>(a.cols(), b.cols());
    Matrix<float> product(a.cols(), b.cols());
    for (size_t i = lane; i < runs.size(); i += lanes.size()) {
      gemm(Trans::yes, Trans::no, 1.f, a.view().row_range(runs[i].first, runs[i].count),
           b.view().row_range(runs[i].first, runs[i].count), 0.f, product);
      add(product, lanes[lane].of[runs[i].part]);
    }
  });
  for (size_t lane = 1; lane < lanes.size(); ++lane) {
    for (int part : {kLearn, kHeld}) add(lanes[lane].of[part], lanes[0].of[part]);
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
  std::erase_if(shared.sources, [&](const auto& entry) { return !given(entry.first); });
  std::erase_if(shared.products, [&](const auto& entry) {
    return !given(entry.first.first) || !given(entry.first.second);
  });
}

}  // namespace

Moments measure(const std::vector<Source>& sources, MatrixView<const float> target,
                SharedProducts& shared) {
  drop_others(sources, shared);
  const Centred wanted = centred(target);
  Moments m;
  m.target_mean = wanted.mean;
  std::vector<size_t> offset;
  for (const Source& s : sources) {
    auto [entry, is_new] = shared.sources.try_emplace(s.name);
    if (is_new) entry->second = centred(s.rows);
    const std::vector<double>& mean = entry->second.mean;
    offset.push_back(m.input_mean.size());
    m.input_mean.insert(m.input_mean.end(), mean.begin(), mean.end());
  }
  const size_t inputs = m.input_mean.size();
  for (int part : {kLearn, kHeld}) {
    m.inputs.of[part] = Matrix<double>(inputs, inputs);
    m.cross.of[part] = Matrix<double>(inputs, target.cols);
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      const auto key = std::minmax(sources[i].name, sources[j].name);
      const bool in_order = key.first == sources[i].name;
      auto [entry, is_new] = shared.products.try_emplace({key.first, key.second});
      if (is_new) {
        entry->second = multiply(shared.sources[key.first].rows, shared.sources[key.second].rows);
      }
      const size_t row = offset[in_order ? i : j], col = offset[in_order ? j : i];
      for (int part : {kLearn, kHeld}) {
        place(entry->second.of[part], row, col, false, m.inputs.of[part]);
        place(entry->second.of[part], col, row, true, m.inputs.of[part]);
      }
    }
    const Products cross = multiply(shared.sources[sources[i].name].rows, wanted.rows);
    for (int part : {kLearn, kHeld}) place(cross.of[part], offset[i], 0, false, m.cross.of[part]);
  }
  m.targets = multiply(wanted.rows, wanted.rows);
  for (const Run& run : runs_of(target.rows)) m.rows[run.part] += run.count;
  return m;
}

}  // namespace kvsplice::codec::layers

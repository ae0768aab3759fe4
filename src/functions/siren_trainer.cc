#include "functions/siren_trainer.h"

#include <algorithm>

#include "core/threads.h"

namespace kvsplice::functions {

namespace {

// Calls f(first, count) for the blocks of rows [first, first + rows).
template <class F>
void for_blocks(size_t first, size_t rows, F&& f) {
  constexpr size_t kRows = SirenBlock<float>::kRows;
  for (size_t at = 0; at < rows; at += kRows) f(first + at, std::min(kRows, rows - at));
}

}  // namespace

template <class T>
SirenTrainer<T>::SirenTrainer(const SirenShape& shape, std::span<const double> parameters,
                              MatrixView<const float> targets)
    : rows_(targets.rows),
      net_(shape),
      positions_(targets.rows),
      targets_(net_.layout.layers.back().out_panels * net_.layout.width * targets.rows),
      mean_(net_.layout.size),
      square_(net_.layout.size) {
  net_.set(parameters);
  for (size_t r = 0; r < rows_; ++r)
    positions_[r] = T(double(r) / double(std::max<size_t>(rows_ - 1, 1)));
  const size_t width = net_.layout.width, panels = net_.layout.layers.back().out_panels;
  for (size_t first = 0; first < rows_; first += kChunkRows) {
    const size_t rows = std::min(kChunkRows, rows_ - first);
    chunks_.push_back({first, rows,
                       SirenBlock<T>(net_.layout, std::min(rows, SirenBlock<T>::kRows)),
                       AlignedVector<T>(net_.layout.size)});
    for_blocks(first, rows, [&](size_t at, size_t count) {
      T* block = targets_.data() + at * panels * width;
      for (size_t r = 0; r < count; ++r) {
        for (size_t c = 0; c < targets.cols; ++c) {
          block[(c / width * count + r) * width + c % width] = T(targets(at + r, c));
        }
      }
    });
  }
}

template <class T>
void SirenTrainer<T>::run(Chunk& chunk, bool with_gradient) {
  const size_t row_size = net_.layout.layers.back().out_panels * net_.layout.width;
  const T scale = T(2 / (double(rows_) * double(net_.shape.outputs)));
  chunk.squares = 0;
  std::fill(chunk.gradient.begin(), chunk.gradient.end(), T(0));
  for_blocks(chunk.first, chunk.rows, [&](size_t first, size_t count) {
    chunk.block.features(net_, std::span(positions_).subspan(first, count));
    chunk.squares += chunk.block.read_out(net_, targets_.data() + first * row_size, scale);
    if (!with_gradient) return;
    chunk.block.add_read_out_gradient(chunk.gradient.data());
    chunk.block.add_sine_gradients(net_, chunk.gradient.data());
  });
}

template <class T>
double SirenTrainer<T>::pass(bool with_gradient) {
  parallel_for(chunks_.size(), [&](size_t i) { run(chunks_[i], with_gradient); });
  double squares = 0;
  for (const auto& chunk : chunks_) squares += chunk.squares;
  return squares / (double(rows_) * double(net_.shape.outputs));
}

template <class T>
double SirenTrainer<T>::loss() {
  return pass(false);
}

template <class T>
double SirenTrainer<T>::loss_and_gradient() {
  const double loss = pass(true);
  T* sum = chunks_[0].gradient.data();
  parallel_chunks(net_.layout.size, 1 << 14, [&](size_t first, size_t count) {
    for (size_t c = 1; c < chunks_.size(); ++c) {
      const T* add = chunks_[c].gradient.data();
      for (size_t i = first; i < first + count; ++i) sum[i] += add[i];
    }
  });
  return loss;
}

template <class T>
void SirenTrainer<T>::step(const siren_kernel::AdamStep<T>& adam) {
  const auto update = [&](size_t begin, size_t end, T factor) {
    parallel_chunks(end - begin, 1 << 14, [&](size_t first, size_t count) {
      const size_t at = begin + first;
      siren_kernel::adam(adam, chunks_[0].gradient.data() + at, factor, count,
                         net_.values.data() + at, mean_.data() + at, square_.data() + at);
    });
  };
  update(0, net_.layout.read_out, T(net_.shape.omega));
  update(net_.layout.read_out, net_.layout.size, T(1));
  net_.transpose();
}

template <class T>
Matrix<float> SirenTrainer<T>::features() {
  const size_t width = net_.layout.width, hidden = net_.shape.hidden;
  Matrix<float> out(rows_, hidden + 1);
  parallel_for(chunks_.size(), [&](size_t i) {
    auto& block = chunks_[i].block;
    for_blocks(chunks_[i].first, chunks_[i].rows, [&](size_t first, size_t count) {
      block.features(net_, std::span(positions_).subspan(first, count));
      for (size_t r = 0; r < count; ++r) {
        const auto row = out.row(first + r);
        for (size_t c = 0; c < hidden; c += width) {
          const T* from = block.last_features() + (c / width * count + r) * width;
          std::copy_n(from, std::min(width, hidden - c), row.begin() + c);
        }
        row[hidden] = 1;
      }
    });
  });
  return out;
}

template <class T>
void SirenTrainer<T>::set_read_out(MatrixView<const double> weights) {
  net_.set_read_out(weights);
}

template <class T>
std::vector<double> SirenTrainer<T>::gradient() const {
  AlignedVector<T> scaled = chunks_[0].gradient;
  for (size_t i = 0; i < net_.layout.read_out; ++i) scaled[i] *= T(net_.shape.omega);
  return net_.portable(scaled.data());
}

template class SirenTrainer<float>;
template class SirenTrainer<double>;

}  // namespace kvsplice::functions

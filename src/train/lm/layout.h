// Where the parameters of a model lie: groups with names, one behind the other in one array.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::train::lm {

struct Group {
  std::string name;  // llama.cpp's, where it has one
  size_t rows = 0, cols = 0, first = 0;
  bool decays = true;

  size_t size() const { return rows * cols; }
  template <class T>
  std::span<T> in(std::span<T> all) const {
    return all.subspan(first, size());
  }
  template <class T>
  MatrixView<T> matrix(std::span<T> all) const {
    return {all.data() + first, rows, cols};
  }
};

class Layout {
 public:
  Group add_matrix(const std::string& name, size_t rows, size_t cols) {
    return add({name, rows, cols, size_, true});
  }
  Group add_vectors(const std::string& name, size_t rows, size_t cols) {
    return add({name, rows, cols, size_, false});
  }
  size_t size() const { return size_; }
  const std::vector<Group>& groups() const { return groups_; }
  const Group* find(const std::string& name) const {
    for (const Group& g : groups_) {
      if (g.name == name) return &g;
    }
    return nullptr;
  }

 private:
  Group add(const Group& group) {
    groups_.push_back(group);
    size_ += group.size();
    return group;
  }
  std::vector<Group> groups_;
  size_t size_ = 0;
};

}  // namespace kvsplice::train::lm

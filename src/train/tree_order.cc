#include "train/tree_order.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace kvsplice::train {

namespace {

struct Edge {
  uint32_t to;
  double length;
};
using Tree = std::vector<std::vector<Edge>>;

float squared_distance(std::span<const float> a, std::span<const float> b) {
  float sum = 0;
  for (size_t c = 0; c < a.size(); ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
  return sum;
}

// Prim: of the rows outside, the one nearest to the tree comes next.
Tree minimum_spanning_tree(MatrixView<const float> rows) {
  struct Outside {
    uint32_t row, parent;
    float square;
  };
  std::vector<Outside> outside;
  for (uint32_t r = 1; r < rows.rows; ++r) {
    outside.push_back({r, 0, std::numeric_limits<float>::infinity()});
  }
  Tree tree(rows.rows);
  for (uint32_t added = 0; !outside.empty();) {
    for (Outside& o : outside) {
      const float square = squared_distance(rows.row(o.row), rows.row(added));
      if (square < o.square) o.parent = added, o.square = square;
    }
    const auto next =
        std::min_element(outside.begin(), outside.end(),
                         [](const Outside& a, const Outside& b) { return a.square < b.square; });
    const double length = std::sqrt(double(next->square));
    added = next->row;
    tree[next->parent].push_back({added, length});
    tree[added].push_back({next->parent, length});
    *next = outside.back();
    outside.pop_back();
  }
  return tree;
}

std::vector<double> distances_from(const Tree& tree, size_t start) {
  std::vector<double> distance(tree.size(), -1);
  std::vector<size_t> open = {start};
  distance[start] = 0;
  while (!open.empty()) {
    const size_t at = open.back();
    open.pop_back();
    for (const Edge& e : tree[at]) {
      if (distance[e.to] >= 0) continue;
      distance[e.to] = distance[at] + e.length;
      open.push_back(e.to);
    }
  }
  return distance;
}

}  // namespace

std::vector<double> tree_order(MatrixView<const float> rows) {
  const Tree tree = minimum_spanning_tree(rows);
  const std::vector<double> from_some = distances_from(tree, 0);
  const auto end = std::max_element(from_some.begin(), from_some.end());
  return distances_from(tree, size_t(end - from_some.begin()));
}

}  // namespace kvsplice::train

#include "train/geodesic_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::train {

namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();
constexpr size_t kChunk = 64;  // rows whose distances to all others are held at a time

struct Edge {
  uint32_t to;
  double length;
};
using Graph = std::vector<std::vector<Edge>>;

std::vector<float> squared_norms(MatrixView<const float> rows) {
  std::vector<float> squares(rows.rows);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (float x : rows.row(r)) squares[r] += x * x;
  }
  return squares;
}

// Every row with its nearest others, both ways.
Graph neighbour_graph(MatrixView<const float> rows, size_t neighbours) {
  const size_t n = rows.rows, k = std::min(neighbours, n - 1);
  const std::vector<float> squares = squared_norms(rows);
  Graph nearest(n);
  parallel_chunks(n, kChunk, [&](size_t first, size_t count) {
    Matrix<float> products(count, n);
    gemm(Trans::no, Trans::yes, 1.f, rows.row_range(first, count), rows, 0.f, products);
    std::vector<Edge> edges(n);
    for (size_t i = 0; i < count; ++i) {
      const size_t self = first + i;
      for (size_t j = 0; j < n; ++j) {
        const double square = double(squares[self]) + squares[j] - 2 * double(products(i, j));
        edges[j] = {uint32_t(j), std::sqrt(std::max(0.0, square))};
      }
      edges[self].length = kFar;
      std::partial_sort(edges.begin(), edges.begin() + long(k), edges.end(),
                        [](const Edge& a, const Edge& b) { return a.length < b.length; });
      nearest[self].assign(edges.begin(), edges.begin() + long(k));
    }
  });
  Graph graph = nearest;
  for (size_t i = 0; i < n; ++i) {
    for (const Edge& e : nearest[i]) graph[e.to].push_back({uint32_t(i), e.length});
  }
  return graph;
}

// Dijkstra.
std::vector<double> distances_from(const Graph& graph, size_t start) {
  std::vector<double> distance(graph.size(), kFar);
  using Item = std::pair<double, uint32_t>;
  std::priority_queue<Item, std::vector<Item>, std::greater<>> open;
  open.push({distance[start] = 0, uint32_t(start)});
  while (!open.empty()) {
    const auto [length, at] = open.top();
    open.pop();
    if (length > distance[at]) continue;
    for (const Edge& e : graph[at]) {
      if (length + e.length < distance[e.to]) {
        open.push({distance[e.to] = length + e.length, e.to});
      }
    }
  }
  return distance;
}

size_t connected(const std::vector<double>& distances) {
  return size_t(
      std::count_if(distances.begin(), distances.end(), [](double d) { return d < kFar; }));
}

// Some row of the largest connected part.
size_t row_of_largest_part(const Graph& graph) {
  std::vector<bool> seen(graph.size());
  size_t best = 0, best_size = 0;
  for (size_t start = 0; start < graph.size(); ++start) {
    if (seen[start]) continue;
    const auto distances = distances_from(graph, start);
    for (size_t i = 0; i < graph.size(); ++i) seen[i] = seen[i] || distances[i] < kFar;
    const size_t size = connected(distances);
    if (size > best_size) best = start, best_size = size;
  }
  return best;
}

size_t farthest(const std::vector<double>& distances) {
  size_t far = 0;
  double largest = -1;
  for (size_t i = 0; i < distances.size(); ++i) {
    if (distances[i] < kFar && distances[i] > largest) far = i, largest = distances[i];
  }
  return far;
}

}  // namespace

std::vector<double> geodesic_order(MatrixView<const float> rows, size_t neighbours) {
  const Graph graph = neighbour_graph(rows, neighbours);
  return distances_from(graph, farthest(distances_from(graph, row_of_largest_part(graph))));
}

}  // namespace kvsplice::train

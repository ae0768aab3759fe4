#include "store/lines.h"

#include <algorithm>
#include <map>
#include <set>

namespace kvsplice::store {

namespace {

using ByName = std::map<Hash, const Entry*>;

// Heads claim what they like: a line ends where it does not lead towards position 0.
Line line_to(const Entry& leaf, const ByName& by_name) {
  Line line = {leaf};
  while (line.back().head.first > 0) {
    const auto parent = by_name.find(line.back().head.parent);
    if (parent == by_name.end()) return {};
    const ObjectHead& head = parent->second->head;
    if (head.first + head.count != line.back().head.first || head.count == 0) return {};
    line.push_back(*parent->second);
  }
  std::reverse(line.begin(), line.end());
  return line;
}

}  // namespace

std::vector<Line> lines_of(const std::vector<Entry>& entries,
                           const std::function<bool(const Entry&)>& wanted) {
  ByName by_name;
  std::set<Hash> parents;
  for (const Entry& entry : entries) {
    if (!wanted(entry)) continue;
    by_name[entry.head.own] = &entry;
    parents.insert(entry.head.parent);
  }
  std::vector<Line> lines;
  for (const auto& [own, leaf] : by_name) {
    if (parents.contains(own)) continue;
    Line line = line_to(*leaf, by_name);
    if (!line.empty()) lines.push_back(std::move(line));
  }
  std::stable_sort(lines.begin(), lines.end(),
                   [](const Line& a, const Line& b) { return tokens_of(a) > tokens_of(b); });
  return lines;
}

}  // namespace kvsplice::store

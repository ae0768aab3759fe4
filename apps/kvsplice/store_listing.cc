#include "store_listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/quantities.h"

namespace kvsplice::app {

namespace {

using store::Entry;
using store::Hash;

struct Line {
  const Entry* entry;
  size_t depth;
};

class Tree {
 public:
  explicit Tree(const std::vector<Entry>& entries) {
    std::set<Hash> names;
    for (const Entry& e : entries) names.insert(e.head.own);
    for (const Entry& e : entries) {
      if (names.contains(e.head.parent)) {
        children_[e.head.parent].push_back(&e);
      } else {
        tops_.push_back(&e);
      }
    }
  }

  // In the order in which they are read from top to bottom; a text may be too long for recursion.
  std::vector<Line> lines() const {
    std::vector<Line> lines, open;
    push(tops_, 0, open);
    while (!open.empty()) {
      const Line line = open.back();
      open.pop_back();
      lines.push_back(line);
      const auto found = children_.find(line.entry->head.own);
      if (found == children_.end()) continue;
      push(found->second, line.depth + (found->second.size() > 1 ? 1 : 0), open);
    }
    return lines;
  }

 private:
  static void push(const std::vector<const Entry*>& some, size_t depth, std::vector<Line>& open) {
    for (auto e = some.rbegin(); e != some.rend(); ++e) open.push_back({*e, depth});
  }

  std::vector<const Entry*> tops_;
  std::map<Hash, std::vector<const Entry*>> children_;
};

std::string note_of(const Entry& entry, bool begins) {
  std::string note = entry.pinned ? "  pinned" : "";
  if (entry.head.answered) note += "  answer";
  if (begins && entry.head.first > 0) note += "  lost: what it lies behind is not there";
  return note;
}

std::string age_of(const Entry& entry, uint64_t now) {
  return print_duration(now - std::min(now, entry.used)) + " ago";
}

}  // namespace

std::string short_name(const Hash& hash) { return hash.hex().substr(0, 12); }

std::string list_objects(const std::vector<Entry>& entries, uint64_t now) {
  const std::vector<Line> lines = Tree(entries).lines();
  size_t deepest = 0;
  for (const Line& line : lines) deepest = std::max(deepest, line.depth);
  const size_t width = 2 * deepest + 12;
  std::set<Hash> above;
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto& head = lines[i].entry->head;
    if (i == 0 || head.root != lines[i - 1].entry->head.root) {
      out += fmt::format("{}root {}\n  {:{}}  kind   {:>17}  {:>6}  {:>10}  {:>10}\n",
                         i == 0 ? "" : "\n", short_name(head.root), "object", width,
                         "first ... last", "tokens", "size", "used");
    }
    const std::string name = std::string(2 * lines[i].depth, ' ') + short_name(head.own);
    const std::string tokens = fmt::format("{} ... {}", head.first, head.first + head.count - 1);
    const bool begins = !above.contains(head.parent);
    out +=
        fmt::format("  {:{}}  {:5}  {:>17}  {:>6}  {:>10}  {:>10}{}\n", name, width,
                    store::name(head.kind), tokens, head.count, print_size(lines[i].entry->bytes),
                    age_of(*lines[i].entry, now), note_of(*lines[i].entry, begins));
    above.insert(head.own);
  }
  return out;
}

}  // namespace kvsplice::app

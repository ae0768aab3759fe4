#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "report/text.h"

namespace kvsplice::report {

namespace {

constexpr std::array kElements = {"svg",     "g",      "path",     "rect",       "circle",
                                  "ellipse", "line",   "polyline", "polygon",    "text",
                                  "tspan",   "defs",   "clipPath", "use",        "title",
                                  "desc",    "filter", "feFlood",  "feComposite"};

constexpr std::string_view kSpace = " \t\r\n";

Error broken(std::string_view what, std::string_view which) {
  return {ErrorKind::format, fmt::format("{} '{}'", what, which.substr(0, 40))};
}

bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == ':' || c == '_';
  });
}

class Inliner {
 public:
  Inliner(std::string_view svg, const std::string& prefix, std::string_view label)
      : left_(svg), prefix_(prefix), label_(label) {}

  Result<std::string> run();

 private:
  Result<> markup();
  Result<> open_tag(std::string_view tag);
  Result<> close_tag(std::string_view tag);
  Result<> attributes(std::string_view text);
  Result<> attribute(std::string_view name, std::string_view value);
  Result<> skip_past(std::string_view end);
  std::string_view take_past(size_t n) {
    return std::exchange(left_, left_.substr(n)).substr(0, n);
  }

  std::string_view left_;
  const std::string& prefix_;
  const std::string_view label_;
  std::vector<std::string> open_;  // elements
  bool done_ = false;              // the root is closed
  std::string out_;
};

Result<> Inliner::skip_past(std::string_view end) {
  const size_t at = left_.find(end);
  if (at == std::string_view::npos) return broken("unfinished markup at", left_);
  left_.remove_prefix(at + end.size());
  return {};
}

Result<> Inliner::attribute(std::string_view name, std::string_view value) {
  if (!is_name(name) || name.starts_with("on") || name == "style") {
    return broken("attribute not allowed in a figure:", name);
  }
  if (value.find_first_of("<>\"") != std::string_view::npos) {
    return broken("broken value of an attribute:", value);
  }
  if (name.starts_with("xmlns")) return {};
  std::string written(value);
  if (name == "id") {
    written = prefix_ + written;
  } else if (name == "href" || name == "xlink:href") {
    name = "href";
    if (!value.starts_with('#')) return broken("link out of the figure:", value);
    written = "#" + prefix_ + written.substr(1);
  } else if (const size_t url = value.find("url("); url != std::string_view::npos) {
    if (url != 0 || !value.starts_with("url(#")) return broken("link out of the figure:", value);
    written.insert(5, prefix_);
  }
  out_ += fmt::format(" {}=\"{}\"", name, written);
  return {};
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text;
}

// name="value" or name='value', with blanks around the sign and in between.
Result<> Inliner::attributes(std::string_view text) {
  for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
    const std::string_view name = text.substr(0, text.find_first_of(" \t\r\n="));
    std::string_view value = trimmed(text.substr(name.size()));
    if (!value.starts_with('=')) return broken("attribute without value:", text);
    value = trimmed(value.substr(1));
    const size_t end = value.empty() ? value.npos : value.find(value[0], 1);
    if (end == value.npos || (value[0] != '"' && value[0] != '\'')) {
      return broken("attribute without quotes:", text);
    }
    KVS_TRY(attribute(name, value.substr(1, end - 1)));
    text = value.substr(end + 1);
  }
  return {};
}

// `tag` is what stands between < and >.
Result<> Inliner::open_tag(std::string_view tag) {
  const bool closed = tag.ends_with('/');
  if (closed) tag.remove_suffix(1);
  const std::string_view name = tag.substr(0, tag.find_first_of(kSpace));
  if (std::find(kElements.begin(), kElements.end(), name) == kElements.end()) {
    return broken("element not allowed in a figure:", name);
  }
  if (open_.empty() && (done_ || name != "svg" || closed)) return broken("stray element", name);
  out_ += fmt::format("<{}", name);
  if (open_.empty()) out_ += fmt::format(" role=\"img\" aria-label=\"{}\"", html_escape(label_));
  KVS_TRY(attributes(tag.substr(name.size())));
  out_ += closed ? "/>" : ">";
  if (!closed) open_.emplace_back(name);
  return {};
}

Result<> Inliner::close_tag(std::string_view tag) {
  const std::string_view name = tag.substr(0, tag.find_first_of(kSpace));
  if (open_.empty() || open_.back() != name) return broken("tags do not match at", name);
  open_.pop_back();
  done_ = open_.empty();
  out_ += fmt::format("</{}>", name);
  return {};
}

// `left_` starts with '<'.
Result<> Inliner::markup() {
  if (left_.starts_with("<?")) return skip_past("?>");
  if (left_.starts_with("<!--")) return skip_past("-->");
  const size_t end = left_.find('>');
  if (end == std::string_view::npos) return broken("unfinished markup at", left_);
  std::string_view tag = take_past(end + 1);
  tag = tag.substr(1, tag.size() - 2);
  return tag.starts_with('/') ? close_tag(tag.substr(1)) : open_tag(tag);
}

Result<std::string> Inliner::run() {
  while (!left_.empty()) {
    const std::string_view text = take_past(std::min(left_.find('<'), left_.size()));
    const bool blank = text.find_first_not_of(kSpace) == std::string_view::npos;
    if (open_.empty() && !blank) return broken("stray text", text);
    if (!open_.empty() && !blank) out_ += text;
    if (!left_.empty()) KVS_TRY(markup());
  }
  if (!done_) return broken("no complete element", "svg");
  return clean_text(out_);
}

}  // namespace

Result<std::string> inline_svg(std::string_view svg, const std::string& prefix,
                               std::string_view label) {
  return Inliner(svg, prefix, label).run();
}

}  // namespace kvsplice::report

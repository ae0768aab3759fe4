// write_page: the results of one or more directories as one page.
#include <fmt/format.h>

#include <algorithm>

#include "core/file.h"
#include "report/manifest.h"
#include "report/page_assets.h"
#include "report/results.h"
#include "report/svg.h"
#include "report/text.h"

namespace kvsplice::report {

namespace {

namespace fs = std::filesystem;

std::string base_name(const std::string& dir) {
  const fs::path path = fs::path(dir).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string section_title(const StoredResults& r) {
  return html_escape(fmt::format("{}: {}", r.verb, base_name(r.dir)));
}

// Of each directory, on top of a page of several; the sections hold them all.
constexpr size_t kTopFindings = 3;

std::string findings(const StoredResults& r, const std::string& link, size_t most) {
  std::string out;
  for (size_t i = 0; i < std::min(most, r.findings.size()); ++i) {
    out += fmt::format("<li>{}{}</li>\n", html_escape(r.findings[i]), link);
  }
  return out;
}

std::string list_of(const std::string& items) {
  return items.empty() ? "" : "<ul class=\"findings\">\n" + items + "</ul>\n";
}

// Values of an unsorted two-column table.
std::string facts(const char* title,
                  const std::vector<std::pair<std::string, std::string>>& pairs) {
  if (pairs.empty()) return "";
  std::string rows;
  for (const auto& [key, value] : pairs) {
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", html_escape(key),
                        html_escape(value));
  }
  return fmt::format("<h3>{}</h3>\n<table><tbody>\n{}</tbody></table>\n", title, rows);
}

std::string inputs(const std::vector<StoredInput>& files) {
  if (files.empty()) return "";
  std::string rows;
  for (const auto& f : files) {
    rows +=
        fmt::format("<tr><td>{}</td><td class=\"number\">{}</td><td><code>{}</code></td></tr>\n",
                    html_escape(f.path), f.bytes, html_escape(f.hash));
  }
  return fmt::format(
      "<h3>Inputs</h3>\n<table><thead><tr><th>file</th><th class=\"number\">bytes</th>"
      "<th>XXH3, 128 bits</th></tr></thead><tbody>\n{}</tbody></table>\n",
      rows);
}

std::string how_made(const StoredResults& r) {
  std::string out = "<details><summary>How this was made</summary>\n";
  out += fmt::format("<h3>Command</h3>\n<pre>{}</pre>\n", html_escape(r.command));
  out += facts("Settings and remarks", r.settings);
  out += inputs(r.inputs);
  out += facts("Machine", r.machine);
  out += facts("Run", {{"version", r.version}, {"started", r.started}, {"finished", r.finished}});
  return out + "</details>\n";
}

Result<std::string> figure(const StoredResults& r, const StoredFigure& f, const std::string& id) {
  auto svg = inline_svg(f.svg, id + "-", f.caption);
  if (!svg.ok()) {
    const std::string file = (fs::path(r.dir) / (f.name + ".svg")).string();
    return Error{svg.error().kind, file + ": " + svg.error().message};
  }
  return fmt::format("<figure id=\"{}\">\n{}\n<figcaption>{}</figcaption>\n</figure>\n", id, *svg,
                     html_escape(f.caption));
}

Result<std::string> section(const StoredResults& r, size_t number, bool repeat_findings) {
  std::string out = fmt::format("<section id=\"s{}\">\n<h2>{}</h2>\n<p class=\"meta\">{}</p>\n",
                                number, section_title(r), html_escape(r.finished));
  if (repeat_findings) out += list_of(findings(r, "", r.findings.size()));
  for (size_t i = 0; i < r.figures.size(); ++i) {
    KVS_ASSIGN(const std::string drawn,
               figure(r, r.figures[i], fmt::format("s{}f{}", number, i + 1)));
    out += drawn;
  }
  for (const auto& table : r.tables) out += "<div class=\"scroll\">\n" + table.html() + "</div>\n";
  return out + how_made(r) + "</section>\n";
}

std::string contents(const std::vector<StoredResults>& all) {
  std::string items;
  for (size_t i = 0; i < all.size(); ++i) {
    items += fmt::format("<li><a href=\"#s{}\">{}</a></li>\n", i + 1, section_title(all[i]));
  }
  return "<nav aria-label=\"Contents\">\n<ol>\n" + items + "</ol>\n</nav>\n";
}

Result<std::string> page(const std::vector<StoredResults>& all, const std::string& title) {
  const bool several = all.size() > 1;
  std::string top, sections;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string link =
        several ? fmt::format(" <a href=\"#s{}\">{}</a>", i + 1, html_escape(base_name(all[i].dir)))
                : "";
    top += findings(all[i], link, several ? kTopFindings : all[i].findings.size());
    KVS_ASSIGN(const std::string text, section(all[i], i + 1, several));
    sections += text;
  }
  std::string out = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  out += fmt::format("<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n", html_escape(title),
                     kPageStyle);
  out += fmt::format("<header>\n<h1>{}</h1>\n<p class=\"meta\">KVSplice {}</p>\n{}</header>\n",
                     html_escape(title), html_escape(all.front().version), list_of(top));
  if (several) out += contents(all);
  out += "<main>\n" + sections + "</main>\n";
  return out + fmt::format("<script>{}</script>\n</body>\n</html>\n", kPageScript);
}

}  // namespace

Result<> write_page(const std::vector<fs::path>& dirs, const fs::path& out,
                    const std::string& title) {
  if (dirs.empty()) return Error{ErrorKind::usage, "a report needs at least one results directory"};
  std::vector<StoredResults> all;
  for (const auto& dir : dirs) {
    KVS_ASSIGN(StoredResults results, read_results(dir));
    all.push_back(std::move(results));
  }
  KVS_ASSIGN(const std::string text, page(all, title));
  return write_text(out, text);
}

}  // namespace kvsplice::report

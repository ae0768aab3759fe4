// SVG made fit to stand inside a page.
#pragma once

#include <string>
#include <string_view>

#include "kvsplice/result.h"

namespace kvsplice::report {

// The <svg> element alone: ids and references to them start with `prefix`, name spaces and prologue
// are gone, `label` describes it to those who do not see it. An error for anything but drawing
// (scripts, handlers, links, styles) and for tags that do not match.
Result<std::string> inline_svg(std::string_view svg, const std::string& prefix,
                               std::string_view label);

}  // namespace kvsplice::report

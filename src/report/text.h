// Text of unknown origin made fit for a terminal, a figure or a page.
#pragma once

#include <string>
#include <string_view>

namespace kvsplice::report {

// Valid UTF-8 without control characters: those become spaces, broken bytes U+FFFD.
std::string clean_text(std::string_view text);

// Code points of valid UTF-8; what a terminal takes as width for the scripts we print.
size_t display_width(std::string_view clean);

// Cleaned and escaped for element content and for attributes in double quotes.
std::string html_escape(std::string_view text);

// Whether tables and figures may be called this: part of a file name, never a path.
bool is_plain_name(std::string_view name);

}  // namespace kvsplice::report

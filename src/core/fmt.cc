// fmt, compiled once: with its headers alone it would be compiled again for every file that
// formats, which takes as long as the rest of the library does. What is instantiated is what the
// headers of version 9 declare as being elsewhere; with other versions the library is built from
// headers only (cmake/Layers.cmake).
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {
template auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl(locale_ref) -> char;
}  // namespace detail
FMT_END_NAMESPACE

// The style and the script of the page: plain CSS and JavaScript, nothing is loaded.
#pragma once

namespace kvsplice::report {

extern const char* const kPageStyle;
extern const char* const kPageScript;

}  // namespace kvsplice::report

#pragma once

namespace kvsplice {

// The library's version, such as "0.1.0".
const char* version();

}  // namespace kvsplice

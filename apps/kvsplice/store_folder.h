// Where the store of a user is if nothing else is said.
#pragma once

#include <string>

#include "kvsplice/result.h"

namespace kvsplice::app {

// `given`, $KVSPLICE_STORE, or kvsplice/store in $XDG_DATA_HOME or ~/.local/share: the first that
// is not empty.
Result<std::string> store_folder(const std::string& given);

}  // namespace kvsplice::app

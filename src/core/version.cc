#include "core/version.h"

namespace kvsplice {

const char* version() { return KVSPLICE_VERSION; }

}  // namespace kvsplice

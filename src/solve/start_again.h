// A program starts itself anew, in its own place: what a library reads from the environment while
// it is loaded cannot be set later.
#pragma once

#include "kvsplice/result.h"

namespace kvsplice {

// With the arguments that main got and the environment as it is now. Returns only on failure.
Error start_again(char** argv);

}  // namespace kvsplice

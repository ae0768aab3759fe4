// The objects of a store for people: a tree, with a step to the right where texts part.
#pragma once

#include <string>
#include <vector>

#include "store/index.h"

namespace kvsplice::app {

// As many digits as are shown, and tell objects apart unless there are millions.
std::string short_name(const store::Hash& hash);

// `entries` are by root; `now` in seconds since 1970.
std::string list_objects(const std::vector<store::Entry>& entries, uint64_t now);

}  // namespace kvsplice::app

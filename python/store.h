// Stores of many prompts' cells, those of `kvsplice serve`. They are behind the C interface, so the
// module holds the program's own classes.
#pragma once

#include <nanobind/nanobind.h>

namespace kvsplice::python {

void bind_store(nanobind::module_& module);

}  // namespace kvsplice::python

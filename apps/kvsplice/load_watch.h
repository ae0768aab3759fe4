// OpenBLAS takes address space for each processor while it is loaded, before main, and tries again
// without end where a limit (`ulimit -v`) leaves none. The program has a watch on that.
#pragma once

namespace kvsplice::app {

// The first thing that main does: the watch, which began before any library was loaded, ends.
void libraries_are_loaded();

}  // namespace kvsplice::app

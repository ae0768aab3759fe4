// llama.cpp and ggml report through one process-wide callback. Ours prints nothing and keeps what
// names the cause of a failure: the first error line of a thread.
#pragma once

#include <string>

#include "kvsplice/result.h"

namespace kvsplice::host {

// Installs the callback (once) and forgets what this thread has heard.
void listen_to_log();

// The first error since listen_to_log(), without the name of the C function; or `otherwise`. Where
// it tells of an allocation that failed, "out of memory" stands in front.
std::string first_log_error(const std::string& otherwise);
// Memory if it tells of one.
ErrorKind kind_of_log_error(ErrorKind otherwise);

// For programs. Where llama.cpp has no way to return an error, as when some of its allocations
// fail, it ends the process with a page of addresses. It then calls `end` first, which need not
// return; errors of memory are said as such.
void when_llama_gives_up(void (*end)(const char* reason));

}  // namespace kvsplice::host

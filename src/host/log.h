// llama.cpp and ggml report through one process-wide callback. Ours prints nothing and keeps what
// names the cause of a failure: the first error line of a thread.
#pragma once

#include <string>

namespace kvsplice::host {

// Installs the callback (once) and forgets what this thread has heard.
void listen_to_log();

// The first error since listen_to_log(), without the name of the C function; or `otherwise`.
std::string first_log_error(const std::string& otherwise);

}  // namespace kvsplice::host

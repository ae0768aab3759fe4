// The terminal's side of long work: progress, signals, and output that does not arrive.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "kvsplice/result.h"

namespace kvsplice::app {

void remember_command_line(int argc, char** argv);
void end_progress();  // leaves the line of the progress bar, if there is one

// From now on Ctrl-C, SIGTERM, a terminal that closes (SIGHUP) and a reader that goes away
// (SIGPIPE) only set a mark, as they do while terminal_progress() is used.
void catch_interrupts();
bool interrupted();  // by one of them, or as put_out() could not write
// Takes back a Ctrl-C that has stopped what it was meant for. False if there is more to stop for.
bool take_interrupt_back();
int stop_signal();  // the first of them, 0 if none

// Files that are opened must not become the standard streams where those are closed.
void keep_standard_streams();

// Where a verb says what it has written: not into the pipe it wrote to.
std::FILE* summary_stream(const std::string& out);

// Text of a model for the standard output, at once; on a terminal without control characters. A
// failure is remembered and asks the work to stop.
void put_out(std::string_view text);
Result<> check_output();  // error io if something has not arrived

}  // namespace kvsplice::app

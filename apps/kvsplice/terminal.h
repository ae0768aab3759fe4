// The terminal's side of long work.
#pragma once

namespace kvsplice::app {

void remember_command_line(int argc, char** argv);
void end_progress();  // leaves the line of the progress bar, if there is one

}  // namespace kvsplice::app

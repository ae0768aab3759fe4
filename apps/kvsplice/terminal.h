// The terminal's side of long work.
#pragma once

namespace kvsplice::app {

void remember_command_line(int argc, char** argv);
void end_progress();  // leaves the line of the progress bar, if there is one

// From now on Ctrl-C only sets a mark, as it does while terminal_progress() is used.
void catch_interrupts();
bool interrupted();

}  // namespace kvsplice::app

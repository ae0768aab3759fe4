// What makes one server's cells another's of the same model: adapters, and options that change
// what is computed. They are part of the names under which cells are kept.
#pragma once

#include <string>
#include <vector>

#include "serve/cell_bank.h"
#include "serve/upstream.h"

namespace kvsplice::serve {

// Of this process, as NAME=VALUE.
std::vector<std::string> environment();

// Of the options of llama-server, and of the variables LLAMA_ARG_... that stand for them: those of
// RoPE, YaRN, control vectors and overridden metadata, in one order; empty if there are none.
// Files count by what is in them.
std::string cell_settings(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment);

// The adapters that the server applies to every request, and how much.
Result<std::string> adapter_settings(const Upstream& upstream);

// What no option tells (the options of a server that others have started, a context so long that
// rotations change) shows in the cells of a text that is always the same: the bank's are compared
// with them, or they are kept there, if it has none. Error unsupported if they differ.
Result<> check_cells(const CellBank& exact, const KvBlock<uint16_t>& cells);

}  // namespace kvsplice::serve

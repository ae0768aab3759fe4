// Devices besides the processor, on which llama.cpp may evaluate.
#pragma once

#include "host/model.h"

namespace kvsplice::host {

// Makes the servers' devices known to llama.cpp. Error usage if layers are to lie on devices and
// there are none, or servers are named and this llama.cpp knows no servers or cannot reach one.
Result<> find_devices(const ModelOptions& options);

}  // namespace kvsplice::host

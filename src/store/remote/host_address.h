// Addresses of a host by its name, waited for no longer than one has patience.
#pragma once

#include <string>
#include <vector>

#include "kvsplice/result.h"
#include "store/remote/patience.h"

namespace kvsplice::store {

// As numbers, those of IPv4 first. Error io.
Result<std::vector<std::string>> addresses_of(const std::string& host, Patience& patience);

}  // namespace kvsplice::store

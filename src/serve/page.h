// The page at /kvsplice/: it asks /kvsplice/status again and again, and needs nothing from
// elsewhere.
#pragma once

namespace kvsplice::serve {

extern const char* const kPage;

}  // namespace kvsplice::serve

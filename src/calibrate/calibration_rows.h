// What calibration learns from: sequences spread over several texts, evaluated once and kept in
// dumps of a few sequences each, so that an interrupted run goes on where it was.
#pragma once

#include <string>
#include <vector>

#include "core/progress.h"
#include "extract/dump.h"
#include "sweep/team.h"

namespace kvsplice::calibrate {

struct Spread {
  std::vector<extract::Sequence> sequences;
  std::string note;  // what became of texts shorter than a sequence; empty if there is none
};

// `tokens` in sequences of `length`, in equal parts from every text and spread evenly over it; the
// texts take turns. Texts shorter than a sequence are joined, one behind the other. Errors: all
// texts together are shorter than a sequence.
Result<Spread> spread_sequences(const host::Model& model, const std::vector<std::string>& texts,
                                size_t tokens, size_t length);

// 16 hex digits that change with the model and with every token.
std::string hash_of(const host::Model& model, std::span<const extract::Sequence> sequences);

// Dumps of all sequences in their order, in `folder`; what is there already is not made again.
// Dumps are named by what is in them, so that they serve any run that needs the same. With
// `queries`, the first four dumps and every fourth hold those, too: enough to tell what gets
// attention. The processes of a team share the work.
Result<std::vector<std::string>> dump_sequences(const host::Model& model,
                                                const std::vector<extract::Sequence>& sequences,
                                                bool queries, const std::string& folder,
                                                int threads, const sweep::Team& team,
                                                const Progress& progress);

}  // namespace kvsplice::calibrate

// All that a codec learns from: rows of evaluated sequences and, where its pipeline asks, what
// errors in them do to the model.
#pragma once

#include <string>
#include <vector>

#include "calibrate/information.h"
#include "core/progress.h"
#include "fit/dump_source.h"

namespace kvsplice::calibrate {

class CalibrationData {
 public:
  // What a pipeline with these traits needs. Error unsupported if it needs gradients that are not
  // known of the model (host/gradient.h).
  static Result<CalibrationData> gather(const host::Model& model,
                                        const std::vector<extract::Sequence>& sequences,
                                        const codec::StageInfo::Traits& needs,
                                        const GatherOptions& options, const Progress& progress);

  // Of as long as the data are there.
  InformedRows source() const { return {rows_, information_}; }
  const ModelShape& shape() const { return rows_.shape(); }
  const std::vector<std::string>& dumps() const { return dumps_; }
  size_t sequences() const { return sequences_; }
  const ModelInformation& information() const { return information_; }
  void set_information(ModelInformation information) { information_ = std::move(information); }

 private:
  CalibrationData(std::vector<std::string> dumps, size_t sequences, codec::DumpSource rows,
                  ModelInformation information)
      : dumps_(std::move(dumps)),
        sequences_(sequences),
        rows_(std::move(rows)),
        information_(std::move(information)) {}

  std::vector<std::string> dumps_;  // of all sequences, used or not
  size_t sequences_;
  codec::DumpSource rows_;
  ModelInformation information_;
};

}  // namespace kvsplice::calibrate

#include "calibrate/calibration_data.h"

#include "calibrate/calibration_rows.h"

namespace kvsplice::calibrate {

Result<CalibrationData> CalibrationData::gather(const host::Model& model,
                                                const std::vector<extract::Sequence>& sequences,
                                                const codec::StageInfo::Traits& needs,
                                                const GatherOptions& options,
                                                const Progress& progress) {
  KVS_ASSIGN(auto dumps, dump_sequences(model, sequences, needs.attention, options.work,
                                        options.threads, options.team, progress));
  KVS_ASSIGN(auto rows, codec::DumpSource::open(dumps, options.sinks, options.use));
  ModelInformation information;
  if (needs.information) {
    KVS_ASSIGN(information, measure_information(model, sequences, options, progress));
  }
  return CalibrationData(std::move(dumps), sequences.size(), std::move(rows),
                         std::move(information));
}

}  // namespace kvsplice::calibrate

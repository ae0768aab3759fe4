// Kernels of attention over computed positions: plain pointers and sizes. Columns stand in panels
// of P = siren_kernel::panel_width() as in siren_kernel.h; here a column is a unit or a query.
#pragma once

#include <cstddef>

namespace kvsplice::siren_kernel {

// out [rows x P]: row i holds sin(z + i delta), from sine = sin(z), rise = sin(z) - sin(z - delta)
// and bend = 4 sin^2(delta / 2), each [P]. Rises are summed, not sines, so that the error stays
// linear in the number of rows even for slow waves.
void sine_recurrence(const float* sine, const float* rise, const float* bend, size_t rows,
                     float* out);

// Scores of a block become weights: with s = scores + bias (both [rows x P] and [P]), top is raised
// to the largest s of its column, scores become exp(s - top), their sums are added to sum, and what
// was summed before is to be multiplied by `shrink` = exp(old top - new top); sum already is.
void softmax_rows(float* scores, size_t rows, const float* bias, float* top, float* sum,
                  float* shrink);

// sums [rows x P] times shrink [P].
void shrink_rows(const float* shrink, size_t rows, float* sums);

}  // namespace kvsplice::siren_kernel

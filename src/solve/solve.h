// Dense linear algebra that fitting needs: products in double, moments, eigenvectors, least squares
// (OpenBLAS, LAPACK).
#pragma once

#include "linalg/linalg.h"
#include "linalg/qr.h"

#include "codec/stage_case.h"

// Launches of kernels whose every access is checked; see check.cc.
#pragma once

#include "block.h"

namespace emu {

Error run_checked(const Launch &, void **arguments);

// What a block and its threads tell as they run.
void check_block(const Worker &);
void check_end();
void check_barrier(int first_line, int line, bool last);
void check_exchange();
unsigned long long check_source(unsigned linear, unsigned source);  // what it gets
void check_warp_sync(unsigned warp);

}  // namespace emu

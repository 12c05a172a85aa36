/* SPDX-License-Identifier: MIT */
/* engine_selftest: is the packaged lwIP the one that tcp_engine.c was written for? */
#ifndef WEIR_STACK_ENGINE_SELFTEST_H
#define WEIR_STACK_ENGINE_SELFTEST_H

#include "stack.h"

#include <stdbool.h>

/** struct engine_capture - the last packet that the engine sent; its sink during the test */
struct engine_capture {
	struct stack_sink sink;
	unsigned count, len;
	uint8_t last[4096];
};

void engine_capture_init(struct engine_capture *cap);
/**
 * engine_selftest - one short connection with forged packets through the public calls
 *
 * The engine's sink must be @cap's. Returns false when anything is not as expected.
 */
bool engine_selftest(struct engine_capture *cap, bool v6);

#endif

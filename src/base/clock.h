/* SPDX-License-Identifier: MIT */
/* clock: the only place that reads a clock; everybody else is told `now`. */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stdint.h>

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_USEC 1000ULL

/** clock_mono_ns - CLOCK_MONOTONIC, nanoseconds */
uint64_t clock_mono_ns(void);
/** clock_wall_ns - CLOCK_REALTIME, nanoseconds since 1970 */
uint64_t clock_wall_ns(void);

#endif

/* SPDX-License-Identifier: MIT */
/* csum: the Internet checksum (RFC 1071), 64 bits at a time, and lwIP's own replaced. */
#ifndef WEIR_STACK_CSUM_H
#define WEIR_STACK_CSUM_H

#include "base/addr.h"

#include <stddef.h>
#include <stdint.h>

/** csum_add - running sum, unfolded, starts at 0; of several pieces only the last may be odd */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);
/** csum_fold - 16-bit one's complement sum, not yet inverted, as it stands in memory */
uint16_t csum_fold(uint64_t sum);
/** csum_pseudo - sum of the pseudo header of @proto, to be continued with csum_add() */
uint64_t csum_pseudo(const struct addr *from, const struct addr *to, uint8_t proto, uint32_t l4len);

#endif

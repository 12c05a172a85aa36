/* SPDX-License-Identifier: MIT */
/* csum_lwip: lwIP's checksum functions, replaced by nothing. */
#ifndef WEIR_STACK_CSUM_LWIP_H
#define WEIR_STACK_CSUM_LWIP_H

/** csum_lwip_calls - how often lwIP has called the replacements; 0 = it does not see them */
unsigned long csum_lwip_calls(void);

#endif

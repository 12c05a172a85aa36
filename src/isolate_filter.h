/* SPDX-License-Identifier: MIT */
/* isolate_filter: what the system call filters of worker and supervisor have in common. */
#ifndef WEIR_ISOLATE_FILTER_H
#define WEIR_ISOLATE_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include <seccomp.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

/* Only there in a coverage build, which writes its counters into files at exit. */
extern void __gcov_dump(void) __attribute__((weak));

/** filter_new - @action is what becomes of calls without a rule; NULL: no memory */
scmp_filter_ctx filter_new(uint32_t action);
/** filter_each - @action for all calls of @list, whatever their arguments; 0 or -errno */
int filter_each(scmp_filter_ctx ctx, uint32_t action, const int *list, size_t n);
/** filter_extra - what isolate_worker_allow() has gathered; 0 or -errno */
int filter_extra(scmp_filter_ctx ctx);
/** filter_load - for this process and its children; frees @ctx. @r: an error until now, or 0 */
int filter_load(scmp_filter_ctx ctx, int r);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * log: one line a message on stderr, "weir: text". Payload is never logged.
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_NOTE, LOG_DEBUG };

extern enum log_level log_level; /* messages above it are not even formatted */

/** log_write - use the macros; never fails, never blocks longer than write(2) */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_at(l, ...)                                                                             \
	do {                                                                                       \
		if ((l) <= log_level)                                                              \
			log_write((l), __VA_ARGS__);                                               \
	} while (0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_note(...)  log_at(LOG_NOTE, __VA_ARGS__) /* what a user should know; off with -q */
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

/**
 * struct log_limit - lets one message a second through; counts the rest
 * @last_ns: when the last one went out
 * @held: how many were held back since
 */
struct log_limit {
	uint64_t last_ns;
	uint64_t held;
};

/** log_limit_pass - true when a message may go out now; *@held tells how many were not shown */
bool log_limit_pass(struct log_limit *l, uint64_t now, uint64_t *held);

/** die - for errors before the loop only: print "weir: text" and exit with @status */
_Noreturn void die(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

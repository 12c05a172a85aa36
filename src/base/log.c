/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

#define LOG_LINE_MAX 1024 /* longer messages are cut: a line goes out in one write(2) */

enum log_level log_level = LOG_NOTE;

/** write_line - "weir: text\n" in one write, so that lines of several processes do not mix */
static void __attribute__((format(printf, 1, 0))) write_line(const char *fmt, va_list ap)
{
	static const char prefix[] = "weir: ";
	char line[LOG_LINE_MAX];
	size_t len = sizeof(prefix) - 1;
	int saved = errno, n;
	ssize_t unused;

	str_copy(line, sizeof(line), prefix);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	if (n > 0)
		len += MIN((size_t)n, sizeof(line) - len - 2);
	line[len++] = '\n';
	unused = write(STDERR_FILENO, line, len);
	(void)unused; /* a message that cannot be written has nowhere else to go */
	errno = saved;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > log_level)
		return;
	va_start(ap, fmt);
	write_line(fmt, ap);
	va_end(ap);
}

bool log_limit_pass(struct log_limit *l, uint64_t now, uint64_t *held)
{
	if (l->last_ns && now - l->last_ns < NSEC_PER_SEC) {
		l->held++;
		return false;
	}
	*held = l->held;
	l->held = 0;
	l->last_ns = now;
	return true;
}

void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(fmt, ap);
	va_end(ap);
	exit(status);
}

/* SPDX-License-Identifier: MIT */
/*
 * sysctl: kernel settings by their path under /proc/sys, and those that a new
 * network namespace has to take over from the caller's.
 */
#ifndef WEIR_SYSCTL_H
#define WEIR_SYSCTL_H

#include <stddef.h>
#include <stdbool.h>

#define SYSCTL_VALUE_MAX  128
#define SYSCTL_MIRROR_MAX 24

/** sysctl_read - the value without its newline; 0 or -errno (-EMSGSIZE: longer than @size) */
int sysctl_read(const char *name, char *buf, size_t size);
/** sysctl_read_long - @missing where the setting does not exist or is no number */
long sysctl_read_long(const char *name, long missing);
int sysctl_write(const char *name, const char *value);

/** struct sysctl_mirror - what programs can notice of the caller's namespace */
struct sysctl_mirror {
	char value[SYSCTL_MIRROR_MAX][SYSCTL_VALUE_MAX]; /* "" = could not be read */
};

void sysctl_mirror_take(struct sysctl_mirror *m);
/** sysctl_mirror_give - set what differs in the namespace we are in now */
void sysctl_mirror_give(const struct sysctl_mirror *m);

#endif

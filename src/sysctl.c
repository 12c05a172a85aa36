/* SPDX-License-Identifier: MIT */
#include "sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

/*
 * A new network namespace starts with the kernel's defaults for these. Where the
 * administrator has changed them, a program must not see that it has moved: how
 * long its connect() tries, which ports it gets, which it may bind.
 */
static const char *const mirrored[] = {
	"net/ipv4/ip_unprivileged_port_start",
	"net/ipv4/ip_local_port_range",
	"net/ipv4/ip_local_reserved_ports",
	"net/ipv4/ip_default_ttl",
	"net/ipv4/ip_no_pmtu_disc",
	"net/ipv4/ip_nonlocal_bind",
	"net/ipv4/tcp_syn_retries",
	"net/ipv4/tcp_synack_retries",
	"net/ipv4/tcp_retries1",
	"net/ipv4/tcp_retries2",
	"net/ipv4/tcp_orphan_retries",
	"net/ipv4/tcp_keepalive_time",
	"net/ipv4/tcp_keepalive_intvl",
	"net/ipv4/tcp_keepalive_probes",
	"net/ipv4/tcp_fin_timeout",
	"net/ipv4/tcp_rmem",
	"net/ipv4/tcp_wmem",
	"net/ipv6/bindv6only",
	"net/ipv6/ip_nonlocal_bind",
	"net/ipv6/conf/all/hop_limit",
	"net/ipv6/conf/default/hop_limit",
	"net/core/somaxconn",
};

_Static_assert(ARRAY_SIZE(mirrored) <= SYSCTL_MIRROR_MAX, "struct sysctl_mirror is too small");

static int open_name(const char *name, int flags)
{
	char path[160];
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "/proc/sys/%s", name) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sysctl_read(const char *name, char *buf, size_t size)
{
	int fd = open_name(name, O_RDONLY);
	ssize_t n;
	int err;

	if (fd < 0)
		return fd;
	n = read(fd, buf, size);
	err = errno;
	close(fd);
	if (n < 0)
		return -err;
	if ((size_t)n == size)
		return -EMSGSIZE;
	while (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return 0;
}

long sysctl_read_long(const char *name, long missing)
{
	char buf[SYSCTL_VALUE_MAX], *end;
	long v;

	if (sysctl_read(name, buf, sizeof(buf)))
		return missing;
	v = strtol(buf, &end, 10);
	return end == buf || *end ? missing : v;
}

int sysctl_write(const char *name, const char *value)
{
	int fd = open_name(name, O_WRONLY);
	int err = 0;

	if (fd < 0)
		return fd;
	if (write(fd, value, strlen(value)) < 0)
		err = -errno;
	close(fd);
	return err;
}

void sysctl_mirror_take(struct sysctl_mirror *m)
{
	for (size_t i = 0; i < ARRAY_SIZE(mirrored); i++) {
		if (sysctl_read(mirrored[i], m->value[i], sizeof(m->value[i])))
			m->value[i][0] = '\0';
	}
}

void sysctl_mirror_give(const struct sysctl_mirror *m)
{
	char now[SYSCTL_VALUE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(mirrored); i++) {
		int r;

		if (!m->value[i][0] || sysctl_read(mirrored[i], now, sizeof(now)) ||
		    !strcmp(now, m->value[i]))
			continue;
		r = sysctl_write(mirrored[i], m->value[i]);
		if (r)
			log_debug("%s stays %s inside: %s", mirrored[i], now, strerror(-r));
	}
}

/* SPDX-License-Identifier: MIT */
#include "hostdns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/stat.h>

#include "base/util.h"

#define DNS_PORT	53
#define RESOLV_CONF_MAX 16384 /* bytes looked at */
#define TCP_BACKLOG	128

static const char *const resolver_sockets[] = {
	"/run/systemd/resolve/io.systemd.Resolve",
	"/run/systemd/resolve/io.systemd.Resolve.Monitor", "/run/nscd/socket",
	"/var/run/nscd/socket", /* mostly the same one */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static void add_address(struct hostdns *h, const char *word, size_t len)
{
	char text[ADDR_STRLEN + 32];
	struct addr a;

	if (len >= sizeof(text) || h->n == HOSTDNS_MAX)
		return;
	memcpy(text, word, len);
	text[len] = '\0';
	if (memchr(text, '%', len)) {
		h->zoned++;
		return;
	}
	if (addr_parse(text, &a))
		return;
	if (addr_is_unspecified(&a)) /* asks this host, as libc does */
		addr_parse(addr_is_v4(&a) ? "127.0.0.1" : "::1", &a);
	for (unsigned i = 0; i < h->n; i++) {
		if (addr_equal(&h->addr[i], &a))
			return;
	}
	h->addr[h->n++] = a;
}

/** parse_line - "nameserver ADDRESS ..."; the keyword starts the line */
static void parse_line(struct hostdns *h, const char *p, const char *end)
{
	static const char key[] = "nameserver";
	const size_t k = sizeof(key) - 1;
	const char *word;

	if ((size_t)(end - p) <= k || memcmp(p, key, k) || !is_blank(p[k]))
		return;
	for (p += k; p < end && is_blank(*p); p++)
		;
	for (word = p; p < end && !is_blank(*p) && *p != '#' && *p != ';'; p++)
		;
	if (p > word)
		add_address(h, word, (size_t)(p - word));
}

void hostdns_parse(const char *text, size_t len, struct hostdns *out)
{
	const char *end = text + len;

	*out = (struct hostdns){0};
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));

		parse_line(out, text, nl ? nl : end);
		text = nl ? nl + 1 : end;
	}
	if (!out->n && !out->zoned)
		add_address(out, "127.0.0.1", strlen("127.0.0.1"));
}

void hostdns_read(const char *path, struct hostdns *out)
{
	char buf[RESOLV_CONF_MAX];
	size_t len = 0;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	while (fd >= 0 && len < sizeof(buf) && (n = read(fd, buf + len, sizeof(buf) - len)) > 0)
		len += (size_t)n;
	close_fd(&fd);
	hostdns_parse(buf, len, out);
}

void hostdns_local(struct hostdns *h, const struct addr *own, size_t n_own)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < h->n; i++) {
		bool local = addr_is_loopback(&h->addr[i]);

		for (size_t k = 0; k < n_own && !local; k++)
			local = !addr_is_unspecified(&own[k]) && addr_equal(&h->addr[i], &own[k]);
		if (local)
			h->addr[kept++] = h->addr[i];
	}
	h->n = kept;
}

static int bind_one(const struct addr *a, int type)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&(struct addrport){*a, DNS_PORT}, &ss);
	int fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int one = 1;
	int err;

	if (fd < 0)
		return -errno;
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, len) ||
	    (type == SOCK_STREAM && listen(fd, TCP_BACKLOG))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int hostdns_bind(const struct addr *a, int *udp_fd, int *tcp_fd)
{
	*udp_fd = *tcp_fd = -1;
	int udp = bind_one(a, SOCK_DGRAM), tcp;

	if (udp < 0)
		return udp;
	tcp = bind_one(a, SOCK_STREAM);
	if (tcp < 0) {
		close(udp);
		return tcp;
	}
	*udp_fd = udp;
	*tcp_fd = tcp;
	return 0;
}

static bool is_socket(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISSOCK(st.st_mode);
}

int hostdns_mask_needed(void)
{
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(resolver_sockets); i++)
		n += is_socket(resolver_sockets[i]);
	return n;
}

int hostdns_mask(void)
{
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(resolver_sockets); i++) {
		if (!is_socket(resolver_sockets[i]))
			continue;
		if (mount("/dev/null", resolver_sockets[i], NULL, MS_BIND, NULL))
			return -errno;
		n++;
	}
	return n;
}

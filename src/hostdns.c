/* SPDX-License-Identifier: MIT */
#include "hostdns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/stat.h>

#include "base/util.h"

#define DNS_PORT    53
#define TCP_BACKLOG 128

static const char *const resolver_sockets[] = {
	"/run/systemd/resolve/io.systemd.Resolve",
	"/run/systemd/resolve/io.systemd.Resolve.Monitor", "/run/nscd/socket",
	"/var/run/nscd/socket", /* mostly the same one */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static void add_plain(struct hostdns *h, struct addr a)
{
	if (addr_is_unspecified(&a)) /* asks this host, as libc does */
		addr_parse(addr_is_v4(&a) ? "127.0.0.1" : "::1", &a);
	for (unsigned i = 0; i < h->n; i++) {
		if (addr_equal(&h->addr[i], &a))
			return;
	}
	if (h->n < HOSTDNS_MAX)
		h->addr[h->n++] = a;
}

/** zone_index - of the interface with this name, or number; 0: there is none */
static unsigned zone_index(const char *zone)
{
	unsigned long n = 0;
	char *end;

	if (*zone >= '0' && *zone <= '9') {
		n = strtoul(zone, &end, 10);
		if (!*end)
			return n <= INT32_MAX ? (unsigned)n : 0;
	}
	return if_nametoindex(zone);
}

/** add_zoned - @word is an address, '%' and a zone, of which only link-local ones mean something */
static void add_zoned(struct hostdns *h, char *word, char *percent)
{
	struct hostdns_zoned *z = &h->zoned[h->n_zoned];
	unsigned zone = zone_index(percent + 1);
	struct addr a;
	int bad;

	*percent = '\0';
	bad = addr_parse(word, &a);
	*percent = '%';
	if (bad || addr_is_v4(&a) || !addr_is_link_local(&a) || addr_zone(&a))
		return;
	if (!zone) {
		h->lost++;
		return;
	}
	for (unsigned i = 0; i < h->n_zoned; i++) {
		if (!strcmp(h->zoned[i].word, word))
			return;
	}
	if (h->n_zoned == HOSTDNS_MAX)
		return;
	addr_set_zone(&a, zone);
	z->addr = a;
	str_copy(z->word, sizeof(z->word), word);
	h->n_zoned++;
}

static void add_word(struct hostdns *h, const char *word, size_t len)
{
	char text[HOSTDNS_WORD_MAX], *percent;
	struct addr a;

	if (len >= sizeof(text))
		return;
	memcpy(text, word, len);
	text[len] = '\0';
	percent = strchr(text, '%');
	if (percent)
		add_zoned(h, text, percent);
	else if (!addr_parse(text, &a))
		add_plain(h, a);
}

/** find_word - the address of a line "nameserver ADDRESS ..."; its length, 0: another line */
static size_t find_word(const char *p, const char *end, const char **word)
{
	static const char key[] = "nameserver";
	const size_t k = sizeof(key) - 1;

	if ((size_t)(end - p) <= k || memcmp(p, key, k) || !is_blank(p[k]))
		return 0; /* the keyword starts the line */
	for (p += k; p < end && is_blank(*p); p++)
		;
	for (*word = p; p < end && !is_blank(*p) && *p != '#' && *p != ';'; p++)
		;
	return (size_t)(p - *word);
}

static const char *line_end(const char *text, const char *end)
{
	const char *nl = memchr(text, '\n', (size_t)(end - text));

	return nl ? nl : end;
}

void hostdns_parse(const char *text, size_t len, struct hostdns *out)
{
	const char *end = text + len, *eol, *word;

	*out = (struct hostdns){0};
	for (; text < end; text = eol + 1) {
		eol = line_end(text, end);
		size_t n = find_word(text, eol, &word);

		if (n)
			add_word(out, word, n);
	}
	if (!out->n && !out->n_zoned && !out->lost)
		addr_parse("127.0.0.1", &out->addr[out->n++]);
}

void hostdns_read(const char *path, struct hostdns_conf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	out->len = 0;
	while (fd >= 0 && out->len < sizeof(out->text) &&
	       (n = read(fd, out->text + out->len, sizeof(out->text) - out->len)) > 0)
		out->len += (uint32_t)n;
	close_fd(&fd);
	hostdns_parse(out->text, out->len, &out->dns);
}

/** struct text - bytes put one behind the other; what has no room is cut */
struct text {
	char *to;
	size_t len, size;
};

static void text_add(struct text *t, const char *from, size_t n)
{
	n = MIN(n, t->size - t->len);
	memcpy(t->to + t->len, from, n);
	t->len += n;
}

/** zoned_word - which of the link-local resolvers @word is, or -1 */
static int zoned_word(const struct hostdns *h, const char *word, size_t len)
{
	for (unsigned i = 0; i < h->n_zoned; i++) {
		if (strlen(h->zoned[i].word) == len && !memcmp(h->zoned[i].word, word, len))
			return (int)i;
	}
	return -1;
}

size_t hostdns_rewrite(const struct hostdns_conf *conf, const struct addr *inside, char *out,
		       size_t size)
{
	const char *text = conf->text, *end = text + conf->len, *eol, *word;
	struct text t = {.to = out, .size = size};
	char addr[ADDR_STRLEN];

	for (; text < end; text = eol < end ? eol + 1 : end) {
		eol = line_end(text, end);
		size_t n = find_word(text, eol, &word);
		int i = n ? zoned_word(&conf->dns, word, n) : -1;

		if (i >= 0 && !addr_is_unspecified(&inside[i])) {
			text_add(&t, text, (size_t)(word - text));
			addr_format(&inside[i], addr);
			text_add(&t, addr, strlen(addr));
			text = word + n;
		}
		text_add(&t, text, (size_t)(MIN(eol + 1, end) - text));
	}
	return t.len;
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

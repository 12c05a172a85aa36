/* SPDX-License-Identifier: MIT */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool addr_is_v4(const struct addr *a)
{
	return !memcmp(a->b, mapped, sizeof(mapped));
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return !memcmp(a->b, b->b, sizeof(a->b));
}

bool addrport_equal(const struct addrport *a, const struct addrport *b)
{
	return a->port == b->port && addr_equal(&a->addr, &b->addr);
}

bool addr_is_unspecified(const struct addr *a)
{
	static const uint8_t zero[16];

	if (addr_is_v4(a))
		return !get_be32(a->b + 12);
	return !memcmp(a->b, zero, sizeof(zero));
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	if (addr_is_v4(a))
		return a->b[12] == 127;
	return !memcmp(a->b, one, sizeof(one));
}

bool addr_is_multicast(const struct addr *a)
{
	return addr_is_v4(a) ? (a->b[12] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}

bool addr_is_broadcast(const struct addr *a)
{
	return addr_is_v4(a) && get_be32(a->b + 12) == 0xffffffffU;
}

bool addr_is_link_local(const struct addr *a)
{
	if (addr_is_v4(a))
		return a->b[12] == 169 && a->b[13] == 254;
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool addr_in_prefix(const struct addr *a, const struct prefix *p)
{
	bool v4 = addr_is_v4(&p->addr);
	unsigned bits = p->bits + (v4 ? 96U : 0U);
	unsigned whole = bits / 8, rest = bits % 8;

	/* ::/0 holds every IPv6 address, and no IPv4 one although those are mapped */
	if (addr_is_v4(a) != v4 || bits > 128 || memcmp(a->b, p->addr.b, whole) != 0)
		return false;
	return !rest || !((a->b[whole] ^ p->addr.b[whole]) >> (8 - rest));
}

struct addr addr_from_v4(const void *four_bytes)
{
	struct addr a;

	memcpy(a.b, mapped, sizeof(mapped));
	memcpy(a.b + 12, four_bytes, 4);
	return a;
}

struct addr addr_from_v6(const void *sixteen_bytes)
{
	struct addr a;

	memcpy(a.b, sixteen_bytes, sizeof(a.b));
	return a;
}

const uint8_t *addr_v4_bytes(const struct addr *a)
{
	return a->b + 12;
}

static bool has_zone_bytes(const struct addr *a)
{
	return !addr_is_v4(a) && addr_is_link_local(a);
}

void addr_set_zone(struct addr *a, uint32_t zone)
{
	if (has_zone_bytes(a))
		put_be32(a->b + 4, zone);
}

uint32_t addr_zone(const struct addr *a)
{
	return has_zone_bytes(a) ? get_be32(a->b + 4) : 0;
}

socklen_t addr_to_sockaddr(const struct addrport *ap, struct sockaddr_storage *ss)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(ap->port)};
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(ap->port)};
	struct addr plain;

	if (addr_is_v4(&ap->addr)) {
		memcpy(&sin.sin_addr, addr_v4_bytes(&ap->addr), 4);
		memcpy(ss, &sin, sizeof(sin));
		return sizeof(sin);
	}
	plain = ap->addr;
	sin6.sin6_scope_id = addr_zone(&plain);
	addr_set_zone(&plain, 0);
	memcpy(&sin6.sin6_addr, plain.b, 16);
	memcpy(ss, &sin6, sizeof(sin6));
	return sizeof(sin6);
}

int addr_from_sockaddr(const struct sockaddr *sa, struct addrport *ap)
{
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(&sin, sa, sizeof(sin));
		ap->addr = addr_from_v4(&sin.sin_addr);
		ap->port = ntohs(sin.sin_port);
		return 0;
	case AF_INET6:
		memcpy(&sin6, sa, sizeof(sin6));
		ap->addr = addr_from_v6(&sin6.sin6_addr);
		ap->port = ntohs(sin6.sin6_port);
		if (addr_zone(&ap->addr)) /* none of its own: it would name another link */
			return -EAFNOSUPPORT;
		addr_set_zone(&ap->addr, sin6.sin6_scope_id);
		return 0;
	default:
		return -EAFNOSUPPORT;
	}
}

const char *addr_format(const struct addr *a, char *buf)
{
	bool v4 = addr_is_v4(a);

	/* cannot fail: the families are known and ADDR_STRLEN holds the longest text */
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr_v4_bytes(a) : a->b, buf, ADDR_STRLEN);
	return buf;
}

const char *addrport_format(const struct addrport *ap, char *buf)
{
	char text[ADDR_STRLEN];

	addr_format(&ap->addr, text);
	snprintf(buf, ADDRPORT_STRLEN, addr_is_v4(&ap->addr) ? "%s:%u" : "[%s]:%u", text,
		 (unsigned)ap->port);
	return buf;
}

int addr_parse(const char *text, struct addr *a)
{
	uint8_t b[16];

	if (inet_pton(AF_INET, text, b) == 1) {
		*a = addr_from_v4(b);
		return 0;
	}
	if (inet_pton(AF_INET6, text, b) == 1) {
		*a = addr_from_v6(b);
		return 0;
	}
	return -EINVAL;
}

/** bits_parse - one to three digits and nothing else; -EINVAL past @max */
static int bits_parse(const char *text, int max)
{
	int v = 0, n = 0;

	for (; text[n] >= '0' && text[n] <= '9' && n < 3; n++)
		v = v * 10 + (text[n] - '0');
	return n && !text[n] && v <= max ? v : -EINVAL;
}

int prefix_parse(const char *text, struct prefix *p)
{
	const char *slash = strchr(text, '/');
	char head[ADDR_STRLEN];
	struct addr a;
	int bits, max;

	if (!slash)
		slash = text + strlen(text);
	if ((size_t)(slash - text) >= sizeof(head))
		return -EINVAL;
	memcpy(head, text, (size_t)(slash - text));
	head[slash - text] = '\0';
	if (addr_parse(head, &a))
		return -EINVAL;
	max = addr_is_v4(&a) ? 32 : 128;
	bits = *slash ? bits_parse(slash + 1, max) : max;
	if (bits < 0)
		return -EINVAL;
	p->addr = a;
	p->bits = (uint8_t)bits;
	return 0;
}

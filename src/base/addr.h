/* SPDX-License-Identifier: MIT */
/*
 * addr: one shape for IPv4 and IPv6 addresses.
 *
 * Every address in weir is 16 bytes, IPv4 ones in their v4-mapped form
 * (RFC 4291, 2.5.5.2), so that a flow key is compared and hashed as plain
 * memory and no code past the packet parser asks for the family unless it
 * builds a header or a sockaddr.
 */
#ifndef WEIR_BASE_ADDR_H
#define WEIR_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/** struct addr - an IPv4 (v4-mapped) or IPv6 address, network byte order */
struct addr {
	uint8_t b[16];
};

/** struct addrport - address and port; @port is in host byte order */
struct addrport {
	struct addr addr;
	uint16_t port;
};

/** struct prefix - an address and how many of its bits count, in the family's own terms */
struct prefix {
	struct addr addr;
	uint8_t bits; /* 0..32 for IPv4, 0..128 for IPv6 */
};

#define ADDR_STRLEN	48 /* longest text of an address, with its NUL */
#define ADDRPORT_STRLEN 64 /* "[addr]:port" with its NUL */

bool addr_is_v4(const struct addr *a);
bool addr_equal(const struct addr *a, const struct addr *b);
bool addrport_equal(const struct addrport *a, const struct addrport *b);
bool addr_is_unspecified(const struct addr *a);
bool addr_is_loopback(const struct addr *a);   /* 127/8, ::1 */
bool addr_is_multicast(const struct addr *a);  /* 224/4, ff00::/8 */
bool addr_is_broadcast(const struct addr *a);  /* 255.255.255.255 only */
bool addr_is_link_local(const struct addr *a); /* 169.254/16, fe80::/10 */
bool addr_in_prefix(const struct addr *a, const struct prefix *p);

struct addr addr_from_v4(const void *four_bytes);
struct addr addr_from_v6(const void *sixteen_bytes);
/** addr_v4_bytes - the four bytes of an IPv4 address (only for addr_is_v4()) */
const uint8_t *addr_v4_bytes(const struct addr *a);

/**
 * addr_set_zone - give the link-local IPv6 address @a its zone, an interface's index
 *
 * A link-local address means nothing without the link. The zone lies in the bytes 4 to 7, which
 * are zero on the wire (RFC 4291, 2.5.6), and becomes sin6_scope_id in a sockaddr. So an
 * address with a zone is compared and hashed like any other. Zone 0 takes it away.
 */
void addr_set_zone(struct addr *a, uint32_t zone);
uint32_t addr_zone(const struct addr *a); /* 0: none */

/** addr_to_sockaddr - fill @ss; returns the length to pass to the kernel */
socklen_t addr_to_sockaddr(const struct addrport *ap, struct sockaddr_storage *ss);
/** addr_from_sockaddr - returns 0, or -EAFNOSUPPORT */
int addr_from_sockaddr(const struct sockaddr *sa, struct addrport *ap);

/** addr_format - text of @a in @buf (ADDR_STRLEN bytes); returns @buf */
const char *addr_format(const struct addr *a, char *buf);
/** addrport_format - "1.2.3.4:80" or "[::1]:80" in @buf (ADDRPORT_STRLEN); returns @buf */
const char *addrport_format(const struct addrport *ap, char *buf);
/** addr_parse - numeric text only; returns 0 or -EINVAL */
int addr_parse(const char *text, struct addr *a);
/** prefix_parse - "ADDR" or "ADDR/BITS"; returns 0 or -EINVAL */
int prefix_parse(const char *text, struct prefix *p);

#endif

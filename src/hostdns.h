/* SPDX-License-Identifier: MIT */
/*
 * hostdns: which resolvers the host's programs ask, and which of those addresses
 * are local inside the private namespace.
 *
 * A resolver on the host's loopback (127.0.0.53 of systemd-resolved, dnsmasq, a
 * resolver on ::1) would be asked inside, where nobody listens. weir binds these
 * very addresses inside and relays what comes to the same address outside, so
 * /etc/resolv.conf stays what it is: a bind mount over it would be lost
 * whenever the file is replaced. Every address can be bound: 127/8 and ::1 are
 * local as soon as lo is up, the mirrored address as soon as weir0 is. Other
 * resolvers are reached through the TUN like any host.
 *
 * A link-local resolver with its zone (fe80::1%eth0) can't be asked inside, where there
 * is no eth0: it gets another address, and programs a copy of resolv.conf that names it.
 */
#ifndef WEIR_HOSTDNS_H
#define WEIR_HOSTDNS_H

#include "base/addr.h"

#include <stddef.h>

/* glibc reads no more (MAXNS), other libraries a few more */
#define HOSTDNS_MAX 8

/* Longest word of a nameserver line: an address, '%' and the name of an interface. */
#define HOSTDNS_WORD_MAX 80
/* Bytes looked at; longer files are cut. */
#define HOSTDNS_TEXT_MAX 16384

/** struct hostdns_zoned - a link-local resolver: as it is written, and with its zone as a number */
struct hostdns_zoned {
	char word[HOSTDNS_WORD_MAX];
	struct addr addr;
};

struct hostdns {
	struct addr addr[HOSTDNS_MAX];
	unsigned n;
	struct hostdns_zoned zoned[HOSTDNS_MAX];
	unsigned n_zoned;
	unsigned lost; /* link-local ones whose interface is not there */
};

/** struct hostdns_conf - a resolv.conf and what it says */
struct hostdns_conf {
	struct hostdns dns;
	uint32_t len;
	char text[HOSTDNS_TEXT_MAX];
};

/**
 * hostdns_parse - the nameserver lines of a resolv.conf; none means 127.0.0.1 (resolv.conf(5))
 *
 * Zones are looked up in the network namespace that the caller is in.
 */
void hostdns_parse(const char *text, size_t len, struct hostdns *out);
/** hostdns_read - the same from a file; one that can't be read counts as empty */
void hostdns_read(const char *path, struct hostdns_conf *out);
/**
 * hostdns_rewrite - @conf's text with other words for the link-local resolvers
 * @inside: for each of @conf->dns.zoned; an unspecified address leaves the line as it is
 *
 * Everything else is kept to the byte. Returns the length; what @size has no room for is cut.
 */
size_t hostdns_rewrite(const struct hostdns_conf *conf, const struct addr *inside, char *out,
		       size_t size);
/**
 * hostdns_local - keep those that are local inside: loopback, or one of @own
 * @own: mirrored addresses; unspecified ones match nothing
 */
void hostdns_local(struct hostdns *h, const struct addr *own, size_t n_own);
/**
 * hostdns_bind - UDP and listening TCP socket on port 53 of @a; 0 or -errno
 */
int hostdns_bind(const struct addr *a, int *udp_fd, int *tcp_fd);
/**
 * hostdns_mask - hide the resolvers' own sockets in this mount namespace
 *
 * nss-resolve and nscd ask by path, which no network namespace hides; with
 * /dev/null in their place libc falls back to port 53. Returns how many were
 * masked, or -errno.
 */
int hostdns_mask(void);
/** hostdns_mask_needed - is there any such socket? */
int hostdns_mask_needed(void);

#endif

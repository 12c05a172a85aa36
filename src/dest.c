/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An address means something else inside than outside in these cases only:
 *
 *   inside            outside           why
 *   --host-loopback   127.0.0.1, ::1    the host's loopback, by the user's choice
 *   --host-addr       the mirrored one  that address is the program's own inside
 *   a resolver's      its own, or the   it is bound inside, port 53 only; a
 *                     link-local one    link-local one has another address there
 *   loopback, own     unreachable       they never leave the namespace; whoever
 *                                       forges them must not reach the host
 *
 * A peer that connects to a program keeps its address, too, unless the namespace's kernel would not
 * take a packet from there: the host's loopback, an address that the namespace has
 * itself (the host's own, mirrored) and link-local ones, whose zone a packet does not carry. These
 * get the address that --host-loopback or --host-addr gives them, else one for
 * documentation (RFC 5737, RFC 3849) stands for all of them.
 *
 * Ports of destinations are never changed. dest_in() is the exact reverse of dest_out(), so an
 * answer comes from the address that was asked.
 */
#include "dest.h"

#include <errno.h>

static const struct addr loopback4 = {
	.b = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1},
};
static const struct addr loopback6 = {.b = {[15] = 1}};

/** is_set - @a is a mapping's address, and it is the one asked for */
static bool is_set(const struct addr *a, const struct addr *asked)
{
	return !addr_is_unspecified(a) && addr_equal(a, asked);
}

/** this_network - 0.0.0.0/8: "this host on this network", never a destination (RFC 6890) */
static bool this_network(const struct addr *a)
{
	return addr_is_v4(a) && addr_v4_bytes(a)[0] == 0;
}

/** compatible - ::/96, the deprecated IPv4-compatible form (RFC 4291, 2.5.5.1) */
static bool compatible(const struct addr *a)
{
	for (unsigned i = 0; i < 12; i++)
		if (a->b[i])
			return false;
	return true;
}

/** resolver - the number of the one that is @net inside, or -1 */
static int resolver(const struct dest_map *m, const struct addrport *net)
{
	for (unsigned i = 0; i < m->n_dns && net->port == 53; i++)
		if (addr_equal(&m->dns[i].inside, &net->addr))
			return (int)i;
	return -1;
}

bool dest_is_dns(const struct dest_map *m, const struct addrport *net)
{
	return resolver(m, net) >= 0;
}

/** resolver_in - an answer from a resolver comes from the address it has inside */
static bool resolver_in(const struct dest_map *m, const struct addrport *peer, struct addr *inside)
{
	for (unsigned i = 0; i < m->n_dns && peer->port == 53; i++)
		if (addr_equal(&m->dns[i].outside, &peer->addr)) {
			*inside = m->dns[i].inside;
			return true;
		}
	return false;
}

int dest_out(const struct dest_map *m, const struct addrport *net, struct addrport *out)
{
	const struct addr *a = &net->addr;
	const int dns = resolver(m, net);

	out->port = net->port;
	if (dns >= 0)
		out->addr = m->dns[dns].outside;
	else if (is_set(&m->loop4, a))
		out->addr = loopback4;
	else if (is_set(&m->loop6, a))
		out->addr = loopback6;
	else if (is_set(&m->host4, a) && !addr_is_unspecified(&m->own4))
		out->addr = m->own4;
	else if (is_set(&m->host6, a) && !addr_is_unspecified(&m->own6))
		out->addr = m->own6;
	else if (addr_is_loopback(a) || addr_is_unspecified(a))
		return -EHOSTUNREACH;
	else if (is_set(&m->own4, a) || is_set(&m->own6, a))
		return -EHOSTUNREACH;
	else if (dest_is_ignored(a) || this_network(a) || compatible(a))
		return -ENETUNREACH;
	else
		out->addr = *a;
	return 0;
}

void dest_in(const struct dest_map *m, const struct addrport *peer, struct addrport *net)
{
	const struct addr *a = &peer->addr;

	*net = *peer;
	if (resolver_in(m, peer, &net->addr))
		return;
	if (addr_equal(a, &loopback4) && !addr_is_unspecified(&m->loop4))
		net->addr = m->loop4;
	else if (addr_equal(a, &loopback6) && !addr_is_unspecified(&m->loop6))
		net->addr = m->loop6;
	else if (is_set(&m->own4, a) && !addr_is_unspecified(&m->host4))
		net->addr = m->host4;
	else if (is_set(&m->own6, a) && !addr_is_unspecified(&m->host6))
		net->addr = m->host6;
}

static bool is_inside(const struct dest_map *m, const struct addr *a)
{
	for (unsigned i = 0; i < m->n_inside; i++)
		if (addr_equal(&m->inside[i], a))
			return true;
	return false;
}

/** stand_in - an address that nobody has, inside or outside */
static struct addr stand_in(const struct dest_map *m, bool v4)
{
	static const uint8_t v4s[2][4] = {{192, 0, 2, 1}, {198, 51, 100, 1}};
	static const uint8_t v6s[2][16] = {{0x20, 0x01, 0x0d, 0xb8, [15] = 1},
					   {0x20, 0x01, 0x0d, 0xb8, 0xff, [15] = 1}};
	struct addr a = v4 ? addr_from_v4(v4s[0]) : addr_from_v6(v6s[0]);

	if (!is_inside(m, &a))
		return a;
	return v4 ? addr_from_v4(v4s[1]) : addr_from_v6(v6s[1]);
}

struct addr dest_client(const struct dest_map *m, const struct addr *client)
{
	const struct addrport peer = {.addr = *client};
	struct addrport net;

	dest_in(m, &peer, &net);
	if (addr_is_loopback(&net.addr) || is_inside(m, &net.addr) ||
	    (!addr_is_v4(&net.addr) && addr_is_link_local(&net.addr)))
		return stand_in(m, addr_is_v4(client));
	return net.addr;
}

/*
 * IPv4's 169.254/16 is not among them: resolvers and metadata services of cloud
 * hosts live there, reached through the ordinary gateway. IPv6's link-local
 * addresses mean nothing without the zone, which a packet does not carry.
 */
bool dest_is_ignored(const struct addr *net)
{
	return addr_is_multicast(net) || addr_is_broadcast(net) ||
	       (!addr_is_v4(net) && addr_is_link_local(net));
}

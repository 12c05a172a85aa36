/* SPDX-License-Identifier: MIT */
/*
 * Identifiers as the Community ID specification publishes them, and what must hold
 * for any flow: both directions give one identifier.
 *
 * LINK: src/communityid.o src/base/addr.o src/base/util.o
 */
#include "record.h"

#include <netinet/in.h>
#include <string.h>

#include "base/util.h"
#include "../lib/tap.h"

static struct flow_rec flow(uint8_t proto, const char *a, unsigned ap, const char *b, unsigned bp)
{
	struct flow_rec f = {.proto = proto, .app.port = (uint16_t)ap, .net.port = (uint16_t)bp};

	addr_parse(a, &f.app.addr);
	addr_parse(b, &f.net.addr);
	return f;
}

static void expect(struct flow_rec f, const char *want, const char *what)
{
	const struct addrport app = f.app;
	char id[32];

	record_community_id(&f, id);
	tap_ok(!strcmp(id, want), "%s: %s", what, id);
	/* What is sent as echo is a request: from the other end it is another flow. */
	if (f.proto == IPPROTO_ICMP || f.proto == IPPROTO_ICMPV6)
		return;
	f.app = f.net;
	f.net = app;
	record_community_id(&f, id);
	tap_ok(!strcmp(id, want), "%s, the other direction", what);
}

/* The published reference data, as far as it is of flows that weir can see. */
static void published(void)
{
	expect(flow(IPPROTO_TCP, "128.232.110.120", 34855, "66.35.250.204", 80),
	       "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "TCP");
	expect(flow(IPPROTO_TCP, "2001:470:e5bf:dead:4957:2174:e82c:4887", 63943,
		    "2607:f8b0:400c:c03::1a", 25),
	       "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=", "TCP over IPv6");
	expect(flow(IPPROTO_UDP, "192.168.1.52", 54585, "8.8.8.8", 53),
	       "1:d/FP5EW3wiY1vCndhwleRRKHowQ=", "UDP");
	expect(flow(IPPROTO_ICMP, "192.168.0.89", 0, "192.168.0.1", 0),
	       "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", "echo");
	expect(flow(IPPROTO_ICMPV6, "3ffe:507:0:1:200:86ff:fe05:80da", 0, "3ffe:501:0:1001::2", 0),
	       "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=", "echo over IPv6");
	expect(flow(IPPROTO_RSVP, "10.1.12.1", 0, "10.1.12.2", 0),
	       "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=", "a protocol without ports");
	expect(flow(IPPROTO_SCTP, "192.168.170.8", 0, "192.168.170.56", 0), "",
	       "SCTP, whose ports are not read, has none");
}

/* With one address on both ends the ports decide which is first. */
static void to_itself(void)
{
	struct flow_rec f = flow(IPPROTO_TCP, "192.0.2.1", 40000, "192.0.2.1", 80);
	struct flow_rec back = flow(IPPROTO_TCP, "192.0.2.1", 80, "192.0.2.1", 40000);
	char a[32], b[32];

	record_community_id(&f, a);
	record_community_id(&back, b);
	tap_ok(!strcmp(a, b), "one address: both directions are one");
	f.app.port++;
	record_community_id(&f, b);
	tap_ok(strcmp(a, b) && strlen(b) == 30, "another port, another identifier");
}

int main(void)
{
	published();
	to_itself();
	return tap_done();
}

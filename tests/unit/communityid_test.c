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

static void expect(const struct flow_rec *f, const char *want, const char *what)
{
	struct flow_rec back = *f;
	char id[32];

	record_community_id(f, id);
	tap_ok(!strcmp(id, want), "%s: %s", what, id);
	back.app = f->net;
	back.net = f->app;
	if (f->proto == IPPROTO_TCP || f->proto == IPPROTO_UDP) {
		record_community_id(&back, id);
		tap_ok(!strcmp(id, want), "%s, the other direction", what);
	}
}

int main(void)
{
	struct flow_rec tcp = flow(IPPROTO_TCP, "128.232.110.120", 34855, "66.35.250.204", 80);
	struct flow_rec udp = flow(IPPROTO_UDP, "192.168.1.52", 54585, "8.8.8.8", 53);
	struct flow_rec echo = flow(IPPROTO_ICMP, "192.168.0.89", 0, "192.168.0.1", 0);
	struct flow_rec six = flow(IPPROTO_TCP, "2001:db8::2", 40000, "2001:db8::1", 443);
	char a[32], b[32];

	expect(&tcp, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "TCP");
	expect(&udp, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=", "UDP");
	expect(&echo, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", "echo");
	record_community_id(&six, a);
	tap_is(strlen(a), 30, "IPv6: the usual length");
	six.app.port++;
	record_community_id(&six, b);
	tap_ok(strcmp(a, b), "another port, another identifier");
	return tap_done();
}

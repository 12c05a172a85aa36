/* SPDX-License-Identifier: MIT */
/*
 * inbound_select: options in; whose sockets and which peers are steered out. The maps are read here
 * as the programs in the kernel read them.
 * LINK: src/inbound_select.o src/select.o src/base/addr.o src/base/util.o src/base/log.o
 * LINK: src/base/clock.o
 */
#include "inbound_select.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/tap.h"
#include "base/util.h"

#define OWN_MARKS 0x30000000u

static struct selection s;
static struct inbound_select o;
static bool link_local_pass;

/** parse - "name:value ..." */
static void parse(const char *line)
{
	static const struct {
		const char *name;
		enum select_option option;
	} all[] = {
		{"user", SELECT_OPT_USER},     {"group", SELECT_OPT_GROUP},
		{"cgroup", SELECT_OPT_CGROUP}, {"mark", SELECT_OPT_MARK},
		{"netns", SELECT_OPT_NETNS},   {"all", SELECT_OPT_ALL},
		{"proto", SELECT_OPT_PROTO},   {"to", SELECT_OPT_TO},
		{"port", SELECT_OPT_PORT},     {"except", SELECT_OPT_EXCEPT},
	};
	static const struct select_names names = {.cgroup_mount = "/sys/fs/cgroup"};
	static char text[1000]; /* values are borrowed */
	char err[200];

	select_init(&s);
	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " ")) {
		char *value = strchr(w, ':');

		if (value)
			*value++ = 0;
		for (size_t i = 0; i < ARRAY_SIZE(all); i++)
			if (!strcmp(all[i].name, w) && select_add(&s, all[i].option, value))
				abort();
	}
	if (select_finish(&s, &names, err, sizeof(err))) {
		printf("# %s: %s\n", line, err);
		abort();
	}
	inbound_select_make(&o, &s, OWN_MARKS, link_local_pass);
}

struct sock {
	uint32_t uid, gid, mark;
	int cgroup; /* index, -1: none that is named */
};

static uint64_t taken_by(const struct sock *k)
{
	uint64_t take = 0, except = 0;

	for (unsigned i = 0; i < o.n_conds; i++) {
		const struct ib_cond *c = &o.conds[i];
		const uint32_t id = c->what == IB_UID ? k->uid : k->gid;

		if (c->what == IB_ANYBODY || (c->what == IB_MARK && (k->mark & c->a) == c->b) ||
		    ((c->what == IB_UID || c->what == IB_GID) && id >= c->a && id <= c->b)) {
			take |= c->take;
			except |= c->except;
		}
	}
	if (k->cgroup >= 0) {
		take |= o.cgroups[k->cgroup].take;
		except |= o.cgroups[k->cgroup].except;
	}
	return take & ~except;
}

static bool key_covers(const struct ib_prefix *k, const uint8_t a[16])
{
	for (unsigned i = 0; i < k->bits; i++)
		if ((k->addr[i / 8] ^ a[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static uint64_t from(const char *peer)
{
	const struct inbound_peer *best = NULL;
	struct addr a;

	if (addr_parse(peer, &a))
		abort();
	for (unsigned i = 0; i < o.n_peers; i++)
		if (key_covers(&o.peers[i].key, a.b) &&
		    (!best || o.peers[i].key.bits > best->key.bits))
			best = &o.peers[i];
	return best ? best->take : 0;
}

static bool steered(struct sock k, const char *peer)
{
	return o.obstacle < 0 && taken_by(&k) & o.all & from(peer);
}

#define V4 "198.51.100.7"
#define V6 "2001:db8::7"

static const struct {
	const char *options;
	struct sock sock;
	const char *peer;
	bool want;
} cases[] = {
	{"user:1000", {1000, 5, 0, -1}, V4, true},
	{"user:1000", {1000, 5, 0, -1}, V6, true},
	{"user:1000", {1001, 1000, 0, -1}, V4, false},
	{"user:1000-1999", {1999, 5, 0, -1}, V4, true},
	{"user:1000-1999", {2000, 5, 0, -1}, V4, false},
	{"user:1000-1999 except:user=1500", {1500, 5, 0, -1}, V4, false},
	{"user:1000-1999 except:user=1500", {1501, 5, 0, -1}, V4, true},
	{"user:1000-1999 except:user=1500 user:1500", {1500, 5, 0, -1}, V4, true},
	{"user:1000 except:group=7", {1000, 7, 0, -1}, V4, false},
	{"user:1000 except:group=7", {1000, 8, 0, -1}, V4, true},
	{"user:1000 except:cgroup=/a", {1000, 8, 0, -1}, V4, false},
	{"user:1000 except:mark=1/1", {1000, 8, 3, -1}, V4, false},
	{"user:1000 except:mark=1/1", {1000, 8, 2, -1}, V4, true},
	{"user:1000 except:mark=5", {1000, 8, 5 | OWN_MARKS, -1}, V4, false},
	{"group:7", {1, 7, 0, -1}, V6, true},
	{"group:7", {7, 1, 0, -1}, V6, false},
	{"cgroup:/a cgroup:/b", {1, 1, 0, 1}, V4, false},
	{"all", {0, 0, 0, -1}, V6, true},
	{"all except:user=0", {0, 0, 0, -1}, V4, false},
	{"mark:7", {1, 1, 7, -1}, V4, false},
	{"netns:blue", {1, 1, 0, -1}, V4, false},
	{"user:1000 proto:udp", {1000, 1, 0, -1}, V4, false},
	{"user:1000 proto:udp proto:tcp", {1000, 1, 0, -1}, V4, true},
	{"user:1000 except:proto=tcp", {1000, 1, 0, -1}, V4, false},
	{"user:1000 except:proto=icmp", {1000, 1, 0, -1}, V4, true},
	{"user:1000 port:443", {1000, 1, 0, -1}, V4, false},
	/* one that can't be followed is one too many, unless it is not about TCP */
	{"user:1001 port:443 user:1000", {1000, 1, 0, -1}, V4, false},
	{"user:1000 mark:7", {1000, 1, 0, -1}, V4, false},
	{"user:1000 mark:7 proto:udp", {1000, 1, 0, -1}, V4, true},
	{"user:1001 port:443 proto:udp user:1000", {1000, 1, 0, -1}, V4, true},
	{"user:1000 to:198.51.100.0/24", {1000, 1, 0, -1}, V4, true},
	{"user:1000 to:198.51.101.0/24", {1000, 1, 0, -1}, V4, false},
	{"user:1000 to:198.51.100.0/24", {1000, 1, 0, -1}, V6, false},
	{"user:1000 to:::/0", {1000, 1, 0, -1}, V4, false},
	{"user:1000 to:::/0", {1000, 1, 0, -1}, V6, true},
	{"user:1000 to:0.0.0.0/0", {1000, 1, 0, -1}, V4, true},
	{"user:1000 except:to=198.51.100.0/24", {1000, 1, 0, -1}, V4, false},
	{"user:1000 to:198.0.0.0/8 except:to=198.51.0.0/16", {1000, 1, 0, -1}, V4, false},
	{"user:1000 except:to=198.51.0.0/16 user:1000 to:198.51.100.0/24",
	 {1000, 1, 0, -1},
	 V4,
	 true},
	{"user:1001 to:198.51.100.0/24 user:1000", {1000, 1, 0, -1}, V4, true},
	{"user:1001 to:198.51.100.0/24 user:1000 to:10.0.0.0/8", {1000, 1, 0, -1}, V4, false},
	/* the host bits of a prefix do not count */
	{"user:1000 to:198.51.100.9/24", {1000, 1, 0, -1}, V4, true},
	{"user:1000", {1000, 1, 0, -1}, "fe80::7", false},
	{"user:1000 to:fe80::/64", {1000, 1, 0, -1}, "fe80::7", false},
	{"user:1000", {1000, 1, 0, -1}, "169.254.1.1", true},
	{"user:1000 except:port=22", {1000, 1, 0, -1}, V4, true},
	{"user:1000 except:port=1-65535", {1000, 1, 0, -1}, V4, false},
	{"user:1000 user:1001 except:port=1-65535", {1000, 1, 0, -1}, V4, false},
};

static void ports(void)
{
	static const struct {
		const char *options;
		unsigned lo, hi;
	} rows[] = {
		{"user:1", INBOUND_PORT_LO, INBOUND_PORT_HI},
		{"user:1 except:port=22", INBOUND_PORT_LO, INBOUND_PORT_HI},
		{"user:1 except:port=5001", 5002, INBOUND_PORT_HI},
		{"user:1 except:port=32767", INBOUND_PORT_LO, 32766},
		{"user:1 except:port=8080", 8081, INBOUND_PORT_HI},
		{"user:1 except:port=30000-30005", INBOUND_PORT_LO, 29999},
		{"user:1 except:port=8080 user:2 except:port=20000-40000", 8081, 19999},
		/* what is not about TCP does not count */
		{"user:1 proto:udp except:port=8080", INBOUND_PORT_LO, INBOUND_PORT_HI},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		parse(rows[i].options);
		tap_ok(o.ports.lo == rows[i].lo && o.ports.hi == rows[i].hi, "%s: peers get %u-%u",
		       rows[i].options, o.ports.lo, o.ports.hi);
	}
}

/** most - as many prefixes and exceptions as a selection can have */
static void most(void)
{
	char line[1000], *at = line;

	at += sprintf(at, "user:1");
	for (int i = 0; i < SELECT_NARROW_MAX; i++)
		at += sprintf(at, " to:10.%d.0.0/16", i);
	for (int i = 0; i < SELECT_EXCEPTS_MAX; i++)
		at += sprintf(at, " except:to=10.%d.1.0/24", i);
	parse(line);
	tap_is(o.n_peers, 4 + SELECT_NARROW_MAX + SELECT_EXCEPTS_MAX, "every prefix is there once");
	tap_ok(steered((struct sock){.uid = 1, .cgroup = -1}, "10.15.2.1") &&
		       !steered((struct sock){.uid = 1, .cgroup = -1}, "10.15.1.1"),
	       "the last ones count as well");
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		parse(cases[i].options);
		tap_ok(steered(cases[i].sock, cases[i].peer) == cases[i].want,
		       "%s: uid %u, from %s: %s", cases[i].options, cases[i].sock.uid,
		       cases[i].peer, cases[i].want ? "steered" : "left alone");
	}
	parse("user:1 user:2 mark:7 port:5");
	tap_is(o.obstacle, 2, "the first that can't be followed is named");
	link_local_pass = true;
	parse("user:1000");
	tap_ok(!steered((struct sock){.uid = 1000, .cgroup = -1}, "169.254.1.1"),
	       "--link-local pass: not from there");
	link_local_pass = false;
	ports();
	most();
	return tap_done();
}

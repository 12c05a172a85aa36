/* SPDX-License-Identifier: MIT */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/socket.h>

#include <linux/netlink.h>

#include "explain.h"
#include "hostdns.h"
#include "netcfg.h"
#include "sysctl.h"
#include "tundev.h"

#include "base/log.h"
#include "base/util.h"

/* Bursts of many connections overran the default of 500 packets. */
#define TXQLEN	    4096
#define MTU_DEFAULT 1500
#define MTU_MAX	    65535
#define MTU_MIN_V4  68	 /* RFC 791 */
#define MTU_MIN_V6  1280 /* RFC 8200, section 5 */

/** struct plan - what was read outside, and what is to be set inside */
struct plan {
	struct netcfg_host host;
	struct sysctl_mirror sysctls;
	struct prefix own[CONFIG_ADDRS_MAX + 2]; /* the first of each family is preferred */
	struct addr brd[CONFIG_ADDRS_MAX + 2];
	unsigned n_own;
	bool lo_without_v6;
	bool mask;	  /* sockets of name services must be hidden */
	bool need_mounts; /* something inside differs from the host's files */
};

static int fail(int err, char *out, size_t size, const char *what)
{
	snprintf(out, size, "%s: %s", what, strerror(err));
	return -err;
}

/* --- outside: reading and deciding ------------------------------------------------- */

static void plan_add(struct plan *p, const struct prefix *own, const struct addr *brd)
{
	p->own[p->n_own] = *own;
	p->brd[p->n_own] = brd ? *brd : (struct addr){0};
	p->n_own++;
}

static void plan_family(struct plan *p, const struct config *cfg, bool v4)
{
	const struct netcfg_family *f = v4 ? &p->host.v4 : &p->host.v6;
	bool given = false;

	for (unsigned i = 0; i < cfg->n_addresses; i++) {
		if (addr_is_v4(&cfg->addresses[i].addr) != v4)
			continue;
		plan_add(p, &cfg->addresses[i], NULL);
		given = true;
	}
	if (!given && f->present)
		plan_add(p, &f->own, &f->brd);
}

/** plan_documentation - RFC 5737 and RFC 3849 addresses for a host that leads nowhere */
static void plan_documentation(struct plan *p)
{
	struct prefix own;

	log_note("this host has no default route: inside are 192.0.2.2/24 and 2001:db8::2/64");
	prefix_parse("192.0.2.2/24", &own);
	plan_add(p, &own, NULL);
	prefix_parse("2001:db8::2/64", &own);
	plan_add(p, &own, NULL);
}

static unsigned plan_mtu(const struct plan *p, const struct config *cfg)
{
	unsigned mtu = cfg->mtu ? cfg->mtu : p->host.mtu ? p->host.mtu : MTU_DEFAULT;

	return MAX(MIN(mtu, MTU_MAX), MTU_MIN_V4);
}

static int plan_make(struct plan *p, struct sandbox *s, const struct config *cfg,
		     const struct hostdns_conf *conf)
{
	struct netcfg *nc;
	int r = netcfg_open(&nc);

	if (!r)
		r = netcfg_read_host(nc, &p->host);
	netcfg_close(nc);
	if (r)
		return r;
	plan_family(p, cfg, true);
	plan_family(p, cfg, false);
	s->documentation = !p->n_own;
	if (s->documentation)
		plan_documentation(p);
	s->mtu = plan_mtu(p, cfg);
	sysctl_mirror_take(&p->sysctls);
	p->lo_without_v6 = sysctl_read_long("net/ipv6/conf/lo/disable_ipv6", 0) == 1;
	p->mask = hostdns_mask_needed() > 0;
	p->need_mounts = p->mask || conf->dns.n_zoned > 0;
	return 0;
}

/* --- entering ------------------------------------------------------------------------ */

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/** enter_userns - one uid and one gid are mapped: the caller's, or 0 to the caller's */
static int enter_userns(bool map_root, char *err, size_t errsize)
{
	const unsigned uid = geteuid(), gid = getegid();
	char text[64];
	int r;

	if (unshare(CLONE_NEWUSER)) {
		r = -errno;
		goto refused;
	}
	snprintf(text, sizeof(text), "%u %u 1\n", map_root ? 0 : uid, uid);
	r = write_text("/proc/self/uid_map", text);
	if (!r)
		r = write_text("/proc/self/setgroups", "deny"); /* else the gid map is refused */
	if (r && r != -ENOENT)
		goto refused;
	snprintf(text, sizeof(text), "%u %u 1\n", map_root ? 0 : gid, gid);
	r = write_text("/proc/self/gid_map", text);
	if (!r)
		return 0;
refused:
	explain_userns(-r, err, errsize);
	return r;
}

/**
 * enter_mounts - false: COMMAND has the host's mounts
 *
 * An ordinary user always gets a mount namespace, as COMMAND can't mount anything on the host
 * anyway, and a copy of resolv.conf may be needed later. Root's gets one only where something
 * must be hidden now: its mounts may be meant to be seen.
 */
static bool enter_mounts(const struct plan *p, const struct sandbox *s)
{
	int r;

	if (!s->userns && !p->need_mounts)
		return false;
	if (unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_SLAVE, NULL)) {
		if (p->mask)
			log_note(
				"no mount namespace here (%s): look-ups through systemd-resolved's "
				"or nscd's socket go past weir",
				strerror(errno));
		return false;
	}
	r = p->mask ? hostdns_mask() : 0;
	if (r < 0)
		log_note("systemd-resolved's or nscd's socket can't be hidden (%s): "
			 "look-ups through it go past weir",
			 strerror(-r));
	return true;
}

static int enter(const struct sandbox *s, const struct config *cfg, char *err, size_t errsize)
{
	int r = s->userns ? enter_userns(cfg->map_root, err, errsize) : 0;

	if (r)
		return r;
	if (unshare(CLONE_NEWNET)) {
		r = -errno;
		explain_netns(-r, s->userns, err, errsize);
		return r;
	}
	return 0;
}

/* --- furnishing ------------------------------------------------------------------------- */

/** quiet_ipv6 - the kernel shall send nothing by itself; devices made later take this over */
static void quiet_ipv6(void)
{
	static const struct {
		const char *name, *value;
	} set[] = {
		{"net/ipv6/conf/default/accept_ra", "0"},
		{"net/ipv6/conf/default/autoconf", "0"},
		{"net/ipv6/conf/default/router_solicitations", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/default/dad_transmits", "0"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(set); i++)
		sysctl_write(set[i].name, set[i].value);
}

/** allow_ping - ping sockets for COMMAND's group; must come before the capability goes */
static void allow_ping(const struct sandbox *s)
{
	char text[64] = "0 2147483647";
	int r;

	if (s->userns) /* only ids that are mapped here are accepted */
		snprintf(text, sizeof(text), "%u %u", getegid(), getegid());
	r = sysctl_write("net/ipv4/ping_group_range", text);
	if (r)
		log_debug("ping_group_range: %s", strerror(-r));
}

static int add_address(struct netcfg *nc, int ifindex, const struct plan *p, unsigned i,
		       bool preferred)
{
	int r = netcfg_address_add(nc, ifindex, &p->own[i], &p->brd[i]);

	if (!r && preferred)
		r = netcfg_default_add(nc, ifindex, &p->own[i].addr);
	return r;
}

/** add_addresses - a family that the kernel refuses is absent and said, not fatal */
static int add_addresses(struct netcfg *nc, int ifindex, const struct plan *p, struct sandbox *s)
{
	char text[ADDR_STRLEN];
	int r = 0;

	for (unsigned i = 0; i < p->n_own; i++) {
		const struct addr *a = &p->own[i].addr;
		bool *has = addr_is_v4(a) ? &s->has4 : &s->has6;

		if (!addr_is_v4(a) && s->mtu < MTU_MIN_V6) {
			log_note("no IPv6 inside: it needs an MTU of %d", MTU_MIN_V6);
			continue;
		}
		r = add_address(nc, ifindex, p, i, !*has);
		if (r)
			log_note("address %s can't be set inside: %s", addr_format(a, text),
				 strerror(-r));
		else
			*has = true;
	}
	return s->has4 || s->has6 ? 0 : r;
}

static void own_addresses(const struct plan *p, struct sandbox *s)
{
	for (unsigned i = 0; i < p->n_own; i++) {
		if (addr_is_v4(&p->own[i].addr) ? s->has4 : s->has6)
			s->inside[s->n_inside++] = p->own[i].addr;
	}
	for (unsigned i = p->n_own; i-- > 0;) {
		if (addr_is_v4(&p->own[i].addr))
			s->own4 = p->own[i].addr;
		else
			s->own6 = p->own[i].addr;
	}
	if (p->host.v4.present)
		s->own4 = p->host.v4.own.addr;
	if (p->host.v6.present)
		s->own6 = p->host.v6.own.addr;
}

static int links_up(struct netcfg *nc, const struct tundev *t, const struct plan *p,
		    struct sandbox *s)
{
	const struct netcfg_link before = {.mtu = s->mtu, .txqlen = TXQLEN};
	bool want6 = false;
	int r;

	for (unsigned i = 0; i < p->n_own; i++)
		want6 |= !addr_is_v4(&p->own[i].addr) && s->mtu >= MTU_MIN_V6;
	if (p->lo_without_v6)
		sysctl_write("net/ipv6/conf/lo/disable_ipv6", "1");
	if (!want6)
		sysctl_write("net/ipv6/conf/" TUNDEV_NAME "/disable_ipv6", "1");
	r = netcfg_link_set(nc, (int)if_nametoindex("lo"), &(struct netcfg_link){.up = true});
	if (!r)
		r = netcfg_link_set(nc, t->ifindex, &before);
	/* a link-local address would come by itself; without IPv6 there is nothing to ask for */
	if (!r && want6)
		netcfg_link_set(nc, t->ifindex, &(struct netcfg_link){.no_link_local = true});
	if (!r)
		r = netcfg_link_set(nc, t->ifindex, &(struct netcfg_link){.up = true});
	return r;
}

static int furnish_links(const struct plan *p, const struct tundev *t, struct sandbox *s)
{
	struct netcfg *nc;
	int r = netcfg_open(&nc);

	if (!r)
		r = links_up(nc, t, p, s);
	if (!r)
		r = add_addresses(nc, t->ifindex, p, s);
	netcfg_close(nc);
	own_addresses(p, s);
	return r;
}

static void furnish_dns(const struct plan *p, struct sandbox *s, const struct hostdns_conf *conf,
			struct inside_dns *d)
{
	char note[256];

	_Static_assert(ARRAY_SIZE(p->own) <= ARRAY_SIZE(d->own), "all own addresses have a place");
	for (unsigned i = 0; i < p->n_own; i++)
		d->own[d->n_own++] = p->own[i].addr;
	s->n_dns = inside_dns_apply(d, conf, s->dns, note, sizeof(note));
	if (*note)
		log_note("%s", note);
}

int inside_furnish(struct sandbox *s, const struct config *cfg, const struct hostdns_conf *conf,
		   struct inside_dns *dns, char *err, size_t errsize)
{
	struct plan p = {0};
	struct tundev t;
	int r = plan_make(&p, s, cfg, conf);

	if (r)
		return fail(-r, err, errsize, "the host's addresses and routes can't be read");
	r = enter(s, cfg, err, errsize);
	if (r)
		return r;
	dns->mounts = enter_mounts(&p, s);
	quiet_ipv6();
	sysctl_mirror_give(&p.sysctls);
	allow_ping(s);
	r = tundev_open(&t);
	if (r) {
		explain_tun(-r, err, errsize);
		return r;
	}
	s->tun_fd = t.fd;
	s->tso = t.tso;
	s->uso = t.uso;
	r = furnish_links(&p, &t, s);
	if (r)
		return fail(-r, err, errsize, "the private network can't be set up");
	furnish_dns(&p, s, conf, dns);
	s->diag_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
	s->netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (s->diag_fd < 0 || s->netns_fd < 0)
		return fail(errno, err, errsize, "sockets of the programs can't be looked up");
	return 0;
}

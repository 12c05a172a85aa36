/* SPDX-License-Identifier: MIT */
#include "netcfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/util.h"
#include "nlmsg.h"

struct netcfg {
	struct nlmsg nl;
};

/*
 * Looked up, never sent to: root name servers, which only a default route (or
 * what a VPN puts in its place) leads to, in any network.
 */
#define PROBE_V4 "198.41.0.4"
#define PROBE_V6 "2001:503:ba3e::2:30"

int netcfg_open(struct netcfg **out)
{
	struct netcfg *nc = calloc(1, sizeof(*nc));
	int err;

	*out = NULL;
	if (!nc)
		return -ENOMEM;
	err = nlmsg_open(&nc->nl, NETLINK_ROUTE);
	if (err) {
		free(nc);
		return err;
	}
	*out = nc;
	return 0;
}

void netcfg_close(struct netcfg *nc)
{
	if (!nc)
		return;
	nlmsg_close(&nc->nl);
	free(nc);
}

/* --- reading the host ------------------------------------------------------------- */

struct route_answer {
	int ifindex;
	bool have_src;
	struct addr src;
};

static int on_route(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);
	struct route_answer *a = data;
	struct nlattr *at;

	if (nlh->nlmsg_type != RTM_NEWROUTE || rt->rtm_type != RTN_UNICAST)
		return MNL_CB_OK;
	mnl_attr_for_each(at, nlh, sizeof(*rt))
	{
		if (mnl_attr_get_type(at) == RTA_OIF && mnl_attr_validate(at, MNL_TYPE_U32) >= 0)
			a->ifindex = (int)mnl_attr_get_u32(at);
		else if (mnl_attr_get_type(at) == RTA_PREFSRC)
			a->have_src = nlmsg_get_addr(at, rt->rtm_family, &a->src);
	}
	return MNL_CB_OK;
}

static int route_lookup(struct netcfg *nc, const struct addr *to, struct route_answer *a)
{
	struct nlmsghdr *nlh = nlmsg_request(&nc->nl, RTM_GETROUTE, 0);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));

	*rt = (struct rtmsg){.rtm_family = nlmsg_family(to),
			     .rtm_dst_len = addr_is_v4(to) ? 32 : 128};
	nlmsg_put_addr(nlh, RTA_DST, to);
	*a = (struct route_answer){0};
	return nlmsg_talk(&nc->nl, nlh, on_route, a);
}

/* Looks for @want, or for the first global address of @ifindex when there is none. */
struct address_search {
	uint8_t family;
	int ifindex;
	const struct addr *want;
	bool found;
	struct prefix own;
	struct addr brd;
};

static int on_address(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct address_search *s = data;
	struct addr local = {0}, brd = {0};
	bool have = false;
	struct nlattr *at;

	if (s->found || nlh->nlmsg_type != RTM_NEWADDR || ifa->ifa_family != s->family)
		return MNL_CB_OK;
	mnl_attr_for_each(at, nlh, sizeof(*ifa))
	{
		uint16_t type = mnl_attr_get_type(at);

		if (type == IFA_LOCAL || (type == IFA_ADDRESS && !have))
			have = nlmsg_get_addr(at, s->family, &local);
		else if (type == IFA_BROADCAST)
			nlmsg_get_addr(at, s->family, &brd);
	}
	if (!have)
		return MNL_CB_OK;
	if (s->want ? !addr_equal(&local, s->want)
		    : (int)ifa->ifa_index != s->ifindex || ifa->ifa_scope != RT_SCOPE_UNIVERSE)
		return MNL_CB_OK;
	s->found = true;
	s->own = (struct prefix){.addr = local, .bits = ifa->ifa_prefixlen};
	s->brd = brd;
	return MNL_CB_OK;
}

static int address_find(struct netcfg *nc, struct address_search *s)
{
	struct nlmsghdr *nlh = nlmsg_request(&nc->nl, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

	ifa->ifa_family = s->family;
	return nlmsg_talk(&nc->nl, nlh, on_address, s);
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	struct nlattr *at;

	mnl_attr_for_each(at, nlh, sizeof(struct ifinfomsg))
	{
		if (mnl_attr_get_type(at) == IFLA_MTU && mnl_attr_validate(at, MNL_TYPE_U32) >= 0)
			*(unsigned *)data = mnl_attr_get_u32(at);
	}
	return MNL_CB_OK;
}

static unsigned link_mtu(struct netcfg *nc, int ifindex)
{
	struct nlmsghdr *nlh = nlmsg_request(&nc->nl, RTM_GETLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	unsigned mtu = 0;

	ifi->ifi_index = ifindex;
	return nlmsg_talk(&nc->nl, nlh, on_link, &mtu) ? 0 : mtu;
}

/** read_family - 0 also when the family has no way out */
static int read_family(struct netcfg *nc, const char *probe, struct netcfg_family *f)
{
	struct address_search s = {0};
	struct route_answer a;
	struct addr to;
	int r;

	*f = (struct netcfg_family){0};
	addr_parse(probe, &to);
	/* no route, a forbidden one, or no such family: the family is absent, not the host broken
	 */
	if (route_lookup(nc, &to, &a) || !a.ifindex)
		return 0;
	s.family = nlmsg_family(&to);
	s.ifindex = a.ifindex;
	s.want = a.have_src ? &a.src : NULL;
	r = address_find(nc, &s);
	if (r)
		return r;
	if (!s.found && !a.have_src)
		return 0;
	if (!s.found) /* an address the host sends from without holding it (nonlocal source) */
		s.own = (struct prefix){.addr = a.src, .bits = addr_is_v4(&a.src) ? 32 : 128};
	/* a source on another interface (a router's lo): its network is not on this link */
	if (addr_is_loopback(&s.own.addr) || addr_is_link_local(&s.own.addr))
		return 0;
	*f = (struct netcfg_family){
		.present = true, .own = s.own, .brd = s.brd, .ifindex = a.ifindex};
	return 0;
}

int netcfg_read_host(struct netcfg *nc, struct netcfg_host *h)
{
	int r;

	*h = (struct netcfg_host){0};
	r = read_family(nc, PROBE_V4, &h->v4);
	if (!r)
		r = read_family(nc, PROBE_V6, &h->v6);
	if (r)
		return r;
	if (h->v4.present)
		h->mtu = link_mtu(nc, h->v4.ifindex);
	if (h->v6.present) {
		unsigned mtu = link_mtu(nc, h->v6.ifindex);

		h->mtu = h->mtu && mtu ? MIN(h->mtu, mtu) : MAX(h->mtu, mtu);
	}
	return 0;
}

/* --- setting ------------------------------------------------------------------------ */

static void put_no_link_local(struct nlmsghdr *nlh)
{
	struct nlattr *spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	struct nlattr *v6 = mnl_attr_nest_start(nlh, AF_INET6);

	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(nlh, v6);
	mnl_attr_nest_end(nlh, spec);
}

int netcfg_link_set(struct netcfg *nc, int ifindex, const struct netcfg_link *l)
{
	struct nlmsghdr *nlh = nlmsg_request(&nc->nl, RTM_SETLINK, NLM_F_ACK);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_index = ifindex;
	if (l->up)
		ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	if (l->mtu)
		mnl_attr_put_u32(nlh, IFLA_MTU, l->mtu);
	if (l->txqlen)
		mnl_attr_put_u32(nlh, IFLA_TXQLEN, l->txqlen);
	if (l->no_link_local)
		put_no_link_local(nlh);
	return nlmsg_talk(&nc->nl, nlh, NULL, NULL);
}

int netcfg_address_add(struct netcfg *nc, int ifindex, const struct prefix *own,
		       const struct addr *brd)
{
	struct nlmsghdr *nlh =
		nlmsg_request(&nc->nl, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

	ifa->ifa_family = nlmsg_family(&own->addr);
	ifa->ifa_prefixlen = own->bits;
	ifa->ifa_index = (uint32_t)ifindex;
	ifa->ifa_scope = RT_SCOPE_UNIVERSE;
	if (ifa->ifa_family == AF_INET6)
		ifa->ifa_flags = IFA_F_NODAD;
	nlmsg_put_addr(nlh, IFA_LOCAL, &own->addr);
	nlmsg_put_addr(nlh, IFA_ADDRESS, &own->addr);
	if (brd && addr_is_v4(brd) && !addr_is_unspecified(brd))
		nlmsg_put_addr(nlh, IFA_BROADCAST, brd);
	return nlmsg_talk(&nc->nl, nlh, NULL, NULL);
}

int netcfg_default_add(struct netcfg *nc, int ifindex, const struct addr *src)
{
	struct nlmsghdr *nlh =
		nlmsg_request(&nc->nl, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));

	*rt = (struct rtmsg){
		.rtm_family = nlmsg_family(src),
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = addr_is_v4(src) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
	};
	mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)ifindex);
	nlmsg_put_addr(nlh, RTA_PREFSRC, src);
	return nlmsg_talk(&nc->nl, nlh, NULL, NULL);
}

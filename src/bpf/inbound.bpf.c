/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * inbound_steer runs when a packet looks for a socket that waits for peers. Whose socket that is it
 * can't see, and it can't look sockets up. So the others keep a table of the selected
 * ones that listen, and inbound_steer finds in it what the kernel would find in its own:
 * the address before the wildcard, what is bound to a device before what is not, IPv4
 * before IPv6 that takes IPv4 as well. What is not in the table goes the kernel's way.
 *
 * inbound_state keeps the table. It hears of every change of a TCP socket's state, before
 * others can see it, so a socket is in the table before the first packet can find
 * it, and leaves it however it ends. Sockets of one address and port (SO_REUSEPORT) are counted;
 * to be exact about which, each is known by its address. inbound_scan does the same for those that
 * listen already, and for all when the selection has changed.
 *
 * Who is selected: selectors are bits. Conditions about a socket's owner give the set that takes
 * it, once, when it begins to listen; the peer's address gives the set that takes what
 * is sent to it, by the longest prefix. A connection is steered when the two have something
 * in common. This is what weir's rules say of the server's answers: those must find
 * the way back to weir, and to nobody else.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/stddef.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "inbound_bpf_shared.h"

#define AF_INET	     2
#define AF_INET6     10
#define STATE_LISTEN 10
#define DEV_LO	     1
#define CGROUP_DEPTH 32
#define EVENTS_SIZE  (64 * 1024)

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ib_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IB_CONDS_MAX);
	__type(key, __u32);
	__type(value, struct ib_cond);
} conds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IB_CGROUPS_MAX);
	__type(key, __u64);
	__type(value, struct ib_bits);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, IB_PREFIXES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ib_prefix);
	__type(value, __u64);
} peers SEC(".maps");

/* the host's own addresses: keys alone count */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IB_OWN_MAX);
	__type(key, __u8[16]);
	__type(value, __u32);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IB_LISTENERS_MAX);
	__type(key, struct ib_key);
	__type(value, struct ib_listener);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IB_LISTENERS_MAX);
	__type(key, __u64);
	__type(value, struct ib_known);
} known SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, IB_DOORS);
	__type(key, __u32);
	__type(value, __u64);
} doors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_SIZE);
} events SEC(".maps");

/*
 * Keys in listeners, by the lower bits of their port: most packets are for others, and one look
 * here says so. What the other half sweeps out of the table stays counted, which costs a look-up.
 */
#define PORT_BITS 10
__u32 by_port[1 << PORT_BITS];

static __u32 *keys_at(__u32 port)
{
	return &by_port[port & ((1 << PORT_BITS) - 1)];
}

static const struct ib_settings *get_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

/* --- whose a socket is ------------------------------------------------------------------ */

struct judging {
	struct sock *sk;
	__u32 uid;
	__u64 take, except;
};

/* a relocated read starts from a structure of the kernel's: hence the copies of @j->sk */
static int holds(const struct judging *j, const struct ib_cond *c)
{
	struct sock *sk = j->sk;
	__u32 v;

	switch (c->what) {
	case IB_ANYBODY:
		return 1;
	case IB_UID:
		return j->uid >= c->a && j->uid <= c->b;
	case IB_GID:
		v = BPF_CORE_READ(sk, sk_socket, file, f_cred, fsgid.val);
		return v >= c->a && v <= c->b;
	case IB_MARK:
		return (BPF_CORE_READ(sk, sk_mark) & c->a) == c->b;
	}
	return 0;
}

static long judge_one(__u32 i, void *arg)
{
	struct judging *j = arg;
	const struct ib_cond *c = bpf_map_lookup_elem(&conds, &i);

	if (!c)
		return 1;
	if (holds(j, c)) {
		j->take |= c->take;
		j->except |= c->except;
	}
	return 0;
}

/* judge_cgroups - a selected cgroup means those below it, too */
static void judge_cgroups(struct judging *j)
{
	struct sock *sk = j->sk;
	const struct cgroup *cg = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);

	for (int i = 0; i < CGROUP_DEPTH && cg; i++) {
		const struct cgroup_subsys_state *up = BPF_CORE_READ(cg, self.parent);
		__u64 id = BPF_CORE_READ(cg, kn, id);
		const struct ib_bits *b = bpf_map_lookup_elem(&cgroups, &id);

		if (b) {
			j->take |= b->take;
			j->except |= b->except;
		}
		cg = up ? BPF_CORE_READ(up, cgroup) : NULL;
	}
}

/* taken_by - the selectors that take @sk */
static __u64 taken_by(struct sock *sk, const struct ib_settings *s, __u32 *uid)
{
	struct judging j = {.sk = sk, .uid = BPF_CORE_READ(sk, sk_uid.val)};

	*uid = j.uid;
	if (j.uid == s->worker)
		return 0;
	bpf_loop(s->n_conds, judge_one, &j, 0);
	if (s->n_cgroups)
		judge_cgroups(&j);
	return j.take & ~j.except;
}

/* --- the table ----------------------------------------------------------------------------- */

static void put_v4(__u8 out[16], __be32 a)
{
	__builtin_memset(out, 0, 16);
	out[10] = out[11] = 0xff;
	__builtin_memcpy(out + 12, &a, 4);
}

/* where - the key of @sk; returns 1 when a socket of IPv6 takes IPv4 as well */
static __u32 where(struct sock *sk, __u16 proto, struct ib_key *k)
{
	struct sock_common *c = &sk->__sk_common;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	__builtin_memset(k, 0, sizeof(*k));
	k->port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	k->proto = proto;
	k->dev = (__u32)BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
	if (family == AF_INET) {
		put_v4(k->addr, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		return 0;
	}
	BPF_CORE_READ_INTO(&k->addr, sk, __sk_common.skc_v6_rcv_saddr);
	return !BPF_CORE_READ_BITFIELD_PROBED(c, skc_ipv6only);
}

static void tell(const struct ib_key *at, enum ib_kind kind, __u32 uid)
{
	struct ib_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return; /* a record less; the table is what counts */
	e->at = *at;
	e->kind = kind;
	e->uid = uid;
	bpf_ringbuf_submit(e, 0);
}

static void forget(__u64 id)
{
	const struct ib_known *old = bpf_map_lookup_elem(&known, &id);
	struct ib_listener *l;
	struct ib_known was;

	if (!old)
		return;
	was = *old;
	bpf_map_delete_elem(&known, &id);
	l = bpf_map_lookup_elem(&listeners, &was.at);
	if (!l)
		return;
	if (was.dual)
		__sync_fetch_and_add(&l->dual, -1);
	if (__sync_fetch_and_add(&l->n, -1) != 1)
		return;
	__sync_fetch_and_add(keys_at(was.at.port), -1);
	tell(&was.at, IB_CLOSED, l->uid);
	bpf_map_delete_elem(&listeners, &was.at);
}

/* count - one socket more at @n's key, taken by @take; 1 when it is the first */
static int count(const struct ib_known *n, __u64 take, __u32 uid)
{
	const struct ib_listener none = {.generation = n->generation, .uid = uid};
	struct ib_listener *l = bpf_map_lookup_elem(&listeners, &n->at);

	if (!l) {
		bpf_map_update_elem(&listeners, &n->at, &none, BPF_NOEXIST);
		l = bpf_map_lookup_elem(&listeners, &n->at);
		if (!l)
			return 0;
	}
	__sync_fetch_and_or(&l->take, take);
	if (n->dual)
		__sync_fetch_and_add(&l->dual, 1);
	if (__sync_fetch_and_add(&l->n, 1))
		return 0;
	__sync_fetch_and_add(keys_at(n->at.port), 1);
	return 1;
}

/* learn - @sk listens, and some selector takes it */
static void learn(struct sock *sk, __u16 proto, const struct ib_settings *s)
{
	struct ib_known n = {.generation = s->generation};
	__u64 id = (__u64)sk, take;
	__u32 uid;

	forget(id); /* one that was at this address before */
	take = taken_by(sk, s, &uid);
	if (!take)
		return;
	n.dual = where(sk, proto, &n.at);
	if (!n.at.port) {
		tell(&n.at, IB_LOOK, uid);
		return;
	}
	if (!bpf_map_update_elem(&known, &id, &n, BPF_NOEXIST) && count(&n, take, uid))
		tell(&n.at, IB_OPENED, uid);
}

/* review - @sk listens: is it known, and is it what the selection of now takes? */
static void review(struct sock *sk, __u16 proto, const struct ib_settings *s)
{
	__u64 id = (__u64)sk, take;
	struct ib_known *k = bpf_map_lookup_elem(&known, &id);
	struct ib_listener *l;
	__u32 uid;

	if (!k) {
		learn(sk, proto, s);
		return;
	}
	take = taken_by(sk, s, &uid);
	k->generation = s->generation;
	l = bpf_map_lookup_elem(&listeners, &k->at);
	if (!l)
		return;
	if (l->generation != s->generation) {
		l->take = take;
		l->generation = s->generation;
	} else {
		__sync_fetch_and_or(&l->take, take);
	}
}

static int is_ours(struct sock *sk, const struct ib_settings *s)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie) == s->netns_cookie;
}

SEC("raw_tp/inet_sock_set_state")
int inbound_state(struct bpf_raw_tracepoint_args *ctx)
{
	int before = (int)ctx->args[1], now = (int)ctx->args[2];
	const struct ib_settings *s;
	struct sock *sk;

	if (before == now || (before != STATE_LISTEN && now != STATE_LISTEN))
		return 0;
	sk = (void *)ctx->args[0];
	s = get_settings();
	if (!s || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || !is_ours(sk, s))
		return 0;
	if (now == STATE_LISTEN)
		learn(sk, IPPROTO_TCP, s);
	else
		forget((__u64)sk);
	return 0;
}

SEC("iter/tcp")
int inbound_scan(struct bpf_iter__tcp *ctx)
{
	struct sock *sk = (void *)ctx->sk_common;
	const struct ib_settings *s = get_settings();

	if (sk && s && BPF_CORE_READ(sk, __sk_common.skc_state) == STATE_LISTEN)
		review(sk, IPPROTO_TCP, s);
	return 0;
}

/* --- packets --------------------------------------------------------------------------------- */

/* at - who takes what listens at @k, bound to the packet's device or to none; 0: nothing does */
static const struct ib_listener *at(struct ib_key *k, __u32 dev)
{
	const struct ib_listener *l;

	k->dev = dev;
	l = bpf_map_lookup_elem(&listeners, k);
	if (l && l->n)
		return l;
	k->dev = 0;
	l = bpf_map_lookup_elem(&listeners, k);
	return l && l->n ? l : NULL;
}

/* destination - the selectors that take whoever waits for a packet like this */
static __u64 destination(const struct bpf_sk_lookup *ctx)
{
	__u32 dev = ctx->ingress_ifindex;
	struct ib_key k = {.port = (__u16)ctx->local_port, .proto = (__u16)ctx->protocol};
	const struct ib_listener *l;
	__u32 word[4];

	if (ctx->family == AF_INET) {
		put_v4(k.addr, ctx->local_ip4);
	} else {
		word[0] = ctx->local_ip6[0];
		word[1] = ctx->local_ip6[1];
		word[2] = ctx->local_ip6[2];
		word[3] = ctx->local_ip6[3];
		__builtin_memcpy(k.addr, word, sizeof(k.addr));
	}
	l = at(&k, dev);
	if (!l && ctx->family == AF_INET) {
		put_v4(k.addr, 0);
		l = at(&k, dev);
	}
	if (l)
		return l->take;
	__builtin_memset(k.addr, 0, sizeof(k.addr));
	l = at(&k, dev);
	return l && (ctx->family == AF_INET6 || l->dual) ? l->take : 0;
}

/*
 * from - the selectors that take what is sent to this peer
 *
 * None for a client of this host: what the device brings with such a source is dropped. In IPv4 its
 * packets seem to come by the device that has the address.
 */
static __u64 from(const struct bpf_sk_lookup *ctx)
{
	struct ib_prefix p = {.bits = 128};
	const __u64 *found;
	__u32 word[4];

	if (ctx->family == AF_INET) {
		put_v4(p.addr, ctx->remote_ip4);
	} else {
		word[0] = ctx->remote_ip6[0];
		word[1] = ctx->remote_ip6[1];
		word[2] = ctx->remote_ip6[2];
		word[3] = ctx->remote_ip6[3];
		__builtin_memcpy(p.addr, word, sizeof(p.addr));
	}
	if (bpf_map_lookup_elem(&own, p.addr))
		return 0;
	found = bpf_map_lookup_elem(&peers, &p);
	return found ? *found : 0;
}

/* inbound_steer - device 0: not a packet, but somebody who asks what it would find (sock_diag) */
SEC("sk_lookup")
int inbound_steer(struct bpf_sk_lookup *ctx)
{
	const struct ib_settings *s = get_settings();
	struct bpf_sock *door;
	__u32 i = IB_DOOR_TCP4;
	__u64 take;

	if (!s || !s->on || ctx->ingress_ifindex <= DEV_LO || ctx->ingress_ifindex == s->tun ||
	    ctx->protocol != IPPROTO_TCP || !*keys_at(ctx->local_port))
		return SK_PASS;
	take = destination(ctx) & s->all;
	if (!take || !(take & from(ctx)))
		return SK_PASS;
	if (ctx->family == AF_INET6)
		i = IB_DOOR_TCP6;
	door = bpf_map_lookup_elem(&doors, &i);
	if (!door)
		return SK_PASS;
	bpf_sk_assign(ctx, door, 0);
	bpf_sk_release(door);
	return SK_PASS;
}

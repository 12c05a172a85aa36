/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Who uses a socket is known for certain at one moment only: inside the system call
 * that makes it speak, which runs in the process itself (also for io_uring, whose
 * workers are threads of it). So that moment is noted:
 *
 *   TCP   sock_ops, when the SYN is about to be sent: the 5-tuple is complete
 *   UDP   connect4/6: by the socket's cookie; sendmsg4/6 (not connected): by
 *         local port and destination
 *   ICMP  sock_create: by the inode of the socket, as nothing is run for its sends
 *
 * sock_release moves what was noted by cookie or inode to the tuple that the
 * socket had: a packet may arrive at weir after its socket's end.
 *
 * The first use by an image (process, execve count, user) also notes what can't be
 * asked for when the process has ended: executable, arguments, parents. The fork
 * and exec tracepoints keep lineage, as parents may end before their children's first use.
 *
 * Only sockets and processes of one network namespace are noted, and where weir is told whose
 * sockets can be asked about, no others: those who are not selected pay for a look at that.
 * Nothing is ever
 * decided here: every program returns "go on".
 *
 * Details are written in place, into a fresh element of an LRU map, as there is no
 * scratch memory that a program of another process on this CPU could not take
 * meanwhile. Their key is written last, which the reader checks.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/stddef.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "owner_bpf_shared.h"

#define GO_ON	       1
#define IPPROTO_ICMPV6 58
#define AF_INET	       2
#define AF_INET6       10
#define SOCK_RAW       3
#define PF_KTHREAD     0x00200000
#define PID_LEVELS_MAX 8
#define PATH_STEPS_MAX 48
#define REFRESH_NS     (OB_FRESH_NS / 4)

char _license[] SEC("license") = "Dual MIT/GPL";

const volatile struct ob_settings settings SEC(".rodata.settings");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64); /* cookie, or OB_BY_INODE() */
	__type(value, struct ob_sock);
} socks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct ob_tuple);
	__type(value, struct ob_sock);
} tuples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct ob_image);
	__type(value, struct ob_details);
} images SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct ob_process);
	__type(value, struct ob_birth);
} births SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ob_chosen);
} chosen SEC(".maps");

/* what a new element of images starts as; never written */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ob_details);
} blank SEC(".maps");

/* --- processes ---------------------------------------------------------------------- */

/* visible_pid - the number by which the reader sees @t, 0 when it does not */
static __u32 visible_pid(struct task_struct *t)
{
	const struct pid *p = BPF_CORE_READ(t, thread_pid);
	const char *at = (const char *)p + bpf_core_field_offset(struct pid, numbers);
	unsigned int levels = BPF_CORE_READ(p, level);

	for (unsigned int i = 0; i < PID_LEVELS_MAX && i <= levels; i++) {
		const struct upid *u =
			(const void *)(at + (__u64)i * bpf_core_type_size(struct upid));

		if (BPF_CORE_READ(u, ns, ns.inum) == settings.pidns_inum)
			return (__u32)BPF_CORE_READ(u, nr);
	}
	return 0;
}

static void image_of(struct task_struct *t, struct ob_image *w)
{
	struct task_struct *leader = BPF_CORE_READ(t, group_leader);
	const struct cred *cred = BPF_CORE_READ(t, cred);

	w->start = BPF_CORE_READ(leader, start_boottime);
	w->pid = (__u32)BPF_CORE_READ(leader, tgid);
	w->exec = (__u32)BPF_CORE_READ(leader, self_exec_id);
	w->uid = BPF_CORE_READ(cred, euid.val);
	w->gid = BPF_CORE_READ(cred, egid.val);
	__builtin_memset(w->comm, 0, sizeof(w->comm));
	BPF_CORE_READ_STR_INTO(&w->comm, leader, comm);
}

static int same_image(const struct ob_image *a, const struct ob_image *b)
{
	return a->start == b->start && a->pid == b->pid && a->exec == b->exec && a->uid == b->uid &&
	       a->gid == b->gid;
}

static void parent_of(struct task_struct *t, struct ob_parent *p)
{
	p->start = BPF_CORE_READ(t, start_boottime);
	p->pid = (__u32)BPF_CORE_READ(t, tgid);
	p->nr = visible_pid(t);
	BPF_CORE_READ_STR_INTO(&p->comm, t, comm);
}

/*
 * bounded - @v, which is below @limit (a power of two), in a way that the verifier follows:
 * where the compiler knows the bound as well it would leave the mask out
 */
static __always_inline __u32 bounded(__u32 v, __u32 limit)
{
	__asm__ volatile("" : "+r"(v));
	return v & (limit - 1);
}

/* bodies of bpf_loop(): verified once, however often they run */
struct climb {
	struct ob_details *d;
	struct task_struct *leader;
};

static long note_parent(__u32 i, void *arg)
{
	struct climb *c = arg;
	struct task_struct *leader = c->leader;

	leader = BPF_CORE_READ(leader, real_parent, group_leader);
	if (!leader || !BPF_CORE_READ(leader, tgid) || i >= OB_PARENTS_MAX)
		return 1;
	parent_of(leader, &c->d->parents[bounded(i, OB_PARENTS_MAX)]);
	c->leader = leader;
	c->d->n_parents = i + 1;
	return 0;
}

struct walk {
	struct ob_details *d;
	const struct mount *m;
	const struct dentry *dentry;
	__u32 at;
};

/* note_name - one step toward the root, across mounts */
static long note_name(__u32 i, void *arg)
{
	struct walk *w = arg;
	/* copies: a relocated read starts from a structure of the kernel's, not of ours */
	const struct dentry *dentry = w->dentry, *parent = BPF_CORE_READ(dentry, d_parent);
	const struct mount *m = w->m, *above;
	long n;

	(void)i;
	if (dentry == BPF_CORE_READ(m, mnt.mnt_root)) {
		above = BPF_CORE_READ(m, mnt_parent);
		if (above == m)
			return 1;
		w->dentry = BPF_CORE_READ(m, mnt_mountpoint);
		w->m = above;
		return 0;
	}
	if (parent == dentry || w->at >= OB_EXE_MAX)
		return 1;
	n = bpf_probe_read_kernel_str(&w->d->exe[bounded(w->at, OB_EXE_MAX)], OB_EXE_MAX,
				      BPF_CORE_READ(dentry, d_name.name));
	if (n <= 0)
		return 1;
	w->at += (__u32)n;
	w->dentry = parent;
	return 0;
}

static void note_exe(struct ob_details *d, const struct mm_struct *mm)
{
	const char *mnt = (const void *)BPF_CORE_READ(mm, exe_file, f_path.mnt);
	struct walk w = {.d = d, .dentry = BPF_CORE_READ(mm, exe_file, f_path.dentry)};

	if (!mnt || !w.dentry)
		return;
	w.m = (const void *)(mnt - bpf_core_field_offset(struct mount, mnt));
	bpf_loop(PATH_STEPS_MAX, note_name, &w, 0);
	d->exe_len = w.at;
}

static void note_args(struct ob_details *d, const struct mm_struct *mm)
{
	unsigned long start = BPF_CORE_READ(mm, arg_start), end = BPF_CORE_READ(mm, arg_end);
	__u64 len = end - start;

	if (end <= start)
		return;
	if (len > OB_ARGS_MAX - 1)
		len = OB_ARGS_MAX - 1;
	if (!bpf_probe_read_user(d->args, bounded((__u32)len, OB_ARGS_MAX), (const void *)start))
		d->args_len = (__u32)len;
}

/* note_details - once for each image */
static void note_details(struct task_struct *t, const struct ob_image *who)
{
	struct task_struct *leader = BPF_CORE_READ(t, group_leader);
	const struct mm_struct *mm = BPF_CORE_READ(t, mm);
	struct climb climb = {.leader = leader};
	struct ob_details *d;
	__u32 zero = 0;

	if (bpf_map_lookup_elem(&images, who))
		return;
	d = bpf_map_lookup_elem(&blank, &zero);
	if (!d || bpf_map_update_elem(&images, who, d, BPF_NOEXIST))
		return;
	d = bpf_map_lookup_elem(&images, who);
	if (!d)
		return;
	d->nr = visible_pid(leader);
	d->cgroup = BPF_CORE_READ(t, cgroups, dfl_cgrp, kn, id);
	climb.d = d;
	bpf_loop(OB_PARENTS_MAX, note_parent, &climb, 0);
	if (mm) {
		note_exe(d, mm);
		note_args(d, mm);
	}
	d->who = *who;
}

/* who_calls - the image whose system call this is; 0 when it is the kernel's own doing */
static int who_calls(struct ob_image *who)
{
	struct task_struct *t = (void *)bpf_get_current_task();

	if (BPF_CORE_READ(t, flags) & PF_KTHREAD)
		return 0;
	image_of(t, who);
	note_details(t, who);
	return 1;
}

/* --- sockets --------------------------------------------------------------------------- */

/* put_v4 - an address that is not set is the same in both families: a dual-stack socket has both */
static void put_v4(__u8 out[16], __be32 a)
{
	__builtin_memset(out, 0, 16);
	if (!a)
		return;
	out[10] = out[11] = 0xff;
	__builtin_memcpy(out + 12, &a, 4);
}

/* plain - the address alone of what the verifier guards: only probe reads follow */
static struct sock *plain(void *guarded)
{
	void *volatile spilled = guarded;
	struct sock *sk = NULL;

	bpf_probe_read_kernel(&sk, sizeof(sk), (const void *)&spilled);
	return sk;
}

/* is_chosen - may @sk be asked about? Its own user counts, by whom it is routed */
static int is_chosen(struct sock *sk)
{
	const struct ob_chosen *c;
	__u32 zero = 0, uid;

	c = bpf_map_lookup_elem(&chosen, &zero);
	if (!c || !c->n)
		return 1;
	uid = BPF_CORE_READ(sk, sk_uid.val);
	for (__u32 i = 0; i < OB_RANGES_MAX && i < c->n; i++)
		if (uid >= c->r[i].lo && uid <= c->r[i].hi)
			return 1;
	return 0;
}

static __u16 local_port(struct sock *sk)
{
	/* not skc_num, which is 0 when the port has been given back */
	return bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
}

static __u32 inode_of(struct sock *sk)
{
	struct socket *s = BPF_CORE_READ(sk, sk_socket);

	return s ? (__u32)BPF_CORE_READ((struct socket_alloc *)s, vfs_inode.i_ino) : 0;
}

static void local_address(struct sock *sk, struct ob_tuple *k)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		put_v4(k->app, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	else
		BPF_CORE_READ_INTO(&k->app, sk, __sk_common.skc_v6_rcv_saddr);
	k->app_port = local_port(sk);
}

/* tuple_of - that of a connected socket */
static void tuple_of(struct sock *sk, __u16 proto, struct ob_tuple *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->proto = proto;
	local_address(sk, k);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		put_v4(k->net, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	else
		BPF_CORE_READ_INTO(&k->net, sk, __sk_common.skc_v6_daddr);
	k->net_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
}

static void sock_new(struct sock *sk, __u64 cookie, enum ob_kind kind, const struct ob_image *who,
		     struct ob_sock *s)
{
	__builtin_memset(s, 0, sizeof(*s));
	s->who = *who;
	s->cookie = cookie;
	s->time = bpf_ktime_get_ns();
	s->uid = BPF_CORE_READ(sk, sk_uid.val);
	s->inode = inode_of(sk);
	s->kind = kind;
}

/* put_tuple - @s is the last who used @k; whether somebody else did just before is kept, too */
static void put_tuple(const struct ob_tuple *k, struct ob_sock *s)
{
	const struct ob_sock *old = bpf_map_lookup_elem(&tuples, k);

	if (old && same_image(&old->who, &s->who))
		s->mixed = old->mixed;
	else if (old && s->time - old->time < OB_FRESH_NS)
		s->mixed = s->time;
	bpf_map_update_elem(&tuples, k, s, BPF_ANY);
}

/* may_echo - an ICMP socket, or a raw one whose sender writes the header */
static int may_echo(__u32 type, __u32 proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6 ||
	       (type == SOCK_RAW && proto == IPPROTO_RAW);
}

static enum ob_kind kind_of(__u32 type)
{
	return type == SOCK_RAW ? OB_RAW : OB_PORT;
}

/* retire - @sk leaves the tuple that it had: to be closed, or connected to somewhere else */
static void retire(struct sock *sk, __u64 key, __u16 proto)
{
	const struct ob_sock *s = bpf_map_lookup_elem(&socks, &key);
	struct ob_tuple k;
	struct ob_sock gone;

	if (!s)
		return;
	gone = *s;
	gone.time = bpf_ktime_get_ns();
	gone.mixed = 0;
	tuple_of(sk, proto, &k);
	if (key >= OB_BY_INODE(0)) {
		__builtin_memset(k.app, 0, sizeof(k.app));
		__builtin_memset(k.net, 0, sizeof(k.net));
		k.net_port = 0;
		k.kind = (__u16)gone.kind;
		if (gone.kind == OB_RAW)
			k.app_port = 0;
	} else if (!k.net_port) {
		return;
	}
	put_tuple(&k, &gone);
}

/* --- programs ---------------------------------------------------------------------------- */

SEC("sockops")
int owner_tcp(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *guarded = ctx->sk;
	struct sock *sk;
	struct ob_tuple k;
	struct ob_image who;
	struct ob_sock s;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB || !guarded ||
	    bpf_get_netns_cookie(ctx) != settings.netns_cookie)
		return GO_ON;
	sk = plain(guarded);
	if (!sk || !is_chosen(sk) || !who_calls(&who))
		return GO_ON;
	tuple_of(sk, IPPROTO_TCP, &k);
	sock_new(sk, bpf_get_socket_cookie(ctx), OB_PORT, &who, &s);
	put_tuple(&k, &s);
	return GO_ON;
}

static void connecting(struct bpf_sock_addr *ctx)
{
	struct ob_image who;
	struct ob_sock s;
	struct sock *sk;
	__u64 key;

	if (ctx->protocol == IPPROTO_TCP || bpf_get_netns_cookie(ctx) != settings.netns_cookie)
		return;
	sk = plain(ctx->sk);
	if (!sk || !is_chosen(sk))
		return;
	key = may_echo(ctx->type, ctx->protocol) ? OB_BY_INODE(inode_of(sk))
						 : bpf_get_socket_cookie(ctx);
	retire(sk, key, (__u16)ctx->protocol);
	if (!who_calls(&who))
		return;
	sock_new(sk, bpf_get_socket_cookie(ctx), kind_of(ctx->type), &who, &s);
	bpf_map_update_elem(&socks, &key, &s, BPF_ANY);
}

SEC("cgroup/connect4")
int owner_connect4(struct bpf_sock_addr *ctx)
{
	connecting(ctx);
	return GO_ON;
}

SEC("cgroup/connect6")
int owner_connect6(struct bpf_sock_addr *ctx)
{
	connecting(ctx);
	return GO_ON;
}

/* sending - an unconnected datagram socket to @k's net address; a stream of them costs one look-up
 */
static void sending(struct bpf_sock_addr *ctx, struct ob_tuple *k)
{
	struct sock *sk = plain(ctx->sk);
	const struct ob_sock *old;
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct ob_image who;
	struct ob_sock s;

	if (!sk || !is_chosen(sk))
		return;
	k->proto = IPPROTO_UDP;
	k->net_port = bpf_ntohs((__u16)ctx->user_port);
	local_address(sk, k);
	if (!who_calls(&who))
		return;
	old = bpf_map_lookup_elem(&tuples, k);
	if (old && old->cookie == cookie && same_image(&old->who, &who) &&
	    bpf_ktime_get_ns() - old->time < REFRESH_NS)
		return;
	sock_new(sk, cookie, OB_PORT, &who, &s);
	put_tuple(k, &s);
}

SEC("cgroup/sendmsg4")
int owner_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct ob_tuple k = {0};

	if (bpf_get_netns_cookie(ctx) != settings.netns_cookie)
		return GO_ON;
	put_v4(k.net, ctx->user_ip4);
	sending(ctx, &k);
	return GO_ON;
}

SEC("cgroup/sendmsg6")
int owner_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct ob_tuple k = {0};
	__u32 word[4];

	if (bpf_get_netns_cookie(ctx) != settings.netns_cookie)
		return GO_ON;
	word[0] = ctx->user_ip6[0];
	word[1] = ctx->user_ip6[1];
	word[2] = ctx->user_ip6[2];
	word[3] = ctx->user_ip6[3];
	__builtin_memcpy(k.net, word, sizeof(k.net));
	sending(ctx, &k);
	return GO_ON;
}

SEC("cgroup/sock_create")
int owner_sock_create(struct bpf_sock *ctx)
{
	struct ob_image who;
	struct ob_sock s;
	struct sock *sk;
	__u64 key;

	if (!may_echo(ctx->type, ctx->protocol) ||
	    bpf_get_netns_cookie(ctx) != settings.netns_cookie)
		return GO_ON;
	sk = plain(ctx);
	if (!sk || !is_chosen(sk) || !who_calls(&who))
		return GO_ON;
	sock_new(sk, bpf_get_socket_cookie(ctx), kind_of(ctx->type), &who, &s);
	key = OB_BY_INODE(s.inode);
	bpf_map_update_elem(&socks, &key, &s, BPF_ANY);
	return GO_ON;
}

SEC("cgroup/sock_release")
int owner_sock_release(struct bpf_sock *ctx)
{
	__u32 proto = ctx->protocol, type = ctx->type;
	struct sock *sk;
	__u64 key;

	if (proto == IPPROTO_TCP || bpf_get_netns_cookie(ctx) != settings.netns_cookie)
		return GO_ON;
	sk = plain(ctx);
	if (!sk || !is_chosen(sk))
		return GO_ON;
	key = may_echo(type, proto) ? OB_BY_INODE(inode_of(sk)) : bpf_get_socket_cookie(ctx);
	retire(sk, key, (__u16)proto);
	bpf_map_delete_elem(&socks, &key);
	return GO_ON;
}

static int is_inside(struct task_struct *t)
{
	return BPF_CORE_READ(t, nsproxy, net_ns, net_cookie) == settings.netns_cookie;
}

SEC("raw_tp/sched_process_fork")
int owner_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *child = (void *)ctx->args[1], *parent;
	struct ob_process k = {0};
	struct ob_birth b;

	/* a thread; or CLONE_PARENT, whose parent is not who calls */
	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid) || !is_inside(child))
		return 0;
	parent = BPF_CORE_READ(child, real_parent, group_leader);
	__builtin_memset(&b, 0, sizeof(b));
	parent_of(parent, &b.parent);
	BPF_CORE_READ_STR_INTO(&b.comm, child, comm);
	k.start = BPF_CORE_READ(child, start_boottime);
	k.pid = (__u32)BPF_CORE_READ(child, tgid);
	bpf_map_update_elem(&births, &k, &b, BPF_ANY);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int owner_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *t = (void *)ctx->args[0];
	struct ob_process k = {0};
	struct ob_birth *b;

	if (!is_inside(t))
		return 0;
	k.start = BPF_CORE_READ(t, start_boottime);
	k.pid = (__u32)BPF_CORE_READ(t, tgid);
	b = bpf_map_lookup_elem(&births, &k);
	if (b)
		BPF_CORE_READ_STR_INTO(&b->comm, t, comm);
	return 0;
}

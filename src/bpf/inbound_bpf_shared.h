/* SPDX-License-Identifier: MIT */
/*
 * inbound_bpf_shared: what the programs in the kernel (inbound.bpf.c) and their half outside
 * (inbound_bpf.c) both know. Keys are compared as memory: no padding in them.
 */
#ifndef WEIR_INBOUND_BPF_SHARED_H
#define WEIR_INBOUND_BPF_SHARED_H

#include <linux/types.h>

#define IB_CONDS_MAX	 2048 /* conditions of a selection */
#define IB_CGROUPS_MAX	 256
#define IB_PREFIXES_MAX	 4096
#define IB_OWN_MAX	 1024 /* addresses of the host */
#define IB_LISTENERS_MAX 16384

/** enum ib_door - weir's own sockets, where what is steered arrives */
enum ib_door { IB_DOOR_TCP4, IB_DOOR_TCP6, IB_DOORS };

/**
 * struct ib_settings - written from outside
 * @netns_cookie: listeners of this network namespace count
 * @all: bit N: selector N may steer TCP connections at all
 * @tun: index of the device from which the relay's own connections arrive
 * @worker: the relay's user, whose listeners are left alone
 * @generation: of the selection; see struct ib_listener
 * @on: 0: nothing is steered
 */
struct ib_settings {
	__u64 netns_cookie, all;
	__u32 tun, worker, n_conds, n_cgroups, generation, on;
};

enum ib_what { IB_ANYBODY, IB_UID, IB_GID, IB_MARK };

/**
 * struct ib_cond - true of a socket: uid or gid from @a to @b; its mark, as far as @a says, is @b
 * @take: selectors that take such a socket; @except: selectors that do not, whatever else is true
 */
struct ib_cond {
	__u32 what, a, b, zero;
	__u64 take, except;
};

/** struct ib_bits - the same of what is found by a key: a cgroup's id */
struct ib_bits {
	__u64 take, except;
};

/** struct ib_prefix - key of the trie of peers; IPv4 mapped into IPv6, +96 bits */
struct ib_prefix {
	__u32 bits;
	__u8 addr[16];
};

/**
 * struct ib_key - where sockets listen
 * @addr: IPv4 mapped into IPv6; all zeroes: everywhere; ::ffff:0.0.0.0: everywhere in IPv4
 * @dev: index of the device that they are bound to, 0: none
 */
struct ib_key {
	__u8 addr[16];
	__u32 dev;
	__u16 port; /* in the machine's order */
	__u16 proto;
};

/**
 * struct ib_listener - the sockets that listen at one key (SO_REUSEPORT: several)
 * @take: selectors that take one of them, as of @generation
 * @n: how many there are; @dual of them, in IPv6, take IPv4 as well
 */
struct ib_listener {
	__u64 take;
	__u32 n, dual, generation, uid;
};

/** struct ib_known - one socket, by its address in the kernel */
struct ib_known {
	struct ib_key at;
	__u32 dual, generation;
};

enum ib_kind {
	IB_OPENED, /* the first socket at @at listens */
	IB_CLOSED, /* the last one does not any more */
	IB_LOOK,   /* one without a port so far: look again in a moment */
};

struct ib_event {
	struct ib_key at;
	__u32 kind, uid;
};

#endif

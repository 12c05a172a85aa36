/* SPDX-License-Identifier: MIT */
/*
 * owner_bpf_shared: what the program in the kernel (owner.bpf.c) and its reader
 * (owner_bpf.c) both know. Keys are compared as memory: no padding in them.
 */
#ifndef WEIR_OWNER_BPF_SHARED_H
#define WEIR_OWNER_BPF_SHARED_H

#include <linux/types.h>

/* An answer is given up after 1 s (timers_config.owner_wait), so what is older is another's. */
#define OB_FRESH_NS    2000000000ULL
#define OB_PARENTS_MAX 8
#define OB_EXE_MAX     256
#define OB_ARGS_MAX    512

/** struct ob_settings - the reader's, before loading */
struct ob_settings {
	__u64 netns_cookie; /* note what is in this network namespace */
	__u32 pidns_inum;   /* pids are given as this pid namespace sees them */
	__u32 zero;
};

struct ob_range {
	__u32 lo, hi; /* inclusive */
};

#define OB_RANGES_MAX 32

/** struct ob_chosen - the users whose sockets are noted; @n 0: everybody's */
struct ob_chosen {
	__u32 n, zero;
	struct ob_range r[OB_RANGES_MAX];
};

/**
 * struct ob_image - one program, run by one process, as one user
 * @start: of the process, ns since boot; with @pid it tells processes apart for ever
 * @exec: goes up with each execve(2)
 * @uid, @gid: effective
 */
struct ob_image {
	__u64 start;
	__u32 pid; /* in the first pid namespace */
	__u32 exec;
	__u32 uid, gid;
	char comm[16];
};

enum ob_kind { OB_PORT, OB_RAW /* a raw socket: no port, any identifier */ };

/**
 * struct ob_tuple - as struct owner_query has it, IPv4 mapped into IPv6
 *
 * @app is 0 for a datagram socket bound to no address; echo has @app_port (its
 * identifier) alone; ports in the machine's order.
 */
struct ob_tuple {
	__u8 app[16], net[16];
	__u16 app_port, net_port;
	__u16 proto;
	__u16 kind;
};

/**
 * struct ob_sock - who used a socket
 * @time: CLOCK_MONOTONIC: of the connect, the last send, the close (whatever wrote it)
 * @mixed: another image had the same tuple so short before that time that a packet
 *         may be of either; 0 = never
 * @uid: the socket's own: of its creator
 */
struct ob_sock {
	struct ob_image who;
	__u64 cookie, time, mixed;
	__u32 uid, inode;
	__u32 kind, zero; /* enum ob_kind */
};

/** struct ob_parent - @nr is its pid as weir sees it, 0 = it does not */
struct ob_parent {
	__u64 start;
	__u32 pid, nr;
	char comm[16];
};

/**
 * struct ob_details - the rest of an image, from its first use of the network
 * @who: its key again, written last: details of anything else are not taken
 * @nr: pid as weir sees it
 * @exe: names from the file up to the root, each ended by NUL, @exe_len bytes
 * @args: arguments as in memory, @args_len bytes
 * @parents: those of that moment, nearest first
 */
struct ob_details {
	struct ob_image who;
	__u64 cgroup;
	__u32 nr, exe_len, args_len, n_parents;
	struct ob_parent parents[OB_PARENTS_MAX];
	char exe[2 * OB_EXE_MAX]; /* room for a last name that is too much */
	char args[OB_ARGS_MAX];
};

struct ob_process {
	__u64 start;
	__u32 pid, zero;
};

/** struct ob_birth - what a process came from; @comm is its own, lately */
struct ob_birth {
	struct ob_parent parent;
	char comm[16];
};

/* key of an ICMP socket in the map of sockets, which for others is its cookie */
#define OB_BY_INODE(inode) ((__u64)(inode) | 1ULL << 63)

#endif

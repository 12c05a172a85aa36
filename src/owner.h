/* SPDX-License-Identifier: MIT */
/*
 * owner: whose socket it is.
 *
 * The supervisor looks the 5-tuple up with sock_diag in the network namespace
 * of the programs (uid, inode, cookie: exact), then finds the process that
 * holds the inode through /proc. What can't be found is left empty and
 * owner_why says why; an owner is never guessed.
 */
#ifndef WEIR_OWNER_H
#define WEIR_OWNER_H

#include "base/addr.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum owner_why { /* why something is missing; owner_why_text() */
		 OWNER_KNOWN,
		 OWNER_NO_SOCKET,   /* sock_diag finds no such socket (closed already) */
		 OWNER_NO_PROCESS,  /* no process in reach holds it (gone, or passed on) */
		 OWNER_DENIED,	    /* /proc of the holder is closed to us */
		 OWNER_KERNEL,	    /* made by the kernel: no socket exists */
		 OWNER_NO_ANSWER,   /* the supervisor did not answer in time */
		 OWNER_UNSUPPORTED, /* no look-up for this protocol */
		 OWNER_PENDING,	    /* not asked or not answered yet */
		 OWNER_SHARED, /* several sockets or processes fit and none before the others */
		 OWNER_WHY_MAX
};

enum owner_source {		   /* owner_source_text() */
		    OWNER_BY_DIAG, /* asked for with sock_diag and /proc when the flow began */
		    OWNER_BY_BPF,  /* noted by the kernel when the socket was used */
		    OWNER_SOURCE_MAX
};

#define OWNER_PARENTS_MAX 8

#define OWNER_PARENT_EXE 128

/** struct owner_parent - @exe: "" where it could not be read or is longer */
struct owner_parent {
	int32_t pid;
	char comm[16];
	char exe[OWNER_PARENT_EXE];
};

/**
 * struct owner - one process, at one moment (exec makes another one)
 * @id: unique in a run, never 0
 * @source: enum owner_source
 * @uid, @gid: effective; OWNER_BY_BPF: at the moment it used the socket
 * @start_ns: start of the process since boot (/proc/PID/stat field 22)
 * @exe, @cmdline: cut at their size; arguments are separated by spaces, control bytes as '?'
 * @parents: nearest first
 */
struct owner {
	uint32_t id;
	uint32_t uid, gid;
	int32_t pid;
	uint64_t start_ns;
	char user[33];
	char comm[16];
	char exe[256];
	char cmdline[512];
	char cgroup[256];
	uint8_t source;
	uint8_t parents_len;
	struct owner_parent parents[OWNER_PARENTS_MAX];
};

/** struct owner_query - a 5-tuple as the program's socket has it */
struct owner_query {
	uint8_t proto; /* IPPROTO_TCP, UDP, ICMP, ICMPV6 */
	bool listens;  /* TCP: whoever would accept this connection, not who has it */
	bool again;    /* who has it now; what was noted when it was first used is known */
	struct addrport app, net; /* ICMP: app.port is the echo identifier */
};

/** struct owner_answer - uid, inode and cookie of the socket; @owner 0: the process is unknown */
struct owner_answer {
	uint32_t owner;
	uint32_t uid; /* (uint32_t)-1: not known */
	uint32_t inode;
	uint32_t why; /* enum owner_why */
	uint64_t cookie;
};

const char *owner_why_text(unsigned why);
const char *owner_source_text(unsigned source);

/* --- supervisor side -------------------------------------------------------- */

struct owner_db;
struct owner_bpf;

struct owner_db_config {
	int diag_fd;	 /* NETLINK_SOCK_DIAG socket opened inside the namespace; owned by the db */
	pid_t keeper;	 /* root of the tree of processes to search first; 0: our own namespaces */
	bool whole_proc; /* search all of /proc too (root, foreign namespaces) */
	struct owner_bpf *bpf; /* asked first; owned by the db; NULL: sock_diag and /proc alone */
};

/** owner_db_new - returns NULL on ENOMEM */
struct owner_db *owner_db_new(const struct owner_db_config *cfg);
void owner_db_free(struct owner_db *db);
/**
 * owner_db_lookup - answer @n queries in one go (one walk of /proc for all)
 *
 * Takes 30 to 100 us for one. Fills @out[i] for @q[i].
 */
void owner_db_lookup(struct owner_db *db, const struct owner_query *q, struct owner_answer *out,
		     unsigned n);
/**
 * owner_db_closed - a flow is over: its socket's fd number will be used again soon
 *
 * Optional, but keeps look-ups short for programs with very many sockets.
 */
void owner_db_closed(struct owner_db *db, uint32_t inode);
/** owner_db_get - borrowed until the next look-up; NULL for an id unknown or long past */
const struct owner *owner_db_get(const struct owner_db *db, uint32_t id);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * sandbox: the private network namespace of `weir run`, and the keeper.
 *
 * Processes of a run:
 *
 *   supervisor (what the shell started)       caller's namespaces; subreaper
 *     +-- keeper    new user (unless root), network and mount namespace; subreaper;
 *     |     +-- COMMAND ... and all its descendants, same process group
 *     +-- worker    caller's network namespace, own session, no capabilities, seccomp
 *
 * Any one of them may be killed: the keeper dies with the supervisor
 * (PR_SET_PDEATHSIG) and takes every descendant along; when the keeper dies its
 * children fall to the supervisor, which is a subreaper too and ends them; a
 * dead worker is replaced. No PID namespace is made: pids seen inside are the
 * host's, and /proc needs no remount.
 *
 * Other files: keeper.c is the keeper, inside.c furnishes the namespaces
 * (netcfg.c addresses and routes, tundev.c the device, inside_dns.c resolvers);
 * supervisor.c waits and forwards signals, workerctl.c is its half of a worker;
 * isolate.c takes privilege away.
 */
#ifndef WEIR_SANDBOX_H
#define WEIR_SANDBOX_H

#include "config.h"

#include <signal.h>
#include <sys/types.h>

/* Resolvers stay bound when resolv.conf names others: a run may come through many networks. */
#define SANDBOX_DNS_MAX 32

struct hostdns_conf;

/** struct sandbox_dns - a resolver address bound inside, with its sockets for the worker */
struct sandbox_dns {
	struct addr addr;
	struct addr outside; /* where it is really: mostly the same */
	int udp_fd, tcp_fd;  /* tcp_fd listens */
};

/** struct sandbox - what the supervisor gets of the new namespace; fds owned */
struct sandbox {
	pid_t keeper;
	int ctl_fd; /* SEQPACKET to the keeper: struct sandbox_event up, orders down */
	int tun_fd;
	int diag_fd;	 /* NETLINK_SOCK_DIAG inside */
	int netns_fd;	 /* to be sure that it goes away: closed last */
	bool userns;	 /* false: root, who needs none */
	bool tso, uso;	 /* what the TUN took */
	unsigned beside; /* the TUN's index where it is in the worker's own namespace; else 0 */
	unsigned mtu;
	bool has4, has6;
	bool documentation; /* the host has no default route: 192.0.2.2, 2001:db8::2 */
	/* The host's own addresses; with --address or @documentation not those inside. */
	struct addr own4, own6;
	struct addr inside[CONFIG_ADDRS_MAX + 2]; /* those inside; a family's first is preferred */
	unsigned n_inside;
	struct sandbox_dns dns[SANDBOX_DNS_MAX];
	unsigned n_dns;
};

/** sandbox_privileged - may we make namespaces and change users without a user namespace? */
bool sandbox_privileged(void);

enum sandbox_event_type {
	SANDBOX_READY,	     /* set up; fds follow by SCM_RIGHTS */
	SANDBOX_FAILED,	     /* @text: one line, what to change; exit status 126 */
	SANDBOX_STARTED,     /* @pid of COMMAND */
	SANDBOX_EXEC_FAILED, /* @status = errno */
	SANDBOX_STOPPED,     /* COMMAND was stopped by signal @status, and so were we */
	SANDBOX_CONTINUED,
	SANDBOX_EXITED, /* COMMAND ended: @status is a wait status */
	SANDBOX_DNS,	/* resolvers were added to the table; @text: something to tell, or "" */
	SANDBOX_EMPTY,	/* the last descendant has ended; the keeper exits */
};

struct sandbox_event {
	uint32_t type;
	int32_t pid, status;
	char text[256];
};

/**
 * sandbox_open - start the keeper, which makes namespaces, TUN, addresses, resolver sockets
 * @orig: the caller's signal mask, given back to COMMAND
 * @conf: the host's resolv.conf
 *
 * Returns 0, or -errno with one line in @err. When @s->ctl_fd is readable, sandbox_ready() is next.
 */
int sandbox_open(struct sandbox *s, const struct config *cfg, const sigset_t *orig,
		 const struct hostdns_conf *conf, char *err, size_t errsize);
/**
 * sandbox_ready - take over what the keeper has made; waits until it is done
 *
 * Returns 0, or -errno with one line in @err that says what to change (and @s is closed).
 * COMMAND is not started before sandbox_start().
 */
int sandbox_ready(struct sandbox *s, char *err, size_t errsize);
/** sandbox_abort - instead of sandbox_ready(): end the keeper, in the middle of whatever it does */
void sandbox_abort(struct sandbox *s);
int sandbox_start(struct sandbox *s);
/** sandbox_event_read - 1 = one event, 0 = the keeper is gone, -EAGAIN */
int sandbox_event_read(struct sandbox *s, struct sandbox_event *ev);
/**
 * sandbox_signal - give COMMAND a signal that @sender sent to the supervisor
 *
 * The keeper, in the same process group, knows whether the whole group got it;
 * then COMMAND has it already and nothing is sent.
 */
int sandbox_signal(struct sandbox *s, int signo, pid_t sender);
/** sandbox_resolvers - the host's resolv.conf has changed; SANDBOX_DNS may be the answer */
int sandbox_resolvers(struct sandbox *s, const struct hostdns_conf *conf);
/** sandbox_continue - COMMAND and its process group, where it is stopped */
int sandbox_continue(struct sandbox *s);
/** sandbox_kill - SIGKILL to the keeper's whole tree */
void sandbox_kill(struct sandbox *s);
void sandbox_close(struct sandbox *s);

#endif

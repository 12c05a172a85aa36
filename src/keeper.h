/* SPDX-License-Identifier: MIT */
/*
 * keeper: parent of everything that runs inside.
 *
 * It makes the namespaces, starts COMMAND, reaps it and what it leaves behind (it is a
 * subreaper), and ends all of it when the supervisor is gone. It blocks every
 * signal: a stop or an interrupt meant for the process group must not take the
 * one process that cleans up.
 *
 * Being in the process group that the shell made, it is a witness: a signal it got from
 * the same sender as the supervisor was sent to the group, so COMMAND has it too.
 */
#ifndef WEIR_KEEPER_H
#define WEIR_KEEPER_H

#include "hostdns.h"
#include "sandbox.h"

/** struct keeper_order - what the supervisor tells the keeper */
enum keeper_op {
	KEEPER_GO,	 /* start COMMAND */
	KEEPER_SIGNAL,	 /* @signo came from @sender: pass it on unless the group got it */
	KEEPER_CONTINUE, /* SIGCONT where COMMAND is stopped */
	KEEPER_RESOLV,	 /* struct keeper_resolv: the host's resolv.conf has changed */
	KEEPER_END,	 /* kill everything */
};

struct keeper_order {
	uint32_t op; /* enum keeper_op */
	int32_t signo, sender;
};

/** struct keeper_resolv - cut behind the text */
struct keeper_resolv {
	struct keeper_order order;
	struct hostdns_conf conf;
};

/** struct keeper_dns - SANDBOX_DNS with its descriptors: dns pairs */
struct keeper_dns {
	struct sandbox_event ev;
	uint32_t n;
	struct sandbox_dns dns[SANDBOX_DNS_MAX]; /* cut behind @n */
};

/** struct keeper_ready - SANDBOX_READY with its descriptors: tun, diag, netns, dns pairs */
struct keeper_ready {
	struct sandbox_event ev;
	struct sandbox sandbox;
};

#define KEEPER_FDS_MAX (3 + 2 * SANDBOX_DNS_MAX)

struct keeper_args {
	const struct config *cfg;
	const struct hostdns_conf *conf;
	const sigset_t *orig; /* COMMAND's signal mask */
	bool chld_ignored;    /* COMMAND starts with SIGCHLD ignored, as we did */
	bool userns;
	int ctl_fd;
	pid_t supervisor;
};

/** keeper_main - in the forked child; never returns */
_Noreturn void keeper_main(const struct keeper_args *args);

#endif

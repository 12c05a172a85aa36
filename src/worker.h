/* SPDX-License-Identifier: MIT */
/*
 * worker: one libuv loop, one lwIP, one TUN queue; parses everything hostile.
 * worker_main() reads as the list of what a packet meets, and its shutdown is
 * the mirror of it.
 */
#ifndef WEIR_WORKER_H
#define WEIR_WORKER_H

#include "config.h"
#include "decision.h"
#include "hook.h"
#include "isolate.h"
#include "sandbox.h"
#include "tally.h"

struct worker_args {
	const struct config *cfg;
	const struct sandbox *sandbox; /* tun_fd, dns sockets, addresses, offloads */
	int ipc_fd;		       /* SEQPACKET to the supervisor */
	int cwd_fd;	     /* where weir was started: paths of hooks are relative to it; or -1 */
	void *shared_flows;  /* flow_table_shared_size(cfg->max_flows) bytes */
	void *shared_names;  /* names_shared_size(WORKER_NAMES_MAX) bytes */
	void *shared_learnt; /* learnt_size(entries) bytes */
	struct hook_stats *shared_hooks;   /* HOOK_CHAIN_MAX of them */
	struct tally *shared_tally;	   /* started */
	int rules_fd;			   /* of the ruleset; -1: none */
	uint32_t rules_number;		   /* its number */
	const struct decisions *decisions; /* remembered until now */
	const char *netns;		   /* name of the programs' one, or NULL */
	bool watched;			   /* somebody wants to hear of what is refused */
	const struct isolate_user *user;   /* NULL: stay who we are */
	bool tell_open;			   /* IPC_FLOW_OPEN wanted */
};

#define WORKER_NAMES_MAX 4096

/** worker_main - runs in the forked child; returns its exit status */
int worker_main(const struct worker_args *args);

#endif

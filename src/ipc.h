/* SPDX-License-Identifier: MIT */
/*
 * ipc: messages between worker and supervisor, SOCK_SEQPACKET, one struct each.
 *
 * The supervisor trusts nothing in them: lengths are checked, indexes bounded,
 * text is escaped where it is printed.
 */
#ifndef WEIR_IPC_H
#define WEIR_IPC_H

#include "decision.h"
#include "flow.h"
#include "learnt.h"
#include "listener.h"
#include "names.h"
#include "owner.h"

enum ipc_type {
	/* worker -> supervisor */
	IPC_READY = 1,	 /* locked down; the first packet may come */
	IPC_OWNER_QUERY, /* struct ipc_query[], up to IPC_BATCH */
	IPC_FLOW_OPEN,	 /* struct ipc_flow (only when asked for: --live) */
	IPC_FLOW_END,	 /* struct ipc_flow */
	IPC_NOTICE,	 /* text: one line for the user */
	IPC_DRAINED,	 /* nothing of the programs is under way any more */
	IPC_FLOW_EVENT,	 /* struct ipc_flow, with @what of it */
	IPC_HOOK_EVENT,	 /* struct ipc_event */
	/* supervisor -> worker */
	IPC_OWNER_ANSWER, /* struct ipc_answer[]; each new struct owner came before in IPC_OWNER */
	IPC_OWNER,	  /* struct owner */
	IPC_DRAIN,	  /* the last program has ended */
	IPC_RESOLVER,	  /* struct ipc_resolver, with its UDP and TCP socket */
	IPC_STOP,	  /* report what is open as ended, and exit */
	IPC_LISTEN,	  /* struct listener, and its socket comes along (SCM_RIGHTS) */
	IPC_UNLISTEN,	  /* struct listener: no more of it */
	IPC_RULES,	  /* struct ipc_rules, and the memfd of a ruleset comes along */
	IPC_DECISION,	  /* struct decision: remember it */
	IPC_FORGET,	  /* its number: no more */
	IPC_DECIDE,	  /* struct ipc_order[]: flows that are held */
	IPC_KILL,	  /* struct ipc_order[]: end these flows */
	IPC_LOOK,  /* struct ipc_order[]: their processes have changed: ask again whose they are */
	IPC_WATCH, /* @count 1: events are streamed to somebody, 0: to nobody */
	/* either way */
	IPC_HOOK, /* struct ipc_hook, perhaps with a descriptor */
	IPC_TYPE_MAX
};

#define IPC_BATCH 32

#define IPC_EVENTS 8 /* below it is every enum judge_event */

struct ipc_query {
	struct flow_ref flow;
	struct owner_query q;
};

struct ipc_answer {
	struct flow_ref flow;
	struct owner_answer a;
};

/**
 * struct ipc_flow - a flow as it is, or ended
 * @what: of IPC_FLOW_EVENT: an enum judge_event; @rule: of the rule that says so, 1 + index
 * @learnt: with @count 2 only
 */
struct ipc_flow {
	struct flow_rec rec;
	uint32_t what, rule;
	char host[NAMES_HOST_MAX];
	struct learnt learnt;
};

/** struct ipc_order - something to be done to one flow: the one of this id, or none */
struct ipc_order {
	struct flow_ref flow;
	uint64_t id;
	uint32_t verdict; /* of IPC_DECIDE: enum flow_verdict */
};

/** struct ipc_rules - what the memfd is that comes along */
struct ipc_rules {
	uint32_t number;
};

enum ipc_hook_what {
	IPC_HOOK_PATH,	  /* to the supervisor: the hook may open this later */
	IPC_HOOK_PROCESS, /* ... start this program; to the worker: its socket, or its end (@value)
			   */
	IPC_HOOK_OPEN, /* ... open this, @value: flags; to the worker: what was opened, or -errno */
	IPC_HOOK_RELOAD, /* to the worker: tell all hooks */
	IPC_HOOK_WHATS
};

#define IPC_HOOK_TEXT 2048

/**
 * struct ipc_hook - what a hook needs and the worker can't do
 * @id: of one request; @hook: its place in the chain
 * @text: @len bytes that end with NUL, where there are any: a path, or a program's words
 */
struct ipc_hook {
	uint32_t what, id, hook;
	int32_t value;
	uint32_t len;
	char text[IPC_HOOK_TEXT];
};

#define IPC_EVENT_TEXT 4096

/** struct ipc_event - a line for the log that a hook has made; @text: event_type, NUL, JSON, NUL */
struct ipc_event {
	struct flow_rec rec;
	char host[NAMES_HOST_MAX];
	uint32_t len;
	char text[IPC_EVENT_TEXT];
};

/** struct ipc_resolver - a resolver bound inside since the worker was started */
struct ipc_resolver {
	uint32_t slot; /* the sender's number of it */
	struct addr inside, outside;
};

#define IPC_FDS_MAX 2

struct ipc_msg {
	uint32_t type;	/* enum ipc_type */
	uint32_t count; /* elements, or bytes of text */
	union {
		struct ipc_query query[IPC_BATCH];
		struct ipc_answer answer[IPC_BATCH];
		struct ipc_flow flow;
		struct owner owner;
		struct ipc_resolver resolver;
		struct listener listener;
		struct ipc_hook hook;
		struct ipc_event event;
		struct decision decision;
		struct ipc_order order[IPC_BATCH];
		struct ipc_rules rules;
		char text[256];
	};
};

/** ipc_size - bytes to send for @m, by its type and count; 0 when they are impossible */
size_t ipc_size(const struct ipc_msg *m);
/** ipc_send - never blocks; 0 or -errno (-EAGAIN: peer is slow) */
int ipc_send(int fd, const struct ipc_msg *m);
/** ipc_send_fds - the same with descriptors, which stay the caller's; @n up to IPC_FDS_MAX */
int ipc_send_fds(int fd, const struct ipc_msg *m, const int *fds, size_t n);
/**
 * ipc_recv_fds - ipc_recv() from a sender that may pass descriptors: they are owned by the
 * caller, @fds[i] is -1 where none came
 */
int ipc_recv_fds(int fd, struct ipc_msg *m, int fds[IPC_FDS_MAX]);
/** ipc_recv - never blocks; 1 = one message, 0 = end, -EAGAIN, -EBADMSG for a malformed one */
int ipc_recv(int fd, struct ipc_msg *m);

#endif

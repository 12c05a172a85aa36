/* SPDX-License-Identifier: MIT */
/*
 * weir/hook.h: write an inspector for weir.
 *
 * A hook sees every flow that it is given, with its owner, and every payload of it, both ways, in
 * order. It may let bytes pass, hold them until more have come, replace, insert or drop some, end
 * the flow, or wait for somebody else's answer while the flow waits with it.
 *
 * A hook is a shared object with one exported symbol, made by WEIR_HOOK(), or is compiled into
 * weir in the same way. This header is all that it needs. It is plain C and C++.
 *
 *	static int64_t payload(void *state, struct weir_flow *f, const struct weir_payload *p)
 *	{
 *		...look at p->data...
 *		return (int64_t)p->len;	// all of it may go on
 *	}
 *	static const struct weir_hook hook = {
 *		WEIR_HOOK_HEAD, .name = "mine", .payload = payload,
 *	};
 *	WEIR_HOOK(hook)
 *
 * Where it runs: in a worker, a process without privilege that can open no file and start no
 * program. load(), config() and ready() are called before that is so, locked() and all others
 * after. One thread calls everything; a callback must not block. What takes time is done by timers
 * and watched descriptors while the flow waits (WEIR_PEND).
 *
 * Compatibility: every struct begins with its size. Members are only ever added at the end; who
 * was built with an older header passes a smaller size, and what it does not know reads as zero.
 * WEIR_HOOK_ABI changes only when something that is here changes its meaning.
 */
#ifndef WEIR_WEIR_HOOK_H
#define WEIR_WEIR_HOOK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_HOOK_ABI 1

enum weir_dir { WEIR_UP = 0, WEIR_DOWN = 1 }; /* from the program; to the program */

/*
 * Answers. payload(): a number of bytes (0 to len) or one of these; others: one of these, or
 * WEIR_PASS.
 */
#define WEIR_PASS  0
#define WEIR_BLOCK (-1) /* end the flow: reset; a datagram's sender is told "prohibited" */
#define WEIR_DROP  (-2) /* flow_open(): silence; datagram(): this one is lost */
#define WEIR_PEND  (-3) /* no answer yet: the flow waits until resume() or decide() */
#define WEIR_ERROR (-4) /* the hook failed: the flow goes on or ends, as on-error= says */

/* What a hook wants to be called for (struct weir_hook.wants); flow_open and flow_close always. */
#define WEIR_WANTS_PAYLOAD   1u /* payload(), half_close() */
#define WEIR_WANTS_DATAGRAMS 2u /* datagram() */
#define WEIR_WANTS_NAMES     4u /* name_learned() */
#define WEIR_WANTS_LISTENS   8u /* listen() */

/** struct weir_owner - a process; text is never NULL; "" and -1 where unknown */
struct weir_owner {
	size_t size;
	int64_t uid, gid, socket_uid; /* socket_uid: of the socket, which rules mean by `user` */
	int64_t pid;
	uint64_t start_ns; /* when it was started, since boot */
	const char *user, *comm, *exe, *cmdline, *cgroup;
	const char *source; /* how it was found: "bpf", "sockdiag", or why it is unknown */
	unsigned n_parents; /* nearest first */
	const char *const *parent_comm;
	const int64_t *parent_pid;
};

/** struct weir_endpoint - ip: text; bytes: 4 or 16, network order; port: host order, 0 for ICMP */
struct weir_endpoint {
	const char *ip;
	const unsigned char *bytes;
	unsigned n_bytes;
	uint16_t port;
};

/** struct weir_info - what is known of a flow now; borrowed until the callback returns */
struct weir_info {
	size_t size;
	uint64_t id;		       /* flow_id of the records */
	uint8_t proto;		       /* IPPROTO_TCP, UDP, ICMP, ICMPV6 ... */
	uint8_t inbound;	       /* 1: the peer opened it */
	struct weir_endpoint app, net; /* the program's side, the other side */
	const struct weir_owner *owner;
	const char *host;    /* best known name of the other side, or NULL */
	const char *verdict; /* "allow" ... */
	const char *rule;    /* "FILE:LINE" that decided, or NULL */
	const char *args;  /* of the rule `hook NAME ARGS` that gave the hook this flow, or NULL */
	uint64_t start_ns; /* since 1970 */
	uint64_t bytes_up, bytes_down, packets_up, packets_down;
	const char *reason; /* flow_close(): how it ended, else NULL */
};

struct weir_flow; /* one hook's handle of one flow: valid from flow_open() to flow_close() */

#define WEIR_LAST 1u /* flags: no more will come in this direction */

/**
 * struct weir_payload - all bytes of one direction that this hook has not accepted yet
 * @offset: place of data[0] in what this hook was shown of the stream, from 0
 *
 * The hook returns how many it accepts, from the front; these go on to the next hook and in the
 * end to the other side, exactly once and in order, with the hook's edits (weir_host.replace).
 * The rest stays, and is shown again with more behind it. What is not accepted when WEIR_LAST is
 * set is the end of the flow (reset). At most the flow's buffer (--flow-buffer) can be held.
 */
struct weir_payload {
	size_t size;
	enum weir_dir dir;
	unsigned flags;
	const uint8_t *data;
	size_t len;
	uint64_t offset;
};

/** struct weir_datagram - one datagram; UDP payload, or what follows an echo's header */
struct weir_datagram {
	size_t size;
	enum weir_dir dir;
	const uint8_t *data;
	size_t len;
};

/** struct weir_listen - a program listens on a port that weir serves (or no longer: ended) */
struct weir_listen {
	size_t size;
	uint8_t proto, ended;
	struct weir_endpoint at;
	const struct weir_owner *owner;
};

struct weir_hook_ref; /* the host's own name for a loaded hook */
struct weir_timer;
struct weir_watch;

#define WEIR_READABLE 1u
#define WEIR_WRITABLE 2u

enum weir_log { WEIR_LOG_ERROR, WEIR_LOG_WARN, WEIR_LOG_INFO, WEIR_LOG_DEBUG };

/**
 * struct weir_host - what weir does for a hook
 *
 * The table is passed to load() and stays valid until unload(). Functions that take a flow must
 * not be called after its flow_close().
 */
struct weir_host {
	size_t size;
	unsigned abi;

	/** info - what is known of @f now */
	const struct weir_info *(*info)(struct weir_flow *f);
	/** set_data - hang @data on the flow; @free_fn (or NULL) is called after flow_close() */
	void (*set_data)(struct weir_flow *f, void *data, void (*free_fn)(void *data));
	void *(*data)(struct weir_flow *f);
	/** find - the handle of flow @id for @hook, or NULL: it has ended. For answers that come
	 * late */
	struct weir_flow *(*find)(struct weir_hook_ref *hook, uint64_t id);

	/**
	 * replace - during payload() or datagram(): put @with in place of [@off, @off + @len)
	 *
	 * @off counts from data[0]; calls of one callback go upwards and do not overlap. @len 0
	 * inserts, @n 0 drops. Edits count for the bytes that the callback then accepts; one that
	 * reaches beyond them is forgotten. @with is copied. 0 or -errno.
	 */
	int (*replace)(struct weir_flow *f, size_t off, size_t len, const void *with, size_t n);
	/**
	 * inject - from any callback: @data go on in @dir, behind what this hook has accepted
	 *
	 * Within payload() of @dir: behind what this call accepts. Bytes of a stream, or one
	 * datagram, which the hooks behind this one see like any other. Copied. -ENOBUFS when the
	 * flow's buffer is full, -EPIPE behind close(), -EOPNOTSUPP for an echo.
	 */
	int (*inject)(struct weir_flow *f, enum weir_dir dir, const void *data, size_t len);
	/**
	 * close - end direction @dir of a stream in order, behind what this hook has accepted and
	 * injected; later payload of it is accepted and forgotten
	 *
	 * Within payload() of @dir: behind what this call accepts.
	 */
	int (*close)(struct weir_flow *f, enum weir_dir dir);
	/** resume - after WEIR_PEND: show the direction's bytes (or the datagram) again. Within
	 * payload() of @dir: what this call does not accept is shown again in a later turn */
	void (*resume)(struct weir_flow *f, enum weir_dir dir);
	/** decide - after WEIR_PEND of flow_open(): WEIR_PASS, WEIR_BLOCK, WEIR_DROP or WEIR_ERROR.
	 * Later: WEIR_BLOCK ends the flow, WEIR_ERROR as on-error= says */
	void (*decide)(struct weir_flow *f, int verdict);
	/** done - this hook needs no more of @f but flow_close(): bytes pass it without a call */
	void (*done)(struct weir_flow *f);
	/**
	 * learn - @field of the filter language ("sni", "alpn", "http.host", "http.method",
	 * "http.path", "app", "ja3", "ja4") of this flow is @value; NULL: it has none
	 *
	 * Rules and other hooks see it at once; a list is learnt by several calls. A flow that
	 * waited for it is judged.
	 */
	int (*learn)(struct weir_flow *f, const char *field, const char *value);
	/** learn_done - nothing more will be learnt of @f: what rules wait for is absent */
	void (*learn_done)(struct weir_flow *f);
	/** tag, event - into the flow's record: a tag; a line of its own event_type (letters,
	 * digits, - and _; not flow, weir, listen) in the log, with @json, an object of up to 4
	 * KiB, as the member of that name, behind flow_id, addresses and owner */
	int (*tag)(struct weir_flow *f, const char *tag);
	int (*event)(struct weir_flow *f, const char *event_type, const char *json);

	/** log - one line; @f may be NULL */
	void (*log)(struct weir_hook_ref *hook, struct weir_flow *f, enum weir_log level,
		    const char *text);
	/** now - monotonic time of this turn of the loop, ns */
	uint64_t (*now)(struct weir_hook_ref *hook);
	/** timer - call @fn once in @ms; NULL when there is no memory. It frees itself after @fn */
	struct weir_timer *(*timer)(struct weir_hook_ref *hook, unsigned ms, void (*fn)(void *ctx),
				    void *ctx);
	void (*timer_stop)(struct weir_timer *t);
	/** watch - call @fn while @fd is ready; WEIR_READABLE and WEIR_WRITABLE bits; the
	 * descriptor stays the hook's */
	struct weir_watch *(*watch)(struct weir_hook_ref *hook, int fd, unsigned events,
				    void (*fn)(void *ctx, unsigned events), void *ctx);
	int (*watch_set)(struct weir_watch *w, unsigned events);
	void (*watch_stop)(struct weir_watch *w);
	/**
	 * open - ask for a file that may be opened after the lock-down: only below what the hook's
	 * configuration names (weir_hook.paths). @fn is called with a descriptor, which is then the
	 * hook's, or -errno. @flags: O_RDONLY, or O_WRONLY with O_CREAT, O_APPEND, O_TRUNC, O_EXCL;
	 * O_RDWR where the path is an AF_UNIX socket: a stream connected to who listens there
	 */
	int (*open)(struct weir_hook_ref *hook, const char *path, int flags,
		    void (*fn)(void *ctx, int fd), void *ctx);
};

/**
 * struct weir_hook - a hook; every member but size, abi and name may be NULL or 0
 *
 * Life: load, config for each key, ready; then flows; reload at any time; unload.
 */
struct weir_hook {
	size_t size;
	unsigned abi;
	const char *name;	 /* letters, digits, - */
	unsigned wants;		 /* WEIR_WANTS_*; 0: whatever there is a callback for */
	const char *help;	 /* one line */
	const char *default_key; /* the key of a value without one: --hook lua=x.lua */

	/** load - the state for all callbacks; NULL with a line in *@err refuses */
	void *(*load)(const struct weir_host *host, struct weir_hook_ref *ref, const char **err);
	/** config - 0, or -1 with a line in *@err */
	int (*config)(void *state, const char *key, const char *value, const char **err);
	/** ready - all keys were given: open what is needed; 0, or -1 with a line in *@err.
	 * The last call before the lock-down */
	int (*ready)(void *state, const char **err);
	/** locked - the lock-down has happened: descriptors may be watched from here on */
	void (*locked)(void *state);
	void (*unload)(void *state);
	/** reload - the user asked for it: read again what can be read again (weir_host.open) */
	void (*reload)(void *state);

	/** listen - WEIR_PASS or WEIR_BLOCK: nobody is let in there. `weir run --publish`; whose
	 * socket it is is not known here, but in the flows that come to it */
	int (*listen)(void *state, const struct weir_listen *l);
	/** flow_open - the owner is known; WEIR_PASS, WEIR_BLOCK, WEIR_DROP, WEIR_PEND, WEIR_ERROR
	 */
	int (*flow_open)(void *state, struct weir_flow *f, const struct weir_info *info);
	int64_t (*payload)(void *state, struct weir_flow *f, const struct weir_payload *p);
	/** datagram - WEIR_PASS, WEIR_DROP, WEIR_BLOCK, WEIR_PEND, WEIR_ERROR */
	int (*datagram)(void *state, struct weir_flow *f, const struct weir_datagram *d);
	/** half_close - the last byte of @dir was accepted by this hook */
	void (*half_close)(void *state, struct weir_flow *f, enum weir_dir dir);
	void (*name_learned)(void *state, struct weir_flow *f, const char *field,
			     const char *value);
	/** flow_close - for each flow that flow_open() was called for */
	void (*flow_close)(void *state, struct weir_flow *f, const struct weir_info *info);
	/** report - one line for the end of the run and `weir hooks` */
	void (*report)(void *state, char *line, size_t size);

	/** paths - a space-separated list of files and directories (from the configuration) that
	 * open() may reach after the lock-down; asked once, after ready() */
	const char *(*paths)(void *state);
	/** syscalls - names of system calls beyond weir's own that the hook needs, separated by
	 * spaces; NULL: none. Judged by the user: weir says at start what a hook was given */
	const char *syscalls;
	/** process - for hooks that talk to a program: what to start, as weir's worker user,
	 * without capabilities, with a socket as its standard input and output; argv ends with
	 * NULL. The supervisor starts it, again with back-off when it ends; connected() gets each
	 * socket */
	const char *const *(*process)(void *state);
	void (*connected)(void *state, int fd); /* a new socket, now the hook's; -errno: it ended */
};

#define WEIR_HOOK_HEAD .size = sizeof(struct weir_hook), .abi = WEIR_HOOK_ABI

#if defined(__GNUC__)
#define WEIR_EXPORT __attribute__((visibility("default")))
#else
#define WEIR_EXPORT
#endif
#ifdef __cplusplus
#define WEIR_EXTERN_C extern "C"
#else
#define WEIR_EXTERN_C extern
#endif

/* In a shared object: the one symbol that weir looks for. In weir itself: one per hook. */
#ifdef WEIR_BUILTIN
#define WEIR_HOOK(hook) const struct weir_hook *const WEIR_BUILTIN = &(hook);
#else
#define WEIR_HOOK(hook)                                                                            \
	WEIR_EXTERN_C WEIR_EXPORT const struct weir_hook *weir_hook_entry(void);                   \
	const struct weir_hook *weir_hook_entry(void)                                              \
	{                                                                                          \
		return &(hook);                                                                    \
	}
#endif

#ifdef __cplusplus
}
#endif

#endif

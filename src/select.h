/* SPDX-License-Identifier: MIT */
/*
 * select: whose traffic `weir up` takes.
 *
 * A selection is a list of selectors; what any of them takes is taken. A selector is a
 * kind (user, group, cgroup, mark, netns, all), narrowed by what it is sent with and to
 * (--proto, --to, --port: within one kind any of them, of different kinds all), less its
 * exceptions. Options belong to the selector that stands before them; in front of the
 * first one they belong to all: an exception or --fail-open is then added to each
 * selector, a narrowing holds for those that have none of the same kind.
 *
 * select_add() takes the options one by one and only reads their text; select_finish()
 * gives the names their numbers and hands the common part out, after which every selector
 * stands for itself. Nothing here makes a system call: names are looked up by functions
 * that the caller brings (select_names.h has the real ones).
 */
#ifndef WEIR_SELECT_H
#define WEIR_SELECT_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SELECT_MAX	   64	       /* selectors */
#define SELECT_RANGES_MAX  512	       /* ranges of ids, of all selectors and exceptions */
#define SELECT_CGROUPS_MAX 64	       /* of all selectors and exceptions */
#define SELECT_NARROW_MAX  16	       /* of a kind, on one selector */
#define SELECT_EXCEPTS_MAX 16	       /* on one selector */
#define SELECT_PATH_MAX	   512	       /* of a cgroup, with its NUL */
#define SELECT_ID_MAX	   0xfffffffeU /* the highest uid and gid; the next one means none */

/** struct id_range - uids or gids, both ends included */
struct id_range {
	uint32_t lo, hi;
};

/** struct port_range - both ends included */
struct port_range {
	uint16_t lo, hi;
};

/** struct select_ids - a part of struct selection's @ranges */
struct select_ids {
	unsigned first, n;
};

enum select_proto { SELECT_TCP = 1 << 0, SELECT_UDP = 1 << 1, SELECT_ICMP = 1 << 2 };

/**
 * struct select_cgroup - a cgroup v2, which may not exist (yet, or again)
 * @text: as the user named it, borrowed
 * @unit: @text is a systemd unit
 * @path: below the root of the hierarchy, no slash in front or behind; safe inside of quotes
 * @level: how many parts @path has, at least 1; nft's "level"
 */
struct select_cgroup {
	const char *text;
	bool unit;
	char path[SELECT_PATH_MAX];
	unsigned level;
};

enum select_kind {
	SELECT_USER,
	SELECT_GROUP,
	SELECT_CGROUP, /* --cgroup and --unit */
	SELECT_MARK,
	SELECT_NETNS, /* all that an existing network namespace sends; alone */
	SELECT_ALL,
};

enum except_kind {
	EXCEPT_USER,
	EXCEPT_GROUP,
	EXCEPT_CGROUP,
	EXCEPT_MARK,
	EXCEPT_PROTO,
	EXCEPT_TO,
	EXCEPT_PORT, /* of TCP and UDP */
};

/** struct select_except - what is not taken after all; only the member of @kind counts */
struct select_except {
	enum except_kind kind;
	const char *text; /* as given, borrowed */
	struct select_ids ids;
	unsigned cgroup; /* index in the selection's @cgroups */
	uint32_t mark, mask;
	unsigned proto; /* one SELECT_TCP ... */
	struct prefix to;
	struct port_range port;
};

/** struct select_narrow - only what goes by one of @protos, to one of @to, to one of @ports */
struct select_narrow {
	unsigned protos; /* set of SELECT_TCP ...; 0: any protocol */
	struct prefix to[SELECT_NARROW_MAX];
	unsigned n_to; /* 0: anywhere */
	struct port_range ports[SELECT_NARROW_MAX];
	unsigned n_ports; /* 0: any; else only TCP and UDP are meant */
};

/**
 * struct selector - one of --user, --group, --cgroup, --unit, --mark, --netns, --all
 * @text: the option's value as given, borrowed; NULL for --all
 * @ids: of a user (the uid, and the subordinate ones) or a group; not sorted, not merged
 * @fail_open: when weir is gone its traffic goes the host's own way instead of being stopped
 */
struct selector {
	enum select_kind kind;
	const char *text;
	struct select_ids ids;
	unsigned cgroup; /* index in the selection's @cgroups */
	uint32_t mark, mask;
	struct select_narrow narrow;
	struct select_except excepts[SELECT_EXCEPTS_MAX];
	unsigned n_excepts;
	bool fail_open;
};

/** struct selection - read only after select_finish() */
struct selection {
	struct selector list[SELECT_MAX];
	unsigned n;
	struct selector common; /* what stood before the first; has no kind */
	struct id_range ranges[SELECT_RANGES_MAX];
	unsigned n_ranges;
	struct select_cgroup cgroups[SELECT_CGROUPS_MAX];
	unsigned n_cgroups;
	bool no_subuids; /* a user's name means the uid alone */
	bool forwarded;	 /* what the host forwards for others too: only with all, or with uid 0 */
};

/** enum select_option - one for each option that select_add() takes */
enum select_option {
	SELECT_OPT_USER,   /* NAME|UID|UID-UID */
	SELECT_OPT_GROUP,  /* NAME|GID */
	SELECT_OPT_CGROUP, /* PATH */
	SELECT_OPT_UNIT,   /* NAME; without a suffix .service is meant */
	SELECT_OPT_MARK,   /* N[/MASK], decimal or 0x */
	SELECT_OPT_NETNS,  /* NAME|PID */
	SELECT_OPT_ALL,
	SELECT_OPT_PROTO,  /* tcp|udp|icmp */
	SELECT_OPT_TO,	   /* CIDR */
	SELECT_OPT_PORT,   /* N[-M] */
	SELECT_OPT_EXCEPT, /* KIND=VALUE */
	SELECT_OPT_FAIL_OPEN,
	SELECT_OPT_NO_SUBUIDS,
	SELECT_OPT_FORWARDED,
};

/**
 * struct select_names - who knows the numbers; each returns 0, -ENOENT, or -errno
 * @cgroup_mount: where the cgroup v2 hierarchy is mounted, e.g. "/sys/fs/cgroup"; NULL: nowhere.
 *	A --cgroup PATH may start with it
 * @user, @group: a name's number
 * @subuids: the subordinate uids that user @name, or its @uid, has; returns how many, at most @room
 *	(-E2BIG: there are more)
 * @unit: where a systemd unit's cgroup is, or will be when it starts; below the hierarchy's root
 */
struct select_names {
	void *ctx;
	const char *cgroup_mount;
	int (*user)(void *ctx, const char *name, uint32_t *uid);
	int (*group)(void *ctx, const char *name, uint32_t *gid);
	int (*subuids)(void *ctx, const char *name, uint32_t uid, struct id_range *out,
		       unsigned room);
	int (*unit)(void *ctx, const char *unit, char *path, size_t size);
};

void select_init(struct selection *s);
/**
 * select_add - the next option
 * @value: borrowed for as long as @s is used; NULL for a flag
 *
 * Returns 0; -EINVAL when the value cannot be right; -E2BIG when there is no room for more.
 */
int select_add(struct selection *s, enum select_option option, const char *value);
/**
 * select_finish - numbers for names, the common part to every selector, and what only shows then
 * @err: one line that names option and value
 *
 * Returns 0, or -EINVAL: no selector, an unknown name, --netns beside others, a port for ICMP,
 * --forwarded without all or uid 0.
 */
int select_finish(struct selection *s, const struct select_names *names, char *err, size_t errsize);

/** select_takes_uid - does any of @ids of @s contain @uid? */
bool select_takes_uid(const struct selection *s, const struct select_ids *ids, uint32_t uid);
/** select_matches_uid - may @s take a socket of @uid? True for groups, cgroups and marks as well */
bool select_matches_uid(const struct selection *s, uint32_t uid);
/** select_users - all uids that @s may take; 0: it does not go by users alone, or there is no room
 */
unsigned select_users(const struct selection *s, struct id_range *out, unsigned room);
/** select_is_netns - is it another network namespace that is selected, and nothing else? */
bool select_is_netns(const struct selection *s);
/** select_text - "--user alice", "--all", for messages; returns @buf */
const char *select_text(const struct selector *sel, const struct selection *s, char *buf,
			size_t size);
/** select_print - all of it as options, with what came from the common part */
void select_print(const struct selector *sel, const struct selection *s, FILE *f);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * lua_hook: what the files of the Lua hook share.
 *
 *   lua.c          the hook: configuration, events to calls, answers to verdicts
 *   lua_load.c     script and modules: read, run, read again
 *   lua_sandbox.c  what a script finds in its environment, and what is kept from it
 *   lua_string.c   the functions of strings and tables that must not run for ever
 *   lua_flow.c     the flow as a script sees it
 *   lua_weir.c     the table weir: log, timers, clock
 *   lua_json.c     a table as a JSON object
 *   lua_limit.c    memory and time of a call, and what is said when it fails
 *
 * One Lua state serves all flows of one --hook lua=...; struct script hangs in its extra space.
 * Lua ends what fails by longjmp(): nothing here may own memory across a call into Lua that
 * could raise an error, unless Lua itself owns it (userdata).
 */
#ifndef WEIR_HOOKS_LUA_HOOK_H
#define WEIR_HOOKS_LUA_HOOK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <lauxlib.h>
#include <lua.h>

#include "shared_util.h"

/** enum script_event - functions that a script may define, in the order of event_names */
enum script_event {
	SCRIPT_FLOW_OPEN,
	SCRIPT_PAYLOAD,
	SCRIPT_DATAGRAM,
	SCRIPT_HALF_CLOSE,
	SCRIPT_NAME_LEARNED,
	SCRIPT_FLOW_CLOSE,
	SCRIPT_LISTEN,
	SCRIPT_RELOAD,
	SCRIPT_EVENTS
};

extern const char *const script_event_names[SCRIPT_EVENTS];

/** struct limit - what a call may use; see lua_limit.c */
struct limit {
	size_t per_call, total; /* bytes */
	uint64_t time_ns;

	size_t used, base; /* now; at the start of the call */
	bool in_call, expired;
	bool clock_runs, placed; /* the clock was read; @where is where time was over */
	uint64_t wall_end, cpu_start;
	size_t work;	/* since the clock was looked at */
	char where[96]; /* "script:line: " of what was running when a limit was hit */
};

/** struct script_file - the text of the script or of a module; owned */
struct script_file {
	STAILQ_ENTRY(script_file) next;
	char *path, *text;
	size_t len;
};
STAILQ_HEAD(script_files, script_file);

/** struct script_timer - a userdata that Lua owns; anchored in the registry while it is armed */
struct script_timer {
	LIST_ENTRY(script_timer) next;
	struct script *script;
	struct weir_timer *timer; /* NULL: not armed */
	unsigned generation;	  /* of the script's run that made it */
	int anchor;
};

#define SCRIPT_DEPTH 4

struct script {
	const struct weir_host *host; /* borrowed, as is */
	struct weir_hook_ref *ref;
	/*
	 * [0] is the state itself. The host may call a hook from inside of what the hook asks of
	 * it: such a call runs on a thread (of Lua's) of its own, within the limits of the outer.
	 */
	lua_State *thread[SCRIPT_DEPTH];
	unsigned depth;
	struct script_flow *at;		  /* the flow of the call that runs, or NULL */
	const struct weir_info *at_close; /* ... while flow_close() runs, else NULL */
	char *path, *dir;     /* owned; the script, and where its modules are: "", or ends in / */
	char reach[PATH_MAX]; /* the latter, absolute: a worker does not stay where it was started
			       */
	bool locked;
	struct run *run; /* borrowed; the script itself is being run */
	struct limit limit;

	int env, former; /* references in the registry: the environment, that before a reload */
	int fn[SCRIPT_EVENTS]; /* ... what it defines, or LUA_NOREF */
	int settings;	       /* ... key=value of the command line */
	LIST_HEAD(, script_timer) timers;
	unsigned n_timers, generation;
	struct script_files files; /* what the last run of the script was made of */
	struct reload *reload;	   /* owned; the one under way, or NULL */

	uint64_t calls;
	struct complaints complaints; /* errors */
};

static inline struct script *script_of(lua_State *L)
{
	return *(struct script **)lua_getextraspace(L);
}

/* --- lua_limit.c ------------------------------------------------------------------------- */

void *limit_alloc(void *limit, void *ptr, size_t old, size_t size);
void limit_install(struct script *s);
/** limit_work - @n units of some nanoseconds were spent in C; raises an error when time is over */
void limit_work(lua_State *L, size_t n);
/** limit_work_left - the same for who cannot be left by an error: false when time is over */
bool limit_work_left(lua_State *L, size_t n);
/** limit_rethrow - for who has caught an error: one that ends the call goes on, as an error */
void limit_rethrow(lua_State *L);
/**
 * script_call - run @fn(L) with @arg as its light userdata, within the limits
 *
 * 0, or -1 when it failed, which is logged as an error of @f (or NULL), once a second at most.
 */
int script_call(struct script *s, struct weir_flow *f, lua_CFunction fn, void *arg);
/** script_start - for the script itself: other limits, and the error in @err, not logged */
int script_start(struct script *s, lua_CFunction fn, void *arg, char *err, size_t size);

/* --- lua_sandbox.c, lua_string.c, lua_weir.c, lua_json.c -------------------------------------- */

/** sandbox_push - a new environment for the script, of what the next three make */
void sandbox_push(lua_State *L);
void string_push(lua_State *L);
void table_push(lua_State *L);
void weir_push(lua_State *L);
/** measured_push - functions @names of the table at @from, measured, into that at the top */
void measured_push(lua_State *L, int from, const char *const *names);
/** json_push - the table at @index as a string of JSON; raises an error where that cannot be */
void json_push(lua_State *L, int index);

void timers_prepare(lua_State *L);
/** timers_stop - all, or those made by another run of the script than @but */
void timers_stop(struct script *s, const unsigned *but);

/* --- lua_load.c ---------------------------------------------------------------------------- */

/** load_first - read and run the script, before the lock-down; 0, or -1 with @err */
int load_first(struct script *s, char *err, size_t size);
/** load_again - after a reload; by the host's files, so it ends in a later turn */
void load_again(struct script *s);
void load_free(struct script *s);
/** load_require - the function require; its upvalue is the table of what is loaded */
int load_require(lua_State *L);

/* --- lua_flow.c ----------------------------------------------------------------------------- */

/**
 * struct script_flow - what a script holds of a flow: a userdata, anchored while the flow lives
 * @shown: during payload() and datagram() the bytes that were shown, else 0
 */
struct script_flow {
	struct script *script;
	struct weir_flow *f; /* NULL: it has ended */
	uint64_t id;
	int anchor;
	bool edits; /* payload() or datagram() runs */
	bool block; /* the script wants its end, from inside a call for it */
	size_t shown;
};

void flow_prepare(lua_State *L);
/** flow_push - the flow's userdata, made at the first time */
struct script_flow *flow_push(lua_State *L, struct weir_flow *f);
/** flow_name - remember that @field was learnt; the userdata is at the top of the stack */
void flow_name(lua_State *L, const char *field, const char *value);
/** flow_ended - @f is no more; what the script still has of it says so */
void flow_ended(struct script *s, struct weir_flow *f);
void owner_push(lua_State *L, const struct weir_owner *o);
void dir_push(lua_State *L, enum weir_dir dir);
void proto_push(lua_State *L, unsigned proto);
enum weir_log level_of(lua_State *L, int arg);

#endif

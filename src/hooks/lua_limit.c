/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Memory: Lua's allocator counts. A request beyond the limit of the call, or of the script as a
 * whole, is refused: Lua collects its garbage and asks once more, and then raises an error. What a
 * call may use is what it adds to what was there before.
 *
 * Time: a debug hook comes every HOOK_INSTRUCTIONS instructions of Lua's machine; functions in C
 * whose work grows with their arguments report it by limit_work(), and the allocator reports what
 * it hands out. Whoever comes first looks at the clock. It is the thread's own time that counts, so
 * a busy machine does not make a script slow; as asking for it is a system call, the cheap clock is
 * asked first. The clock starts at the first look: calls that end before cost nothing.
 *
 * When time is over an error is raised. A script may catch it by pcall(), so those functions
 * that catch errors raise it again (limit_rethrow()); nothing else catches.
 */
#include "lua_hook.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOOK_INSTRUCTIONS 256
#define WORK_UNITS	  16384 /* some tens of microseconds */
#define INSTRUCTION_WORK  (WORK_UNITS / 4)
#define BYTES_PER_WORK	  16
#define START_NS	  (5 * UINT64_C(1000000000)) /* the script itself may build tables */
#define RESTART_NS	  UINT64_C(500000000)	     /* ... while flows wait for it */
#define MESSAGE_MAX	  512

/* --- memory and time --------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/** over_time - look at the clock */
static bool over_time(struct limit *m)
{
	uint64_t wall = clock_ns(CLOCK_MONOTONIC), spent;

	if (!m->in_call || m->expired)
		return m->expired;
	if (!m->clock_runs) {
		m->clock_runs = true;
		m->wall_end = wall + m->time_ns;
		m->cpu_start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		return false;
	}
	if (wall < m->wall_end)
		return false;
	spent = clock_ns(CLOCK_THREAD_CPUTIME_ID) - m->cpu_start;
	if (spent < m->time_ns) { /* others had the processor */
		m->wall_end = wall + m->time_ns - spent;
		return false;
	}
	m->expired = true;
	return true;
}

/** worked - false when time is over */
static bool worked(struct limit *m, size_t n)
{
	m->work += n;
	if (m->work < WORK_UNITS && !m->expired)
		return true;
	m->work = 0;
	return !over_time(m);
}

/** note_where - the innermost line of Lua, without allocating */
static void note_where(lua_State *L, struct limit *m)
{
	lua_Debug ar;

	for (int level = 0; lua_getstack(L, level, &ar); level++) {
		if (lua_getinfo(L, "Sl", &ar) && ar.currentline > 0) {
			snprintf(m->where, sizeof(m->where), "%s:%d: ", ar.short_src,
				 ar.currentline);
			return;
		}
	}
}

/** may_grow - by @more bytes */
static bool may_grow(struct limit *m, size_t more)
{
	size_t room = m->total > m->used ? m->total - m->used : 0;

	if (m->in_call && !worked(m, 1 + more / BYTES_PER_WORK))
		return false;
	if (m->in_call && m->used > m->base) {
		size_t grown = m->used - m->base;
		size_t left = m->per_call > grown ? m->per_call - grown : 0;

		room = left < room ? left : room;
	} else if (m->in_call && m->per_call < room) {
		room = m->per_call;
	}
	return more <= room;
}

void *limit_alloc(void *limit, void *ptr, size_t old, size_t size)
{
	struct script *s = limit;
	struct limit *m = &s->limit;
	void *p;

	old = ptr ? old : 0; /* else it is the kind of the new object */
	if (!size) {
		free(ptr);
		m->used -= old;
		return NULL;
	}
	if (size > old && !may_grow(m, size - old)) {
		if (s->thread[0] && !m->placed)
			note_where(s->thread[s->depth ? s->depth - 1 : 0], m);
		m->placed = m->expired;
		return NULL;
	}
	p = realloc(ptr, size);
	if (!p && size <= old)
		p = ptr; /* Lua counts on it that nothing fails to shrink */
	if (p)
		m->used += size - old;
	return p;
}

static int raise_timeout(lua_State *L)
{
	struct limit *m = &script_of(L)->limit;

	if (!m->placed)
		note_where(L, m);
	m->placed = true;
	lua_pushnil(L); /* the text is made where it is said */
	return lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	if (!worked(&script_of(L)->limit, INSTRUCTION_WORK))
		raise_timeout(L);
}

void limit_install(struct script *s)
{
	*(struct script **)lua_getextraspace(s->thread[0]) = s;
	lua_sethook(s->thread[0], on_count, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
}

bool limit_work_left(lua_State *L, size_t n)
{
	struct limit *m = &script_of(L)->limit;

	return !m->in_call || worked(m, n);
}

void limit_work(lua_State *L, size_t n)
{
	if (!limit_work_left(L, n))
		raise_timeout(L);
}

void limit_rethrow(lua_State *L)
{
	if (script_of(L)->limit.expired)
		raise_timeout(L);
}

/* --- a call, and how it fails -------------------------------------------------------------- */

/** has_place - @text begins with the name of a file that is running, and a line */
static bool has_place(lua_State *L, const char *text)
{
	lua_Debug ar;

	for (int level = 0; lua_getstack(L, level, &ar); level++) {
		size_t len;

		lua_getinfo(L, "S", &ar);
		len = strlen(ar.short_src);
		if (!strncmp(text, ar.short_src, len) && text[len] == ':' &&
		    isdigit((unsigned char)text[len + 1]))
			return true;
	}
	return false;
}

/** at_error - runs where the error is: makes it a text that begins with script:line */
static int at_error(lua_State *L)
{
	const char *text = lua_tostring(L, 1);
	struct limit place = {0};

	if (script_of(L)->limit.expired)
		return 1;
	if (!text)
		text = lua_pushfstring(L, "an error that is a %s", luaL_typename(L, 1));
	if (!has_place(L, text))
		note_where(L, &place);
	lua_pushfstring(L, "%s%s", place.where, text);
	return 1;
}

static void limit_begin(struct limit *m)
{
	m->base = m->used;
	m->in_call = true;
	m->expired = m->placed = m->clock_runs = false;
	m->work = 0;
	m->where[0] = 0;
}

/** describe - why the call failed; its error is at the top of the stack */
static void describe(struct script *s, lua_State *L, int status, char *text, size_t size)
{
	struct limit *m = &s->limit;
	const char *said = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;

	if (m->expired)
		snprintf(text, size, "%stimeout: more than %llu ms", m->where,
			 (unsigned long long)(m->time_ns / 1000000));
	else if (status == LUA_ERRMEM)
		snprintf(text, size, "%snot enough memory: the call or the script is at its limit",
			 m->where);
	else
		snprintf(text, size, "%s", said ? said : "an error while an error was handled");
}

/** protected - 0, or -1 with why in @text */
static int protected(struct script *s, lua_CFunction fn, void *arg, char *text, size_t size)
{
	struct script_flow *at = s->at;
	lua_State *L;
	int status;

	if (s->depth == SCRIPT_DEPTH) {
		snprintf(text, size, "calls are nested too deeply");
		return -1;
	}
	L = s->thread[s->depth++];
	if (s->depth == 1)
		limit_begin(&s->limit);
	lua_settop(L, 0);
	lua_pushcfunction(L, at_error);
	lua_pushcfunction(L, fn);
	lua_pushlightuserdata(L, arg);
	status = lua_pcall(L, 1, 0, 1);
	if (status != LUA_OK)
		describe(s, L, status, text, size);
	lua_settop(L, 0);
	s->at = at;
	if (!--s->depth)
		s->limit.in_call = s->limit.expired = false;
	return status == LUA_OK ? 0 : -1;
}

int script_call(struct script *s, struct weir_flow *f, lua_CFunction fn, void *arg)
{
	char text[MESSAGE_MAX];

	s->calls++;
	if (!protected(s, fn, arg, text, sizeof(text)))
		return 0;
	complain(&s->complaints, s->host, s->ref, f, text);
	return -1;
}

int script_start(struct script *s, lua_CFunction fn, void *arg, char *err, size_t size)
{
	size_t per_call = s->limit.per_call;
	uint64_t time_ns = s->limit.time_ns, least = s->locked ? RESTART_NS : START_NS;
	int rc;

	s->limit.per_call = s->limit.total;
	s->limit.time_ns = time_ns > least ? time_ns : least;
	rc = protected(s, fn, arg, err, size);
	s->limit.per_call = per_call;
	s->limit.time_ns = time_ns;
	return rc;
}

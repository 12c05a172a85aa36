/* SPDX-License-Identifier: MIT */
/*
 * lua: a hook whose callbacks are functions of a Lua script. See docs/weir-lua.3.scd.
 *
 * Every callback goes the same way: a struct call on the stack, script_call() with a function that
 * pushes the arguments and reads the results, all in Lua's protected mode, and the answer from the
 * struct. Where the script defines no such function, no state of Lua's is touched.
 */
#include "lua_hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEMORY_DEFAULT (16u << 20)
#define TOTAL_DEFAULT  (64u << 20)
#define TOTAL_MIN      (256u << 10)
#define TOTAL_MAX      (UINT64_C(4) << 30)
#define TIME_DEFAULT   UINT64_C(50000000)
#define TIME_MIN       UINT64_C(100000)
#define TIME_MAX       UINT64_C(10000000000)

const char *const script_event_names[SCRIPT_EVENTS] = {
	"flow_open",	"payload",    "datagram", "half_close",
	"name_learned", "flow_close", "listen",	  "reload",
};

/** struct call - an event on its way into the script, and its answer on the way back */
struct call {
	struct script *s;
	struct weir_flow *f;
	enum script_event event;
	const void *what; /* the callback's own argument */
	const char *field, *value;
	int64_t answer;
};

/* --- answers ----------------------------------------------------------------------------- */

enum word { WORD_PASS, WORD_BLOCK, WORD_DROP, WORD_PEND, WORD_HOLD, WORD_REPLACE, WORD_NONE };

/** wrong - raise an error that names where the function begins whose answer it was */
static int wrong(lua_State *L, const struct call *c, const char *what)
{
	lua_Debug ar;

	lua_rawgeti(L, LUA_REGISTRYINDEX, c->s->fn[c->event]);
	lua_getinfo(L, ">S", &ar);
	lua_pushfstring(L, "%s:%d: %s() %s", ar.short_src, ar.linedefined,
			script_event_names[c->event], what);
	return lua_error(L);
}

/** take_word - the answer at stack index 2, where it is nil or one of the first @n words */
static enum word take_word(lua_State *L, const struct call *c, enum word n)
{
	static const char *const words[] = {"pass", "block", "drop", "pend", "hold", "replace"};
	const char *text;

	if (lua_isnil(L, 2))
		return WORD_PASS;
	text = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
	for (int w = 0; text && w < (int)n; w++)
		if (!strcmp(text, words[w]))
			return (enum word)w;
	wrong(L, c, lua_pushfstring(L, "answered %s, which it cannot", luaL_tolstring(L, 2, NULL)));
	return WORD_NONE;
}

static int64_t verdict(enum word w)
{
	switch (w) {
	case WORD_PASS:
		return WEIR_PASS;
	case WORD_DROP:
		return WEIR_DROP;
	case WORD_PEND:
		return WEIR_PEND;
	default:
		return WEIR_BLOCK;
	}
}

/** replace_all - by the text at index 3; drop is to replace by nothing */
static void replace_all(lua_State *L, const struct call *c, size_t len, bool drop)
{
	const char *text = "";
	size_t n = 0;
	int rc;

	if (!drop) {
		if (lua_type(L, 3) != LUA_TSTRING)
			wrong(L, c, "answered \"replace\" without a string");
		text = lua_tolstring(L, 3, &n);
	}
	rc = c->s->host->replace(c->f, 0, len, text, n);
	if (rc)
		wrong(L, c, rc == -EINVAL ? "has replaced parts before all" : strerror(-rc));
}

/** payload_answer - of the two results at 2 and 3 */
static int64_t payload_answer(lua_State *L, const struct call *c, size_t len)
{
	enum word w;

	if (lua_isinteger(L, 2)) {
		lua_Integer n = lua_tointeger(L, 2);

		if (n < 0 || (size_t)n > len)
			wrong(L, c,
			      lua_pushfstring(L, "accepted %I of %I bytes", (LUAI_UACINT)n,
					      (LUAI_UACINT)len));
		return n;
	}
	w = take_word(L, c, WORD_NONE);
	switch (w) {
	case WORD_PASS:
		return (int64_t)len;
	case WORD_HOLD:
		return 0;
	case WORD_DROP:
	case WORD_REPLACE:
		replace_all(L, c, len, w == WORD_DROP);
		return (int64_t)len;
	default:
		return verdict(w);
	}
}

static int64_t datagram_answer(lua_State *L, const struct call *c, size_t len)
{
	enum word w = lua_type(L, 2) == LUA_TSTRING && !strcmp(lua_tostring(L, 2), "replace")
			      ? WORD_REPLACE
			      : take_word(L, c, WORD_HOLD);

	if (w != WORD_REPLACE)
		return verdict(w);
	replace_all(L, c, len, false);
	return WEIR_PASS;
}

/* --- inside Lua --------------------------------------------------------------------------------
 */

/** begin - clears the stack, so that results lie at 2 and 3; pushes the function and the flow */
static struct script_flow *begin(lua_State *L, struct call *c)
{
	struct script_flow *sf = NULL;

	lua_settop(L, 1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->s->fn[c->event]);
	if (c->f) {
		sf = flow_push(L, c->f);
		sf->block = false;
		c->s->at = sf;
	}
	return sf;
}

static int in_flow_open(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);

	begin(L, c);
	lua_call(L, 1, 1);
	c->answer = verdict(take_word(L, c, WORD_HOLD));
	return 0;
}

static int in_payload(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);
	const struct weir_payload *p = c->what;
	struct script_flow *sf = begin(L, c);

	sf->edits = true;
	sf->shown = p->len;
	dir_push(L, p->dir);
	lua_pushlstring(L, (const char *)p->data, p->len);
	lua_pushboolean(L, (p->flags & WEIR_LAST) != 0);
	lua_call(L, 4, 2);
	c->answer = payload_answer(L, c, p->len);
	return 0;
}

static int in_datagram(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);
	const struct weir_datagram *d = c->what;
	struct script_flow *sf = begin(L, c);

	sf->edits = true;
	sf->shown = d->len;
	dir_push(L, d->dir);
	lua_pushlstring(L, (const char *)d->data, d->len);
	lua_call(L, 3, 2);
	c->answer = datagram_answer(L, c, d->len);
	return 0;
}

static int in_half_close(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);

	begin(L, c);
	dir_push(L, *(const enum weir_dir *)c->what);
	lua_call(L, 2, 0);
	return 0;
}

static int in_name_learned(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);
	bool wanted = c->s->fn[c->event] != LUA_NOREF;

	begin(L, c);
	flow_name(L, c->field, c->value);
	if (!wanted)
		return 0;
	lua_pushstring(L, c->field);
	lua_pushstring(L, c->value);
	lua_call(L, 3, 0);
	return 0;
}

static int in_flow_close(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);

	begin(L, c);
	lua_call(L, 1, 0);
	return 0;
}

static int in_listen(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);
	const struct weir_listen *l = c->what;

	begin(L, c);
	lua_newtable(L);
	proto_push(L, l->proto);
	lua_setfield(L, -2, "proto");
	lua_pushboolean(L, l->ended);
	lua_setfield(L, -2, "ended");
	lua_pushstring(L, l->at.ip);
	lua_setfield(L, -2, "ip");
	lua_pushinteger(L, l->at.port);
	lua_setfield(L, -2, "port");
	owner_push(L, l->owner);
	lua_setfield(L, -2, "owner");
	lua_call(L, 1, 1);
	c->answer = verdict(take_word(L, c, WORD_DROP));
	return 0;
}

/** event - the answer of the script, or WEIR_ERROR; a block() that came from inside goes first */
static int64_t event(struct call *c, lua_CFunction fn)
{
	int rc = script_call(c->s, c->f, fn, c);
	struct script_flow *sf = c->f ? c->s->host->data(c->f) : NULL;

	if (sf) {
		sf->edits = false;
		sf->shown = 0;
	}
	if (rc)
		return WEIR_ERROR;
	return sf && sf->block ? WEIR_BLOCK : c->answer;
}

/* --- callbacks ----------------------------------------------------------------------------------
 */

static bool defines(const struct script *s, enum script_event ev)
{
	return s->fn[ev] != LUA_NOREF;
}

/** looks_further - the script wants to hear of a flow between its beginning and its end */
static bool looks_further(const struct script *s)
{
	return defines(s, SCRIPT_PAYLOAD) || defines(s, SCRIPT_DATAGRAM) ||
	       defines(s, SCRIPT_HALF_CLOSE) || defines(s, SCRIPT_NAME_LEARNED);
}

static int hook_flow_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct call c = {.s = state, .f = f, .event = SCRIPT_FLOW_OPEN, .what = info};
	int64_t answer = WEIR_PASS;

	if (defines(state, c.event))
		answer = event(&c, in_flow_open);
	if (answer == WEIR_PASS && !looks_further(state))
		c.s->host->done(f);
	return (int)answer;
}

static int64_t hook_payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct call c = {.s = state, .f = f, .event = SCRIPT_PAYLOAD, .what = p};

	return defines(state, c.event) ? event(&c, in_payload) : (int64_t)p->len;
}

static int hook_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct call c = {.s = state, .f = f, .event = SCRIPT_DATAGRAM, .what = d};

	return defines(state, c.event) ? (int)event(&c, in_datagram) : WEIR_PASS;
}

/** told - an event without an answer: a block(), or an error, ends the flow all the same */
static void told(struct call *c, lua_CFunction fn)
{
	int64_t answer = event(c, fn);

	if (answer != WEIR_PASS)
		c->s->host->decide(c->f, (int)answer);
}

static void hook_half_close(void *state, struct weir_flow *f, enum weir_dir dir)
{
	struct call c = {.s = state, .f = f, .event = SCRIPT_HALF_CLOSE, .what = &dir};

	if (defines(state, c.event))
		told(&c, in_half_close);
}

static void hook_name_learned(void *state, struct weir_flow *f, const char *field,
			      const char *value)
{
	struct call c = {
		.s = state, .f = f, .event = SCRIPT_NAME_LEARNED, .field = field, .value = value};

	told(&c, in_name_learned);
}

static void hook_flow_close(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct script *s = state;
	struct call c = {.s = s, .f = f, .event = SCRIPT_FLOW_CLOSE, .what = info};

	if (defines(s, c.event)) {
		s->at_close = info;
		event(&c, in_flow_close);
		s->at_close = NULL;
	}
	flow_ended(s, f);
}

static int hook_listen(void *state, const struct weir_listen *l)
{
	struct call c = {.s = state, .event = SCRIPT_LISTEN, .what = l};

	return defines(state, c.event) ? (int)event(&c, in_listen) : WEIR_PASS;
}

static void hook_report(void *state, char *line, size_t size)
{
	const struct script *s = state;

	snprintf(line, size, "%s: %llu calls, %llu errors, %zu KiB", s->path,
		 (unsigned long long)s->calls, (unsigned long long)s->complaints.count,
		 s->limit.used >> 10);
}

/* --- from the start to the end -------------------------------------------------------------------
 */

static void script_free(struct script *s)
{
	if (s->thread[0]) {
		timers_stop(s, NULL);
		lua_close(s->thread[0]);
	}
	load_free(s);
	free(s->path);
	free(s->dir);
	free(s);
}

/** prepare - what every run of the script finds in the state */
static int prepare(lua_State *L)
{
	struct script *s = lua_touserdata(L, 1);

	for (unsigned i = 1; i < SCRIPT_DEPTH; i++) {
		s->thread[i] = lua_newthread(L);
		luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_newtable(L);
	s->settings = luaL_ref(L, LUA_REGISTRYINDEX);
	flow_prepare(L);
	timers_prepare(L);
	return 0;
}

static void *hook_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct script *s = calloc(1, sizeof(*s));
	char text[256];

	*err = "out of memory";
	if (!s)
		return NULL;
	s->host = host;
	s->ref = ref;
	s->limit.per_call = MEMORY_DEFAULT;
	s->limit.total = TOTAL_DEFAULT;
	s->limit.time_ns = TIME_DEFAULT;
	s->env = s->former = s->settings = LUA_NOREF;
	for (int ev = 0; ev < SCRIPT_EVENTS; ev++)
		s->fn[ev] = LUA_NOREF;
	STAILQ_INIT(&s->files);
	s->thread[0] = lua_newstate(limit_alloc, s);
	if (!s->thread[0]) {
		script_free(s);
		return NULL;
	}
	limit_install(s);
	if (script_start(s, prepare, s, text, sizeof(text))) {
		script_free(s);
		return NULL;
	}
	return s;
}

struct setting {
	struct script *s;
	const char *key, *value;
};

static int keep_setting(lua_State *L)
{
	const struct setting *set = lua_touserdata(L, 1);

	lua_rawgeti(L, LUA_REGISTRYINDEX, set->s->settings);
	lua_pushstring(L, set->value);
	lua_setfield(L, -2, set->key);
	return 0;
}

static int config_size(size_t *where, const char *value, const char **err)
{
	uint64_t n = parse_size(value, TOTAL_MIN, TOTAL_MAX);

	*err = "wants a size from 256kb to 4gb";
	*where = n ? n : *where;
	return n ? 0 : -1;
}

static int set_path(struct script *s, const char *value, const char **err)
{
	const char *slash = strrchr(value, '/');

	if (s->path) {
		*err = "one script for each --hook lua=";
		return -1;
	}
	s->path = strdup(value);
	s->dir = strndup(value, slash ? (size_t)(slash - value) + 1 : 0);
	*err = "out of memory";
	return s->path && s->dir ? 0 : -1;
}

static int hook_config(void *state, const char *key, const char *value, const char **err)
{
	struct script *s = state;
	struct setting set = {s, key, value};
	char text[256];

	if (!strcmp(key, "script"))
		return set_path(s, value, err);
	if (!strcmp(key, "memory"))
		return config_size(&s->limit.per_call, value, err);
	if (!strcmp(key, "memory-total"))
		return config_size(&s->limit.total, value, err);
	if (!strcmp(key, "timeout")) {
		s->limit.time_ns = parse_time(value, TIME_MIN, TIME_MAX);
		*err = "wants a time from 100us to 10s";
		return s->limit.time_ns ? 0 : -1;
	}
	*err = "out of memory";
	return script_start(s, keep_setting, &set, text, sizeof(text));
}

static int hook_ready(void *state, const char **err)
{
	static char text[512]; /* the host reads it before it calls anything else */
	struct script *s = state;

	if (!s->path) {
		*err = "needs a script: lua=FILE";
		return -1;
	}
	tzset(); /* os.date() would read the zone's file when it is called first */
	*err = "its path is too long";
	if (absolute_path(s->dir, s->reach, sizeof(s->reach)))
		return -1;
	*err = text;
	return load_first(s, text, sizeof(text));
}

static void hook_locked(void *state)
{
	struct script *s = state;

	s->locked = true;
}

static void hook_unload(void *state)
{
	script_free(state);
}

static void hook_reload(void *state)
{
	load_again(state);
}

/** hook_paths - the script's directory: after a reload it may require other modules */
static const char *hook_paths(void *state)
{
	const struct script *s = state;

	return s->reach;
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "lua",
	.wants = WEIR_WANTS_PAYLOAD | WEIR_WANTS_DATAGRAMS | WEIR_WANTS_NAMES | WEIR_WANTS_LISTENS,
	.help = "a script in Lua decides: lua=FILE[,memory=16mb][,timeout=50ms][,KEY=VALUE...]",
	.default_key = "script",
	.load = hook_load,
	.config = hook_config,
	.ready = hook_ready,
	.locked = hook_locked,
	.unload = hook_unload,
	.reload = hook_reload,
	.listen = hook_listen,
	.flow_open = hook_flow_open,
	.payload = hook_payload,
	.datagram = hook_datagram,
	.half_close = hook_half_close,
	.name_learned = hook_name_learned,
	.flow_close = hook_flow_close,
	.report = hook_report,
	.paths = hook_paths,
};

WEIR_HOOK(hook)

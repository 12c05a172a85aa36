/* SPDX-License-Identifier: MIT */
/*
 * lua_string: the tables string and table, of functions that cannot run for ever.
 *
 * find, match, gmatch and gsub use lua_pattern.c; rep and sort are our own. The other functions of
 * the library whose work grows with their arguments are called through measured(), which reports
 * how much there is to do before it is done. What would be more than WORK_MAX is refused.
 */
#include "lua_hook.h"

#include <lualib.h>
#include <string.h>

#include "lua_pattern.h"

#define WORK_MAX (4u << 20) /* some tens of milliseconds */

/* --- patterns --------------------------------------------------------------------------- */

static bool may_go_on(void *L)
{
	return limit_work_left(L, PATTERN_STEPS);
}

/** match_begin - subject and pattern from arguments 1 and 2; true: it is anchored */
static bool match_begin(lua_State *L, struct pattern_match *m)
{
	size_t n_subject, n_pattern;
	const char *subject = luaL_checklstring(L, 1, &n_subject);
	const char *pattern = luaL_checklstring(L, 2, &n_pattern);
	bool anchored = n_pattern && *pattern == '^';

	memset(m, 0, sizeof(*m));
	m->subject = subject;
	m->subject_end = subject + n_subject;
	m->pattern = pattern + anchored;
	m->pattern_end = pattern + n_pattern;
	m->may_go_on = may_go_on;
	m->ctx = L;
	return anchored;
}

/** match_at - as pattern_match_at(); what is wrong becomes an error of Lua's */
static const char *match_at(lua_State *L, struct pattern_match *m, const char *s)
{
	const char *e = pattern_match_at(m, s);

	if (m->error) {
		limit_rethrow(L);
		luaL_error(L, "%s", m->error);
	}
	return e;
}

/** push_capture - number @k of the match [@s, @e), which is the whole where there are none */
static void push_capture(lua_State *L, const struct pattern_match *m, unsigned k, const char *s,
			 const char *e)
{
	const struct pattern_capture *c = &m->capture[k];

	if (k >= m->n_captures && k)
		luaL_error(L, "invalid capture index %%%d", (int)k + 1);
	else if (k >= m->n_captures)
		lua_pushlstring(L, s, (size_t)(e - s));
	else if (c->len == CAPTURE_OPEN)
		luaL_error(L, "unfinished capture");
	else if (c->len == CAPTURE_PLACE)
		lua_pushinteger(L, c->at - m->subject + 1);
	else
		lua_pushlstring(L, c->at, (size_t)c->len);
}

/** push_captures - all; @whole: the match where there are none */
static int push_captures(lua_State *L, const struct pattern_match *m, bool whole, const char *s,
			 const char *e)
{
	unsigned n = m->n_captures ? m->n_captures : whole;

	luaL_checkstack(L, (int)n, "too many captures");
	for (unsigned k = 0; k < n; k++)
		push_capture(L, m, k, s, e);
	return (int)n;
}

/** start_at - the place from which argument @arg (default 1) wants to search; NULL: behind the end
 */
static const char *start_at(lua_State *L, int arg, const struct pattern_match *m)
{
	lua_Integer init = luaL_optinteger(L, arg, 1), len = m->subject_end - m->subject;

	if (init < 0)
		init = init < -len ? 1 : len + init + 1;
	else if (init == 0)
		init = 1;
	return init > len + 1 ? NULL : m->subject + (init - 1);
}

static int find_plain(lua_State *L, const char *from, const struct pattern_match *m, size_t skipped)
{
	const char *pattern = m->pattern - skipped;
	size_t n = (size_t)(m->pattern_end - pattern);
	size_t len = (size_t)(m->subject_end - from);
	const char *at;

	limit_work(L, len / 16);
	at = n ? memmem(from, len, pattern, n) : from;
	if (!at) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, at - m->subject + 1);
	lua_pushinteger(L, at - m->subject + (lua_Integer)n);
	return 2;
}

/** search - find (@places) and match */
static int search(lua_State *L, bool places)
{
	struct pattern_match m;
	bool anchored = match_begin(L, &m);
	const char *s = start_at(L, 3, &m), *e = NULL;

	if (s && places &&
	    (lua_toboolean(L, 4) ||
	     pattern_is_plain(m.pattern - anchored,
			      (size_t)(m.pattern_end - m.pattern) + anchored)))
		return find_plain(L, s, &m, anchored);
	for (; s && s <= m.subject_end; s++) {
		e = match_at(L, &m, s);
		if (e || anchored)
			break;
	}
	if (!e) {
		lua_pushnil(L);
		return 1;
	}
	if (!places)
		return push_captures(L, &m, true, s, e);
	lua_pushinteger(L, s - m.subject + 1);
	lua_pushinteger(L, e - m.subject);
	return push_captures(L, &m, false, s, e) + 2;
}

static int str_find(lua_State *L)
{
	return search(L, true);
}

static int str_match(lua_State *L)
{
	return search(L, false);
}

/** gmatch_next - upvalues: subject, pattern, where to go on, where the last match ended (0: none)
 */
static int gmatch_next(lua_State *L)
{
	struct pattern_match m;
	lua_Integer from = lua_tointeger(L, lua_upvalueindex(3));
	lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));

	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, lua_upvalueindex(2));
	if (match_begin(L, &m))
		m.pattern--; /* here ^ has no meaning of its own */
	for (const char *s = m.subject + from - 1; s <= m.subject_end; s++) {
		const char *e = match_at(L, &m, s);

		if (e && e - m.subject + 1 != last) {
			lua_pushinteger(L, e - m.subject + 1);
			lua_pushvalue(L, -1);
			lua_replace(L, lua_upvalueindex(3));
			lua_replace(L, lua_upvalueindex(4));
			return push_captures(L, &m, true, s, e);
		}
	}
	lua_pushinteger(L, m.subject_end - m.subject + 2);
	lua_replace(L, lua_upvalueindex(3));
	return 0;
}

static int str_gmatch(lua_State *L)
{
	struct pattern_match m;
	const char *from;

	match_begin(L, &m);
	from = start_at(L, 3, &m);
	lua_settop(L, 2);
	lua_pushinteger(L, (from ? from : m.subject_end + 1) - m.subject + 1);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, gmatch_next, 4);
	return 1;
}

/** add_template - the replacement with %0 to %9 filled in */
static void add_template(lua_State *L, luaL_Buffer *out, const struct pattern_match *m,
			 const char *s, const char *e)
{
	size_t n;
	const char *t = lua_tolstring(L, 3, &n), *end = t + n;

	while (t < end) {
		const char *percent = memchr(t, '%', (size_t)(end - t));

		luaL_addlstring(out, t, (size_t)((percent ? percent : end) - t));
		if (!percent)
			return;
		t = percent + 1;
		if (t < end && *t == '%') {
			luaL_addchar(out, '%');
		} else if (t < end && *t == '0') {
			luaL_addlstring(out, s, (size_t)(e - s));
		} else if (t < end && *t >= '1' && *t <= '9') {
			push_capture(L, m, (unsigned)(*t - '1'), s, e);
			luaL_tolstring(L, -1, NULL); /* a place is a number */
			lua_remove(L, -2);
			luaL_addvalue(out);
		} else {
			luaL_error(L, "invalid use of '%%' in replacement string");
		}
		t++;
	}
}

/** add_replacement - what argument 3 makes of the match [@s, @e) */
static void add_replacement(lua_State *L, luaL_Buffer *out, const struct pattern_match *m,
			    const char *s, const char *e)
{
	switch (lua_type(L, 3)) {
	case LUA_TFUNCTION:
		lua_pushvalue(L, 3);
		lua_call(L, push_captures(L, m, true, s, e), 1);
		break;
	case LUA_TTABLE:
		push_capture(L, m, 0, s, e);
		lua_gettable(L, 3);
		break;
	default:
		add_template(L, out, m, s, e);
		return;
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		luaL_addlstring(out, s, (size_t)(e - s)); /* keeps what was there */
	} else if (lua_isstring(L, -1)) {
		luaL_addvalue(out);
	} else {
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	}
}

static int str_gsub(lua_State *L)
{
	struct pattern_match m;
	bool anchored = match_begin(L, &m);
	const char *s = m.subject, *last = NULL;
	int type = lua_type(L, 3);
	lua_Integer n = 0, max = luaL_optinteger(L, 4, m.subject_end - s + 1);
	luaL_Buffer out;

	luaL_argexpected(L,
			 type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
				 type == LUA_TTABLE,
			 3, "string/function/table");
	luaL_buffinit(L, &out);
	while (n < max) {
		const char *e = match_at(L, &m, s);

		if (e && e != last) {
			n++;
			add_replacement(L, &out, &m, s, e);
			s = last = e;
		} else if (s < m.subject_end) {
			luaL_addchar(&out, *s++);
		} else {
			break;
		}
		if (anchored)
			break;
	}
	luaL_addlstring(&out, s, (size_t)(m.subject_end - s));
	luaL_pushresult(&out);
	lua_pushinteger(L, n);
	return 2;
}

/* --- other functions that are our own ------------------------------------------------------ */

/** str_rep - by doubling: the library's copies byte by byte what is one byte long */
static int str_rep(lua_State *L)
{
	size_t len, n_sep, total, have;
	const char *text = luaL_checklstring(L, 1, &len);
	lua_Integer n = luaL_checkinteger(L, 2);
	const char *sep = luaL_optlstring(L, 3, "", &n_sep);
	luaL_Buffer out;
	char *p;

	if (n <= 0 || len + n_sep == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if (__builtin_mul_overflow((size_t)n, len + n_sep, &total) || total > PTRDIFF_MAX)
		return luaL_error(L, "resulting string too large");
	total -= n_sep;
	p = luaL_buffinitsize(L, &out, total + n_sep);
	memcpy(p, text, len);
	if (n_sep)
		memcpy(p + len, sep, n_sep);
	for (have = len + n_sep; have < total; have *= 2)
		memcpy(p + have, p, have < total - have ? have : total - have);
	luaL_pushresultsize(&out, total);
	return 1;
}

/** less_than - what table.sort() compares by where it is given nothing, in sight of the clock */
static int less_than(lua_State *L)
{
	limit_work(L, 4);
	lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
	return 1;
}

/** table_size - of argument @arg; one that answers # itself could answer anything */
static size_t table_size(lua_State *L, int arg)
{
	if (luaL_getmetafield(L, arg, "__len"))
		luaL_argerror(L, arg, "a table with __len is not taken here");
	return lua_rawlen(L, arg);
}

static int table_sort(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	limit_work(L, table_size(L, 1));
	lua_settop(L, 2);
	if (lua_isnil(L, 2)) {
		lua_pushcfunction(L, less_than);
		lua_replace(L, 2);
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 2, 0);
	return 0;
}

static int table_move(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3);

	if (to >= from) {
		if ((lua_Unsigned)to - (lua_Unsigned)from >= WORK_MAX)
			return luaL_error(L, "too many elements to move");
		limit_work(L, (size_t)(to - from));
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

/* --- functions of the library, measured ------------------------------------------------------- */

/** measured - upvalue 1 with the same arguments, of which the size is the work */
static int measured(lua_State *L)
{
	size_t work = 1;

	for (int i = 1; i <= lua_gettop(L); i++) {
		if (lua_type(L, i) == LUA_TSTRING)
			work += lua_rawlen(L, i) / 8;
		else if (lua_type(L, i) == LUA_TTABLE && i == 1)
			work += table_size(L, i);
	}
	if (work > WORK_MAX)
		return luaL_error(L, "too much in one call");
	limit_work(L, work);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

/** wrap - field @name of the library at @from, through @fn, into the table at the top */
static void wrap(lua_State *L, int from, const char *name, lua_CFunction fn)
{
	lua_getfield(L, from, name);
	lua_pushcclosure(L, fn, 1);
	lua_setfield(L, -2, name);
}

void measured_push(lua_State *L, int from, const char *const *names)
{
	for (; *names; names++)
		wrap(L, from, *names, measured);
}

void string_push(lua_State *L)
{
	static const luaL_Reg own[] = {
		{"find", str_find}, {"match", str_match}, {"gmatch", str_gmatch},
		{"gsub", str_gsub}, {"rep", str_rep},	  {NULL, NULL},
	};
	static const char *const theirs[] = {"byte",	 "char",    "format", "lower", "pack",
					     "packsize", "reverse", "unpack", "upper", NULL};
	int library;

	lua_pushcfunction(L, luaopen_string);
	lua_call(L, 0, 1);
	library = lua_gettop(L);
	luaL_newlib(L, own);
	measured_push(L, library, theirs);
	lua_getfield(L, library, "len"); /* constant work, or a copy that memory is asked for */
	lua_setfield(L, -2, "len");
	lua_getfield(L, library, "sub");
	lua_setfield(L, -2, "sub");
	lua_remove(L, library);
}

void table_push(lua_State *L)
{
	static const char *const theirs[] = {"concat", "insert", "pack", "remove", "unpack", NULL};
	int library;

	lua_pushcfunction(L, luaopen_table);
	lua_call(L, 0, 1);
	library = lua_gettop(L);
	lua_newtable(L);
	measured_push(L, library, theirs);
	wrap(L, library, "sort", table_sort);
	wrap(L, library, "move", table_move);
	lua_remove(L, library);
}

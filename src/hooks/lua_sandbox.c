/* SPDX-License-Identifier: MIT */
/*
 * lua_sandbox: what a script finds in its environment.
 *
 * Each run of the script has an environment of its own, filled by copying functions one by one:
 * what is not named here is not there. No files, no programs, no loading of code but by
 * require(), no debug library. Functions that catch errors let those of limits go on; there are
 * no finalizers, since Lua runs them where no debug hook can stop them.
 */
#include "lua_hook.h"

#include <lualib.h>
#include <string.h>
#include <time.h>

/* --- functions that catch errors -------------------------------------------------------- */

/** caught - what pcall() and xpcall() return; @below: how much of the stack is not theirs */
static int caught(lua_State *L, int status, lua_KContext below)
{
	limit_rethrow(L);
	lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
	lua_insert(L, (int)below + 1);
	return lua_gettop(L) - (int)below;
}

static int base_pcall(lua_State *L)
{
	luaL_checkany(L, 1);
	return caught(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, caught), 0);
}

static int base_xpcall(lua_State *L)
{
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushvalue(L, 1);
	lua_remove(L, 1);
	lua_insert(L, 2); /* handler, function, arguments */
	return caught(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 1, caught), 1);
}

/** catching - upvalue 1, a function that returns false and the error */
static int catching(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	limit_rethrow(L);
	return lua_gettop(L);
}

/* --- others that are our own ---------------------------------------------------------------- */

static int base_setmetatable(lua_State *L)
{
	int type = lua_type(L, 2);

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
	if (luaL_getmetafield(L, 1, "__metatable"))
		return luaL_error(L, "cannot change a protected metatable");
	lua_settop(L, 2);
	if (type == LUA_TTABLE) {
		lua_pushliteral(L, "__gc");
		if (lua_rawget(L, 2) != LUA_TNIL)
			return luaL_error(L, "there are no finalizers here (__gc)");
		lua_pop(L, 1);
	}
	lua_setmetatable(L, 1);
	return 1;
}

static int base_collectgarbage(lua_State *L)
{
	const char *what = luaL_optstring(L, 1, "count");

	luaL_argcheck(L, !strcmp(what, "count"), 1, "only \"count\" is offered");
	lua_pushnumber(L, (lua_Number)script_of(L)->limit.used / 1024);
	return 1;
}

static int base_print(lua_State *L)
{
	struct script *s = script_of(L);
	int n = lua_gettop(L);
	luaL_Buffer out;

	luaL_buffinit(L, &out);
	for (int i = 1; i <= n; i++) {
		if (i > 1)
			luaL_addchar(&out, ' ');
		luaL_tolstring(L, i, NULL);
		luaL_addvalue(&out);
	}
	luaL_pushresult(&out);
	s->host->log(s->ref, NULL, WEIR_LOG_INFO, lua_tostring(L, -1));
	return 0;
}

static int os_time(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)time(NULL));
	return 1;
}

/** os_date - in UTC: zones are in files, which a worker cannot open */
static int os_date(lua_State *L)
{
	const char *format = luaL_optstring(L, 1, "%c");
	lua_Integer when = luaL_optinteger(L, 2, (lua_Integer)time(NULL));

	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushfstring(L, "!%s", format + (*format == '!'));
	lua_pushinteger(L, when);
	lua_call(L, 2, 1);
	return 1;
}

/* --- the environment ------------------------------------------------------------------------- */

/** copy - fields @names of the table at @from into that at the top */
static void copy(lua_State *L, int from, const char *const *names)
{
	for (; *names; names++) {
		lua_getfield(L, from, *names);
		lua_setfield(L, -2, *names);
	}
}

/** library - open one of Lua's own, to be copied from; leaves it on the stack */
static int library(lua_State *L, lua_CFunction open)
{
	lua_pushcfunction(L, open);
	lua_call(L, 0, 1);
	return lua_gettop(L);
}

/** add_base - into the environment, which is at the top */
static void add_base(lua_State *L)
{
	static const char *const theirs[] = {
		"assert", "error",  "getmetatable", "ipairs", "next", "pairs",	  "rawequal",
		"rawget", "rawlen", "rawset",	    "select", "type", "_VERSION", NULL};
	static const char *const heavy[] = {"tonumber", "tostring", NULL};
	static const luaL_Reg own[] = {
		{"pcall", base_pcall},
		{"xpcall", base_xpcall},
		{"setmetatable", base_setmetatable},
		{"collectgarbage", base_collectgarbage},
		{"print", base_print},
		{NULL, NULL},
	};
	int base = library(L, luaopen_base);

	lua_pushvalue(L, base - 1);
	copy(L, base, theirs);
	measured_push(L, base, heavy);
	luaL_setfuncs(L, own, 0);
	lua_newtable(L);
	lua_pushcclosure(L, load_require, 1);
	lua_setfield(L, -2, "require");
	lua_settop(L, base - 1);
}

static void add_coroutine(lua_State *L)
{
	static const char *const theirs[] = {"create", "isyieldable", "running", "status",
					     "wrap",   "yield",	      NULL};
	int co = library(L, luaopen_coroutine);

	lua_newtable(L);
	copy(L, co, theirs);
	lua_getfield(L, co, "resume");
	lua_pushcclosure(L, catching, 1);
	lua_setfield(L, -2, "resume");
	lua_getfield(L, co, "close");
	lua_pushcclosure(L, catching, 1);
	lua_setfield(L, -2, "close");
	lua_setfield(L, co - 1, "coroutine");
	lua_settop(L, co - 1);
}

static void add_utf8(lua_State *L)
{
	static const char *const theirs[] = {"char", "charpattern", NULL};
	static const char *const heavy[] = {"codepoint", "codes", "len", "offset", NULL};
	int utf8 = library(L, luaopen_utf8);

	lua_newtable(L);
	copy(L, utf8, theirs);
	measured_push(L, utf8, heavy);
	lua_setfield(L, utf8 - 1, "utf8");
	lua_settop(L, utf8 - 1);
}

static void add_os(lua_State *L)
{
	int os = library(L, luaopen_os);

	lua_newtable(L);
	lua_pushcfunction(L, os_time);
	lua_setfield(L, -2, "time");
	lua_getfield(L, os, "date");
	lua_pushcclosure(L, os_date, 1);
	lua_setfield(L, -2, "date");
	lua_getfield(L, os, "clock");
	lua_setfield(L, -2, "clock");
	lua_setfield(L, os - 1, "os");
	lua_settop(L, os - 1);
}

/** seal_strings - methods of strings are those of the environment's own table */
static void seal_strings(lua_State *L)
{
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	lua_getfield(L, -3, "string");
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 2);
}

void sandbox_push(lua_State *L)
{
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "_G");
	add_base(L);
	string_push(L); /* gives strings a new metatable, too */
	lua_setfield(L, -2, "string");
	seal_strings(L);
	table_push(L);
	lua_setfield(L, -2, "table");
	lua_pushcfunction(L, luaopen_math);
	lua_call(L, 0, 1);
	lua_setfield(L, -2, "math");
	add_coroutine(L);
	add_utf8(L);
	add_os(L);
	weir_push(L);
	lua_setfield(L, -2, "weir");
}

/* SPDX-License-Identifier: MIT */
/*
 * lua_json: a table of Lua's as JSON, for events in the log.
 *
 * A table with t[1] is an array, any other an object of its string keys. The text grows in a
 * userdata, so its memory is within the limits and is freed when an error is raised. Text is
 * escaped so that each byte that is not ASCII stands for the code point of its value where the text
 * is not UTF-8: the result is always valid.
 */
#include "lua_hook.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "shared_util.h"

#define DEPTH_MAX 16

/** struct out - text in the userdata at index @at of the stack */
struct out {
	lua_State *L;
	int at;
	char *text;
	size_t len, room;
};

static void add_value(struct out *out, int index, int depth);

static void add(struct out *out, const char *text, size_t n)
{
	if (out->len + n > out->room) {
		size_t room = 2 * (out->len + n) + 256;
		char *more = lua_newuserdatauv(out->L, room, 0);

		if (out->len)
			memcpy(more, out->text, out->len);
		lua_replace(out->L, out->at);
		out->text = more;
		out->room = room;
	}
	memcpy(out->text + out->len, text, n);
	out->len += n;
}

static void put(void *ctx, const char *text, size_t n)
{
	add(ctx, text, n);
}

static void add_string(struct out *out, const char *text)
{
	add(out, text, strlen(text));
}

static void add_text(struct out *out, const char *text, size_t len)
{
	limit_work(out->L, len / 8);
	json_escape(text, len, JSON_TEXT, put, out);
}

static void add_number(struct out *out, int index)
{
	lua_State *L = out->L;
	char text[64];

	if (lua_isinteger(L, index))
		snprintf(text, sizeof(text), "%lld", (long long)lua_tointeger(L, index));
	else if (isfinite(lua_tonumber(L, index)))
		snprintf(text, sizeof(text), "%.17g", lua_tonumber(L, index));
	else
		snprintf(text, sizeof(text), "null");
	add_string(out, text);
}

static void add_array(struct out *out, int index, int depth)
{
	add(out, "[", 1);
	for (lua_Integer i = 1; lua_rawgeti(out->L, index, i) != LUA_TNIL; i++) {
		if (i > 1)
			add(out, ",", 1);
		add_value(out, lua_gettop(out->L), depth + 1);
		lua_pop(out->L, 1);
	}
	lua_pop(out->L, 1);
	add(out, "]", 1);
}

static void add_object(struct out *out, int index, int depth)
{
	lua_State *L = out->L;
	bool first = true;

	add(out, "{", 1);
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		size_t len;
		const char *key;

		if (lua_type(L, -2) != LUA_TSTRING)
			continue;
		key = lua_tolstring(L, -2, &len);
		if (!first)
			add(out, ",", 1);
		first = false;
		add_text(out, key, len);
		add(out, ":", 1);
		add_value(out, lua_gettop(L), depth + 1);
	}
	add(out, "}", 1);
}

static void add_table(struct out *out, int index, int depth)
{
	lua_State *L = out->L;
	bool array = lua_rawgeti(L, index, 1) != LUA_TNIL;

	lua_pop(L, 1);
	if (depth >= DEPTH_MAX)
		luaL_error(L, "tables are nested too deeply for an event");
	luaL_checkstack(L, 8, NULL);
	if (array)
		add_array(out, index, depth);
	else
		add_object(out, index, depth);
}

static void add_value(struct out *out, int index, int depth)
{
	lua_State *L = out->L;
	const char *text;
	size_t len;

	limit_work(L, 4);
	switch (lua_type(L, index)) {
	case LUA_TBOOLEAN:
		add_string(out, lua_toboolean(L, index) ? "true" : "false");
		break;
	case LUA_TNUMBER:
		add_number(out, index);
		break;
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &len);
		add_text(out, text, len);
		break;
	case LUA_TTABLE:
		add_table(out, index, depth);
		break;
	default:
		luaL_error(L, "a %s has no place in an event", luaL_typename(L, index));
	}
}

void json_push(lua_State *L, int index)
{
	struct out out = {.L = L};

	luaL_checktype(L, index, LUA_TTABLE);
	lua_pushnil(L);
	out.at = lua_gettop(L);
	add_object(&out, index, 0);
	lua_pushlstring(L, out.text, out.len);
	lua_replace(L, out.at);
}

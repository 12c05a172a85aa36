/* SPDX-License-Identifier: MIT */
/* lua_weir: the table weir: what a script can ask of the host beside its flows. */
#include "lua_hook.h"

#include <string.h>

#define TIMERS_MAX   4096 /* of one script */
#define TIMER_MS_MAX 86400000
#define TIMER_TYPE   "weir.timer"

enum weir_log level_of(lua_State *L, int arg)
{
	static const char *const names[] = {"error", "warn", "info", "debug", NULL};

	return (enum weir_log)luaL_checkoption(L, arg, "info", names);
}

static int weir_log(lua_State *L)
{
	struct script *s = script_of(L);

	s->host->log(s->ref, NULL, level_of(L, 2), luaL_checkstring(L, 1));
	return 0;
}

static int weir_now(lua_State *L)
{
	const struct script *s = script_of(L);

	lua_pushnumber(L, (lua_Number)s->host->now(s->ref) / 1e9);
	return 1;
}

static int weir_find(lua_State *L)
{
	struct script *s = script_of(L);
	struct weir_flow *f = s->host->find(s->ref, (uint64_t)luaL_checkinteger(L, 1));

	if (f)
		flow_push(L, f);
	else
		lua_pushnil(L);
	return 1;
}

/* --- timers --------------------------------------------------------------------------------- */

/** disarm - forget the host's timer; the userdata is Lua's alone again */
static void disarm(lua_State *L, struct script_timer *t)
{
	t->timer = NULL;
	LIST_REMOVE(t, next);
	t->script->n_timers--;
	luaL_unref(L, LUA_REGISTRYINDEX, t->anchor);
}

struct firing {
	struct script_timer *t;
	bool taken; /* it is disarmed */
};

static int run_timer(lua_State *L)
{
	struct firing *firing = lua_touserdata(L, 1);

	lua_rawgeti(L, LUA_REGISTRYINDEX, firing->t->anchor);
	disarm(L, firing->t); /* what is called now may arm others */
	firing->taken = true;
	lua_getiuservalue(L, -1, 1);
	lua_call(L, 0, 0);
	return 0;
}

static void on_timer(void *ctx)
{
	struct firing firing = {.t = ctx};
	struct script *s = firing.t->script;

	script_call(s, NULL, run_timer, &firing);
	if (!firing.taken) /* it failed before: the host's timer is gone all the same */
		disarm(s->thread[0], firing.t);
}

static int timer_stop(lua_State *L)
{
	struct script_timer *t = luaL_checkudata(L, 1, TIMER_TYPE);

	if (t->timer) {
		t->script->host->timer_stop(t->timer);
		disarm(L, t);
	}
	return 0;
}

static int weir_timer(lua_State *L)
{
	struct script *s = script_of(L);
	lua_Number ms = luaL_checknumber(L, 1);
	struct script_timer *t;

	luaL_argcheck(L, ms >= 0 && ms <= TIMER_MS_MAX, 1, "0 to 86400000 milliseconds");
	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (s->n_timers == TIMERS_MAX)
		return luaL_error(L, "more than %d timers", TIMERS_MAX);
	t = lua_newuserdatauv(L, sizeof(*t), 1);
	*t = (struct script_timer){.script = s, .generation = s->generation};
	luaL_setmetatable(L, TIMER_TYPE);
	lua_pushvalue(L, 2);
	lua_setiuservalue(L, -2, 1);
	lua_pushvalue(L, -1);
	t->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
	t->timer = s->host->timer(s->ref, (unsigned)ms, on_timer, t);
	if (!t->timer) {
		luaL_unref(L, LUA_REGISTRYINDEX, t->anchor);
		return luaL_error(L, "no memory for a timer");
	}
	LIST_INSERT_HEAD(&s->timers, t, next);
	s->n_timers++;
	return 1;
}

void timers_prepare(lua_State *L)
{
	luaL_newmetatable(L, TIMER_TYPE);
	lua_newtable(L);
	lua_pushcfunction(L, timer_stop);
	lua_setfield(L, -2, "stop");
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

void timers_stop(struct script *s, const unsigned *but)
{
	struct script_timer *t, *next;

	for (t = LIST_FIRST(&s->timers); t; t = next) {
		next = LIST_NEXT(t, next);
		if (but && t->generation == *but)
			continue;
		s->host->timer_stop(t->timer);
		disarm(s->thread[0], t);
	}
}

void weir_push(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{"log", weir_log},     {"now", weir_now}, {"find", weir_find},
		{"timer", weir_timer}, {NULL, NULL},
	};

	luaL_newlib(L, functions);
	lua_rawgeti(L, LUA_REGISTRYINDEX, script_of(L)->settings);
	lua_setfield(L, -2, "config");
}

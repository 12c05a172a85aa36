/* SPDX-License-Identifier: MIT */
/*
 * lua_flow: a flow as the script sees it.
 *
 * A userdata with fields that are asked of the host at each access, and methods. Two tables hang on
 * it: state, which is the script's, and names, what was learnt. It lives as long as the script
 * keeps it, but is empty once the flow has ended.
 */
#include "lua_hook.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define FLOW_TYPE "weir.flow"

enum { SLOT_STATE = 1, SLOT_NAMES };

/* --- handles ------------------------------------------------------------------------------- */

static struct script_flow *check(lua_State *L)
{
	return luaL_checkudata(L, 1, FLOW_TYPE);
}

/** live - argument 1, of a flow that has not ended */
static struct script_flow *live(lua_State *L)
{
	struct script_flow *sf = check(L);

	if (!sf->f)
		luaL_error(L, "the flow has ended");
	return sf;
}

/** forget - the host drops the flow: the userdata may outlive it */
static void forget(void *data)
{
	struct script_flow *sf = data;

	sf->f = NULL;
	luaL_unref(sf->script->thread[0], LUA_REGISTRYINDEX, sf->anchor);
}

struct script_flow *flow_push(lua_State *L, struct weir_flow *f)
{
	struct script *s = script_of(L);
	struct script_flow *sf = s->host->data(f);

	if (sf) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, sf->anchor);
		return sf;
	}
	sf = lua_newuserdatauv(L, sizeof(*sf), 2);
	*sf = (struct script_flow){.script = s, .f = f, .id = s->host->info(f)->id};
	lua_newtable(L);
	lua_setiuservalue(L, -2, SLOT_STATE);
	lua_newtable(L);
	lua_setiuservalue(L, -2, SLOT_NAMES);
	luaL_setmetatable(L, FLOW_TYPE);
	lua_pushvalue(L, -1);
	sf->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
	s->host->set_data(f, sf, forget);
	return sf;
}

void flow_ended(struct script *s, struct weir_flow *f)
{
	struct script_flow *sf = s->host->data(f);

	if (sf)
		sf->f = NULL;
}

void flow_name(lua_State *L, const char *field, const char *value)
{
	lua_getiuservalue(L, -1, SLOT_NAMES);
	lua_pushstring(L, value); /* NULL is nil */
	lua_setfield(L, -2, field);
	lua_pop(L, 1);
}

/* --- texts of what is a number in C --------------------------------------------------------- */

void dir_push(lua_State *L, enum weir_dir dir)
{
	lua_pushstring(L, dir == WEIR_UP ? "up" : "down");
}

static enum weir_dir check_dir(lua_State *L, int arg)
{
	static const char *const names[] = {"up", "down", NULL};

	return luaL_checkoption(L, arg, NULL, names) ? WEIR_DOWN : WEIR_UP;
}

void proto_push(lua_State *L, unsigned proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		lua_pushliteral(L, "tcp");
		break;
	case IPPROTO_UDP:
		lua_pushliteral(L, "udp");
		break;
	case IPPROTO_ICMP:
		lua_pushliteral(L, "icmp");
		break;
	case IPPROTO_ICMPV6:
		lua_pushliteral(L, "icmpv6");
		break;
	default:
		lua_pushfstring(L, "%d", (int)proto);
	}
}

/** number_field - unknown (-1) is nil, which is no field */
static void number_field(lua_State *L, const char *name, int64_t value)
{
	if (value < 0)
		return;
	lua_pushinteger(L, value);
	lua_setfield(L, -2, name);
}

static void text_field(lua_State *L, const char *name, const char *value)
{
	lua_pushstring(L, value ? value : "");
	lua_setfield(L, -2, name);
}

static void push_parents(lua_State *L, const struct weir_owner *o)
{
	lua_createtable(L, (int)o->n_parents, 0);
	for (unsigned i = 0; i < o->n_parents; i++) {
		lua_createtable(L, 0, 2);
		text_field(L, "comm", o->parent_comm[i]);
		number_field(L, "pid", o->parent_pid[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

void owner_push(lua_State *L, const struct weir_owner *o)
{
	lua_createtable(L, 0, 12);
	number_field(L, "uid", o->uid);
	number_field(L, "gid", o->gid);
	number_field(L, "socket_uid", o->socket_uid);
	number_field(L, "pid", o->pid);
	number_field(L, "start_ns", (int64_t)o->start_ns);
	text_field(L, "user", o->user);
	text_field(L, "comm", o->comm);
	text_field(L, "exe", o->exe);
	text_field(L, "cmdline", o->cmdline);
	text_field(L, "cgroup", o->cgroup);
	text_field(L, "source", o->source);
	push_parents(L, o);
	lua_setfield(L, -2, "parents");
}

static void push_endpoint(lua_State *L, const struct weir_endpoint *e)
{
	lua_createtable(L, 0, 2);
	text_field(L, "ip", e->ip);
	number_field(L, "port", e->port);
}

/* --- fields ------------------------------------------------------------------------------------
 */

static const struct weir_info *info_of(struct script_flow *sf)
{
	struct script *s = sf->script;

	return s->at_close && s->at == sf ? s->at_close : s->host->info(sf->f);
}

typedef void (*field_fn)(lua_State *L, const struct weir_info *i);

static void field_proto(lua_State *L, const struct weir_info *i)
{
	proto_push(L, i->proto);
}

static void field_inbound(lua_State *L, const struct weir_info *i)
{
	lua_pushboolean(L, i->inbound);
}

static void field_app(lua_State *L, const struct weir_info *i)
{
	push_endpoint(L, &i->app);
}

static void field_net(lua_State *L, const struct weir_info *i)
{
	push_endpoint(L, &i->net);
}

static void field_owner(lua_State *L, const struct weir_info *i)
{
	owner_push(L, i->owner);
}

static void field_host(lua_State *L, const struct weir_info *i)
{
	lua_pushstring(L, i->host);
}

static void field_verdict(lua_State *L, const struct weir_info *i)
{
	lua_pushstring(L, i->verdict);
}

static void field_rule(lua_State *L, const struct weir_info *i)
{
	lua_pushstring(L, i->rule);
}

static void field_args(lua_State *L, const struct weir_info *i)
{
	lua_pushstring(L, i->args);
}

static void field_start(lua_State *L, const struct weir_info *i)
{
	lua_pushnumber(L, (lua_Number)i->start_ns / 1e9);
}

static void field_bytes_up(lua_State *L, const struct weir_info *i)
{
	lua_pushinteger(L, (lua_Integer)i->bytes_up);
}

static void field_bytes_down(lua_State *L, const struct weir_info *i)
{
	lua_pushinteger(L, (lua_Integer)i->bytes_down);
}

static void field_packets_up(lua_State *L, const struct weir_info *i)
{
	lua_pushinteger(L, (lua_Integer)i->packets_up);
}

static void field_packets_down(lua_State *L, const struct weir_info *i)
{
	lua_pushinteger(L, (lua_Integer)i->packets_down);
}

static void field_reason(lua_State *L, const struct weir_info *i)
{
	lua_pushstring(L, i->reason);
}

static const struct {
	const char *name;
	field_fn push;
} fields[] = {
	{"proto", field_proto},
	{"inbound", field_inbound},
	{"app", field_app},
	{"net", field_net},
	{"owner", field_owner},
	{"host", field_host},
	{"verdict", field_verdict},
	{"rule", field_rule},
	{"args", field_args},
	{"start", field_start},
	{"bytes_up", field_bytes_up},
	{"bytes_down", field_bytes_down},
	{"packets_up", field_packets_up},
	{"packets_down", field_packets_down},
	{"reason", field_reason},
};

/** push_own - the fields that outlive the flow; false: @name is none of them */
static bool push_own(lua_State *L, struct script_flow *sf, const char *name)
{
	if (!strcmp(name, "id"))
		lua_pushinteger(L, (lua_Integer)sf->id);
	else if (!strcmp(name, "ended"))
		lua_pushboolean(L, !sf->f);
	else if (!strcmp(name, "state"))
		lua_getiuservalue(L, 1, SLOT_STATE);
	else if (!strcmp(name, "names"))
		lua_getiuservalue(L, 1, SLOT_NAMES);
	else
		return false;
	return true;
}

/** flow_index - upvalue 1: methods; upvalue 2: name of a field to its number in fields[] */
static int flow_index(lua_State *L)
{
	struct script_flow *sf = check(L);
	const char *name = luaL_checkstring(L, 2);

	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL || push_own(L, sf, name))
		return 1;
	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL)
		return luaL_error(L, "a flow has no field \"%s\"", name);
	fields[lua_tointeger(L, -1)].push(L, info_of(live(L)));
	return 1;
}

static int flow_newindex(lua_State *L)
{
	check(L);
	if (strcmp(luaL_checkstring(L, 2), "state") != 0)
		return luaL_error(L, "of a flow only state can be set, not \"%s\"",
				  lua_tostring(L, 2));
	lua_settop(L, 3);
	lua_setiuservalue(L, 1, SLOT_STATE);
	return 0;
}

static int flow_tostring(lua_State *L)
{
	struct script_flow *sf = check(L);

	lua_pushfstring(L, "flow %I", (LUAI_UACINT)sf->id);
	return 1;
}

/* --- methods ------------------------------------------------------------------------------------
 */

/** result - true, or nil and why */
static int result(lua_State *L, int rc)
{
	if (!rc) {
		lua_pushboolean(L, 1);
		return 1;
	}
	lua_pushnil(L);
	lua_pushstring(L, strerror(-rc));
	return 2;
}

static int method_replace(lua_State *L)
{
	struct script_flow *sf = live(L);
	lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);
	size_t n;
	const char *text = luaL_checklstring(L, 4, &n);
	int rc;

	if (!sf->edits)
		return luaL_error(L, "replace() is for payload() and datagram() of this flow");
	luaL_argcheck(L, first >= 1 && (size_t)first <= sf->shown + 1, 2, "outside of the data");
	luaL_argcheck(L, last >= first - 1 && (size_t)last <= sf->shown, 3, "outside of the data");
	rc = sf->script->host->replace(sf->f, (size_t)first - 1, (size_t)(last - first + 1), text,
				       n);
	if (rc)
		return luaL_error(L, "replace(): %s",
				  rc == -EINVAL ? "places must go upwards" : strerror(-rc));
	return 0;
}

static int method_inject(lua_State *L)
{
	struct script_flow *sf = live(L);
	enum weir_dir dir = check_dir(L, 2);
	size_t n;
	const char *text = luaL_checklstring(L, 3, &n);

	return result(L, sf->script->host->inject(sf->f, dir, text, n));
}

/** method_close - one direction, or both */
static int method_close(lua_State *L)
{
	struct script_flow *sf = live(L);
	const struct weir_host *host = sf->script->host;

	if (!lua_isnoneornil(L, 2))
		return result(L, host->close(sf->f, check_dir(L, 2)));
	if (host->close(sf->f, WEIR_UP) == 0 && sf->f)
		host->close(sf->f, WEIR_DOWN);
	return result(L, 0);
}

/** method_block - at once, or as the answer of the call that runs for this flow */
static int method_block(lua_State *L)
{
	struct script_flow *sf = live(L);

	if (sf->script->at == sf)
		sf->block = true;
	else
		sf->script->host->decide(sf->f, WEIR_BLOCK);
	return 0;
}

static int method_decide(lua_State *L)
{
	static const char *const names[] = {"pass", "block", "drop", NULL};
	static const int verdict[] = {WEIR_PASS, WEIR_BLOCK, WEIR_DROP};
	struct script_flow *sf = live(L);

	sf->script->host->decide(sf->f, verdict[luaL_checkoption(L, 2, NULL, names)]);
	return 0;
}

static int method_resume(lua_State *L)
{
	struct script_flow *sf = live(L);

	sf->script->host->resume(sf->f, check_dir(L, 2));
	return 0;
}

static int method_done(lua_State *L)
{
	struct script_flow *sf = live(L);

	sf->script->host->done(sf->f);
	return 0;
}

static int method_tag(lua_State *L)
{
	struct script_flow *sf = live(L);

	return result(L, sf->script->host->tag(sf->f, luaL_checkstring(L, 2)));
}

/** method_learn - the script hears of it as of any other name, in flow.names */
static int method_learn(lua_State *L)
{
	struct script_flow *sf = live(L);
	const char *field = luaL_checkstring(L, 2), *value = luaL_optstring(L, 3, NULL);
	int rc = sf->script->host->learn(sf->f, field, value);

	if (rc)
		return luaL_error(L, "learn(\"%s\"): %s", field,
				  rc == -EINVAL ? "no such field" : strerror(-rc));
	lua_pushvalue(L, 1);
	flow_name(L, field, value);
	return 0;
}

static int method_learn_done(lua_State *L)
{
	struct script_flow *sf = live(L);

	sf->script->host->learn_done(sf->f);
	return 0;
}

static int method_event(lua_State *L)
{
	struct script_flow *sf = live(L);
	const char *type = luaL_checkstring(L, 2);

	lua_settop(L, 3);
	if (lua_isnil(L, 3)) {
		lua_newtable(L);
		lua_replace(L, 3);
	}
	json_push(L, 3);
	return result(L, sf->script->host->event(sf->f, type, lua_tostring(L, -1)));
}

static int method_log(lua_State *L)
{
	struct script_flow *sf = live(L);
	struct script *s = sf->script;

	s->host->log(s->ref, sf->f, level_of(L, 3), luaL_checkstring(L, 2));
	return 0;
}

void flow_prepare(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{"replace", method_replace},
		{"inject", method_inject},
		{"close", method_close},
		{"block", method_block},
		{"decide", method_decide},
		{"resume", method_resume},
		{"done", method_done},
		{"tag", method_tag},
		{"learn", method_learn},
		{"learn_done", method_learn_done},
		{"event", method_event},
		{"log", method_log},
		{NULL, NULL},
	};

	luaL_newmetatable(L, FLOW_TYPE);
	luaL_newlib(L, methods);
	lua_newtable(L);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		lua_pushinteger(L, (lua_Integer)i);
		lua_setfield(L, -2, fields[i].name);
	}
	lua_pushcclosure(L, flow_index, 2);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, flow_newindex);
	lua_setfield(L, -2, "__newindex");
	lua_pushcfunction(L, flow_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

/* SPDX-License-Identifier: MIT */
/*
 * the Lua hook against a host that is faked: each event, each answer, edits, what a script is kept
 * from, its limits, and how errors are said.
 * LINK: src/hooks/lua.o src/hooks/lua_load.o src/hooks/lua_sandbox.o src/hooks/lua_string.o
 * LINK: src/hooks/lua_pattern.o src/hooks/lua_flow.o src/hooks/lua_weir.o src/hooks/lua_json.o
 * LINK: src/hooks/lua_limit.o src/hooks/shared_util.o
 */
#include <sys/stat.h>
#include <time.h>

#include "fake_host.h"
#include "../lib/tap.h"

extern const struct weir_hook *const weir_builtin_lua;

static char dir[64];
static const char *said; /* what load refused */

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	if (!f)
		abort();
	fputs(text, f);
	fclose(f);
}

/** start - the hook with @text as its script and @settings "key=value key=value" */
static void *start(const char *text, const char *settings)
{
	const struct weir_hook *h = weir_builtin_lua;
	char path[128], copy[256], *save = NULL;
	void *state = h->load(&fake_host, NULL, &said);

	write_file("t.lua", text);
	snprintf(path, sizeof(path), "%s/t.lua", dir);
	if (h->config(state, "script", path, &said))
		abort();
	snprintf(copy, sizeof(copy), "%s", settings ? settings : "");
	for (char *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		char *value = strchr(s, '=');

		*value++ = 0;
		if (h->config(state, s, value, &said))
			abort();
	}
	fake.log[0] = 0;
	fake.n_logs = 0;
	fake.now += UINT64_C(10000000000);
	if (h->ready(state, &said)) {
		h->unload(state);
		return NULL;
	}
	if (h->locked)
		h->locked(state);
	return state;
}

static void stop(void *state)
{
	for (unsigned i = 0; i < FAKE_MAX; i++)
		if (fake.flows[i])
			fake_close_flow(weir_builtin_lua, state, fake.flows[i]);
	weir_builtin_lua->unload(state);
	for (unsigned i = 0; i < FAKE_MAX; i++)
		if (fake.timers[i].armed)
			tap_ok(false, "a timer outlives the hook");
}

static int open_flow(void *state, struct weir_flow *f)
{
	return weir_builtin_lua->flow_open(state, f, &f->info);
}

static int64_t show(void *state, struct weir_flow *f, enum weir_dir d, const char *text, bool last)
{
	return fake_payload(weir_builtin_lua, state, f, d, text, strlen(text), last);
}

static bool logged(const char *text)
{
	if (strstr(fake.log, text))
		return true;
	printf("# logged: %s\n", fake.log);
	return false;
}

/* --- events and answers ------------------------------------------------------------------- */

static void test_flow_open(void)
{
	static const char script[] =
		"function flow_open(flow)\n"
		"  local o = flow.owner\n"
		"  weir.log(table.concat({flow.id, flow.proto, tostring(flow.inbound), flow.app.ip,\n"
		"    flow.app.port, flow.net.ip, flow.net.port, flow.host, flow.verdict, o.user, o.uid,\n"
		"    o.gid, o.socket_uid, o.pid, o.comm, o.exe, o.cmdline, o.cgroup, o.source,\n"
		"    o.parents[1].comm, o.parents[2].pid, tostring(flow.rule)}, ' '))\n"
		"  return ({nil, 'pass', 'block', 'drop', 'pend', 'hold', 7})[flow.id]\n"
		"end\n"
		"function payload() end\n";
	static const int want[] = {WEIR_PASS, WEIR_PASS,  WEIR_BLOCK, WEIR_DROP,
				   WEIR_PEND, WEIR_ERROR, WEIR_ERROR};
	void *s = start(script, NULL);

	for (unsigned i = 0; i < 7; i++) {
		struct weir_flow *f = fake_flow(i + 1);
		int answer = open_flow(s, f);

		tap_is(answer, want[i], "flow_open() answers %u", i);
		if (!i)
			tap_ok(logged("2 1 tcp false 10.0.0.1 40000 192.0.2.1 443 example.org allow "
				      "alice 1000 100 1000 42 curl /usr/bin/curl curl -s x / "
				      "sockdiag bash 40 nil"),
			       "and sees all that is known");
		if (want[i] == WEIR_ERROR && i == 5)
			tap_ok(logged("0 flow") && logged("t.lua") &&
				       logged("flow_open() answered hold, which it cannot"),
			       "an answer of another event is an error");
		tap_ok(!f->done, "a flow with payload() is not done with");
	}
	stop(s);
}

static void test_payload(void)
{
	static const struct {
		const char *body, *data;
		int64_t answer;
		const char *out;
	} cases[] = {
		{"", "abc", 3, "abc"},
		{"return 'pass'", "abc", 3, "abc"},
		{"return 2", "abc", 2, "ab"},
		{"return 0", "abc", 0, ""},
		{"return #data", "abc", 3, "abc"},
		{"return 'hold'", "abc", 0, ""},
		{"return 'block'", "abc", WEIR_BLOCK, ""},
		{"return 'pend'", "abc", WEIR_PEND, ""},
		{"return 'drop'", "abc", 3, ""},
		{"return 'replace', 'xy'", "abc", 3, "xy"},
		{"return 'replace', data:gsub('b', 'BB')", "abc", 3, "aBBc"},
		{"return 'replace', ''", "abc", 3, ""},
		{"flow:replace(2, 2, 'X')", "abc", 3, "aXc"},
		{"flow:replace(1, 0, '>') flow:replace(4, 3, '<')", "abc", 3, ">abc<"},
		{"flow:replace(1, 1, '') flow:replace(2, 3, 'y') return 2", "abc", 2, "b"},
		{"flow:replace(data:find('b')) ", "abc", WEIR_ERROR, ""},
		{"local i, j = data:find('bc', 1, true) flow:replace(i, j, 'BC')", "abcd", 4,
		 "aBCd"},
		{"flow:block()", "abc", WEIR_BLOCK, ""},
		{"return 'nonsense'", "abc", WEIR_ERROR, ""},
		{"return 4", "abc", WEIR_ERROR, ""},
		{"return -1", "abc", WEIR_ERROR, ""},
		{"return 1.5", "abc", WEIR_ERROR, ""},
		{"return {}", "abc", WEIR_ERROR, ""},
		{"return true", "abc", WEIR_ERROR, ""},
		{"return 'replace'", "abc", WEIR_ERROR, ""},
		{"return 'replace', 7", "abc", WEIR_ERROR, ""},
		{"flow:replace(0, 1, '')", "abc", WEIR_ERROR, ""},
		{"flow:replace(5, 4, '')", "abc", WEIR_ERROR, ""},
		{"flow:replace(3, 4, '')", "abc", WEIR_ERROR, ""},
		{"flow:replace(3, 1, '')", "abc", WEIR_ERROR, ""},
		{"flow:replace(2, 2, '') flow:replace(1, 1, '')", "abc", WEIR_ERROR, ""},
		{"flow:replace(2, 2, 'x') return 'replace', 'y'", "abc", WEIR_ERROR, ""},
		{"return 'replace', flow.id .. dir .. tostring(last)", "", 0, "1uptrue"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_flow *f = fake_flow(1);
		char script[256];
		int64_t answer;
		void *s;

		snprintf(script, sizeof(script), "function payload(flow, dir, data, last) %s end",
			 cases[i].body);
		s = start(script, NULL);
		open_flow(s, f);
		answer = show(s, f, WEIR_UP, cases[i].data, !*cases[i].data);
		tap_is(answer, cases[i].answer, "payload: %s", cases[i].body);
		tap_ok(answer < 0 || fake_out(f, WEIR_UP, cases[i].out), "... and what passes");
		if (answer == WEIR_ERROR)
			tap_ok(logged("t.lua:1: "), "... and is said");
		stop(s);
	}
}

static void test_datagram(void)
{
	static const struct {
		const char *body;
		int answer;
		const char *out;
	} cases[] = {
		{"", WEIR_PASS, "abc"},
		{"return 'pass'", WEIR_PASS, "abc"},
		{"return 'drop'", WEIR_DROP, ""},
		{"return 'block'", WEIR_BLOCK, ""},
		{"return 'pend'", WEIR_PEND, ""},
		{"return 'hold'", WEIR_ERROR, ""},
		{"return 3", WEIR_ERROR, ""},
		{"return 'replace', dir", WEIR_PASS, "down"},
		{"flow:replace(1, 1, '')", WEIR_PASS, "bc"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_flow *f = fake_flow(1);
		char script[256];
		int answer;
		void *s;

		snprintf(script, sizeof(script), "function datagram(flow, dir, data) %s end",
			 cases[i].body);
		s = start(script, NULL);
		open_flow(s, f);
		answer = fake_datagram(weir_builtin_lua, s, f, WEIR_DOWN, "abc", 3);
		tap_is(answer, cases[i].answer, "datagram: %s", cases[i].body);
		tap_ok(answer || fake_out(f, WEIR_DOWN, cases[i].out), "... and what passes");
		stop(s);
	}
}

static void test_absent(void)
{
	void *s = start("function flow_close(flow) weir.log('end ' .. flow.reason) end", NULL);
	struct weir_flow *f = fake_flow(1);

	tap_ok(open_flow(s, f) == WEIR_PASS && f->done, "a script that looks at nothing is done");
	tap_ok(show(s, f, WEIR_UP, "abc", false) == 3 && !f->data,
	       "what it does not define costs nothing");
	fake_close_flow(weir_builtin_lua, s, f);
	tap_ok(logged("end fin"), "flow_close() comes all the same, with the reason");
	stop(s);
}

static void test_other_events(void)
{
	static const char script[] =
		"function payload() end\n"
		"function half_close(flow, dir) weir.log('half ' .. dir) if dir == 'down' then flow:block() end end\n"
		"function name_learned(flow, field, value)\n"
		"  weir.log(field .. ' is ' .. tostring(value) .. ' ' .. tostring(flow.names[field]))\n"
		"end\n"
		"function listen(l)\n"
		"  weir.log(l.proto .. l.ip .. l.port .. tostring(l.ended) .. l.owner.comm)\n"
		"  return l.port == 23 and 'block'\n"
		"end\n";
	const struct weir_hook *h = weir_builtin_lua;
	void *s = start(script, NULL);
	struct weir_flow *f = fake_flow(1);
	struct weir_listen l = {
		.size = sizeof(l), .proto = 17, .at = {"0.0.0.0", NULL, 0, 53}, .owner = &f->owner};

	open_flow(s, f);
	h->half_close(s, f, WEIR_UP);
	tap_ok(logged("half up") && !f->n_decided, "half_close()");
	h->half_close(s, f, WEIR_DOWN);
	tap_ok(f->n_decided == 1 && f->decided == WEIR_BLOCK, "it may end the flow");
	h->name_learned(s, f, "sni", "www.example.org");
	tap_ok(logged("sni is www.example.org www.example.org"), "name_learned(), and flow.names");
	tap_is(h->listen(s, &l), WEIR_ERROR, "listen() may not answer false");
	tap_ok(logged("udp0.0.0.053falsecurl") || logged("listen() answered false"), "listen()");
	l.at.port = 23;
	tap_is(h->listen(s, &l), WEIR_BLOCK, "it may refuse");
	stop(s);
}

static void test_methods(void)
{
	static const char script[] =
		"function payload(flow, dir, data)\n"
		"  local ok, why = pcall(load_method, flow, data)\n"
		"  if not ok then weir.log(why) end\n"
		"end\n"
		"function load_method(flow, data)\n"
		"  if data == 'inject' then\n"
		"    local ok, why = flow:inject('down', 'answer') weir.log(tostring(ok) .. tostring(why))\n"
		"  elseif data == 'close' then flow:close()\n"
		"  elseif data == 'closeup' then flow:close('up')\n"
		"  elseif data == 'done' then flow:done()\n"
		"  elseif data == 'tag' then flow:tag('seen')\n"
		"  elseif data == 'learn' then flow:learn('app', 'smtp') weir.log(flow.names.app)\n"
		"  elseif data == 'learnt' then flow:learn_done()\n"
		"  elseif data == 'wrong' then flow:learn('nonsense', 'x')\n"
		"  elseif data == 'event' then\n"
		"    flow:event('dlp', {n = 7, list = {1, 'two', true}, text = 'a\"\\\\\\n\\255\\u{e9}', f = 1.5})\n"
		"  elseif data == 'loop' then local t = {} t.t = t flow:event('x', t)\n"
		"  elseif data == 'function' then flow:event('x', {f = print})\n"
		"  elseif data == 'log' then flow:log('hello', 'warn')\n"
		"  elseif data == 'field' then weir.log(tostring(flow.nonsense))\n"
		"  elseif data == 'set' then flow.host = 'x'\n"
		"  elseif data == 'state' then flow.state.n = (flow.state.n or 0) + 1 weir.log(flow.state.n .. ' ' .. tostring(flow))\n"
		"  elseif data == 'resume' then flow:resume('down')\n"
		"  elseif data == 'decide' then flow:decide('drop')\n"
		"  elseif data == 'find' then weir.log(tostring(weir.find(1) == flow) .. tostring(weir.find(2)))\n"
		"  end\n"
		"end\n";
	static const char want_event[] = "\"text\":\"a\\\"\\\\\\n\\u00ff\xc3\xa9\"";
	void *s = start(script, NULL);
	struct weir_flow *f = fake_flow(1);

	open_flow(s, f);
#define CALL(what) (show(s, f, WEIR_UP, what, false), fake_out(f, WEIR_UP, what))
	tap_ok(CALL("inject") && fake_out(f, WEIR_DOWN, "answer") && logged("truenil"), "inject()");
	fake.inject_rc = -ENOBUFS;
	tap_ok(CALL("inject") && logged("nilNo buffer space"), "... without room says so");
	fake.inject_rc = 0;
	tap_ok(CALL("closeup") && f->closed[0] && !f->closed[1], "close() of one direction");
	tap_ok(CALL("close") && f->closed[0] && f->closed[1], "close() of both");
	tap_ok(CALL("done") && f->done, "done()");
	tap_ok(CALL("tag") && !strcmp(f->tags.text, "seen\n"), "tag()");
	tap_ok(CALL("learn") && !strcmp(f->learned.text, "app=smtp\n") && logged("smtp"),
	       "learn()");
	tap_ok(CALL("learnt") && f->learn_done, "learn_done()");
	tap_ok(CALL("wrong") && logged("t.lua:14: learn(\"nonsense\"): no such field"),
	       "a field that there is not");
	tap_ok(CALL("event") && strstr(f->events.text, "dlp={") &&
		       strstr(f->events.text, "\"list\":[1,\"two\",true]") &&
		       strstr(f->events.text, want_event) && strstr(f->events.text, "\"f\":1.5"),
	       "event() with a table as JSON");
	printf("# %s", f->events.text);
	tap_ok(CALL("loop") && logged("nested too deeply"), "a table in itself is no event");
	tap_ok(CALL("function") && logged("a function has no place"), "nor is a function");
	tap_ok(CALL("log") && !strcmp(fake.log, "1 flow hello"), "log() of a flow, with a level");
	tap_ok(CALL("field") && logged("a flow has no field \"nonsense\""), "a mistyped field");
	tap_ok(CALL("set") && logged("of a flow only state can be set"), "fields are not set");
	CALL("state");
	tap_ok(CALL("state") && logged("2 flow 1"), "flow.state is the script's");
	tap_ok(CALL("resume") && f->resumed[1] == 1, "resume()");
	tap_ok(CALL("decide") && f->decided == WEIR_DROP, "decide()");
	tap_ok(CALL("find") && logged("truenil"), "weir.find()");
#undef CALL
	stop(s);
}

static void test_after_the_end(void)
{
	static const char script[] =
		"function payload(flow) kept = flow flow.state.x = 'mine' weir.timer(5, late) end\n"
		"function late()\n"
		"  weir.log(tostring(kept.ended) .. kept.id .. kept.state.x)\n"
		"  kept:inject('up', 'x')\n"
		"end\n";
	void *s = start(script, NULL);
	struct weir_flow *f = fake_flow(9);

	open_flow(s, f);
	show(s, f, WEIR_UP, "x", false);
	fake_close_flow(weir_builtin_lua, s, f);
	fake_advance(10);
	tap_ok(logged("t.lua:4: the flow has ended") && fake.n_logs == 2,
	       "a flow that has ended is told from one that lives");
	stop(s);
}

static void test_timers(void)
{
	static const char script[] =
		"local n = 0\n"
		"local function tick() n = n + 1 weir.log('tick ' .. n) if n < 3 then weir.timer(10, tick) end end\n"
		"weir.timer(10, tick)\n"
		"local never = weir.timer(5, function() weir.log('never') end)\n"
		"never:stop() never:stop()\n"
		"function payload(flow) weir.timer(1, function() flow:block() end) return 'pend' end\n"
		"function datagram() for i = 1, 5000 do weir.timer(86400000, print) end end\n";
	void *s = start(script, NULL);
	struct weir_flow *f = fake_flow(1);

	tap_is(fake.n_logs, 0, "a timer waits");
	for (int i = 0; i < 5; i++)
		fake_advance(10);
	tap_ok(logged("tick 3") && fake.n_logs == 3, "it may arm itself again, and be stopped");
	open_flow(s, f);
	show(s, f, WEIR_UP, "x", false);
	tap_is(f->n_decided, 0, "what waits for a timer waits");
	fake_advance(2);
	tap_ok(f->decided == WEIR_BLOCK, "and is ended by it");
	stop(s);
}

static void test_config(void)
{
	static const struct {
		const char *key, *value;
		bool good;
	} cases[] = {
		{"memory", "16mb", true},	 {"memory", "512kb", true},
		{"memory", "1", false},		 {"memory", "16xb", false},
		{"memory", "mb", false},	 {"memory", "-5mb", false},
		{"memory", "99999999gb", false}, {"timeout", "20ms", true},
		{"timeout", "1s", true},	 {"timeout", "20", false},
		{"timeout", "1h", false},	 {"timeout", "100s", false},
		{"memory-total", "1gb", true},	 {"memory-total", "", false},
		{"anything", "x", true},
	};
	const struct weir_hook *h = weir_builtin_lua;
	const char *err = NULL;
	void *s = h->load(&fake_host, NULL, &err);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_is(h->config(s, cases[i].key, cases[i].value, &err) == 0, cases[i].good,
		       "%s=%s", cases[i].key, cases[i].value);
	tap_ok(h->ready(s, &err) && strstr(err, "needs a script"), "a script is needed");
	h->config(s, "script", "/nonexistent/x.lua", &err);
	tap_ok(h->ready(s, &err) && !strcmp(err, "/nonexistent/x.lua: No such file or directory"),
	       "one that is not there is named");
	h->unload(s);
	s = start("function flow_open() weir.log(weir.config.who .. #weir.config.level) end",
		  "who=me level=high");
	open_flow(s, fake_flow(1));
	tap_ok(logged("me4"), "other settings are the script's");
	stop(s);
}

/* --- what a script is kept from -----------------------------------------------------------------
 */

static void test_sandbox(void)
{
	static const char *const absent[] = {
		"io",	      "os.execute",  "os.remove", "os.getenv",	"os.exit",
		"debug",      "load",	     "loadfile",  "dofile",	"package",
		"loadstring", "string.dump", "os.rename", "os.tmpname", "warn",
	};
	static const char *const present[] = {
		"assert",      "error",		 "ipairs",	 "pairs",	 "next",
		"pcall",       "xpcall",	 "select",	 "tonumber",	 "tostring",
		"type",	       "rawget",	 "setmetatable", "getmetatable", "require",
		"string.find", "string.sub",	 "string.pack",	 "table.concat", "table.sort",
		"table.move",  "math.floor",	 "utf8.len",	 "os.time",	 "os.date",
		"os.clock",    "coroutine.wrap", "weir.log",	 "print",	 "collectgarbage",
	};
	static const char *const fails[] = {
		"setmetatable({}, {__gc = print})",
		"collectgarbage('collect')",
		"getmetatable('').__index.find = nil",
		"setmetatable(getmetatable(weir.timer(1, print)), {})",
		"require('../x')",
		"require('/etc/passwd')",
		"require('a..b')",
		"require('.a')",
	};
	char script[512];

	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		void *s;

		snprintf(script, sizeof(script), "assert(not %s)", absent[i]);
		s = start(script, NULL);
		tap_ok(s != NULL, "there is no %s", absent[i]);
		if (s)
			stop(s);
	}
	for (size_t i = 0; i < sizeof(present) / sizeof(present[0]); i++) {
		void *s;

		snprintf(script, sizeof(script), "assert(%s)", present[i]);
		s = start(script, NULL);
		tap_ok(s != NULL, "there is %s", present[i]);
		if (s)
			stop(s);
	}
	for (size_t i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
		void *s = start(fails[i], NULL);

		tap_ok(!s, "this fails: %s", fails[i]);
		if (s)
			stop(s);
	}
}

static void test_functions(void)
{
	static const char script[] =
		"local ok, e, x = pcall(error, 'E', 0) assert(not ok and e == 'E' and x == nil)\n"
		"local ok, a, b = pcall(function(...) return ... end, 1, 2) assert(ok and a == 1 and b == 2)\n"
		"assert(select('#', pcall(function() end)) == 1)\n"
		"local ok, e = xpcall(error, function(m) return m .. '!' end, 'E') assert(not ok and e == 'E!')\n"
		"local ok, a, b = xpcall(function(...) return ... end, print, 3, 4) assert(ok and a == 3 and b == 4)\n"
		"local co = coroutine.wrap(function(a) local b = coroutine.yield(a) assert(pcall(coroutine.yield, b)) return 'end' end)\n"
		"assert(co(1) == 1 and co(2) == 2 and co() == 'end')\n"
		"local co = coroutine.create(function() error('x', 0) end)\n"
		"local ok, e = coroutine.resume(co) assert(not ok and e == 'x')\n"
		"local ok, e = coroutine.close(coroutine.create(print)) assert(ok)\n"
		"local t = setmetatable({}, {__index = function(_, k) return k .. k end}) assert(t.a == 'aa')\n"
		"assert(not pcall(setmetatable, setmetatable({}, {__metatable = 1}), {}))\n"
		"assert(os.date('%Y-%m-%d', 86400) == '1970-01-02' and os.date('!%H', 0) == '00')\n"
		"assert(os.time() > 1e9 and os.clock() >= 0 and weir.now() > 0)\n"
		"assert(('x'):rep(3) == 'xxx' and ('abc'):find('b') == 2)\n"
		"function string.twice(s) return s .. s end assert(('a'):twice() == 'aa')\n"
		"assert(collectgarbage('count') > 10 and tostring(12) == '12' and tonumber('0x10') == 16)\n"
		"print('a', 1, nil)\n";
	void *s = start(script, NULL);

	tap_ok(s != NULL, "what is there works");
	if (!s)
		printf("# %s\n", said);
	else
		stop(s);
	tap_ok(logged("2 a 1 nil"), "print() is a line in the log");
}

static void test_require(void)
{
	void *s;
	char sub[128];

	snprintf(sub, sizeof(sub), "%s/lib", dir);
	mkdir(sub, 0700);
	write_file("one.lua",
		   "local m = {n = 0} function m.next() m.n = m.n + 1 return m.n end return m");
	write_file("lib/two.lua", "return {one = require 'one', name = ...}");
	write_file("lib/init.lua", "return 'a directory'");
	write_file("none.lua", "seen = 'global'");
	write_file("bad.lua", "\n\nlocal x = = 1");
	s = start(
		"#!/usr/bin/lua\n"
		"local one, two = require('one'), require('lib.two')\n"
		"assert(one == two.one and two.name == 'lib.two' and one.next() == 1)\n"
		"assert(require 'lib' == 'a directory' and require 'none' == true and seen == 'global')\n"
		"function flow_open() require 'one' require 'late' end",
		NULL);
	tap_ok(s != NULL, "modules below the script's directory");
	if (!s) {
		printf("# %s\n", said);
		return;
	}
	open_flow(s, fake_flow(1));
	tap_ok(logged("t.lua:5: module \"late\": modules are loaded when the script is"),
	       "a new one cannot be had later");
	stop(s);
	tap_ok(!start("require 'missing'", NULL) && strstr(said, "t.lua:1: module \"missing\""),
	       "one that is not there");
	tap_ok(!start("require 'lib/two'", NULL) &&
		       strstr(said, "this is not the name of a module"),
	       "a path is no name");
	tap_ok(!start("require 'bad'", NULL) && strstr(said, "bad.lua:3: "),
	       "one that does not compile, with its line");
	tap_ok(!start("\x1bLua", NULL) && strstr(said, "binary chunk"), "no compiled code");
	tap_ok(!start("payload = 7", NULL) && strstr(said, "payload is a number, not a function"),
	       "an event that is not a function");
}

/* --- limits
 * --------------------------------------------------------------------------------------- */

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void test_limits(void)
{
	static const struct {
		const char *body, *says;
	} cases[] = {
		{"while true do end", "t.lua:1: timeout: more than 20 ms"},
		{"while true do pcall(function() while true do end end) end", "timeout"},
		{"repeat pcall(error) until false", "timeout"},
		{"local function f() pcall(f) while true do end end f()", "timeout"},
		{"repeat xpcall(function() while true do end end, function() while true do end end) until false",
		 "timeout"},
		{"local function co() return coroutine.wrap(function() while true do coroutine.resume(coroutine.create(co())) end end) end "
		 "co()()",
		 "timeout"},
		{"while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
		 "timeout"},
		{"local s = ('a'):rep(30) .. 'b' s:find(('a*'):rep(30) .. 'c')", "timeout"},
		{"local s = ('a'):rep(200000) s:match('.-.-.-.-b')", "timeout"},
		{"local s = ('a'):rep(200000) for w in s:gmatch('(a*)(a*)b') do end", "timeout"},
		{"local s = ('a'):rep(100000) s:gsub('.-.-b', '')", "timeout"},
		{"local s = ('('):rep(200000) while true do s:find('%b()', 2) end", "timeout"},
		{"local s = ('x'):rep(8000000) while true do s:find('y', 1, true) end", "timeout"},
		{"local s = ('x'):rep(4000000) while true do local t = s .. 'y' end", "timeout"},
		{"local s = ('x'):rep(4000000) while true do s:upper() end", "timeout"},
		{"local s = ('1'):rep(8000000) while true do tonumber(s) end", "timeout"},
		{"local t = {} for i = 1, 200000 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end",
		 "timeout"},
		{"local t = {} for i = 1, 300000 do t[i] = -i end while true do table.sort(t) end",
		 "timeout"},
		{"while true do table.move({}, 1, 4000000, 2) end", "timeout"},
		{"local s = ('x'):rep(4000000) while true do utf8.len(s) end", "timeout"},
		{"local t = {} for i = 1, 20000 do t[i] = i end while true do flow:event('x', t) end",
		 "timeout"},
		{"return ('x'):rep(1 << 40)", "t.lua:1: not enough memory"},
		{"local s = 'x' while true do s = s .. s end", "t.lua:1: not enough memory"},
		{"local t = {} for i = 1, 1e9 do t[i] = {} end", "t.lua:1: not enough memory"},
		{"return ('x'):rep(1000000):gsub('x', ('y'):rep(1000))", "not enough memory"},
		{"return string.format('%s%s', ('x'):rep(9000000), ('x'):rep(9000000))",
		 "not enough memory"},
		{"local t = {} for i = 1, 300 do t[i] = ('x'):rep(100000) end return table.concat(t)",
		 "not enough memory"},
		{"local function f() return 1 + f() end return f()", "t.lua:1: "},
		{"local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x.y",
		 "t.lua:1: "},
		{"error({})", "t.lua:1: an error that is a table"},
		{"error('plain', 0)", "t.lua:1: plain"},
		{"error('placed')", "t.lua:1: placed"},
		{"local x = nil + 1", "t.lua:1: attempt to perform arithmetic"},
		{"('x'):find('[')", "t.lua:1: malformed pattern (missing ']')"},
		{"error(setmetatable({}, {__tostring = function() while true do end end}))",
		 "t.lua:1: an error that is a table"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_flow *f = fake_flow(1), *g = fake_flow(2);
		char script[512];
		double before, took;
		void *s;

		snprintf(script, sizeof(script),
			 "function payload(flow) if flow.id == 2 then return 1 end %s end",
			 cases[i].body);
		s = start(script, strstr(cases[i].says, "timeout") ? "timeout=20ms" : "timeout=2s");
		open_flow(s, f);
		open_flow(s, g);
		before = seconds();
		tap_is(show(s, f, WEIR_UP, "x", false), WEIR_ERROR, "an error: %s", cases[i].body);
		took = seconds() - before;
		tap_ok(took < 1.0, "... soon (%.0f ms)", took * 1e3);
		tap_ok(logged(cases[i].says), "... that is said");
		tap_is(show(s, g, WEIR_UP, "x", false), 1, "... and other flows go on");
		stop(s);
	}
}

static void test_memory_total(void)
{
	static const char script[] = "local t = {}\n"
				     "function payload() t[#t + 1] = ('x'):rep(1000000) end\n"
				     "function datagram() t = {} end\n";
	void *s = start(script, "memory=2mb memory-total=8mb");
	struct weir_flow *f = fake_flow(1);
	int64_t n;
	int i;

	open_flow(s, f);
	for (i = 0; i < 20; i++) {
		n = show(s, f, WEIR_UP, "x", false);
		if (n != 1)
			break;
	}
	tap_ok(n == WEIR_ERROR && i >= 5 && i < 8, "what a script keeps is limited, too (%d)", i);
	fake_datagram(weir_builtin_lua, s, f, WEIR_UP, "x", 1);
	tap_is(show(s, f, WEIR_UP, "x", false), 1, "and it goes on when it has freed some");
	stop(s);
	s = start("function payload() local s = ('x'):rep(3 << 20) end", "memory=2mb");
	f = fake_flow(1);
	open_flow(s, f);
	tap_is(show(s, f, WEIR_UP, "x", false), WEIR_ERROR, "one call has a limit of its own");
	stop(s);
}

static void test_log_rate(void)
{
	void *s = start("function payload() error('E') end", NULL);
	struct weir_flow *f = fake_flow(1);

	open_flow(s, f);
	for (int i = 0; i < 10; i++)
		show(s, f, WEIR_UP, "x", false);
	tap_is(fake.n_logs, 1, "errors are said once a second");
	fake_advance(1001);
	show(s, f, WEIR_UP, "x", false);
	tap_ok(fake.n_logs == 2 && logged("t.lua:1: E (and 9 more errors since the last)"),
	       "with the number of those that were not");
	stop(s);
}

/* --- reload
 * ------------------------------------------------------------------------------------------ */

static void test_reload(void)
{
	const struct weir_hook *h = weir_builtin_lua;
	struct weir_flow *f = fake_flow(1);
	void *s;

	write_file("m.lua", "return 'module 1'");
	s = start(
		"n = 5 m = require 'm' function payload(flow, dir, data) flow.state.x = 'kept' "
		"weir.log('first ' .. m) end weir.timer(10, function() weir.log('old timer') end)",
		NULL);
	open_flow(s, f);
	show(s, f, WEIR_UP, "x", false);
	tap_ok(logged("first module 1"), "the script before");
	write_file("m.lua", "return 'module 2'");
	write_file("extra.lua", "return 'extra'");
	write_file(
		"t.lua",
		"m, e = require 'm', require 'extra' function string.mark(s) return s .. '!' end "
		"function payload(flow) weir.log(('second '):mark() .. m .. e .. flow.state.x .. tostring(n)) end "
		"function reload(old) weir.log('was ' .. old.n) end");
	h->reload(s);
	h->reload(s); /* while the first is under way */
	tap_is(fake.n_opens, 1, "files are asked for one by one");
	show(s, f, WEIR_UP, "x", false);
	tap_ok(logged("first module 1"), "until they are there nothing changes");
	fake_files();
	show(s, f, WEIR_UP, "x", false);
	tap_ok(logged("second !module 2extrakeptnil"),
	       "then the new script runs, with what flows keep");
	fake.log[0] = 0;
	fake_advance(50);
	tap_ok(logged(""), "timers of the old one are stopped");
	tap_ok(!strstr(fake.log, "old timer"), "... all of them");

	write_file("t.lua", "function string.mark(s) return 'broken' end n = 1\n error('oh')");
	h->reload(s);
	fake_files();
	tap_ok(logged("0 not reloaded, the script goes on as it was: ") && logged("t.lua:2: oh"),
	       "one that fails is said");
	show(s, f, WEIR_UP, "x", false);
	tap_ok(logged("second !module 2extrakeptnil"), "and changes nothing");
	write_file("t.lua", "require 'nothere'");
	h->reload(s);
	fake_files();
	tap_ok(logged("module \"nothere\": no such file"), "nor does a module that is missing");
	write_file("t.lua", "function reload(old) weir.log('was ' .. old.m) end");
	h->reload(s);
	fake_files();
	tap_ok(logged("was module 2"), "reload() is given the old environment");
	tap_is(show(s, f, WEIR_UP, "x", false), 1, "a function that is no more is not called");
	h->reload(s);
	stop(s);
}

/** test_nested - the host may call from inside of what the script asks it for */
static void *nested_state;
static struct weir_flow *nested_flow;

static int nested_learn(struct weir_flow *f, const char *field, const char *value)
{
	(void)f;
	weir_builtin_lua->name_learned(nested_state, nested_flow, field, value);
	return 0;
}

static void test_nested(void)
{
	static const char script[] =
		"function payload(flow, dir, data)\n"
		"  coroutine.wrap(function() flow:learn('app', 'x') end)() flow:replace(1, 1, 'y')\n"
		"end\n"
		"function name_learned(flow, field) weir.log(flow.id .. field) while flow.id == 3 do end end\n";
	struct weir_host host = fake_host;
	struct weir_flow *f = fake_flow(1);
	const struct weir_hook *h = weir_builtin_lua;
	const char *err;
	char path[128];
	void *s;

	host.learn = nested_learn;
	s = h->load(&host, NULL, &err);
	write_file("t.lua", script);
	snprintf(path, sizeof(path), "%s/t.lua", dir);
	h->config(s, "script", path, &err);
	h->config(s, "timeout", "20ms", &err);
	h->ready(s, &err);
	nested_state = s;
	nested_flow = fake_flow(2);
	open_flow(s, f);
	tap_ok(show(s, f, WEIR_UP, "x", false) == 1 && fake_out(f, WEIR_UP, "y") && logged("2app"),
	       "a call within a call");
	nested_flow = fake_flow(3);
	show(s, f, WEIR_UP, "x", false);
	tap_ok(nested_flow->decided == WEIR_ERROR && logged("timeout"),
	       "which has no time of its own");
	stop(s);
}

int main(void)
{
	snprintf(dir, sizeof(dir), "/tmp/weir-lua.XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	test_flow_open();
	test_payload();
	test_datagram();
	test_absent();
	test_other_events();
	test_methods();
	test_after_the_end();
	test_timers();
	test_config();
	test_sandbox();
	test_functions();
	test_require();
	test_limits();
	test_memory_total();
	test_log_rate();
	test_reload();
	test_nested();
	return tap_done() || system("rm -r /tmp/weir-lua.??????") != 0;
}

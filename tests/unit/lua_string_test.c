/* SPDX-License-Identifier: MIT */
/*
 * lua_string: our pattern matcher and bounded functions say the same as Lua's own, on cases chosen
 * by hand and on many random ones, errors included.
 * LINK: src/hooks/lua_string.o src/hooks/lua_pattern.o src/hooks/lua_limit.o
 * LINK: src/hooks/shared_util.o
 */
#include "hooks/lua_hook.h"

#include <lualib.h>
#include <stdlib.h>

#include "../lib/tap.h"

/* In it, `lib` and `tab` are Lua's string and table, `own` and `mine` are ours. */
static const char prelude[] =
	"local function show(...)\n"
	"  local n, t = select('#', ...), {...}\n"
	"  for i = 1, n do t[i] = tostring(t[i]) end\n"
	"  return n .. ':' .. tab.concat(t, '|')\n"
	"end\n"
	"-- errors differ in their words; that there is one must not\n"
	"local function result(f, ...)\n"
	"  local r = tab.pack(pcall(f, ...))\n"
	"  return r[1] and show(tab.unpack(r, 2, r.n)) or 'error'\n"
	"end\n"
	"local function all(f, s, p)\n"
	"  return result(function()\n"
	"    local t = {}\n"
	"    for a, b, c in f(s, p) do t[#t + 1] = show(a, b, c) end\n"
	"    return tab.concat(t, ';')\n"
	"  end)\n"
	"end\n"
	"function differ(s, p, init)\n"
	"  for _, c in ipairs {\n"
	"    {'find', s, p, init}, {'match', s, p, init}, {'find', s, p, init, true},\n"
	"    {'gsub', s, p, '<%0%1>'}, {'gsub', s, p, '%2'}, {'gsub', s, p, '%%', 2},\n"
	"    {'gsub', s, p, {a = 'A', ab = false, [1] = 'one'}},\n"
	"    {'gsub', s, p, function(x, y) return y and x .. '.' end}} do\n"
	"    local a = result(lib[c[1]], tab.unpack(c, 2, 5))\n"
	"    local b = result(own[c[1]], tab.unpack(c, 2, 5))\n"
	"    if a ~= b then return lib.format('%s(%q, %q, %s): %q, ours %q', c[1], s, p, init, a, b) end\n"
	"  end\n"
	"  local a, b = all(lib.gmatch, s, p), all(own.gmatch, s, p)\n"
	"  if a ~= b then return lib.format('gmatch(%q, %q): %q, ours %q', s, p, a, b) end\n"
	"end\n";

static const char by_hand[] =
	"for _, c in ipairs {\n"
	"  {'hello world', 'o w'}, {'hello', 'l+'}, {'hello', '(h)(.)(.-)o'}, {'', ''}, {'abc', ''},\n"
	"  {'  trim  ', '^%s*(.-)%s*$'}, {'key = value', '(%w+)%s*=%s*(%w+)'}, {'a]b', '[]]'},\n"
	"  {'a]b', '[^]]+'}, {'a-b', '[a%-]+'}, {'x^y', 'x^'}, {'a$b', 'a$b'}, {'THE (quick) fox', '%((%a+)%)'},\n"
	"  {'f(a(b)c)d', '%b()'}, {'((', '%b()'}, {'THE (quick) fox', '%f[%a]%a+%f[%A]'},\n"
	"  {'abab', '(ab)%1'}, {'aa', '(a*(.)%w(%s*))'}, {'0123', '()1()'}, {'x', '%'}, {'x', '[a'},\n"
	"  {'x', '[%'}, {'x', '(x'}, {'x', 'x)'}, {'x', '%1'}, {'x', '%0'}, {'x', '(%1)'}, {'x', '%f'},\n"
	"  {'x', '%b'}, {'x', '%bx'}, {'a\\0b', '%z'}, {'a\\0b', 'a\\0b'}, {'a\\0b', '[\\0-a]+'}, {'\\255\\1', '[\\254-\\255]'},\n"
	"  {'alo xyzK', '(%w+)K'}, {'2024-01-02', '(%d+)-(%d+)-(%d+)'}, {'aXb', '%u'}, {'a.b', '%.'},\n"
	"  {'abc', '[a-]+'}, {'a-z', '[%a-z]+'}, {'--', '[+--]+'}, {'x', '()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()'},\n"
	"  {'aaab', 'a-b'}, {'aaa', 'a?a?a?a'}, {'x', 'x?'}, {'x', '^x$'}, {'x$', 'x$$'}, {'^^', '^^+'},\n"
	"} do\n"
	"  for _, init in ipairs {1, 2, -1, 0, 10, -10} do\n"
	"    local d = differ(c[1], c[2], init)\n"
	"    if d then return d end\n"
	"  end\n"
	"end\n";

static const char at_random[] =
	"math.randomseed(4711)\n"
	"local pieces = {'a', 'b', '.', '%a', '%d', '%W', '[ab]', '[^a]', '[%d-]', '(', ')', '()', '*', '+',\n"
	"  '-', '?', '%1', '%2', '%b()', '%f[a]', '^', '$', '%', '[', ']', 'a*', 'b-', '.-', '(.)', '(a*)'}\n"
	"local letters = {'a', 'b', 'ab', '1', '(', ')', '-', ' ', 'A', ']', '^', '$', '%'}\n"
	"local function row(from, most)\n"
	"  local t = {}\n"
	"  for i = 1, math.random(0, most) do t[i] = from[math.random(#from)] end\n"
	"  return tab.concat(t)\n"
	"end\n"
	"for i = 1, 60000 do\n"
	"  local d = differ(row(letters, 12), row(pieces, 7), math.random(-3, 5))\n"
	"  if d then return d end\n"
	"end\n";

static const char others[] =
	"local function same(f, g, ...)\n"
	"  local function run(f, ...)\n"
	"    local r = tab.pack(pcall(f, ...))\n"
	"    for i = 1, r.n do r[i] = tostring(r[i]) end\n"
	"    return tab.concat(r, '|')\n"
	"  end\n"
	"  local a, b = run(f, ...), run(g, ...)\n"
	"  if a ~= b then error(a .. ' ours ' .. b, 0) end\n"
	"end\n"
	"for _, n in ipairs {-1, 0, 1, 2, 3, 7, 8, 100} do\n"
	"  for _, s in ipairs {'', 'x', 'abc'} do\n"
	"    same(lib.rep, own.rep, s, n)\n"
	"    same(lib.rep, own.rep, s, n, ', ')\n"
	"  end\n"
	"end\n"
	"same(lib.byte, own.byte, 'abc', 1, -1)\n"
	"same(lib.format, own.format, '%5.1f %s %q', 1.25, 'x', 'y')\n"
	"same(lib.upper, own.upper, 'aB1') same(lib.sub, own.sub, 'hello', 2, -2)\n"
	"same(lib.pack, own.pack, '>I4s1', 7, 'ab') same(lib.len, own.len, 'abc')\n"
	"local function sorted(sort, ...)\n"
	"  local t = {5, 3, 9, 1, 1, 7} sort(t, ...) return tab.concat(t, ',')\n"
	"end\n"
	"same(sorted, sorted, tab.sort) assert(sorted(mine.sort) == '1,1,3,5,7,9')\n"
	"assert(sorted(mine.sort, function(a, b) return a > b end) == '9,7,5,3,1,1')\n"
	"local t = {1, 2, 3} mine.insert(t, 1, 0) assert(mine.concat(t, ',') == '0,1,2,3')\n"
	"assert(mine.remove(t, 1) == 0 and #t == 3)\n"
	"assert(mine.concat(mine.move({1, 2, 3}, 2, 3, 1), ',') == '2,3,3')\n"
	"assert(select('#', mine.unpack({1, 2, 3})) == 3 and mine.pack(1, nil).n == 2)\n"
	"assert(not pcall(mine.insert, setmetatable({}, {__len = function() return 1 << 40 end}), 1, 1))\n"
	"assert(not pcall(mine.move, {}, 1, 1 << 40, 2))\n"
	"assert(not pcall(own.rep, 'xx', 1 << 62) and not pcall(own.rep, 'x', 1 << 62, 'xxx'))\n";

static void run(lua_State *L, const char *code, const char *name)
{
	lua_settop(L, 0);
	if (luaL_dostring(L, code)) {
		tap_ok(false, "%s", name);
		printf("# %s\n", lua_tostring(L, -1));
		return;
	}
	tap_ok(lua_gettop(L) == 0 || lua_isnil(L, 1), "%s", name);
	if (lua_isstring(L, 1))
		printf("# %s\n", lua_tostring(L, 1));
}

int main(void)
{
	static struct script script; /* without limits: no call is under way */
	lua_State *L = luaL_newstate();

	*(struct script **)lua_getextraspace(L) = &script;
	luaL_openlibs(L);
	lua_getglobal(L, "string");
	lua_setglobal(L, "lib");
	lua_getglobal(L, "table");
	lua_setglobal(L, "tab");
	string_push(L);
	lua_setglobal(L, "own");
	table_push(L);
	lua_setglobal(L, "mine");
	run(L, prelude, "there is something to compare with");
	run(L, by_hand, "patterns chosen by hand");
	run(L, at_random, "60000 patterns at random");
	run(L, others, "the other functions");
	lua_close(L);
	return tap_done();
}

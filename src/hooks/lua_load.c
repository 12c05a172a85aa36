/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The script is run once at the start. What it require()s is read from below its directory then,
 * and everything that was read is kept as a list of files.
 *
 * A worker opens no file after the lock-down, so a reload goes in rounds: the host is asked for the
 * files of the list, one after the other, and then the script is run, in a new environment, from
 * their texts. When it requires a file that is not in the list, the run ends, that file is asked
 * for, and the script is run again from the start. A run that ends well replaces the environment
 * that is in use: its functions are called from then on, timers of the older one are stopped. One
 * that fails changes nothing. The state, and with it what hangs on each flow, stays.
 */
#include "lua_hook.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX_BYTES (4u << 20)
#define ROUNDS_MAX     256 /* files of one script */

/** struct reload - one under way */
struct reload {
	struct script *script;
	struct script_files files; /* read so far */
	char *wanted;		   /* owned; the file that the host was asked for */
	struct script_file *next;  /* of the script's own list: to be asked for next, or NULL */
	unsigned rounds;
	bool again; /* asked for once more meanwhile */
};

/* --- files ------------------------------------------------------------------------------ */

static struct script_file *file_find(struct script_files *files, const char *path)
{
	struct script_file *f;

	STAILQ_FOREACH(f, files, next)
	if (!strcmp(f->path, path))
		return f;
	return NULL;
}

static void files_free(struct script_files *files)
{
	struct script_file *f;

	while ((f = STAILQ_FIRST(files))) {
		STAILQ_REMOVE_HEAD(files, next);
		free(f->path);
		free(f->text);
		free(f);
	}
}

/**
 * read_text - all of @fd; 0 or -errno
 *
 * Its size by lseek(): what the C library makes of fstat() is a call that could name a file, and no
 * worker may make it.
 */
static int read_text(int fd, char **text, size_t *len)
{
	off_t size = lseek(fd, 0, SEEK_END);
	ssize_t n = 0;

	if (size < 0 || lseek(fd, 0, SEEK_SET))
		return size < 0 ? -errno : -EINVAL;
	if (size > FILE_MAX_BYTES)
		return -EFBIG;
	*text = malloc((size_t)size + 1);
	if (!*text)
		return -ENOMEM;
	for (*len = 0; *len < (size_t)size; *len += (size_t)n) {
		n = read(fd, *text + *len, (size_t)size - *len);
		if (n <= 0)
			break;
	}
	if (n >= 0)
		return 0;
	n = -errno;
	free(*text);
	*text = NULL;
	return (int)n;
}

/** file_add - @fd's text (or none: @fd < 0) as @path; 0 or -errno. Closes @fd */
static int file_add(struct script_files *files, const char *path, int fd)
{
	struct script_file *f = calloc(1, sizeof(*f));
	int rc = f ? 0 : -ENOMEM;

	if (f) {
		f->path = strdup(path);
		rc = f->path ? 0 : -ENOMEM;
	}
	if (!rc && fd >= 0)
		rc = read_text(fd, &f->text, &f->len);
	if (fd >= 0)
		close(fd);
	if (rc) {
		if (f)
			free(f->path);
		free(f);
		return rc;
	}
	STAILQ_INSERT_TAIL(files, f, next);
	return 0;
}

/** file_here - before the lock-down: read it; a module may be absent, which is remembered */
static int file_here(struct script_files *files, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		return -errno;
	return file_add(files, path, fd);
}

/* --- one run of the script ----------------------------------------------------------------- */

/** struct run - hangs on the script while it runs; else there is nothing to require() */
struct run {
	struct script *s;
	struct script_files *files;
	char *missing; /* owned; a file that must be asked for first */
	int env;       /* references: the new environment, ... */
	int strings;   /* ... and the metatable that strings had, for a run that fails */
	bool failed;
};

/** push_chunk - @f compiled, with the environment at @env */
static void push_chunk(lua_State *L, const struct script_file *f, int env)
{
	const char *text = f->text, *end = f->text + f->len;

	if (text < end && *text == '#') { /* a #! line; its end stays, for the count of lines */
		text = memchr(text, '\n', f->len);
		text = text ? text : end;
	}
	lua_pushfstring(L, "@%s", f->path);
	if (luaL_loadbufferx(L, text, (size_t)(end - text), lua_tostring(L, -1), "t"))
		lua_error(L);
	lua_remove(L, -2);
	lua_pushvalue(L, env);
	if (!lua_setupvalue(L, -2, 1))
		lua_pop(L, 1);
}

/** module_file - the file of module @name with @suffix, where there is one; pushes its path */
static struct script_file *module_file(lua_State *L, struct run *run, const char *name,
				       const char *suffix)
{
	const char *path;
	struct script_file *f;
	int rc = 0;

	lua_pushstring(L, run->s->dir);
	luaL_gsub(L, name, ".", "/");
	lua_pushstring(L, suffix);
	lua_concat(L, 3);
	path = lua_tostring(L, -1);
	f = file_find(run->files, path);
	if (!f && run->s->locked) {
		free(run->missing);
		run->missing = strdup(path);
		luaL_error(L, "%s must be read first", path);
	}
	if (!f) {
		rc = file_here(run->files, path);
		f = file_find(run->files, path);
	}
	if (rc)
		luaL_error(L, "%s: %s", path, strerror(-rc));
	return f->text ? f : NULL;
}

/** good_name - parts of letters, digits, _ and -, separated by dots: nothing leaves the directory
 */
static bool good_name(const char *name)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

	for (;;) {
		size_t n = strspn(name, letters);

		if (!n)
			return false;
		name += n;
		if (!*name)
			return true;
		if (*name++ != '.')
			return false;
	}
}

int load_require(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	struct run *run = script_of(L)->run;
	struct script_file *f;

	lua_settop(L, 1);
	lua_pushvalue(L, 1);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
		return 1;
	if (!run)
		return luaL_error(L, "module \"%s\": modules are loaded when the script is", name);
	if (!good_name(name))
		return luaL_error(L, "module \"%s\": this is not the name of a module", name);
	f = module_file(L, run, name, ".lua");
	if (!f)
		f = module_file(L, run, name, "/init.lua");
	if (!f)
		return luaL_error(L, "module \"%s\": no such file beside the script", name);
	lua_rawgeti(L, LUA_REGISTRYINDEX, run->env);
	push_chunk(L, f, lua_gettop(L));
	lua_pushvalue(L, 1);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_pushboolean(L, 1);
	}
	lua_pushvalue(L, 1);
	lua_pushvalue(L, -2);
	lua_rawset(L, lua_upvalueindex(1));
	return 1;
}

/** take_over - the environment at @env is the one in use from now on */
static void take_over(lua_State *L, struct script *s, int env)
{
	int fn[SCRIPT_EVENTS];

	for (int ev = 0; ev < SCRIPT_EVENTS; ev++) {
		int type = lua_getfield(L, env, script_event_names[ev]);

		if (type != LUA_TNIL && type != LUA_TFUNCTION)
			luaL_error(L, "%s is a %s, not a function", script_event_names[ev],
				   lua_typename(L, type));
		fn[ev] = type == LUA_TFUNCTION ? luaL_ref(L, LUA_REGISTRYINDEX)
					       : (lua_pop(L, 1), LUA_NOREF);
	}
	lua_pushvalue(L, env);
	env = luaL_ref(L, LUA_REGISTRYINDEX);
	luaL_unref(L, LUA_REGISTRYINDEX, s->former);
	s->former = s->env;
	s->env = env;
	for (int ev = 0; ev < SCRIPT_EVENTS; ev++) {
		luaL_unref(L, LUA_REGISTRYINDEX, s->fn[ev]);
		s->fn[ev] = fn[ev];
	}
}

static int run_script(lua_State *L)
{
	struct run *run = lua_touserdata(L, 1);
	int env;

	lua_pushliteral(L, "");
	if (!lua_getmetatable(L, -1))
		lua_pushnil(L);
	run->strings = luaL_ref(L, LUA_REGISTRYINDEX);
	sandbox_push(L);
	env = lua_gettop(L);
	lua_pushvalue(L, env);
	run->env = luaL_ref(L, LUA_REGISTRYINDEX);
	push_chunk(L, file_find(run->files, run->s->path), env);
	lua_call(L, 0, 0);
	take_over(L, run->s, env);
	return 0;
}

/** after_run - whatever became of it */
static int after_run(lua_State *L)
{
	struct run *run = lua_touserdata(L, 1);

	if (run->failed) {
		lua_pushliteral(L, "");
		lua_rawgeti(L, LUA_REGISTRYINDEX, run->strings);
		lua_setmetatable(L, -2);
	}
	luaL_unref(L, LUA_REGISTRYINDEX, run->env);
	luaL_unref(L, LUA_REGISTRYINDEX, run->strings);
	return 0;
}

/** run_files - run the script from @files; 0, or -1 with @err, or 1: run->missing is missing */
static int run_files(struct run *run, char *err, size_t size)
{
	struct script *s = run->s;
	unsigned before = s->generation++;
	int rc;

	run->env = run->strings = LUA_NOREF;
	s->run = run;
	rc = script_start(s, run_script, run, err, size);
	s->run = NULL;
	run->failed = rc != 0;
	script_call(s, NULL, after_run, run);
	timers_stop(s, rc ? &before : &s->generation);
	if (rc)
		s->generation = before;
	return rc && run->missing ? 1 : rc;
}

int load_first(struct script *s, char *err, size_t size)
{
	struct run run = {.s = s, .files = &s->files};
	int rc = file_here(&s->files, s->path);
	struct script_file *f = rc ? NULL : file_find(&s->files, s->path);

	if (!f || !f->text) {
		snprintf(err, size, "%s: %s", s->path, strerror(rc ? -rc : ENOENT));
		return -1;
	}
	return run_files(&run, err, size);
}

/* --- a reload --------------------------------------------------------------------------------- */

static int call_reload(lua_State *L)
{
	struct script *s = lua_touserdata(L, 1);

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->fn[SCRIPT_RELOAD]);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->former);
	lua_call(L, 1, 0);
	return 0;
}

/** reload_end - @text: what went wrong, or NULL: the new script is in use */
static void reload_end(struct reload *r, const char *text)
{
	struct script *s = r->script;
	bool again = r->again;
	char line[640];

	if (text) {
		snprintf(line, sizeof(line), "not reloaded, the script goes on as it was: %s",
			 text);
		s->host->log(s->ref, NULL, WEIR_LOG_ERROR, line);
	} else {
		files_free(&s->files);
		STAILQ_CONCAT(&s->files, &r->files);
		if (s->fn[SCRIPT_RELOAD] != LUA_NOREF)
			script_call(s, NULL, call_reload, s);
		luaL_unref(s->thread[0], LUA_REGISTRYINDEX, s->former);
		s->former = LUA_NOREF;
	}
	s->reload = NULL;
	files_free(&r->files);
	free(r->wanted);
	free(r);
	if (again)
		load_again(s);
}

static void ask_next(struct reload *r);

/** reload_run - all files of the list are there */
static void reload_run(struct reload *r)
{
	struct run run = {.s = r->script, .files = &r->files};
	char err[512];
	int rc = run_files(&run, err, sizeof(err));

	if (rc != 1) {
		free(run.missing);
		reload_end(r, rc ? err : NULL);
		return;
	}
	r->wanted = run.missing;
	ask_next(r);
}

/** on_file - the host has opened (or not) what was wanted */
static void on_file(void *ctx, int fd)
{
	struct reload *r = ctx;
	bool is_script = !strcmp(r->wanted, r->script->path);
	char text[512];
	int rc = fd;

	if (fd >= 0 || (!is_script && (fd == -ENOENT || fd == -ENOTDIR)))
		rc = file_add(&r->files, r->wanted, fd);
	if (rc < 0) {
		snprintf(text, sizeof(text), "%s: %s", r->wanted, strerror(-rc));
		reload_end(r, text);
		return;
	}
	free(r->wanted);
	r->wanted = NULL;
	while (r->next && !r->wanted) {
		if (r->next->text && !file_find(&r->files, r->next->path))
			r->wanted = strdup(r->next->path);
		r->next = STAILQ_NEXT(r->next, next);
	}
	if (r->wanted)
		ask_next(r);
	else
		reload_run(r);
}

/** ask_next - for the file that is wanted */
static void ask_next(struct reload *r)
{
	struct script *s = r->script;
	char path[2 * PATH_MAX], text[512];
	int rc = -EMFILE;

	/* All begin with s->dir, which is s->reach. */
	snprintf(path, sizeof(path), "%s%s%s", s->reach,
		 s->reach[strlen(s->reach) - 1] == '/' ? "" : "/", r->wanted + strlen(s->dir));
	if (r->rounds++ < ROUNDS_MAX)
		rc = s->host->open(s->ref, path, O_RDONLY, on_file, r);
	if (rc) {
		snprintf(text, sizeof(text), "%s: %s", r->wanted, strerror(-rc));
		reload_end(r, text);
	}
}

void load_again(struct script *s)
{
	struct reload *r;

	if (s->reload) {
		s->reload->again = true;
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return;
	r->script = s;
	STAILQ_INIT(&r->files);
	r->wanted = strdup(s->path);
	r->next = STAILQ_FIRST(&s->files);
	if (!r->wanted) {
		free(r);
		return;
	}
	s->reload = r;
	ask_next(r);
}

void load_free(struct script *s)
{
	if (s->reload) {
		files_free(&s->reload->files);
		free(s->reload->wanted);
		free(s->reload);
	}
	files_free(&s->files);
}

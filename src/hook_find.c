/* SPDX-License-Identifier: MIT */
/*
 * Where hooks come from: those that are built in, files that ship with weir (they lean on large
 * libraries, which not everybody has), and other files. This runs in a worker before its
 * lock-down, so that the code of a plugin never runs in a process that keeps its privileges.
 */
#include "hook_impl.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

/* HOOK_BUILTINS is the Makefile's: BUILTIN(NAME) for each src/hooks/NAME.c. */
#define BUILTIN(name) extern const struct weir_hook *const weir_builtin_##name;
HOOK_BUILTINS
#undef BUILTIN

typedef const struct weir_hook *weir_hook_entry_fn(void);

static const struct weir_hook *find_builtin(const char *name, size_t len)
{
	static const struct weir_hook *const *const all[] = {
#define BUILTIN(name) &weir_builtin_##name,
		HOOK_BUILTINS
#undef BUILTIN
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (strlen((*all[i])->name) == len && !memcmp((*all[i])->name, name, len))
			return *all[i];
	return NULL;
}

/* --- a plugin's file ---------------------------------------------------------------------------
 */

/** is_file - a name with a slash or that ends in .so is a file's */
static bool is_file(const char *name, size_t len)
{
	return memchr(name, '/', len) || (len > 3 && !memcmp(name + len - 3, ".so", 3));
}

/**
 * load_file - the hook of a shared object; NULL and a line in @err
 *
 * It stays mapped to the end: threads or exit handlers of its libraries may still need it.
 */
static const struct weir_hook *load_file(const char *name, size_t len, char *err, size_t errsize)
{
	char path[4096];
	void *dl;
	weir_hook_entry_fn *entry;

	/* dlopen() looks for a bare name elsewhere. */
	if (snprintf(path, sizeof(path), "%s%.*s", memchr(name, '/', len) ? "" : "./", (int)len,
		     name) >= (int)sizeof(path)) {
		snprintf(err, errsize, "its path is too long");
		return NULL;
	}
	dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!dl) {
		snprintf(err, errsize, "%s", dlerror());
		return NULL;
	}
	*(void **)&entry = dlsym(dl, "weir_hook_entry");
	if (!entry) {
		snprintf(err, errsize, "it is no hook of weir's: it has no weir_hook_entry()");
		return NULL;
	}
	return entry();
}

/** shipped_path - where the file of hook @name would be, seen from the program; 0 or -errno */
static int shipped_path(const char *below, const char *name, size_t len, char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - 1);
	char *end;

	if (n < 0)
		return -errno;
	path[n] = 0;
	end = strrchr(path, '/');
	n = end ? end - path : 0;
	if (snprintf(path + n, size - (size_t)n, "/%s/%.*s.so", below, (int)len, name) >=
	    (int)(size - (size_t)n))
		return -ENAMETOOLONG;
	return access(path, F_OK) ? -errno : 0;
}

/** find_shipped - a hook that weir brings as a file: beside it as it was built, or installed */
static const struct weir_hook *find_shipped(const char *name, size_t len, char *err, size_t errsize)
{
	static const char *const below[] = {"hooks", "../lib/weir/hooks"};
	char path[4096];

	for (size_t i = 0; i < ARRAY_SIZE(below); i++)
		if (!shipped_path(below[i], name, len, path, sizeof(path)))
			return load_file(path, strlen(path), err, errsize);
	snprintf(err, errsize, "no such hook%s",
		 memchr(name, ',', len)
			 ? " (what a hook is given stands behind =: NAME=KEY=VALUE,...)"
			 : "");
	return NULL;
}

int hook_chain_add(struct hook_chain *c, const char *spec, char *err, size_t errsize)
{
	const size_t len = strcspn(spec, "=");
	const char *args = spec[len] ? spec + len + 1 : NULL;
	const struct weir_hook *hook;

	*err = '\0';
	if (is_file(spec, len)) {
		hook = load_file(spec, len, err, errsize);
		if (!hook && *err)
			return -EINVAL;
	} else {
		hook = find_builtin(spec, len);
		if (!hook)
			hook = find_shipped(spec, len, err, errsize);
		if (!hook)
			return -ENOENT;
	}
	return hook_chain_add_hook(c, hook, args, err, errsize);
}

/* SPDX-License-Identifier: MIT */
/*
 * exec: a hook that is a program of any language, started by weir's supervisor; it reads events
 * from its standard input and writes answers to its standard output. See docs/weir-processor.7.scd.
 */
#include "processor_hook.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX 62

struct exec {
	struct processor processor; /* the first: processor_flow.c is given it as the state */
	char *text;		    /* owned; where the words lie */
	char program[PATH_MAX];	    /* the first of them, as a path */
	char *words[WORDS_MAX + 1];
};

static void *exec_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct exec *e = calloc(1, sizeof(*e));

	*err = "out of memory";
	if (e)
		processor_init(&e->processor, host, ref);
	return e;
}

/** set_command - PROGRAM and its arguments, separated by blanks */
static int set_command(struct exec *e, const char *value, const char **err)
{
	char *save = NULL;
	unsigned n = 0;

	*err = "one command for each --hook exec=";
	if (e->text)
		return -1;
	*err = "out of memory";
	e->text = strdup(value);
	if (!e->text)
		return -1;
	for (char *w = strtok_r(e->text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (n == WORDS_MAX) {
			*err = "the command has too many words";
			return -1;
		}
		e->words[n++] = w;
	}
	*err = "wants a command";
	return n ? 0 : -1;
}

static int exec_config(void *state, const char *key, const char *value, const char **err)
{
	struct exec *e = state;

	if (!strcmp(key, "command"))
		return set_command(e, value, err);
	return processor_config(&e->processor, key, value, err);
}

/** is_program - @path made absolute into @out, if it is a file that can be run */
static bool is_program(const char *path, char *out)
{
	struct stat st;

	return realpath(path, out) && !stat(out, &st) && S_ISREG(st.st_mode) && !access(out, X_OK);
}

/** find_program - a word without a slash is looked for in PATH, as a shell does */
static bool find_program(const char *word, char *out)
{
	const char *path = getenv("PATH");
	char candidate[PATH_MAX];

	if (strchr(word, '/'))
		return is_program(word, out);
	while (path && *path) {
		size_t n = strcspn(path, ":");

		if (n &&
		    snprintf(candidate, sizeof(candidate), "%.*s/%s", (int)n, path, word) <
			    (int)sizeof(candidate) &&
		    is_program(candidate, out))
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

static int exec_ready(void *state, const char **err)
{
	struct exec *e = state;

	if (!e->text) {
		*err = "needs a program: exec=PROGRAM";
		return -1;
	}
	*err = "there is no such program";
	if (!find_program(e->words[0], e->program))
		return -1;
	e->words[0] = e->program;
	return processor_ready(&e->processor, err);
}

static const char *const *exec_process(void *state)
{
	struct exec *e = state;

	return (const char *const *)e->words;
}

static void exec_connected(void *state, int fd)
{
	struct exec *e = state;

	if (fd >= 0)
		link_up(&e->processor, fd);
	else
		link_down(&e->processor, fd == -ECHILD ? "it has ended" : strerror(-fd));
}

static void exec_unload(void *state)
{
	struct exec *e = state;

	processor_end(&e->processor);
	free(e->text);
	free(e);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "exec",
	.wants = WEIR_WANTS_PAYLOAD | WEIR_WANTS_DATAGRAMS | WEIR_WANTS_NAMES,
	.help = "a program decides: exec=PROGRAM ARGUMENTS[,format=raw|json][,timeout=5s]",
	.default_key = "command",
	.load = exec_load,
	.config = exec_config,
	.ready = exec_ready,
	.unload = exec_unload,
	.flow_open = processor_flow_open,
	.payload = processor_payload,
	.datagram = processor_datagram,
	.half_close = processor_half_close,
	.name_learned = processor_name_learned,
	.flow_close = processor_flow_close,
	.report = processor_report,
	.process = exec_process,
	.connected = exec_connected,
};

WEIR_HOOK(hook)

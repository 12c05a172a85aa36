/* SPDX-License-Identifier: MIT */
/*
 * socket: a hook that is a service behind an AF_UNIX stream socket. As exec, but the service is
 * somebody else's: the host is asked for a connection, and again, later and later, when there is
 * none or it has ended. See docs/weir-processor.7.scd.
 */
#include "processor_hook.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS_MIN 100
#define AGAIN_MS_MAX 10000

struct service {
	struct processor processor; /* the first: processor_flow.c is given it as the state */
	char path[PATH_MAX];
	struct weir_timer *again;
	unsigned wait_ms;
};

static void ask_again(void *ctx);

/** ask_later - the longer it has been away, the later */
static void ask_later(struct service *s)
{
	const struct processor *p = &s->processor;

	s->again = p->host->timer(p->ref, s->wait_ms, ask_again, s);
	s->wait_ms = s->wait_ms * 2 < AGAIN_MS_MAX ? s->wait_ms * 2 : AGAIN_MS_MAX;
}

static void on_connection(void *ctx, int fd)
{
	struct service *s = ctx;
	char text[PATH_MAX + 64];

	if (fd >= 0) {
		link_up(&s->processor, fd);
		return;
	}
	snprintf(text, sizeof(text), "%.200s: %s", s->path, strerror(-fd));
	link_down(&s->processor, text); /* on_end(), if it was thought to be up */
	if (!s->again)
		ask_later(s);
}

static void ask_again(void *ctx)
{
	struct service *s = ctx;
	const struct processor *p = &s->processor;
	int rc;

	s->again = NULL;
	rc = p->host->open(p->ref, s->path, O_RDWR, on_connection, s);
	if (rc)
		on_connection(s, rc);
}

/** on_end - the connection has ended; one that answered is missed sooner */
static void on_end(void *ctx)
{
	struct service *s = ctx;

	if (s->processor.answered)
		s->wait_ms = AGAIN_MS_MIN;
	ask_later(s);
}

static void *socket_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct service *s = calloc(1, sizeof(*s));

	*err = "out of memory";
	if (!s)
		return NULL;
	processor_init(&s->processor, host, ref);
	s->processor.ended = on_end;
	s->processor.ended_ctx = s;
	s->wait_ms = AGAIN_MS_MIN;
	return s;
}

static int socket_config(void *state, const char *key, const char *value, const char **err)
{
	struct service *s = state;

	if (strcmp(key, "path") != 0)
		return processor_config(&s->processor, key, value, err);
	*err = "a path with a blank cannot be asked for";
	if (strchr(value, ' '))
		return -1;
	*err = "its path is too long";
	return absolute_path(value, s->path, sizeof(s->path));
}

static int socket_ready(void *state, const char **err)
{
	struct service *s = state;

	*err = "needs a socket: socket=PATH";
	return *s->path ? processor_ready(&s->processor, err) : -1;
}

static void socket_locked(void *state)
{
	ask_again(state);
}

static const char *socket_paths(void *state)
{
	const struct service *s = state;

	return s->path;
}

static void socket_unload(void *state)
{
	struct service *s = state;
	const struct processor *p = &s->processor;

	if (s->again)
		p->host->timer_stop(s->again);
	processor_end(&s->processor);
	free(s);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "socket",
	.wants = WEIR_WANTS_PAYLOAD | WEIR_WANTS_DATAGRAMS | WEIR_WANTS_NAMES,
	.help = "a service decides: socket=PATH[,format=raw|json][,timeout=5s]",
	.default_key = "path",
	.load = socket_load,
	.config = socket_config,
	.ready = socket_ready,
	.locked = socket_locked,
	.unload = socket_unload,
	.flow_open = processor_flow_open,
	.payload = processor_payload,
	.datagram = processor_datagram,
	.half_close = processor_half_close,
	.name_learned = processor_name_learned,
	.flow_close = processor_flow_close,
	.report = processor_report,
	.paths = socket_paths,
};

WEIR_HOOK(hook)

/* SPDX-License-Identifier: MIT */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/openat2.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "starter.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define PLACES_MAX   64 /* files and directories of all hooks */
#define PROGRAMS_MAX 16 /* one a hook */
#define BACKOFF_MIN  (100 * NSEC_PER_MSEC)
#define BACKOFF_MAX  (10 * NSEC_PER_SEC)
#define FLAGS_KNOWN  (O_ACCMODE | O_CREAT | O_APPEND | O_TRUNC | O_EXCL)

/**
 * struct place - what may be opened: @path, and what is below it where it is a directory
 * @dir: owned; the directory itself, or the one that the file is in
 */
struct place {
	char *path;
	int dir;
	bool is_dir;
};

/**
 * struct program - of one hook
 * @tag: of the instance that runs or ran last; @started: when, @again_at: when to try it again
 */
struct program {
	uint32_t tag, hook;
	bool runs;
	uint64_t started, again_at, backoff;
	size_t len;
	char args[STARTER_ARGS_MAX];
};

struct broker {
	struct broker_ops ops;
	bool as_user;
	struct isolate_user user;
	struct starter *starter; /* borrowed */
	uint32_t next_tag;
	unsigned n_places, n_programs;
	struct place places[PLACES_MAX];
	struct program programs[PROGRAMS_MAX];
};

int broker_new(struct broker **out, const struct isolate_user *user, struct starter *starter,
	       const struct broker_ops *ops)
{
	struct broker *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->ops = *ops;
	b->as_user = user != NULL;
	if (user)
		b->user = *user;
	b->starter = starter;
	*out = b;
	return 0;
}

void broker_fresh(struct broker *b)
{
	if (!b)
		return;
	while (b->n_programs) {
		const struct program *p = &b->programs[--b->n_programs];

		if (p->runs)
			starter_stop(b->starter, p->tag);
	}
	while (b->n_places) {
		struct place *p = &b->places[--b->n_places];

		free(p->path);
		close_fd(&p->dir);
	}
}

void broker_free(struct broker *b)
{
	if (!b)
		return;
	broker_fresh(b);
	free(b);
}

/* --- files ------------------------------------------------------------------------------------ */

/** be_user - file access is the worker's user's (@on), or ours again */
static int be_user(const struct broker *b, bool on)
{
	if (!b->as_user)
		return 0;
	/* The other groups are root's; nothing here needs them. */
	if (on && getgroups(0, NULL) && setgroups(0, NULL))
		return -errno;
	setfsgid(on ? b->user.gid : getegid());
	setfsuid(on ? b->user.uid : geteuid());
	return setfsuid((uid_t)-1) == (int)(on ? b->user.uid : geteuid()) ? 0 : -EPERM;
}

/** place_open - @p->dir of @p->path; 0 or -errno */
static int place_open(struct place *p)
{
	char *slash = strrchr(p->path, '/');
	char parent[512] = ".";

	p->dir = open(p->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->is_dir = p->dir >= 0;
	if (p->is_dir)
		return 0;
	if (slash)
		snprintf(parent, sizeof(parent), "%.*s", (int)MAX(slash - p->path, (ptrdiff_t)1),
			 p->path);
	p->dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return p->dir < 0 ? -errno : 0;
}

/** take_place - a path of the configuration; one that is not there yet may come */
static bool take_place(struct broker *b, const struct ipc_hook *h)
{
	struct place *p = &b->places[b->n_places];
	int rc;

	if (b->n_places == PLACES_MAX || !h->text[0])
		return false;
	p->path = strdup(h->text);
	if (!p->path)
		return true;
	rc = be_user(b, true);
	if (!rc)
		rc = place_open(p);
	be_user(b, false);
	if (rc) {
		log_warn("hooks can't open anything below %s: %s", p->path, strerror(-rc));
		free(p->path);
		return true;
	}
	b->n_places++;
	return true;
}

/** below - the rest of @path behind @p's, NULL: it is not there */
static const char *below(const struct place *p, const char *path)
{
	const size_t n = strlen(p->path);
	const char *slash = strrchr(p->path, '/');

	if (!p->is_dir)
		return strcmp(p->path, path) ? NULL : slash ? slash + 1 : p->path;
	if (strncmp(p->path, path, n) || (path[n] != '/' && p->path[n - 1] != '/'))
		return NULL;
	return path + n + strspn(path + n, "/");
}

/** connect_in - to the service that listens at the socket @name; the connection, or -errno */
static int connect_in(int dir, const char *name)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int at = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how)), sock, rc = 0;

	if (at < 0)
		return -errno;
	/* The path of the very file that was found, whatever its name means by now. */
	snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d", at);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0 || connect(sock, (const struct sockaddr *)&to, sizeof(to)))
		rc = -errno;
	close(at);
	if (rc)
		close_fd(&sock);
	return rc ? rc : sock;
}

/** open_in - a regular file, or a connection to a socket; the descriptor, or -errno */
static int open_in(int dir, const char *name, int flags)
{
	const struct open_how how = {
		/* not blocked by a FIFO that somebody put there */
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY |
					      O_NONBLOCK),
		.mode = flags & O_CREAT ? 0600 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
	struct stat st;

	if (fd < 0 && errno == ENXIO && (flags & O_ACCMODE) == O_RDWR)
		return connect_in(dir, name);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || fcntl(fd, F_SETFL, flags & O_APPEND)) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

static int open_path(const struct broker *b, const char *path, int flags)
{
	int fd = -EACCES;

	if (flags & ~FLAGS_KNOWN)
		return -EINVAL;
	for (unsigned i = 0; fd == -EACCES && i < b->n_places; i++) {
		const char *name = below(&b->places[i], path);

		if (!name || !*name)
			continue;
		fd = be_user(b, true);
		if (!fd)
			fd = open_in(b->places[i].dir, name, flags);
		be_user(b, false);
	}
	return fd;
}

static void take_open(const struct broker *b, const struct ipc_hook *h)
{
	int fd = open_path(b, h->text, h->value);
	struct ipc_hook answer = {.what = IPC_HOOK_OPEN, .id = h->id, .hook = h->hook};

	answer.value = fd < 0 ? fd : 0;
	b->ops.give(b->ops.ctx, &answer, fd);
	close_fd(&fd);
}

/* --- programs
 * -------------------------------------------------------------------------------------- */

static void tell(const struct broker *b, const struct program *p, int value, int fd)
{
	const struct ipc_hook h = {.what = IPC_HOOK_PROCESS, .hook = p->hook, .value = value};

	b->ops.give(b->ops.ctx, &h, fd);
}

static void program_start(struct broker *b, struct program *p, uint64_t now)
{
	int pair[2] = {-1, -1};
	int rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ? -errno : 0;

	p->again_at = 0;
	p->started = now;
	p->tag = ++b->next_tag;
	if (!rc)
		rc = starter_run(b->starter, p->tag, p->args, p->len, pair[1]);
	/* Ours alone: to the program it is an ordinary one. */
	if (!rc && fcntl(pair[0], F_SETFL, O_NONBLOCK))
		rc = -errno;
	p->runs = !rc;
	if (!rc)
		tell(b, p, 0, pair[0]);
	else
		log_warn("%s can't be started for a hook: %s", p->args, strerror(-rc));
	close_fd(&pair[0]);
	close_fd(&pair[1]);
}

/** program_ended - it is tried again, sooner where it has run for a while */
static void program_ended(struct broker *b, struct program *p, int status, uint64_t now)
{
	p->runs = false;
	p->backoff =
		now - p->started >= BACKOFF_MAX ? BACKOFF_MIN : MIN(2 * p->backoff, BACKOFF_MAX);
	p->again_at = now + p->backoff;
	if (WIFSIGNALED(status))
		log_note("%s was ended by signal %d; it is started again", p->args,
			 WTERMSIG(status));
	else
		log_note("%s ended with status %d; it is started again", p->args,
			 WEXITSTATUS(status));
	tell(b, p, -ECHILD, -1);
}

static bool take_program(struct broker *b, const struct ipc_hook *h, uint64_t now)
{
	struct program *p = &b->programs[b->n_programs];

	if (b->n_programs == PROGRAMS_MAX || !h->len || h->len > sizeof(p->args))
		return false;
	*p = (struct program){.hook = h->hook, .len = h->len, .backoff = BACKOFF_MIN / 2};
	memcpy(p->args, h->text, h->len);
	b->n_programs++;
	program_start(b, p, now);
	return true;
}

bool broker_take(struct broker *b, const struct ipc_hook *h, bool ready, uint64_t now)
{
	switch (h->what) {
	case IPC_HOOK_PATH:
		return !ready && take_place(b, h);
	case IPC_HOOK_PROCESS:
		return !ready && take_program(b, h, now);
	case IPC_HOOK_OPEN:
		take_open(b, h);
		return true;
	default:
		return false;
	}
}

int broker_fd(const struct broker *b)
{
	return b ? starter_fd(b->starter) : -1;
}

static struct program *by_tag(struct broker *b, uint32_t tag)
{
	for (unsigned i = 0; i < b->n_programs; i++)
		if (b->programs[i].runs && b->programs[i].tag == tag)
			return &b->programs[i];
	return NULL;
}

/** take_ends - what the starter has to tell */
static void take_ends(struct broker *b, uint64_t now)
{
	uint32_t tag;
	int status, rc;

	while (starter_fd(b->starter) >= 0 && (rc = starter_ended(b->starter, &tag, &status))) {
		struct program *p = rc > 0 ? by_tag(b, tag) : NULL;

		if (p)
			program_ended(b, p, status, now);
		if (rc < 0 && b->n_programs)
			log_warn("programs of hooks can't be started any more: %s", strerror(-rc));
	}
}

uint64_t broker_look(struct broker *b, uint64_t now)
{
	uint64_t next = 0;

	if (!b)
		return 0;
	take_ends(b, now);
	for (unsigned i = 0; i < b->n_programs; i++) {
		struct program *p = &b->programs[i];

		if (p->again_at && p->again_at <= now && starter_fd(b->starter) >= 0)
			program_start(b, p, now);
		if (p->again_at && (!next || p->again_at < next))
			next = p->again_at;
	}
	return next;
}

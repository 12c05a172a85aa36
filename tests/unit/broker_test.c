/* SPDX-License-Identifier: MIT */
/*
 * broker: which files a worker gets, and how often a program is started. The starter is a fake.
 * LINK: src/broker.o src/base/util.o src/base/log.o
 */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "../lib/tap.h"

#define SEC NSEC_PER_SEC

/* --- the fake starter ------------------------------------------------------------------------ */

struct starter {
	unsigned runs, stops;
	uint32_t tag, ended;
	char args[64];
};

int starter_run(struct starter *s, uint32_t tag, const char *args, size_t len, int fd)
{
	s->runs += fd >= 0;
	s->tag = tag;
	memcpy(s->args, args, len);
	return 0;
}

void starter_stop(struct starter *s, uint32_t tag)
{
	s->stops += tag == s->tag;
}

int starter_ended(struct starter *s, uint32_t *tag, int *status)
{
	if (!s->ended)
		return 0;
	*tag = s->ended;
	*status = 0;
	s->ended = 0;
	return 1;
}

int starter_fd(const struct starter *s)
{
	(void)s;
	return 0;
}

/* --- the worker
 * ----------------------------------------------------------------------------------- */

static struct starter starter;
static struct broker *b;
static struct ipc_hook given;
static unsigned gifts;
static char content[32], dir[] = "/tmp/weir-broker.XXXXXX";
static int given_flags;

static void give(void *ctx, const struct ipc_hook *h, int fd)
{
	ssize_t n;

	(void)ctx;
	given = *h;
	gifts++;
	memset(content, 0, sizeof(content));
	if (fd < 0)
		return;
	given_flags = fcntl(fd, F_GETFL);
	n = h->what == IPC_HOOK_OPEN ? read(fd, content, sizeof(content) - 1) : 0;
	if (n < 0)
		content[0] = '\0';
}

/** request - @path is relative to the test's directory, unless it has a slash in front */
static bool request(enum ipc_hook_what what, bool ready, int flags, const char *path)
{
	struct ipc_hook h = {.what = what, .id = 5, .hook = 1, .value = flags};

	h.len = 1 + (uint32_t)(*path == '/' ? snprintf(h.text, sizeof(h.text), "%s", path)
					    : snprintf(h.text, sizeof(h.text), "%s/%s", dir, path));
	return broker_take(b, &h, ready, 100 * SEC);
}

/** result - of asking for @path: 0, or the -errno */
static int result(const char *path, int flags)
{
	memset(&given, 0xee, sizeof(given));
	if (!request(IPC_HOOK_OPEN, true, flags, path) || given.what != IPC_HOOK_OPEN ||
	    given.id != 5 || given.hook != 1)
		return 1;
	return given.value;
}

static void make(const char *path, const char *text)
{
	char full[256];
	int fd;

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	fd = open(full, O_WRONLY | O_CREAT, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

static void make_tree(void)
{
	if (!mkdtemp(dir) || chdir(dir) || mkdir("in", 0755) || mkdir("in/deep", 0755) ||
	    mkdir("inside", 0755) || symlink("../secret", "in/link") || symlink(".", "in/loop") ||
	    mkfifo("in/fifo", 0644))
		abort();
	make("secret", "secret");
	make("in/file", "a file");
	make("in/deep/file", "deep");
	make("inside/file", "beside");
	make("one", "one");
}

static void test_files(void)
{
	static const struct {
		const char *path;
		int flags, want;
		const char *content;
	} cases[] = {
		{"in/file", O_RDONLY, 0, "a file"},
		{"in//file", O_RDONLY, 0, "a file"},
		{"in/deep/file", O_RDONLY, 0, "deep"},
		{"in/new", O_WRONLY | O_CREAT | O_APPEND, 0, ""},
		{"in/new", O_WRONLY | O_CREAT | O_EXCL, -EEXIST, ""},
		{"in/none", O_RDONLY, -ENOENT, ""},
		{"in", O_RDONLY, -EACCES, ""},
		{"in/", O_RDONLY, -EACCES, ""},
		{"in/deep", O_RDONLY, -EINVAL, ""},
		{"in/../secret", O_RDONLY, -EXDEV, ""},
		{"in/deep/../../secret", O_RDONLY, -EXDEV, ""},
		{"in/link", O_RDONLY, -ELOOP, ""},
		{"in/loop/file", O_RDONLY, -ELOOP, ""},
		{"in/fifo", O_RDONLY, -EINVAL, ""},
		{"inside/file", O_RDONLY, -EACCES, ""},
		{"one", O_RDONLY, 0, "one"},
		{"one/", O_RDONLY, -EACCES, ""},
		{"one2", O_RDONLY, -EACCES, ""},
		{"later", O_RDONLY, -ENOENT, ""},
		{"later", O_WRONLY | O_CREAT, 0, ""},
		{"secret", O_RDONLY, -EACCES, ""},
		{"/etc/passwd", O_RDONLY, -EACCES, ""},
		{"in/file", O_RDONLY | O_DIRECTORY, -EINVAL, ""},
		{"in/file", O_RDONLY | O_PATH, -EINVAL, ""},
	};

	tap_ok(request(IPC_HOOK_PATH, false, 0, "in") && request(IPC_HOOK_PATH, false, 0, "one") &&
		       request(IPC_HOOK_PATH, false, 0, "later"),
	       "what a hook's configuration names");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tap_is(result(cases[i].path, cases[i].flags), cases[i].want, "%s: %s",
		       cases[i].path, cases[i].want ? "is not to be had" : "can be opened");
		if (cases[i].flags == O_RDONLY)
			tap_ok(!strcmp(content, cases[i].content), "... and is what it says: %s",
			       content);
	}
	tap_ok(!result("in/new", O_WRONLY | O_APPEND) && (given_flags & O_APPEND) &&
		       !(given_flags & O_NONBLOCK),
	       "flags are those that were asked for");
	tap_ok(!request(IPC_HOOK_PATH, true, 0, "secret"), "later no worker names another path");
	tap_is(result("secret", O_RDONLY), -EACCES, "so it is not opened");
	broker_fresh(b);
	tap_is(result("in/file", O_RDONLY), -EACCES, "the next worker names its own");
}

static uint64_t ends(uint64_t now)
{
	starter.ended = starter.tag;
	return broker_look(b, now);
}

static void test_programs(void)
{
	const struct ipc_hook h = {.what = IPC_HOOK_PROCESS, .hook = 3, .len = 4, .text = "a\0b"};
	uint64_t now = 200 * SEC, next;

	gifts = 0;
	tap_ok(broker_take(b, &h, false, now) && starter.runs == 1 &&
		       !memcmp(starter.args, "a\0b", 4),
	       "a program is started");
	tap_ok(gifts == 1 && given.what == IPC_HOOK_PROCESS && given.hook == 3 && !given.value &&
		       (given_flags & O_NONBLOCK),
	       "the hook gets its socket");
	tap_ok(!broker_take(b, &h, true, now) && starter.runs == 1, "no other one later");
	tap_is(broker_look(b, now), 0, "while it runs there is nothing to do");
	next = ends(now + SEC);
	tap_ok(gifts == 2 && given.value == -ECHILD && next == now + SEC + SEC / 10,
	       "its end is told, and it is tried again in 0.1 s");
	tap_ok(broker_look(b, next - 1) == next && starter.runs == 1, "not before");
	tap_ok(!broker_look(b, next) && starter.runs == 2 && gifts == 3, "then it runs again");
	for (unsigned i = 0; i < 10; i++) {
		now = next;
		next = ends(now);
		broker_look(b, next);
	}
	tap_ok(next - now == 10 * SEC && starter.runs == 12, "the pause grows, to 10 s");
	next = ends(next + 10 * SEC);
	broker_look(b, next);
	now = next;
	tap_is(ends(now + SEC) - now - SEC, 2 * SEC / 10,
	       "one that has run for a while begins anew");
	broker_look(b, now + 9 * SEC);
	broker_fresh(b);
	tap_is(starter.stops, 1, "with its worker it is told to end");
	starter.ended = starter.tag;
	tap_is(broker_look(b, now + 20 * SEC), 0, "and is not started again");
}

int main(void)
{
	const struct broker_ops ops = {.give = give};
	char command[64];

	log_level = LOG_ERROR;
	make_tree();
	if (broker_new(&b, NULL, &starter, &ops))
		return 1;
	test_files();
	test_programs();
	broker_free(b);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) ? 1 : tap_done();
}

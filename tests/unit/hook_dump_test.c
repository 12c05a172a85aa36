/* SPDX-License-Identifier: MIT */
/*
 * dump: files for directions, opened by somebody else and later; its bounds.
 * LINK: src/hooks/dump.o
 */
#include "../lib/hookhost.h"
#include "../lib/tap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

extern const struct weir_hook *const weir_builtin_dump;
#define HOOK weir_builtin_dump

/* What the hook has asked for, until opening() answers. */
static struct {
	char path[256];
	void (*fn)(void *ctx, int fd);
	void *ctx;
} asked[8];
static unsigned n_asked;
static int refuse;
static char dir[] = "/tmp/weir-dump-XXXXXX";

static int later(struct weir_hook_ref *hook, const char *path, int flags,
		 void (*fn)(void *ctx, int fd), void *ctx)
{
	(void)hook;
	if (flags != (O_WRONLY | O_CREAT | O_TRUNC) || strncmp(path, dir, strlen(dir)) != 0)
		return -EPERM;
	snprintf(asked[n_asked].path, sizeof(asked[0].path), "%s", path);
	asked[n_asked].fn = fn;
	asked[n_asked++].ctx = ctx;
	return 0;
}

static void opening(void)
{
	for (unsigned i = 0; i < n_asked; i++) {
		int fd = refuse ? -refuse : open(asked[i].path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		asked[i].fn(asked[i].ctx, fd);
	}
	n_asked = 0;
}

/** holds - is the text of DIR/@name exactly @len bytes of @want? It is removed */
static bool holds(const char *name, const void *want, size_t len)
{
	char path[300], got[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	n = read(fd, got, sizeof(got));
	close(fd);
	unlink(path);
	return n == (ssize_t)len && !memcmp(got, want, len);
}

static struct weir_host host;

static void load(struct hh *h, const char *more)
{
	char word[64];
	const char *words[] = {word, more, NULL}, *err;

	host = hh_host;
	host.open = later;
	snprintf(word, sizeof(word), "dir=%s", dir);
	err = hh_load(h, HOOK, &host, words);
	if (err) {
		printf("# %s\n", err);
		abort();
	}
}

static void test_stream(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, NULL);
	f = hh_open(&h, &verdict);
	tap_is(hh_offer(&h, f, WEIR_UP, "hello", 5, false), WEIR_PEND, "bytes wait for the file");
	tap_is(hh_offer(&h, f, WEIR_UP, " you", 4, false), WEIR_PEND, "and more");
	tap_is(n_asked, 1, "it is asked for once");
	opening();
	tap_ok(f->resumed[WEIR_UP], "the stream goes on when it is there");
	tap_is(hh_offer(&h, f, WEIR_UP, "", 0, false), 9, "with all of it");
	HOOK->half_close(h.state, f, WEIR_UP);
	tap_ok(holds("42-curl-up.bin", "hello you", 9), "which is in the file");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_ends_first(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, NULL);
	f = hh_open(&h, &verdict);
	f->owner.comm = "../x y";
	hh_offer(&h, f, WEIR_DOWN, "x", 1, false);
	hh_end(&h, f);
	opening();
	tap_ok(holds("42-_._x_y-down.bin", "", 0),
	       "a flow may end before its file is there; no name leads elsewhere");
	hh_unload(&h);
}

static void test_refused(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, NULL);
	f = hh_open(&h, &verdict);
	hh_offer(&h, f, WEIR_UP, "x", 1, false);
	refuse = ENOSPC;
	opening();
	refuse = 0;
	tap_is(hh_offer(&h, f, WEIR_UP, "y", 1, false), 2, "without its file a flow goes on");
	tap_ok(strstr(f->log, "No space left"), "which is said");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_bounds(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, "max=6");
	f = hh_open(&h, &verdict);
	hh_offer(&h, f, WEIR_UP, "0123", 4, false);
	opening();
	tap_is(hh_offer(&h, f, WEIR_UP, "4567", 4, false), 8, "what is beyond max= passes");
	tap_is(hh_offer(&h, f, WEIR_UP, "89", 2, false), 2, "and later bytes");
	hh_end(&h, f);
	tap_ok(holds("42-curl-up.bin", "012345", 6), "but is not written");
	hh_unload(&h);
}

static void test_datagrams(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;

	load(&h, NULL);
	f = hh_open(&h, &verdict);
	tap_is(hh_datagram(&h, f, WEIR_DOWN, "ab", 2), WEIR_PEND, "a datagram waits, too");
	opening();
	tap_is(hh_datagram(&h, f, WEIR_DOWN, "ab", 2), WEIR_PASS, "and is shown again");
	tap_is(hh_datagram(&h, f, WEIR_DOWN, "c", 1), WEIR_PASS, "and another");
	hh_end(&h, f);
	tap_ok(holds("42-curl-down.bin", "\0\0\0\2ab\0\0\0\1c", 11), "each has its length");
	hh_unload(&h);
}

static void test_config(void)
{
	const char *none[] = {"dir=/nonexistent/dir", NULL}, *size[] = {"max=5x", NULL};
	const char *blank[] = {"dir=/tmp /tmp", NULL};
	struct hh h;
	const char *err = hh_load(&h, HOOK, NULL, none);

	tap_ok(err && strstr(err, "/nonexistent/dir: No such file"),
	       "a directory that is not there");
	hh_unload(&h);
	err = hh_load(&h, HOOK, NULL, blank);
	tap_ok(err && strstr(err, "blank"), "a directory whose files could not be asked for");
	hh_unload(&h);
	err = hh_load(&h, HOOK, NULL, size);
	tap_ok(err && strstr(err, "max= and total="), "a size that is none");
	hh_unload(&h);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	test_stream();
	test_ends_first();
	test_refused();
	test_bounds();
	test_datagrams();
	test_config();
	rmdir(dir);
	return tap_done();
}

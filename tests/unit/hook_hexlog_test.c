/* SPDX-License-Identifier: MIT */
/*
 * hexlog: what it writes of payloads, and of whom.
 * LINK: src/hooks/hexlog.o
 */
#include "../lib/hookhost.h"
#include "../lib/tap.h"

#include <fcntl.h>
#include <unistd.h>

extern const struct weir_hook *const weir_builtin_hexlog;
#define HOOK weir_builtin_hexlog

static char path[] = "/tmp/weir-hexlog-XXXXXX";

static void load(struct hh *h, const char *more)
{
	char word[64];
	const char *words[] = {word, more, NULL}, *err;

	snprintf(word, sizeof(word), "file=%s", path);
	err = hh_load(h, HOOK, NULL, words);
	if (err) {
		printf("# %s\n", err);
		abort();
	}
}

/** wrote - what is in the file, which is empty then */
static const char *wrote(void)
{
	static char text[8192];
	int fd = open(path, O_RDWR);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	if (fd < 0 || ftruncate(fd, 0))
		abort();
	close(fd);
	return text;
}

static void test_rows(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;
	const char *text;

	load(&h, "bytes=18");
	f = hh_open(&h, &verdict);
	f->owner.comm = "curl";
	tap_is(hh_offer(&h, f, WEIR_UP, "GET /\r\n\x7f\xff 01234567890", 21, false), 21,
	       "all passes");
	text = wrote();
	tap_ok(strstr(text, " curl(") && strstr(text, " > ") && strstr(text, " 21 bytes\n"),
	       "whose it is, the way, how much: %.*s", (int)strcspn(text, "\n"), text);
	tap_ok(strstr(text, "\n00000000 47 45 54 20 2f 0d 0a 7f  ff 20 30 31 32 33 34 35 "
			    "|GET /.... 012345|\n") != NULL,
	       "a row");
	tap_ok(strstr(text, "\n00000010 36 37                                            |67|\n") !=
		       NULL,
	       "a part of one, as far as bytes= says");
	tap_ok(!strstr(text, "38"), "and no more");
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_hostile_name(void)
{
	struct weir_flow *f;
	struct hh h;
	int verdict;
	const char *text;

	load(&h, NULL);
	f = hh_open(&h, &verdict);
	f->owner.comm = "a\033]0;x\007\nid=7 b";
	hh_datagram(&h, f, WEIR_DOWN, "x", 1);
	text = wrote();
	tap_ok(strstr(text, " a?]0;x??id=7?b(") && !strchr(text, '\033'),
	       "a program's name writes no line and moves no cursor: %.*s",
	       (int)strcspn(text, "\n"), text);
	hh_end(&h, f);
	hh_unload(&h);
}

static void test_config(void)
{
	const char *bytes[] = {"bytes=0", NULL}, *file[] = {"file=/nonexistent/x", NULL};
	struct hh h;
	const char *err = hh_load(&h, HOOK, NULL, bytes);

	tap_ok(err && strstr(err, "from 1 to 4096"), "a number that is none");
	hh_unload(&h);
	err = hh_load(&h, HOOK, NULL, file);
	tap_ok(err && strstr(err, "/nonexistent/x: No such file"), "a file that can't be made");
	hh_unload(&h);
}

int main(void)
{
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	test_rows();
	test_hostile_name();
	test_config();
	unlink(path);
	return tap_done();
}

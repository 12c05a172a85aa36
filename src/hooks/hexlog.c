/* SPDX-License-Identifier: MIT */
/*
 * hexlog: writes the beginning of each payload as a hex dump, for a look at what goes by.
 *
 *	id=1795227921981616 curl(15944) > 198.51.100.80:80 96 bytes
 *	00000000  47 45 54 20 2f 74 6f 6f  6c 2e 74 61 72 2e 67 7a  |GET /tool.tar.gz|
 *
 * The file is opened before the lock-down and is written as it comes, a payload in one write.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/hook.h>

#define BYTES_MAX  4096
#define ROW	   16
#define ROW_TEXT   80
#define HEAD_TEXT  256
#define BYTES_USED 64 /* of each payload, unless bytes= says otherwise */

struct hexlog_state {
	const struct weir_host *host;
	int fd;
	size_t bytes;
	uint64_t payloads, lost;
	char path[4096];
	char err[256];
	char text[HEAD_TEXT + (BYTES_MAX / ROW + 1) * ROW_TEXT];
};

static void *hexlog_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct hexlog_state *s = calloc(1, sizeof(*s));

	(void)ref;
	if (!s) {
		*err = "out of memory";
		return NULL;
	}
	s->host = host;
	s->fd = STDERR_FILENO;
	s->bytes = BYTES_USED;
	return s;
}

static int set_bytes(struct hexlog_state *s, const char *value, const char **err)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || !n || n > BYTES_MAX) {
		*err = "bytes= takes a number from 1 to 4096";
		return -1;
	}
	s->bytes = n;
	return 0;
}

static int hexlog_config(void *state, const char *key, const char *value, const char **err)
{
	struct hexlog_state *s = state;

	if (!strcmp(key, "bytes"))
		return set_bytes(s, value, err);
	if (strcmp(key, "file") != 0) {
		*err = "its keys are file=FILE and bytes=N";
		return -1;
	}
	if (strlen(value) >= sizeof(s->path)) {
		*err = "the name of its file is too long";
		return -1;
	}
	memcpy(s->path, value, strlen(value) + 1);
	return 0;
}

static int hexlog_ready(void *state, const char **err)
{
	struct hexlog_state *s = state;

	if (!s->path[0])
		return 0;
	s->fd = open(s->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (s->fd >= 0)
		return 0;
	snprintf(s->err, sizeof(s->err), "%.150s: %s", s->path, strerror(errno));
	*err = s->err;
	return -1;
}

static void hexlog_unload(void *state)
{
	struct hexlog_state *s = state;

	if (s->fd > STDERR_FILENO)
		close(s->fd);
	free(s);
}

/** put_name - a program's name, which the program chose: nothing that a terminal would obey */
static void put_name(char *out, size_t size, const char *comm)
{
	size_t n = 0;

	for (; *comm && n < size - 1; comm++)
		out[n++] = (char)(*comm > ' ' && *comm < 0x7f ? *comm : '?');
	out[n] = 0;
}

/** put_head - the line above the dump; returns its length */
static size_t put_head(struct hexlog_state *s, struct weir_flow *f, enum weir_dir dir, size_t len)
{
	const struct weir_info *i = s->host->info(f);
	int v6 = i->net.n_bytes == 16, n;
	char name[17];

	put_name(name, sizeof(name), i->owner->comm[0] ? i->owner->comm : "?");
	n = snprintf(s->text, HEAD_TEXT, "id=%llu %s(%lld) %c %s%.64s%s:%u %zu bytes\n",
		     (unsigned long long)i->id, name, (long long)i->owner->pid,
		     dir == WEIR_UP ? '>' : '<', v6 ? "[" : "", i->net.ip, v6 ? "]" : "",
		     i->net.port, len);
	return n < HEAD_TEXT ? (size_t)n : HEAD_TEXT - 1;
}

/** put_row - up to 16 bytes; @out has room for ROW_TEXT; returns its length */
static size_t put_row(char *out, size_t at, const uint8_t *data, size_t n)
{
	int len = snprintf(out, ROW_TEXT, "%08zx ", at);

	for (size_t i = 0; i < ROW; i++) {
		if (i < n)
			len += snprintf(out + len, ROW_TEXT - (size_t)len, "%s%02x ",
					i == ROW / 2 ? " " : "", data[i]);
		else
			len += snprintf(out + len, ROW_TEXT - (size_t)len, "%s   ",
					i == ROW / 2 ? " " : "");
	}
	out[len++] = '|';
	for (size_t i = 0; i < n; i++)
		out[len++] = data[i] >= 0x20 && data[i] < 0x7f ? (char)data[i] : '.';
	out[len++] = '|';
	out[len++] = '\n';
	return (size_t)len;
}

static void dump(struct hexlog_state *s, struct weir_flow *f, enum weir_dir dir,
		 const uint8_t *data, size_t len)
{
	size_t shown = len < s->bytes ? len : s->bytes;
	size_t used = put_head(s, f, dir, len);

	for (size_t at = 0; at < shown; at += ROW)
		used += put_row(s->text + used, at, data + at, shown - at < ROW ? shown - at : ROW);
	s->payloads++;
	/* A log that can't be written must not stop the flow: it is counted. */
	if (write(s->fd, s->text, used) != (ssize_t)used)
		s->lost++;
}

static int64_t hexlog_payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	if (p->len)
		dump(state, f, p->dir, p->data, p->len);
	return (int64_t)p->len;
}

static int hexlog_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	dump(state, f, d->dir, d->data, d->len);
	return WEIR_PASS;
}

static void hexlog_report(void *state, char *line, size_t size)
{
	const struct hexlog_state *s = state;

	snprintf(line, size, "%llu payloads, %llu could not be written",
		 (unsigned long long)s->payloads, (unsigned long long)s->lost);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "hexlog",
	.help = "the beginning of each payload as a hex dump",
	.default_key = "file",
	.load = hexlog_load,
	.config = hexlog_config,
	.ready = hexlog_ready,
	.unload = hexlog_unload,
	.payload = hexlog_payload,
	.datagram = hexlog_datagram,
	.report = hexlog_report,
};
WEIR_HOOK(hook)

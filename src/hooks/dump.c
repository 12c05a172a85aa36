/* SPDX-License-Identifier: MIT */
/*
 * dump: writes the payload of each flow to files, one for each direction.
 *
 *	DIR/1795227921981616-curl-up.bin
 *	DIR/1795227921981616-curl-down.bin
 *
 * The number is the flow_id of the records. Datagrams are written one behind the other, each with a
 * length of four bytes (network order) before it. max= bounds each file, total= all of a run; what
 * is beyond passes and is counted, not written.
 *
 * A file is opened by the supervisor, as the worker can't, so the first bytes of a direction wait
 * until it is there. A file that can't be opened or written is said and counted; the flow goes on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <weir/hook.h>

#define MAX_USED   (10ULL << 20)   /* bytes of one file, unless max= says otherwise */
#define TOTAL_USED (1024ULL << 20) /* of a run, unless total= does */

enum dump_step { DUMP_NEW, DUMP_ASKED, DUMP_OPEN, DUMP_OFF };

struct dump_state {
	const struct weir_host *host;
	struct weir_hook_ref *ref;
	uint64_t max, total, written, beyond, failed;
	char dir[4096];
	char err[256];
};

/** struct dump_side - one direction of a flow */
struct dump_side {
	enum dump_step step;
	int fd;
	uint64_t written;
};

struct dump_flow {
	struct dump_side side[2];
};

/** struct dump_asked - a file that the supervisor was asked for; the flow may end meanwhile */
struct dump_asked {
	struct dump_state *s;
	uint64_t flow;
	enum weir_dir dir;
};

/* --- loading -------------------------------------------------------------------------- */

static void *dump_load(const struct weir_host *host, struct weir_hook_ref *ref, const char **err)
{
	struct dump_state *s = calloc(1, sizeof(*s));

	if (!s) {
		*err = "out of memory";
		return NULL;
	}
	s->host = host;
	s->ref = ref;
	s->max = MAX_USED;
	s->total = TOTAL_USED;
	return s;
}

/** parse_size - digits and k, m or g (powers of 1024); 0 or -1 */
static int parse_size(const char *value, uint64_t *out)
{
	static const char units[] = "kmg";
	const char *unit;
	char *end;
	unsigned shift = 0;

	if (*value < '0' || *value > '9')
		return -1;
	errno = 0;
	*out = strtoull(value, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end += end[1] == 'b' ? 2 : 1;
	}
	if (errno || *end || !*out || *out > UINT64_MAX >> shift)
		return -1;
	*out <<= shift;
	return 0;
}

static int dump_config(void *state, const char *key, const char *value, const char **err)
{
	struct dump_state *s = state;

	if (!strcmp(key, "max") || !strcmp(key, "total")) {
		if (!parse_size(value, key[0] == 'm' ? &s->max : &s->total))
			return 0;
		*err = "max= and total= take a size: 500k, 10m, 1g";
		return -1;
	}
	if (strcmp(key, "dir") != 0) {
		*err = "its keys are dir=DIRECTORY, max=SIZE and total=SIZE";
		return -1;
	}
	if (strlen(value) >= sizeof(s->dir)) {
		*err = "the name of its directory is too long";
		return -1;
	}
	memcpy(s->dir, value, strlen(value) + 1);
	return 0;
}

static int dump_ready(void *state, const char **err)
{
	struct dump_state *s = state;

	if (!s->dir[0]) {
		*err = "it needs a directory: dump=DIRECTORY";
		return -1;
	}
	if (strchr(s->dir, ' ')) { /* see paths of weir/hook.h: nothing below it could be opened */
		*err = "the name of its directory has a blank in it";
		return -1;
	}
	if (!access(s->dir, W_OK | X_OK))
		return 0;
	snprintf(s->err, sizeof(s->err), "%.150s: %s", s->dir, strerror(errno));
	*err = s->err;
	return -1;
}

static const char *dump_paths(void *state)
{
	return ((struct dump_state *)state)->dir;
}

/* --- files ---------------------------------------------------------------------------- */

static void off(struct dump_side *side)
{
	if (side->step == DUMP_OPEN)
		close(side->fd);
	side->step = DUMP_OFF;
}

static void failed(struct dump_state *s, struct weir_flow *f, struct dump_side *side, int err)
{
	char text[160];

	s->failed++;
	off(side);
	snprintf(text, sizeof(text), "its payload is not written any more: %s", strerror(err));
	s->host->log(s->ref, f, WEIR_LOG_WARN, text);
}

static void opened(void *ctx, int fd)
{
	struct dump_asked *a = ctx;
	struct dump_state *s = a->s;
	struct weir_flow *f = s->host->find(s->ref, a->flow);
	struct dump_flow *df = f ? s->host->data(f) : NULL;

	if (!df) {
		if (fd >= 0)
			close(fd);
	} else if (fd < 0) {
		failed(s, f, &df->side[a->dir], -fd);
	} else {
		df->side[a->dir].step = DUMP_OPEN;
		df->side[a->dir].fd = fd;
	}
	if (df)
		s->host->resume(f, a->dir);
	free(a);
}

/** put_name - the program's name as part of a file's: letters, digits, . _ - */
static void put_name(char *out, size_t size, const char *comm)
{
	size_t n = 0;

	for (; *comm && n < size - 1; comm++) {
		char c = *comm;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || c == '_' || c == '-' || (c == '.' && n);

		out[n++] = plain ? c : '_';
	}
	out[n] = 0;
}

/** ask - have the file of one direction opened; false: there will be none */
static bool ask(struct dump_state *s, struct weir_flow *f, struct dump_side *side,
		enum weir_dir dir)
{
	const struct weir_info *i = s->host->info(f);
	struct dump_asked *a = malloc(sizeof(*a));
	char path[sizeof(s->dir) + 80], name[20];
	int rc = -ENOMEM;

	if (a) {
		*a = (struct dump_asked){.s = s, .flow = i->id, .dir = dir};
		put_name(name, sizeof(name), i->owner->comm[0] ? i->owner->comm : "unknown");
		snprintf(path, sizeof(path), "%s/%llu-%s-%s.bin", s->dir, (unsigned long long)i->id,
			 name, dir == WEIR_UP ? "up" : "down");
		side->step = DUMP_ASKED;
		rc = s->host->open(s->ref, path, O_WRONLY | O_CREAT | O_TRUNC, opened, a);
	}
	if (!rc)
		return true;
	free(a);
	failed(s, f, side, -rc);
	return false;
}

static bool write_all(int fd, struct iovec *iov, int n, size_t len)
{
	return writev(fd, iov, n) == (ssize_t)len;
}

/** put - as much of @data as the bounds allow; @framed: with its length before it, or not at all */
static void put(struct dump_state *s, struct weir_flow *f, struct dump_side *side,
		const uint8_t *data, size_t len, bool framed)
{
	uint32_t size = htonl((uint32_t)len);
	uint64_t room = s->max - side->written, left = s->total - s->written;
	struct iovec iov[2] = {{&size, framed ? sizeof(size) : 0}, {NULL, 0}};
	size_t all = len + iov[0].iov_len;

	room = room < left ? room : left;
	if (all > room && framed) {
		s->beyond += len;
		return;
	}
	if (all > room) {
		s->beyond += all - room;
		all = (size_t)room;
	}
	iov[1].iov_base = (void *)(uintptr_t)data;
	iov[1].iov_len = all - iov[0].iov_len;
	if (!all)
		return;
	errno = 0;
	if (!write_all(side->fd, iov, 2, all)) {
		failed(s, f, side, errno ? errno : ENOSPC);
		return;
	}
	side->written += all;
	s->written += all;
}

/* --- a flow ------------------------------------------------------------------------------ */

static void free_flow(void *data)
{
	struct dump_flow *df = data;

	off(&df->side[0]);
	off(&df->side[1]);
	free(df);
}

static int dump_open(void *state, struct weir_flow *f, const struct weir_info *info)
{
	struct dump_state *s = state;
	struct dump_flow *df = calloc(1, sizeof(*df));

	(void)info;
	if (!df)
		return WEIR_ERROR;
	s->host->set_data(f, df, free_flow);
	return WEIR_PASS;
}

/** there - is the file of this direction there? WEIR_PASS, WEIR_PEND, or WEIR_DROP: it never is */
static int there(struct dump_state *s, struct weir_flow *f, struct dump_side *side,
		 enum weir_dir dir)
{
	switch (side->step) {
	case DUMP_NEW:
		return ask(s, f, side, dir) ? WEIR_PEND : WEIR_DROP;
	case DUMP_ASKED:
		return WEIR_PEND;
	case DUMP_OPEN:
		return WEIR_PASS;
	case DUMP_OFF:
		break;
	}
	return WEIR_DROP;
}

static int64_t dump_payload(void *state, struct weir_flow *f, const struct weir_payload *p)
{
	struct dump_state *s = state;
	struct dump_flow *df = s->host->data(f);
	int rc;

	if (!df)
		return WEIR_ERROR;
	if (!p->len)
		return 0;
	rc = there(s, f, &df->side[p->dir], p->dir);
	if (rc == WEIR_PEND)
		return WEIR_PEND;
	if (rc == WEIR_PASS)
		put(s, f, &df->side[p->dir], p->data, p->len, false);
	return (int64_t)p->len;
}

static int dump_datagram(void *state, struct weir_flow *f, const struct weir_datagram *d)
{
	struct dump_state *s = state;
	struct dump_flow *df = s->host->data(f);
	int rc;

	if (!df)
		return WEIR_ERROR;
	rc = there(s, f, &df->side[d->dir], d->dir);
	if (rc == WEIR_PEND)
		return WEIR_PEND;
	if (rc == WEIR_PASS)
		put(s, f, &df->side[d->dir], d->data, d->len, true);
	return WEIR_PASS;
}

static void dump_half_close(void *state, struct weir_flow *f, enum weir_dir dir)
{
	struct dump_state *s = state;
	struct dump_flow *df = s->host->data(f);

	if (df) /* its descriptor is wanted by others */
		off(&df->side[dir]);
}

static void dump_report(void *state, char *line, size_t size)
{
	const struct dump_state *s = state;

	snprintf(line, size, "%llu bytes written; %llu beyond the bounds; %llu files failed",
		 (unsigned long long)s->written, (unsigned long long)s->beyond,
		 (unsigned long long)s->failed);
}

static const struct weir_hook hook = {
	WEIR_HOOK_HEAD,
	.name = "dump",
	.help = "the payload of each flow and direction to a file of its own",
	.default_key = "dir",
	.load = dump_load,
	.config = dump_config,
	.ready = dump_ready,
	.paths = dump_paths,
	.unload = free,
	.flow_open = dump_open,
	.payload = dump_payload,
	.datagram = dump_datagram,
	.half_close = dump_half_close,
	.report = dump_report,
};
WEIR_HOOK(hook)

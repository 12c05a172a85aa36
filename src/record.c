/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "sink.h"
#include "table.h"

#define ROWS_NO_TERMINAL 40
#define ROWS_AROUND	 5 /* heading, "... and N more", summary, the prompt, what was before */
#define LIVE_LINE	 (TABLE_DEST + 160)

struct record {
	struct record_config cfg;
	struct sink log, live;
	struct table *table;
};

/* parse_fd - the N of "fd:N", or -1 */
static int parse_fd(const char *text)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	return errno || end == text || *end || n < 0 || n > 1 << 20 || *text == '+' ? -1 : (int)n;
}

static int open_log(struct sink *s, const char *log, char *err, size_t errsize)
{
	int fd, res;

	if (!strcmp(log, "-")) {
		fd = STDERR_FILENO;
	} else if (!strncmp(log, "fd:", 3)) {
		fd = parse_fd(log + 3);
		if (fd < 0) {
			snprintf(err, errsize, "--log %.64s: not the number of a descriptor", log);
			return -EINVAL;
		}
	} else {
		res = *log ? sink_file(s, log) : -ENOENT;
		if (res)
			snprintf(err, errsize, "--log %.160s: %s", log,
				 res == -ENXIO ? "nobody reads that FIFO" : strerror(-res));
		return res;
	}
	res = sink_fd(s, fd);
	if (res)
		snprintf(err, errsize, "--log %.64s: %s", log, strerror(-res));
	return res;
}

int record_new(const struct record_config *cfg, struct record **out, char *err, size_t errsize)
{
	struct record *r = calloc(1, sizeof(*r));
	int res = r ? 0 : -ENOMEM;

	*out = NULL;
	err[0] = '\0';
	if (r) {
		r->cfg = *cfg;
		r->log.fd = r->live.fd = -1;
		r->table = table_new();
		res = !r->table	 ? -ENOMEM
		      : cfg->log ? open_log(&r->log, cfg->log, err, errsize)
				 : 0;
		if (!res && cfg->live)
			res = sink_fd(&r->live, cfg->out_fd);
	}
	if (res == -ENOMEM || (res && !*err))
		snprintf(err, errsize, "records: %s", strerror(-res));
	if (res) {
		record_free(r);
		return res;
	}
	*out = r;
	return 0;
}

int record_reopen(struct record *r, char *err, size_t errsize)
{
	const char *log = r->cfg.log;
	int res;

	if (!log || !strcmp(log, "-") || !strncmp(log, "fd:", 3))
		return 0;
	res = sink_reopen(&r->log, log);
	if (res)
		snprintf(err, errsize, "--log %.160s: %s", log, strerror(-res));
	return res;
}

int record_log_fd(const struct record *r)
{
	return r->log.fd;
}

void record_open(struct record *r, const struct flow_rec *f, const struct owner *o,
		 const char *host)
{
	char line[LIVE_LINE], program[TABLE_PROGRAM], user[TABLE_PROGRAM], dest[TABLE_DEST];

	if (!r->cfg.live)
		return;
	snprintf(line, sizeof(line), "weir: + %s %s -> %s", table_program(o, program),
		 table_user(f, o, user), table_dest(f, host, dest));
	sink_line(&r->live, line);
}

static void live_end(struct record *r, const struct flow_rec *f, const struct owner *o,
		     const char *host)
{
	char line[LIVE_LINE], program[TABLE_PROGRAM], user[TABLE_PROGRAM], dest[TABLE_DEST];
	char up[TABLE_NUMBER], down[TABLE_NUMBER], time[TABLE_NUMBER];
	uint64_t end = f->end ? f->end : f->last;

	snprintf(line, sizeof(line), "weir: - %s %s -> %s  %s up, %s down, %s, %s",
		 table_program(o, program), table_user(f, o, user), table_dest(f, host, dest),
		 table_bytes(f->up.bytes, up), table_bytes(f->down.bytes, down),
		 table_time(end > f->start ? end - f->start : 0, time), table_ended(f));
	sink_line(&r->live, line);
}

void record_line(struct record *r, const char *line)
{
	if (r->log.fd >= 0)
		sink_line(&r->log, line);
}

/** log_line - @line is freed; NULL: there was no memory for it */
static void log_line(struct record *r, char *line)
{
	if (line)
		sink_line(&r->log, line);
	else
		r->log.lost++;
	free(line);
}

void record_end(struct record *r, const struct flow_rec *f, const struct owner *o, const char *host,
		const struct record_more *more)
{
	char text[FLOW_HOST_MAX];

	if (r->log.fd >= 0)
		log_line(r, record_json(f, o, host, more));
	host = record_host(more, host, text);
	if (r->cfg.live)
		live_end(r, f, o, host);
	if (r->cfg.table)
		table_add(r->table, f, o, host);
}

void record_listen(struct record *r, const struct record_listen *l, const struct owner *o)
{
	if (r->log.fd >= 0)
		log_line(r, record_listen_json(l, o, clock_wall_ns()));
}

size_t record_flush(struct record *r)
{
	return sink_flush(&r->log) + sink_flush(&r->live);
}

uint64_t record_finish(struct record *r)
{
	sink_finish(&r->log);
	sink_finish(&r->live);
	return r->log.lost;
}

/* view_of - 40 rows of 80 columns where @fd is no terminal */
static struct table_view view_of(int fd)
{
	struct table_view v = {.columns = 80, .rows = ROWS_NO_TERMINAL};
	struct winsize ws;

	if (!isatty(fd))
		return v;
	v.bold = !getenv("NO_COLOR");
	if (ioctl(fd, TIOCGWINSZ, &ws))
		return v;
	if (ws.ws_col)
		v.columns = ws.ws_col;
	if (ws.ws_row > 2 * ROWS_AROUND)
		v.rows = ws.ws_row - ROWS_AROUND;
	return v;
}

void record_table(struct record *r)
{
	struct table_view v = view_of(r->cfg.out_fd);
	char *text = NULL;
	size_t len = 0, done = 0;
	FILE *f;

	record_finish(r);
	if (!r->cfg.table)
		return;
	f = open_memstream(&text, &len);
	if (!f)
		return;
	table_print(r->table, &v, r->log.lost, f);
	fclose(f);
	while (done < len) { /* the end of the run: now it may wait for a slow terminal */
		ssize_t n = write(r->cfg.out_fd, text + done, len - done);

		if (n < 0 && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	free(text);
}

void record_free(struct record *r)
{
	if (!r)
		return;
	sink_close(&r->log);
	sink_close(&r->live);
	table_free(r->table);
	free(r);
}

/* SPDX-License-Identifier: MIT */
/*
 * table: rows of flows, merged when they are many.
 *
 * Up to MERGE_FROM flows each has a row. From then on flows of one program
 * (by name), user and destination share one, found by a hash; flows past
 * ROWS_MAX rows only count in the sums. So memory is bounded however long the run is.
 */
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "owner_bpf.h"

#define MERGE_FROM  40
#define ROWS_MAX    4096
#define BUCKETS	    1024  /* power of two */
#define OWNERS_MAX  65536 /* ids of owners told apart; later ones are not counted */
#define COLUMNS_MIN 80
#define COLUMNS_MAX 160 /* wider is harder to read */
#define FNV_BASIS   0xcbf29ce484222325ULL
#define FNV_PRIME   0x100000001b3ULL

struct row {
	char comm[TABLE_PROGRAM], user[TABLE_PROGRAM];
	char *dest; /* owned */
	const char *ended;
	bool ended_mixed;
	int32_t pid;			/* 0 = unknown, -1 = several */
	uint32_t count, next;		/* @next: 1 + index in the hash chain */
	uint64_t up, down, first, last; /* @first, @last: monotonic ns */
};

struct table {
	struct row *rows; /* owned */
	uint32_t n, room;
	bool merging;
	uint32_t bucket[BUCKETS];
	uint64_t flows, up, down, unlisted, unknown, limited, programs;
	uint8_t seen[2][OWNERS_MAX / 8]; /* those that the kernel noted have ids of their own */
};

/* --- words and numbers ---------------------------------------------------------------- */

/* plain - printable ASCII only: names of hosts and programs are not to be trusted */
static void plain(char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

const char *table_bytes(uint64_t n, char out[TABLE_NUMBER])
{
	static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
	double v = (double)n;
	unsigned u = 0;

	while (v >= (u ? 999.5 : 1000) && u + 1 < ARRAY_SIZE(unit)) {
		v /= 1000;
		u++;
	}
	snprintf(out, TABLE_NUMBER, u && v < 9.95 ? "%.1f %s" : "%.0f %s", v, unit[u]);
	return out;
}

const char *table_time(uint64_t ns, char out[TABLE_NUMBER])
{
	uint64_t ms = (ns + NSEC_PER_MSEC / 2) / NSEC_PER_MSEC, s = (ms + 500) / 1000;

	if (ms < 1000)
		snprintf(out, TABLE_NUMBER, "%u ms", (unsigned)ms);
	else if (ms < 59950)
		snprintf(out, TABLE_NUMBER, "%.1f s", (double)ms / 1000);
	else if (s < 3600)
		snprintf(out, TABLE_NUMBER, "%um%02us", (unsigned)s / 60, (unsigned)s % 60);
	else
		snprintf(out, TABLE_NUMBER, "%luh%02lum", (unsigned long)(s / 3600),
			 (unsigned long)(s / 60 % 60));
	return out;
}

const char *table_program(const struct owner *o, char out[TABLE_PROGRAM])
{
	snprintf(out, TABLE_PROGRAM, "?");
	if (o)
		snprintf(out, TABLE_PROGRAM, "%.15s(%d)", o->comm, o->pid);
	plain(out);
	return out;
}

const char *table_user(const struct flow_rec *f, const struct owner *o, char out[TABLE_PROGRAM])
{
	if (o && o->user[0] && (o->uid == f->owner_uid || f->owner_uid == (uint32_t)-1))
		snprintf(out, TABLE_PROGRAM, "%.31s", o->user);
	else if (f->owner_uid != (uint32_t)-1)
		snprintf(out, TABLE_PROGRAM, "%u", f->owner_uid);
	else
		snprintf(out, TABLE_PROGRAM, "?");
	plain(out);
	return out;
}

static const char *proto_suffix(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return "";
	case IPPROTO_UDP:
		return "/udp";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return " ping";
	default:
		return " other";
	}
}

const char *table_dest(const struct flow_rec *f, const char *host, char out[TABLE_DEST])
{
	bool ports = f->proto == IPPROTO_TCP || f->proto == IPPROTO_UDP;
	char addr[ADDR_STRLEN], both[ADDRPORT_STRLEN], port[8] = "";

	if (f->inbound) { /* without the client's port: there is one for each connection */
		snprintf(out, TABLE_DEST, "port %u%s from %s", f->app.port, proto_suffix(f->proto),
			 addr_format(&f->net.addr, addr));
		return out;
	}
	addr_format(&f->net.addr, addr);
	addrport_format(&f->net, both);
	if (ports)
		snprintf(port, sizeof(port), ":%u", f->net.port);
	if (host && *host)
		snprintf(out, TABLE_DEST, "%.255s%s%s (%s)", host, port, proto_suffix(f->proto),
			 addr);
	else
		snprintf(out, TABLE_DEST, "%s%s", ports ? both : addr, proto_suffix(f->proto));
	plain(out);
	return out;
}

static const char *ended_refused(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return "refused";
	case ENETUNREACH:
	case EHOSTUNREACH:
		return "unreachable";
	case EACCES:
	case EPERM:
		return "forbidden";
	default:
		return "failed";
	}
}

const char *table_ended(const struct flow_rec *f)
{
	static const char *const text[FLOW_REASON_MAX] = {
		[FLOW_ENDED_NOT] = "open",
		[FLOW_ENDED_FIN] = "closed",
		[FLOW_ENDED_RESET_APP] = "reset",
		[FLOW_ENDED_RESET_NET] = "peer reset",
		[FLOW_ENDED_TIMEOUT] = "timed out",
		[FLOW_ENDED_APP_GONE] = "gave up",
		[FLOW_ENDED_BLOCKED] = "blocked",
		[FLOW_ENDED_LIMIT] = "over limit",
		[FLOW_ENDED_CRASH] = "weir crash",
		[FLOW_ENDED_SHUTDOWN] = "cut at end",
		[FLOW_ENDED_UNSUPPORTED] = "unsupported",
		[FLOW_ENDED_EVICTED] = "evicted",
	};

	if (f->reason == FLOW_ENDED_REFUSED)
		return ended_refused(f->inbound ? f->app_errno : f->net_errno);
	if (f->proto != IPPROTO_TCP && f->down.packets &&
	    (f->reason == FLOW_ENDED_TIMEOUT || f->reason == FLOW_ENDED_SHUTDOWN))
		return "done"; /* datagrams have no end of their own */
	return f->reason < FLOW_REASON_MAX && text[f->reason] ? text[f->reason] : "?";
}

/* --- rows --------------------------------------------------------------------------------- */

struct table *table_new(void)
{
	return calloc(1, sizeof(struct table));
}

void table_free(struct table *t)
{
	uint32_t i;

	if (!t)
		return;
	for (i = 0; i < t->n; i++)
		free(t->rows[i].dest);
	free(t->rows);
	free(t);
}

static uint64_t hash_text(uint64_t h, const char *p)
{
	while (*p)
		h = (h ^ (uint8_t)*p++) * FNV_PRIME;
	return (h ^ 0xff) * FNV_PRIME;
}

static uint32_t *bucket_of(struct table *t, const struct row *r)
{
	uint64_t h = hash_text(hash_text(hash_text(FNV_BASIS, r->comm), r->user), r->dest);

	return &t->bucket[(h ^ h >> 32) & (BUCKETS - 1)];
}

static struct row *find_row(struct table *t, const struct row *r)
{
	uint32_t i = *bucket_of(t, r);

	for (; i; i = t->rows[i - 1].next) {
		struct row *x = &t->rows[i - 1];

		if (!strcmp(x->dest, r->dest) && !strcmp(x->comm, r->comm) &&
		    !strcmp(x->user, r->user))
			return x;
	}
	return NULL;
}

static void merge_into(struct row *x, const struct row *r)
{
	x->count += r->count;
	x->up += r->up;
	x->down += r->down;
	x->first = MIN(x->first, r->first);
	x->last = MAX(x->last, r->last);
	if (x->pid != r->pid)
		x->pid = -1;
	if (r->ended_mixed || strcmp(x->ended, r->ended))
		x->ended_mixed = true;
}

/* rows_grow - room for one more; false at the bound or out of memory */
static bool rows_grow(struct table *t)
{
	uint32_t room = t->room ? t->room * 2 : MERGE_FROM;
	struct row *more;

	if (t->n < t->room)
		return t->n < ROWS_MAX;
	if (t->n >= ROWS_MAX)
		return false;
	more = realloc(t->rows, room * sizeof(*more));
	if (!more)
		return false;
	t->rows = more;
	t->room = room;
	return true;
}

static void append_row(struct table *t, const struct row *r)
{
	if (rows_grow(t)) {
		t->rows[t->n++] = *r;
	} else {
		t->unlisted += r->count;
		free(r->dest);
	}
}

/* add_merged - takes r->dest */
static void add_merged(struct table *t, struct row *r)
{
	struct row *x = find_row(t, r);
	uint32_t *bucket = bucket_of(t, r), had = t->n;

	if (x) {
		merge_into(x, r);
		free(r->dest);
		return;
	}
	r->next = *bucket;
	append_row(t, r);
	if (t->n > had)
		*bucket = t->n;
}

/* start_merging - rows that are there already are put through the hash */
static void start_merging(struct table *t)
{
	uint32_t n = t->n, i;

	t->merging = true;
	t->n = 0;
	for (i = 0; i < n; i++) { /* never writes past what it has read */
		struct row r = t->rows[i];

		add_merged(t, &r);
	}
}

static void count_owner(struct table *t, const struct owner *o)
{
	const bool noted = o && o->id & OWNER_BPF_ID;
	const uint32_t id = o ? o->id & ~OWNER_BPF_ID : 0;
	uint8_t *seen = t->seen[noted];

	if (!o)
		t->unknown++;
	if (!o || !o->id || id >= OWNERS_MAX || seen[id / 8] & 1 << id % 8)
		return;
	seen[id / 8] |= (uint8_t)(1 << id % 8);
	t->programs++;
}

void table_add(struct table *t, const struct flow_rec *f, const struct owner *o, const char *host)
{
	char dest[TABLE_DEST];
	struct row r = {
		.pid = o ? o->pid : 0,
		.count = 1,
		.ended = table_ended(f),
		.up = f->up.bytes,
		.down = f->down.bytes,
		.first = f->start,
		.last = f->end ? f->end : f->last,
	};

	t->flows++;
	t->up += r.up;
	t->down += r.down;
	t->limited += f->reason == FLOW_ENDED_LIMIT;
	count_owner(t, o);
	snprintf(r.comm, sizeof(r.comm), "%.15s", o ? o->comm : "?");
	plain(r.comm);
	table_user(f, o, r.user);
	r.dest = strdup(table_dest(f, host, dest));
	if (!r.dest) {
		t->unlisted++;
		return;
	}
	if (t->n == MERGE_FROM && !t->merging)
		start_merging(t);
	if (t->merging)
		add_merged(t, &r);
	else
		append_row(t, &r);
}

/* --- printing ------------------------------------------------------------------------------ */

enum column { PROGRAM, USER, DEST, UP, DOWN, TIME, ENDED, COLUMNS };

static const struct {
	const char *heading;
	unsigned max; /* 0: gets what is left of the line */
	bool right;
} columns_of[COLUMNS] = {
	[PROGRAM] = {"PROGRAM", 22, false}, [USER] = {"USER", 10, false},
	[DEST] = {"DESTINATION", 0, false}, [UP] = {"UP", 7, true},
	[DOWN] = {"DOWN", 7, true},	    [TIME] = {"TIME", 7, true},
	[ENDED] = {"ENDED", 11, false},
};

#define GAP  2
#define CELL (TABLE_DEST + 16)

static int by_first(const void *va, const void *vb)
{
	const struct row *a = *(const struct row *const *)va, *b = *(const struct row *const *)vb;

	return a->first < b->first ? -1 : a->first > b->first;
}

/* dest_cell - the address beside a name is left out where it does not fit into @width */
static void dest_cell(const struct row *r, unsigned width, char out[CELL])
{
	const char *addr = strstr(r->dest, " (");
	int n = r->count > 1 ? snprintf(out, CELL, "%ux ", r->count) : 0;

	if (addr && (size_t)n + strlen(r->dest) > width)
		snprintf(out + n, CELL - (size_t)n, "%.*s", (int)(addr - r->dest), r->dest);
	else
		snprintf(out + n, CELL - (size_t)n, "%s", r->dest);
}

static void cell(const struct row *r, enum column c, unsigned width, char out[CELL])
{
	switch (c) {
	case PROGRAM:
		if (r->pid > 0)
			snprintf(out, CELL, "%.15s(%d)", r->comm, r->pid);
		else
			snprintf(out, CELL, "%.15s", r->comm);
		break;
	case USER:
		snprintf(out, CELL, "%s", r->user);
		break;
	case DEST:
		dest_cell(r, width, out);
		break;
	case UP:
		table_bytes(r->up, out);
		break;
	case DOWN:
		table_bytes(r->down, out);
		break;
	case TIME:
		table_time(r->last > r->first ? r->last - r->first : 0, out);
		break;
	default:
		snprintf(out, CELL, "%s", r->ended_mixed ? "various" : r->ended);
	}
}

/* fit - cut @text to @width columns, in the middle: both ends of a name say something */
static void fit(char *text, unsigned width)
{
	size_t len = strlen(text), tail;

	if (len <= width || width < 4)
		return;
	tail = (width - 2) / 2;
	memmove(text + width - tail, text + len - tail, tail + 1);
	text[width - tail - 2] = text[width - tail - 1] = '.';
}

/* measure - each column as wide as its widest cell and its bound, DEST as there is room */
static void measure(struct row **rows, uint32_t n, unsigned line, unsigned width[COLUMNS])
{
	unsigned used = (COLUMNS - 1) * GAP, c, max;
	char text[CELL];
	uint32_t i;

	for (c = 0; c < COLUMNS; c++) {
		width[c] = (unsigned)strlen(columns_of[c].heading);
		for (i = 0; i < n; i++) {
			cell(rows[i], c, CELL, text);
			width[c] = MAX(width[c], (unsigned)strlen(text));
		}
		max = columns_of[c].max;
		width[c] = max ? MIN(width[c], max) : width[c];
		used += c == DEST ? 0 : width[c];
	}
	width[DEST] = MIN(width[DEST], line - used);
}

static void print_cell(FILE *out, unsigned c, const unsigned width[COLUMNS], const char *text)
{
	if (c == COLUMNS - 1)
		fputs(text, out);
	else if (columns_of[c].right)
		fprintf(out, "%*s%*s", (int)width[c], text, GAP, "");
	else
		fprintf(out, "%-*s%*s", (int)width[c], text, GAP, "");
}

static void print_row(const struct row *r, const unsigned width[COLUMNS], FILE *out)
{
	char text[CELL];
	unsigned c;

	for (c = 0; c < COLUMNS; c++) {
		cell(r, c, width[c], text);
		fit(text, width[c]);
		print_cell(out, c, width, text);
	}
	fputc('\n', out);
}

static void print_heading(const unsigned width[COLUMNS], bool bold, FILE *out)
{
	unsigned c;

	fputs(bold ? "\033[1m" : "", out);
	for (c = 0; c < COLUMNS; c++)
		print_cell(out, c, width, columns_of[c].heading);
	fputs(bold ? "\033[0m\n" : "\n", out);
}

static void print_count(FILE *out, const char *before, uint64_t n, const char *one,
			const char *many)
{
	fprintf(out, "%s%llu %s", before, (unsigned long long)n, n == 1 ? one : many);
}

/* print_summary - what is missing or was cut is said only where there is any */
static void print_summary(const struct table *t, uint64_t lost, FILE *out)
{
	char up[TABLE_NUMBER], down[TABLE_NUMBER];
	const struct {
		uint64_t n;
		const char *one, *many;
	} notes[] = {
		{t->unknown, "flow without a known program", "flows without a known program"},
		{t->limited, "flow cut by a limit", "flows cut by a limit"},
		{lost, "line of the flow log lost", "lines of the flow log lost"},
	};
	unsigned i;

	print_count(out, "weir: ", t->flows, "flow", "flows");
	print_count(out, " of ", t->programs, "program", "programs");
	fprintf(out, ", %s up, %s down\n", table_bytes(t->up, up), table_bytes(t->down, down));
	for (i = 0; i < ARRAY_SIZE(notes); i++) {
		if (!notes[i].n)
			continue;
		print_count(out, "weir: ", notes[i].n, notes[i].one, notes[i].many);
		fputc('\n', out);
	}
}

static uint64_t flows_of(struct row **rows, uint32_t from, uint32_t n)
{
	uint64_t sum = 0;

	for (; from < n; from++)
		sum += rows[from]->count;
	return sum;
}

void table_print(const struct table *t, const struct table_view *v, uint64_t lost, FILE *out)
{
	const size_t one = sizeof(void *);
	struct row **rows = calloc(t->n ? t->n : 1, one);
	unsigned columns = MIN(MAX(v->columns, COLUMNS_MIN), COLUMNS_MAX);
	uint32_t i, shown = MIN(t->n, MAX(v->rows, 1u));
	unsigned width[COLUMNS];
	uint64_t more;

	for (i = 0; rows && i < t->n; i++)
		rows[i] = &t->rows[i];
	if (rows && t->n) {
		qsort(rows, t->n, one, by_first);
		measure(rows, shown, columns, width);
		print_heading(width, v->bold, out);
		for (i = 0; i < shown; i++)
			print_row(rows[i], width, out);
		more = flows_of(rows, shown, t->n) + t->unlisted;
		if (more)
			fprintf(out, "... and %llu more\n", (unsigned long long)more);
	}
	free(rows);
	print_summary(t, lost, out);
}

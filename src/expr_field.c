/* SPDX-License-Identifier: MIT */
/* expr_field: the fields of the filter language: names, types, and the words some consist of. */
#include "expr.h"

#include <string.h>

#include "base/util.h"

/** struct word - the numbers of some stand in headers of higher levels: expr.h says whose */
struct word {
	const char *text;
	unsigned number;
};

static const struct word proto_words[] = {{"tcp", 6},	 {"udp", 17},	 {"icmp", 1},
					  {"icmp6", 58}, {"icmpv6", 58}, {NULL, 0}};
static const struct word dir_words[] = {{"out", EXPR_DIR_OUT}, {"in", EXPR_DIR_IN}, {NULL, 0}};
static const struct word state_words[] = {{"new", EXPR_STATE_NEW},
					  {"owned", EXPR_STATE_OWNED},
					  {"judged", EXPR_STATE_JUDGED},
					  {"held", EXPR_STATE_HELD},
					  {"connecting", EXPR_STATE_CONNECTING},
					  {"open", EXPR_STATE_OPEN},
					  {"closing", EXPR_STATE_CLOSING},
					  {NULL, 0}};
static const struct word verdict_words[] = {{"allow", 0}, {"block", 1}, {"drop", 2}, {"reset", 3},
					    {"ask", 4},	  {"wait", 5},	{NULL, 0}};

#define PORT_MAX 65535
#define ID_MAX	 UINT32_MAX
#define LIST	 1
#define PACKET	 2

static const struct field {
	const char *name;
	enum expr_type type;
	unsigned flags;
	uint64_t max; /* of numbers */
	const struct word *words;
	const char *word_list; /* for messages */
} fields[EXPR_FIELD_MAX] = {
	[EXPR_F_PROTO] = {"proto", EXPR_NAME, 0, 255, proto_words, "tcp udp icmp icmp6"},
	[EXPR_F_DIR] = {"dir", EXPR_NAME, 0, 0, dir_words, "out in"},
	[EXPR_F_SRC_IP] = {"src.ip", EXPR_ADDR, 0, 0, NULL, NULL},
	[EXPR_F_DST_IP] = {"dst.ip", EXPR_ADDR, 0, 0, NULL, NULL},
	[EXPR_F_SRC_PORT] = {"src.port", EXPR_NUMBER, 0, PORT_MAX, NULL, NULL},
	[EXPR_F_DST_PORT] = {"dst.port", EXPR_NUMBER, 0, PORT_MAX, NULL, NULL},
	[EXPR_F_IP_VERSION] = {"ip.version", EXPR_NUMBER, 0, 15, NULL, NULL},
	[EXPR_F_UID] = {"uid", EXPR_UID, 0, ID_MAX, NULL, NULL},
	[EXPR_F_USER] = {"user", EXPR_UID, 0, ID_MAX, NULL, NULL},
	[EXPR_F_GID] = {"gid", EXPR_GID, 0, ID_MAX, NULL, NULL},
	[EXPR_F_PID] = {"pid", EXPR_NUMBER, 0, INT32_MAX, NULL, NULL},
	[EXPR_F_COMM] = {"comm", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_EXE] = {"exe", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_CMDLINE] = {"cmdline", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_PARENT_COMM] = {"parent.comm", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_ANCESTOR_COMM] = {"ancestor.comm", EXPR_TEXT, LIST, 0, NULL, NULL},
	[EXPR_F_ANCESTOR_EXE] = {"ancestor.exe", EXPR_TEXT, LIST, 0, NULL, NULL},
	[EXPR_F_CGROUP] = {"cgroup", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_UNIT] = {"unit", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_NETNS] = {"netns", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_HOST] = {"host", EXPR_HOSTNAME, 0, 0, NULL, NULL},
	[EXPR_F_DNS_NAME] = {"dns.name", EXPR_HOSTNAME, LIST, 0, NULL, NULL},
	[EXPR_F_SNI] = {"sni", EXPR_HOSTNAME, 0, 0, NULL, NULL},
	[EXPR_F_ALPN] = {"alpn", EXPR_TEXT, LIST, 0, NULL, NULL},
	[EXPR_F_HTTP_HOST] = {"http.host", EXPR_HOSTNAME, 0, 0, NULL, NULL},
	[EXPR_F_HTTP_METHOD] = {"http.method", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_HTTP_PATH] = {"http.path", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_APP] = {"app", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_JA3] = {"ja3", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_JA4] = {"ja4", EXPR_TEXT, 0, 0, NULL, NULL},
	[EXPR_F_BYTES_UP] = {"bytes.up", EXPR_SIZE, 0, UINT64_MAX, NULL, NULL},
	[EXPR_F_BYTES_DOWN] = {"bytes.down", EXPR_SIZE, 0, UINT64_MAX, NULL, NULL},
	[EXPR_F_DURATION] = {"duration", EXPR_TIME, 0, UINT64_MAX, NULL, NULL},
	[EXPR_F_STATE] = {"state", EXPR_NAME, 0, 0, state_words,
			  "new owned judged held connecting open closing"},
	[EXPR_F_VERDICT] = {"verdict", EXPR_NAME, 0, 0, verdict_words,
			    "allow block drop reset ask wait"},
	[EXPR_F_ID] = {"id", EXPR_NUMBER, 0, UINT64_MAX, NULL, NULL},
	[EXPR_F_TAG] = {"tag", EXPR_TEXT, LIST, 0, NULL, NULL},
	[EXPR_F_LEN] = {"len", EXPR_SIZE, PACKET, UINT32_MAX, NULL, NULL},
	[EXPR_F_TCP_FLAGS] = {"tcp.flags", EXPR_FLAGS, PACKET, 0xfff, NULL, NULL},
	[EXPR_F_TTL] = {"ttl", EXPR_NUMBER, PACKET, 255, NULL, NULL},
};

static bool same(const char *text, const char *s, size_t len)
{
	return strlen(text) == len && !memcmp(text, s, len);
}

enum expr_field expr_field_find(const char *name, size_t len)
{
	unsigned f = 0;

	while (f < EXPR_FIELD_MAX && !same(fields[f].name, name, len))
		f++;
	return (enum expr_field)f;
}

const char *expr_field_name(enum expr_field f)
{
	return fields[f].name;
}

enum expr_type expr_field_type(enum expr_field f)
{
	return fields[f].type;
}

bool expr_field_is_list(enum expr_field f)
{
	return fields[f].flags & LIST;
}

bool expr_field_is_packet(enum expr_field f)
{
	return fields[f].flags & PACKET;
}

uint64_t expr_field_max(enum expr_field f)
{
	return fields[f].max;
}

int expr_name_find(enum expr_field f, const char *word, size_t len)
{
	for (const struct word *w = fields[f].words; w && w->text; w++)
		if (same(w->text, word, len))
			return (int)w->number;
	return -1;
}

const char *expr_name_text(enum expr_field f, uint64_t number)
{
	for (const struct word *w = fields[f].words; w && w->text; w++)
		if (w->number == number)
			return w->text;
	return NULL;
}

const char *expr_name_list(enum expr_field f)
{
	return fields[f].word_list;
}

/* --- what somebody may have meant ------------------------------------------------ */

#define NEAR_MAX 16 /* longer names are like none of ours */

/** distance - how many letters to insert, leave out, exchange or swap with the next; both short */
static unsigned distance(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned d[NEAR_MAX + 1][NEAR_MAX + 1];

	for (size_t i = 0; i <= alen; i++) {
		for (size_t j = 0; j <= blen; j++) {
			if (!i || !j) {
				d[i][j] = (unsigned)(i + j);
				continue;
			}
			d[i][j] = MIN(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
				      MIN(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[alen][blen];
}

/** is_swapped - ip.src for src.ip */
static bool is_swapped(const char *field, const char *name, size_t len)
{
	const char *dot = strchr(field, '.');
	const size_t head = dot ? (size_t)(dot - field) : 0, tail = dot ? strlen(dot + 1) : 0;

	return dot && head + 1 + tail == len && !memcmp(name, dot + 1, tail) && name[tail] == '.' &&
	       !memcmp(name + tail + 1, field, head);
}

enum expr_field expr_field_nearest(const char *name, size_t len)
{
	unsigned best = (unsigned)MIN(len, (size_t)8) / 3 + 1; /* more than this is another word */
	enum expr_field found = EXPR_FIELD_MAX;

	if (len > NEAR_MAX)
		return found;
	for (unsigned f = 0; f < EXPR_FIELD_MAX; f++) {
		const char *field = fields[f].name;
		const unsigned d = distance(name, len, field, strlen(field));

		if (is_swapped(field, name, len))
			return (enum expr_field)f;
		if (d < best) {
			best = d;
			found = (enum expr_field)f;
		}
	}
	return found;
}

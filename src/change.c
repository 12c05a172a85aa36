/* SPDX-License-Identifier: MIT */
/*
 * change: the journal as text.
 *
 *	weir-journal 1 boot=6c0e... netns=4:4026531840
 *	- link weir0
 *	+ guard route v4 unreachable table=7771 dst=default metric=4294967295
 *	+ sysctl net/ipv4/fwmark_reflect old=0 new=1
 *	+ rule v4 pref=1020 lookup=7771 uid=2000-2999 iif=lo
 *
 * One change a line; "+" stands, "-" has been undone. Words are parted by one blank; in names
 * and values every byte that is not printable ASCII, a blank and '%' are written as %XX. The
 * reader takes nothing that it does not know: what it misread it would undo wrongly.
 */
#include "change.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define WORDS_MAX 20
#define HEAD	  "weir-journal 1"

/* --- writing ---------------------------------------------------------------------------- */

/** struct text - a bounded line in the making; @full: it did not fit */
struct text {
	char *buf;
	size_t size, len;
	bool full;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
	size_t left = t->size - t->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, left, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= left)
		t->full = true;
	else
		t->len += (size_t)n;
}

static void put_escaped(struct text *t, const char *value)
{
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p > ' ' && *p < 0x7f && *p != '%')
			put(t, "%c", *p);
		else
			put(t, "%%%02x", *p);
	}
}

static void put_prefix(struct text *t, const char *key, const struct prefix *p)
{
	char addr[ADDR_STRLEN];

	if (p->bits)
		put(t, " %s=%s/%u", key, addr_format(&p->addr, addr), p->bits);
	else
		put(t, " %s=default", key);
}

static void put_rule(struct text *t, const struct host_rule *r)
{
	put(t, "rule %s pref=%u", r->v6 ? "v6" : "v4", r->pref);
	if (r->action == RULE_LOOKUP)
		put(t, " lookup=%u", r->table);
	else if (r->action == RULE_GOTO)
		put(t, " goto=%u", r->goto_pref);
	else
		put(t, r->action == RULE_NOP ? " nop" : " unreachable");
	if (r->has_uid)
		put(t, " uid=%u-%u", r->uid_lo, r->uid_hi);
	if (r->mask)
		put(t, " mark=0x%x/0x%x", r->mark, r->mask);
	if (*r->iif) {
		put(t, " iif=");
		put_escaped(t, r->iif);
	}
	if (r->ip_proto)
		put(t, " proto=%u", r->ip_proto);
	if (r->to.bits)
		put_prefix(t, "to", &r->to);
	if (r->dport_hi)
		put(t, " dport=%u-%u", r->dport_lo, r->dport_hi);
}

static const char *const route_types[] = {
	[ROUTE_UNICAST] = "unicast",	 [ROUTE_UNREACHABLE] = "unreachable",
	[ROUTE_BLACKHOLE] = "blackhole", [ROUTE_PROHIBIT] = "prohibit",
	[ROUTE_THROW] = "throw",
};

static void put_route(struct text *t, const struct host_route *r)
{
	char addr[ADDR_STRLEN];

	put(t, "route %s %s table=%u", r->v6 ? "v6" : "v4", route_types[r->type], r->table);
	put_prefix(t, "dst", &r->dst);
	if (r->ifindex)
		put(t, " dev=%u", r->ifindex);
	if (!addr_is_unspecified(&r->src))
		put(t, " src=%s", addr_format(&r->src, addr));
	if (r->metric)
		put(t, " metric=%u", r->metric);
	if (r->mtu)
		put(t, " mtu=%u", r->mtu);
}

static void put_change(struct text *t, const struct change *c)
{
	if (c->guard)
		put(t, "guard ");
	switch (c->kind) {
	case CHANGE_RULE:
		put_rule(t, &c->rule);
		break;
	case CHANGE_ROUTE:
		put_route(t, &c->route);
		break;
	case CHANGE_NFT:
		put(t, "nft ");
		put_escaped(t, c->nft);
		break;
	case CHANGE_SYSCTL:
		put(t, "sysctl ");
		put_escaped(t, c->sysctl.to.name);
		put(t, " old=");
		put_escaped(t, c->sysctl.old);
		put(t, " new=");
		put_escaped(t, c->sysctl.to.value);
		break;
	case CHANGE_LINK:
		put(t, "link ");
		put_escaped(t, c->link);
		break;
	case CHANGE_PATH:
		put(t, "path ");
		put_escaped(t, c->path);
		break;
	case CHANGE_TABLE_ROUTES:
		put(t, "table-routes %u", c->table);
		break;
	}
}

int change_format(const struct change *c, char *line)
{
	struct text t = {.buf = line, .size = CHANGE_LINE_MAX};
	struct change back;

	if (c->kind == CHANGE_ROUTE && c->route.type >= ARRAY_SIZE(route_types))
		return -EINVAL;
	put_change(&t, c);
	return t.full ? -EINVAL : change_parse(line, t.len, &back);
}

int change_format_head(const struct change_head *h, char *line, size_t size)
{
	struct text t = {.buf = line, .size = size};

	put(&t, HEAD " boot=");
	put_escaped(&t, h->boot);
	put(&t, " netns=");
	put_escaped(&t, h->netns);
	put(&t, "\n");
	return t.full ? -ENAMETOOLONG : (int)t.len;
}

/* --- reading: words ------------------------------------------------------------------------ */

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** unescape - @word to @out of @size bytes; 0 or -EINVAL (too long, a wrong or a zero byte) */
static int unescape(const char *word, char *out, size_t size)
{
	size_t n = 0;

	for (; *word; word++) {
		int byte = (unsigned char)*word;

		if (byte == '%') {
			int hi = hex_of(word[1]), lo = hi < 0 ? -1 : hex_of(word[2]);

			byte = lo < 0 ? 0 : hi << 4 | lo;
			word += lo < 0 ? 0 : 2;
		}
		if (!byte || n + 1 >= size)
			return -EINVAL;
		out[n++] = (char)byte;
	}
	out[n] = '\0';
	return 0;
}

/** number_until - digits (@base 10 or 16) up to the character @stop */
static int number_until(const char **text, char stop, int base, uint64_t max, uint64_t *out)
{
	const char *p = *text;
	uint64_t v = 0;

	do {
		int digit = hex_of(*p);

		if (digit < 0 || digit >= base)
			return -EINVAL;
		v = v * (unsigned)base + (unsigned)digit;
		if (v > max)
			return -EINVAL;
	} while (*++p != stop);
	*text = p + (stop != '\0');
	*out = v;
	return 0;
}

static int number(const char *text, uint64_t max, uint64_t *out)
{
	return number_until(&text, '\0', 10, max, out);
}

static int number32(const char *text, uint32_t *out)
{
	uint64_t v;
	int rc = number(text, UINT32_MAX, &v);

	if (!rc)
		*out = (uint32_t)v;
	return rc;
}

/** range - "A-B" with A <= B <= @max */
static int range(const char *text, uint64_t max, uint64_t *lo, uint64_t *hi)
{
	if (number_until(&text, '-', 10, max, lo) || number(text, max, hi) || *lo > *hi)
		return -EINVAL;
	return 0;
}

static int family(const char *word, bool *v6)
{
	if (strcmp(word, "v4") && strcmp(word, "v6"))
		return -EINVAL;
	*v6 = word[1] == '6';
	return 0;
}

/** prefix_word - with its length, which is not 0 */
static int prefix_word(const char *text, bool v6, struct prefix *p)
{
	if (!strchr(text, '/') || prefix_parse(text, p) || !p->bits || addr_is_v4(&p->addr) == v6)
		return -EINVAL;
	return 0;
}

/**
 * struct field - "key=value" or, without @value, a plain word
 * @need: it must be there (one of those with the same number)
 */
struct field {
	const char *key;
	int (*take)(struct change *c, const char *value);
	unsigned need;
};

/** take_field - @word by the table, each key once (@seen: those had, a bit each) */
static int take_field(const struct field *f, size_t n, const char *word, struct change *c,
		      uint32_t *seen)
{
	for (size_t i = 0; i < n; i++) {
		const size_t len = strlen(f[i].key);

		if (strncmp(word, f[i].key, len) != 0)
			continue;
		if (*seen & 1U << i)
			return -EINVAL;
		*seen |= 1U << i;
		return f[i].take(c, word + len);
	}
	return -EINVAL;
}

/** take_fields - all of @words; exactly one of each needed number must be among them */
static int take_fields(const struct field *f, size_t n, char **words, struct change *c)
{
	uint32_t seen = 0, had = 0, needed = 0;

	for (; *words; words++) {
		if (take_field(f, n, *words, c, &seen))
			return -EINVAL;
	}
	for (size_t i = 0; i < n; i++) {
		const uint32_t bit = f[i].need ? 1U << f[i].need : 0;

		needed |= bit;
		if (!(seen & 1U << i))
			continue;
		if (had & bit)
			return -EINVAL;
		had |= bit;
	}
	return had == needed ? 0 : -EINVAL;
}

/* --- reading: kinds ----------------------------------------------------------------------------
 */

static int rule_pref(struct change *c, const char *v)
{
	return number32(v, &c->rule.pref);
}

static int rule_lookup(struct change *c, const char *v)
{
	c->rule.action = RULE_LOOKUP;
	return number32(v, &c->rule.table);
}

static int rule_goto(struct change *c, const char *v)
{
	c->rule.action = RULE_GOTO;
	return number32(v, &c->rule.goto_pref);
}

static int rule_nop(struct change *c, const char *v)
{
	c->rule.action = RULE_NOP;
	return *v ? -EINVAL : 0;
}

static int rule_unreachable(struct change *c, const char *v)
{
	c->rule.action = RULE_UNREACHABLE;
	return *v ? -EINVAL : 0;
}

static int rule_uid(struct change *c, const char *v)
{
	uint64_t lo, hi;

	if (range(v, UINT32_MAX, &lo, &hi))
		return -EINVAL;
	c->rule.has_uid = true;
	c->rule.uid_lo = (uint32_t)lo;
	c->rule.uid_hi = (uint32_t)hi;
	return 0;
}

static int rule_mark(struct change *c, const char *v)
{
	const char *slash = strchr(v, '/');
	uint64_t mark, mask;

	if (!slash || strncmp(v, "0x", 2) != 0 || strncmp(slash, "/0x", 3) != 0)
		return -EINVAL;
	v += 2;
	slash += 3;
	if (number_until(&v, '/', 16, UINT32_MAX, &mark) ||
	    number_until(&slash, '\0', 16, UINT32_MAX, &mask) || !mask)
		return -EINVAL;
	c->rule.mark = (uint32_t)mark;
	c->rule.mask = (uint32_t)mask;
	return 0;
}

/** device_name - what the kernel would take: not empty, no '/', no blank, not a directory's */
static int device_name(const char *v, char out[IFNAMSIZ])
{
	if (unescape(v, out, IFNAMSIZ) || !*out || strpbrk(out, "/ \t\n\v\f\r:") ||
	    !strcmp(out, ".") || !strcmp(out, ".."))
		return -EINVAL;
	return 0;
}

static int rule_iif(struct change *c, const char *v)
{
	return device_name(v, c->rule.iif);
}

static int rule_proto(struct change *c, const char *v)
{
	uint64_t n;

	if (number(v, UINT8_MAX, &n) || !n)
		return -EINVAL;
	c->rule.ip_proto = (uint8_t)n;
	return 0;
}

static int rule_to(struct change *c, const char *v)
{
	return prefix_word(v, c->rule.v6, &c->rule.to);
}

static int rule_dport(struct change *c, const char *v)
{
	uint64_t lo, hi;

	if (range(v, UINT16_MAX, &lo, &hi) || !hi)
		return -EINVAL;
	c->rule.dport_lo = (uint16_t)lo;
	c->rule.dport_hi = (uint16_t)hi;
	return 0;
}

static const struct field rule_fields[] = {
	{"pref=", rule_pref, 1},
	{"lookup=", rule_lookup, 2},
	{"goto=", rule_goto, 2},
	{"nop", rule_nop, 2},
	{"unreachable", rule_unreachable, 2},
	{"uid=", rule_uid, 0},
	{"mark=", rule_mark, 0},
	{"iif=", rule_iif, 0},
	{"proto=", rule_proto, 0},
	{"to=", rule_to, 0},
	{"dport=", rule_dport, 0},
};

static int parse_rule(char **words, struct change *c)
{
	if (!words[0] || family(words[0], &c->rule.v6))
		return -EINVAL;
	return take_fields(rule_fields, ARRAY_SIZE(rule_fields), words + 1, c);
}

static int route_table(struct change *c, const char *v)
{
	return number32(v, &c->route.table) || !c->route.table ? -EINVAL : 0;
}

static int route_dst(struct change *c, const char *v)
{
	return !strcmp(v, "default") ? 0 : prefix_word(v, c->route.v6, &c->route.dst);
}

static int route_dev(struct change *c, const char *v)
{
	uint64_t n;

	if (number(v, INT32_MAX, &n) || !n)
		return -EINVAL;
	c->route.ifindex = (unsigned)n;
	return 0;
}

static int route_src(struct change *c, const char *v)
{
	if (addr_parse(v, &c->route.src) || addr_is_unspecified(&c->route.src))
		return -EINVAL;
	return addr_is_v4(&c->route.src) == c->route.v6 ? -EINVAL : 0;
}

static int route_metric(struct change *c, const char *v)
{
	return number32(v, &c->route.metric);
}

static int route_mtu(struct change *c, const char *v)
{
	uint64_t n;

	if (number(v, INT32_MAX, &n))
		return -EINVAL;
	c->route.mtu = (unsigned)n;
	return 0;
}

static const struct field route_fields[] = {
	{"table=", route_table, 1}, {"dst=", route_dst, 2},	  {"dev=", route_dev, 0},
	{"src=", route_src, 0},	    {"metric=", route_metric, 0}, {"mtu=", route_mtu, 0},
};

static int route_type(const char *word, enum route_type *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(route_types); i++) {
		if (!strcmp(word, route_types[i])) {
			*type = (enum route_type)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_route(char **words, struct change *c)
{
	if (!words[0] || !words[1] || family(words[0], &c->route.v6) ||
	    route_type(words[1], &c->route.type))
		return -EINVAL;
	return take_fields(route_fields, ARRAY_SIZE(route_fields), words + 2, c);
}

/** parse_nft - a table of ours: nobody else's is ever deleted */
static int parse_nft(char **words, struct change *c)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_";

	if (!words[0] || words[1] || unescape(words[0], c->nft, sizeof(c->nft)) ||
	    strncmp(c->nft, "weir", 4) != 0 || c->nft[strspn(c->nft, allowed)])
		return -EINVAL;
	return 0;
}

/** has_dotdot - does a part of @path lead upwards? */
static bool has_dotdot(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2) {
		if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
			return true;
	}
	return false;
}

static int sysctl_old(struct change *c, const char *v)
{
	return unescape(v, c->sysctl.old, sizeof(c->sysctl.old));
}

static int sysctl_new(struct change *c, const char *v)
{
	return unescape(v, c->sysctl.to.value, sizeof(c->sysctl.to.value));
}

static const struct field sysctl_fields[] = {{"old=", sysctl_old, 1}, {"new=", sysctl_new, 2}};

/** parse_sysctl - weir changes the network's only */
static int parse_sysctl(char **words, struct change *c)
{
	char *name = c->sysctl.to.name;

	if (!words[0] || unescape(words[0], name, sizeof(c->sysctl.to.name)) ||
	    strncmp(name, "net/", 4) != 0 || has_dotdot(name))
		return -EINVAL;
	return take_fields(sysctl_fields, ARRAY_SIZE(sysctl_fields), words + 1, c);
}

static int parse_link(char **words, struct change *c)
{
	return !words[0] || words[1] || !strcmp(words[0], "lo") ? -EINVAL
								: device_name(words[0], c->link);
}

static int parse_path(char **words, struct change *c)
{
	if (!words[0] || words[1] || unescape(words[0], c->path, sizeof(c->path)) ||
	    c->path[0] != '/' || !c->path[1] || has_dotdot(c->path))
		return -EINVAL;
	return 0;
}

static int parse_table_routes(char **words, struct change *c)
{
	return !words[0] || words[1] || number32(words[0], &c->table) || !c->table ? -EINVAL : 0;
}

static const struct {
	const char *word;
	enum change_kind kind;
	int (*parse)(char **words, struct change *c);
} kinds[] = {
	{"rule", CHANGE_RULE, parse_rule},
	{"route", CHANGE_ROUTE, parse_route},
	{"nft", CHANGE_NFT, parse_nft},
	{"sysctl", CHANGE_SYSCTL, parse_sysctl},
	{"link", CHANGE_LINK, parse_link},
	{"path", CHANGE_PATH, parse_path},
	{"table-routes", CHANGE_TABLE_ROUTES, parse_table_routes},
};

/** split - cut @line at its blanks; how many words, or -EINVAL: too many, or an empty one */
static int split(char *line, char *words[WORDS_MAX + 1])
{
	int n = 0;

	for (char *next = line; next; n++) {
		char *word = next;

		next = strchr(word, ' ');
		if (next)
			*next++ = '\0';
		if (n == WORDS_MAX || !*word)
			return -EINVAL;
		words[n] = word;
	}
	words[n] = NULL;
	return n;
}

static int parse_words(char **words, struct change *c)
{
	c->guard = !strcmp(words[0], "guard");
	if (c->guard && !*++words)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(words[0], kinds[i].word)) {
			c->kind = kinds[i].kind;
			return kinds[i].parse(words + 1, c);
		}
	}
	return -EINVAL;
}

/** copy_line - as a string, with nothing but printable ASCII in it */
static int copy_line(const char *text, size_t len, char line[CHANGE_LINE_MAX])
{
	if (len >= CHANGE_LINE_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return -EINVAL;
	}
	memcpy(line, text, len);
	line[len] = '\0';
	return 0;
}

int change_parse(const char *text, size_t len, struct change *c)
{
	char line[CHANGE_LINE_MAX], *words[WORDS_MAX + 1];

	memset(c, 0, sizeof(*c));
	if (copy_line(text, len, line) || split(line, words) < 0)
		return -EINVAL;
	return parse_words(words, c);
}

/* --- one thing, twice ------------------------------------------------------------------------ */

static bool same_prefix(const struct prefix *a, const struct prefix *b)
{
	return a->bits == b->bits && (!a->bits || addr_equal(&a->addr, &b->addr));
}

static bool same_target(const struct host_rule *a, const struct host_rule *b)
{
	if (a->action != b->action)
		return false;
	if (a->action == RULE_LOOKUP)
		return a->table == b->table;
	return a->action == RULE_NOP || a->goto_pref == b->goto_pref;
}

static bool same_rule(const struct host_rule *a, const struct host_rule *b)
{
	if (a->v6 != b->v6 || a->pref != b->pref || !same_target(a, b) || a->has_uid != b->has_uid)
		return false;
	if (a->has_uid && (a->uid_lo != b->uid_lo || a->uid_hi != b->uid_hi))
		return false;
	if (a->mask != b->mask || (a->mask && a->mark != b->mark))
		return false;
	return !strcmp(a->iif, b->iif) && a->ip_proto == b->ip_proto &&
	       same_prefix(&a->to, &b->to) && a->dport_lo == b->dport_lo &&
	       a->dport_hi == b->dport_hi;
}

static bool same_source(const struct addr *a, const struct addr *b)
{
	return addr_is_unspecified(a) ? addr_is_unspecified(b) : addr_equal(a, b);
}

static bool same_route(const struct host_route *a, const struct host_route *b)
{
	return a->v6 == b->v6 && a->type == b->type && a->table == b->table &&
	       same_prefix(&a->dst, &b->dst) && a->ifindex == b->ifindex &&
	       same_source(&a->src, &b->src) && a->metric == b->metric && a->mtu == b->mtu;
}

bool change_same_object(const struct change *a, const struct change *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case CHANGE_RULE:
		return same_rule(&a->rule, &b->rule);
	case CHANGE_ROUTE:
		return same_route(&a->route, &b->route);
	case CHANGE_NFT:
		return !strcmp(a->nft, b->nft);
	case CHANGE_SYSCTL:
		return !strcmp(a->sysctl.to.name, b->sysctl.to.name);
	case CHANGE_LINK:
		return !strcmp(a->link, b->link);
	case CHANGE_PATH:
		return !strcmp(a->path, b->path);
	case CHANGE_TABLE_ROUTES:
		return a->table == b->table;
	}
	return false;
}

/* --- reading: the whole
 * ---------------------------------------------------------------------------
 */

static int parse_head(const char *text, size_t len, struct change_head *h)
{
	char line[CHANGE_LINE_MAX], *words[WORDS_MAX + 1];

	if (copy_line(text, len, line) || split(line, words) != 4 ||
	    strcmp(words[0], "weir-journal") != 0 || strcmp(words[1], "1") != 0 ||
	    strncmp(words[2], "boot=", 5) != 0 || strncmp(words[3], "netns=", 6) != 0)
		return -EINVAL;
	if (unescape(words[2] + 5, h->boot, sizeof(h->boot)))
		return -EINVAL;
	return unescape(words[3] + 6, h->netns, sizeof(h->netns));
}

/** parse_marked - "+ CHANGE" or "- CHANGE" */
static int parse_marked(const char *text, size_t len, struct change *c, bool *done)
{
	if (len < 2 || (text[0] != '+' && text[0] != '-') || text[1] != ' ')
		return -EINVAL;
	*done = text[0] == '-';
	return change_parse(text + 2, len - 2, c);
}

int change_read(const char *text, size_t len, struct change_head *h,
		int (*each)(void *ctx, const struct change *c, bool done, size_t at), void *ctx,
		char *err, size_t errsize)
{
	const char *end = text + len, *at = text, *newline;
	struct change c;
	bool done;

	memset(h, 0, sizeof(*h));
	for (unsigned n = 1; at < end && (newline = memchr(at, '\n', (size_t)(end - at))); n++) {
		const size_t size = (size_t)(newline - at);
		int rc = n == 1 ? parse_head(at, size, h) : parse_marked(at, size, &c, &done);

		if (rc) {
			snprintf(err, errsize, "line %u: %s", n,
				 n == 1 ? "not a journal of this version of weir"
					: "no change that weir makes");
			return rc;
		}
		rc = n == 1 ? 0 : each(ctx, &c, done, (size_t)(at - text));
		if (rc)
			return rc;
		at = newline + 1;
	}
	return 0;
}

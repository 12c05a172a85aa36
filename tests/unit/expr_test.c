/* SPDX-License-Identifier: MIT */
/*
 * expr: expressions as tables, over subjects of which everything, nothing or nothing yet is known.
 * LINK: src/expr.o src/expr_build.o src/expr_check.o src/expr_error.o src/expr_field.o
 * LINK: src/expr_flags.o src/expr_glob.o src/expr_lex.o src/expr_literal.o src/expr_parse.o
 * LINK: src/expr_print.o src/expr_regex.o src/expr_required.o src/expr_values.o
 * LINK: src/base/addr.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "expr.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../lib/tap.h"
#include "flow.h"
#include "policy.h"

#if defined(__SANITIZE_ADDRESS__)
#define OWN_MALLOC 0 /* the sanitizer has its own */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#ifndef OWN_MALLOC
#define OWN_MALLOC 1
#endif

/* --- memory that ends ----------------------------------------------------------- */

#if OWN_MALLOC
static long allocations, allowed = -1; /* -1: all */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
#define EXPORTED __attribute__((visibility("default")))

static bool may_allocate(void)
{
	allocations++;
	return allowed < 0 || allowed-- > 0;
}

EXPORTED void *malloc(size_t size)
{
	return may_allocate() ? __libc_malloc(size) : NULL;
}

EXPORTED void *calloc(size_t n, size_t size)
{
	return may_allocate() ? __libc_calloc(n, size) : NULL;
}

EXPORTED void *realloc(void *p, size_t size)
{
	return may_allocate() ? __libc_realloc(p, size) : NULL;
}
#endif

/* --- subjects ------------------------------------------------------------------- */

#define VALUES 4

/** struct subject - how many values of each field are known, and what comes behind them */
struct subject {
	unsigned n[EXPR_FIELD_MAX];
	struct expr_value value[EXPR_FIELD_MAX][VALUES];
	enum expr_known rest[EXPR_FIELD_MAX];
};

static struct subject full, absent, not_yet;

static enum expr_known get(const void *subject, enum expr_field f, unsigned i,
			   struct expr_value *out)
{
	const struct subject *s = subject;

	if (i >= s->n[f])
		return s->rest[f];
	*out = s->value[f][i];
	return EXPR_KNOWN;
}

static void add_num(struct subject *s, enum expr_field f, uint64_t num)
{
	s->value[f][s->n[f]++].num = num;
}

static void add_text(struct subject *s, enum expr_field f, const char *text)
{
	struct expr_value *v = &s->value[f][s->n[f]++];

	v->text.s = text;
	v->text.len = strlen(text);
}

static void add_addr(struct subject *s, enum expr_field f, const char *text)
{
	if (addr_parse(text, &s->value[f][s->n[f]++].addr))
		abort();
}

static void set_rest(struct subject *s, enum expr_known rest)
{
	for (unsigned f = 0; f < EXPR_FIELD_MAX; f++)
		s->rest[f] = rest;
}

static void make_names(struct subject *s)
{
	add_text(s, EXPR_F_COMM, "curl");
	add_text(s, EXPR_F_EXE, "/usr/bin/curl");
	add_text(s, EXPR_F_CMDLINE, "curl https://www.example.com/a*b \"x\"");
	add_text(s, EXPR_F_PARENT_COMM, "bash");
	add_text(s, EXPR_F_ANCESTOR_COMM, "bash");
	add_text(s, EXPR_F_ANCESTOR_COMM, "sshd");
	add_text(s, EXPR_F_ANCESTOR_EXE, "/bin/bash");
	add_text(s, EXPR_F_ANCESTOR_EXE, "/usr/sbin/sshd");
	add_text(s, EXPR_F_CGROUP, "/user.slice");
	add_text(s, EXPR_F_UNIT, "cron.service");
	add_text(s, EXPR_F_NETNS, "4026531840");
	add_text(s, EXPR_F_HOST, "WWW.Example.com.");
	add_text(s, EXPR_F_DNS_NAME, "www.example.com");
	add_text(s, EXPR_F_DNS_NAME, "cdn.example.net");
	add_text(s, EXPR_F_SNI, "www.example.com");
	add_text(s, EXPR_F_ALPN, "h2");
	add_text(s, EXPR_F_ALPN, "http/1.1");
	add_text(s, EXPR_F_HTTP_HOST, "example.com");
	add_text(s, EXPR_F_HTTP_METHOD, "GET");
	add_text(s, EXPR_F_HTTP_PATH, "/index.html?q=1");
	add_text(s, EXPR_F_APP, "tls");
	add_text(s, EXPR_F_JA3, "e7d705a3286e19ea42f587b344ee6865");
	add_text(s, EXPR_F_JA4, "t13d1516h2_8daaf6152771_b186095e22b6");
	add_text(s, EXPR_F_TAG, "office");
	add_text(s, EXPR_F_TAG, "slow");
}

static void make_subjects(void)
{
	struct subject *s = &full;

	set_rest(&full, EXPR_ABSENT);
	set_rest(&absent, EXPR_ABSENT);
	set_rest(&not_yet, EXPR_NOT_YET);
	add_num(s, EXPR_F_PROTO, 6);
	add_num(s, EXPR_F_DIR, EXPR_DIR_OUT);
	add_addr(s, EXPR_F_SRC_IP, "10.1.2.3");
	add_addr(s, EXPR_F_DST_IP, "2001:db8::80");
	add_num(s, EXPR_F_SRC_PORT, 40000);
	add_num(s, EXPR_F_DST_PORT, 443);
	add_num(s, EXPR_F_IP_VERSION, 6);
	add_num(s, EXPR_F_UID, 1000);
	add_num(s, EXPR_F_USER, 1000);
	add_num(s, EXPR_F_GID, 50);
	add_num(s, EXPR_F_PID, 4711);
	make_names(s);
	add_num(s, EXPR_F_BYTES_UP, 1500);
	add_num(s, EXPR_F_BYTES_DOWN, 10485760);
	add_num(s, EXPR_F_DURATION, 1500000000);
	add_num(s, EXPR_F_STATE, EXPR_STATE_OPEN);
	add_num(s, EXPR_F_VERDICT, 0);
	add_num(s, EXPR_F_ID, UINT64_MAX);
	add_num(s, EXPR_F_LEN, 1400);
	add_num(s, EXPR_F_TCP_FLAGS, 0x12); /* SYN, ACK */
	add_num(s, EXPR_F_TTL, 64);
}

/* --- what compiling asks for ------------------------------------------------------ */

static int find_user(void *ctx, const char *name, uint32_t *uid)
{
	(void)ctx;
	if (!strcmp(name, "broken"))
		return -EIO;
	*uid = !strcmp(name, "alice") ? 1000 : 1001;
	return !strcmp(name, "alice") || !strcmp(name, "www-data") ? 0 : -ENOENT;
}

static int find_group(void *ctx, const char *name, uint32_t *gid)
{
	(void)ctx;
	*gid = 50;
	return strcmp(name, "staff") ? -ENOENT : 0;
}

static bool ads_has(const struct expr_set *set, const struct expr_value *v)
{
	(void)set;
	return v->text.len == 16 && !strncasecmp(v->text.s, "www.example.com.", 16);
}

static bool slow_has(const struct expr_set *set, const struct expr_value *v)
{
	(void)set;
	return v->text.len == 4 && !memcmp(v->text.s, "slow", 4);
}

static bool lan_has(const struct expr_set *set, const struct expr_value *v)
{
	(void)set;
	return v->addr.b[12] == 10;
}

static bool link_has(const struct expr_set *set, const struct expr_value *v)
{
	(void)set;
	return v->addr.b[0] == 0xfe && !addr_zone(&v->addr);
}

static bool web_has(const struct expr_set *set, const struct expr_value *v)
{
	(void)set;
	return v->num == 443 || v->num == 1000;
}

static const struct named {
	const char *name;
	struct expr_set set;
} sets[] = {
	{"ads", {EXPR_HOSTNAME, ads_has, false}}, {"tags", {EXPR_TEXT, slow_has, false}},
	{"lan", {EXPR_ADDR, lan_has, false}},	  {"web", {EXPR_NUMBER, web_has, false}},
	{"link", {EXPR_ADDR, link_has, false}},
};

static const struct expr_set *find_set(void *ctx, const char *name, size_t len)
{
	(void)ctx;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (strlen(sets[i].name) == len && !memcmp(sets[i].name, name, len))
			return &sets[i].set;
	return NULL;
}

static const struct expr_context context = {
	.user = find_user, .group = find_group, .set = find_set, .packet = true};

static struct expr_error err;

static struct expr *compile(const char *text)
{
	struct expr *e;
	int rc = expr_compile(&context, text, strlen(text), &e, &err);

	if (rc)
		printf("# %s: %u:%u %s\n", text, err.line, err.column, err.text);
	return rc ? NULL : e;
}

/** truth - of @text for @s; -1: it does not compile */
static int truth(const char *text, const struct subject *s)
{
	struct expr *e = compile(text);
	int t = e ? (int)expr_eval(e, get, s) : -1;

	expr_free(e);
	return t;
}

/* --- comparisons: of all that is known, of nothing, of what is not known yet ---------- */

#define YES EXPR_YES
#define NO  EXPR_NO

static const struct {
	const char *text;
	int expect;	/* of the full subject */
	const char *as; /* its normal form */
} comparisons[] = {
	/* numbers */
	{"dst.port == 443", YES, "dst.port == 443"},
	{"dst.port == 44", NO, "dst.port == 44"},
	{"dst.port == 0x1bb", YES, "dst.port == 443"},
	{"dst.port != 443", NO, "dst.port != 443"},
	{"dst.port != 80", YES, "dst.port != 80"},
	{"dst.port < 443", NO, "dst.port < 443"},
	{"dst.port < 444", YES, "dst.port < 444"},
	{"dst.port <= 443", YES, "dst.port <= 443"},
	{"dst.port <= 442", NO, "dst.port <= 442"},
	{"dst.port > 443", NO, "dst.port > 443"},
	{"dst.port > 442", YES, "dst.port > 442"},
	{"dst.port >= 443", YES, "dst.port >= 443"},
	{"dst.port >= 444", NO, "dst.port >= 444"},
	{"dst.port >= 0", YES, "dst.port >= 0"},
	{"dst.port == 400-500", YES, "dst.port in 400-500"},
	{"dst.port != 400-500", NO, "not dst.port in 400-500"},
	{"dst.port in 443-443", YES, "dst.port == 443"},
	{"dst.port in 444-500", NO, "dst.port in 444-500"},
	{"dst.port in 443", YES, "dst.port == 443"},
	{"dst.port in {80, 443}", YES, "dst.port in {80, 443}"},
	{"dst.port in {443}", YES, "dst.port == 443"},
	{"dst.port in {8080, 80,}", NO, "dst.port in {80, 8080}"},
	{"dst.port not in {8080, 80}", YES, "not dst.port in {80, 8080}"},
	{"not dst.port not in {8080, 80}", NO, "dst.port in {80, 8080}"},
	{"dst.port in {1000-1999,443-445,80}", YES, "dst.port in {80, 443-445, 1000-1999}"},
	{"dst.port in {440-444, 443-500, 442}", YES, "dst.port in 440-500"},
	{"dst.port in {400-500, 410-420}", YES, "dst.port in 400-500"},
	{"dst.port in {442, 444}", NO, "dst.port in {442, 444}"},
	{"dst.port in {1,2,3,4,5,6,7,8,9,10,443}", YES,
	 "dst.port in {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 443}"},
	{"dst.port in web", YES, "dst.port in web"},
	{"src.port in web", NO, "src.port in web"},
	{"src.port == 40000", YES, "src.port == 40000"},
	{"ip.version == 6", YES, "ip.version == 6"},
	{"pid > 1", YES, "pid > 1"},
	{"id == 18446744073709551615", YES, "id == 18446744073709551615"},
	{"id >= 18446744073709551615", YES, "id >= 18446744073709551615"},
	{"id < 18446744073709551615", NO, "id < 18446744073709551615"},
	{"ttl == 64", YES, "ttl == 64"},
	/* sizes and times */
	{"bytes.up == 1500", YES, "bytes.up == 1500"},
	{"bytes.up == 1500b", YES, "bytes.up == 1500"},
	{"bytes.up > 1kb", YES, "bytes.up > 1kb"},
	{"bytes.up > 1KiB", YES, "bytes.up > 1kib"},
	{"bytes.up > 2kb", NO, "bytes.up > 2kb"},
	{"bytes.down == 10mib", YES, "bytes.down == 10mib"},
	{"bytes.down >= 10mb", YES, "bytes.down >= 10mb"},
	{"bytes.down > 1gb", NO, "bytes.down > 1gb"},
	{"bytes.down > 1gib", NO, "bytes.down > 1gib"},
	{"bytes.down in 10mb-1gb", YES, "bytes.down in 10mb-1gb"},
	{"bytes.up > 0", YES, "bytes.up > 0"},
	{"len > 1kb", YES, "len > 1kb"},
	{"duration == 1500ms", YES, "duration == 1500ms"},
	{"duration > 1s", YES, "duration > 1s"},
	{"duration < 1500000us", NO, "duration < 1500ms"},
	{"duration >= 1500000000ns", YES, "duration >= 1500ms"},
	{"duration < 1m", YES, "duration < 1m"},
	{"duration < 60s", YES, "duration < 1m"},
	{"duration > 1h", NO, "duration > 1h"},
	{"duration > 7d", NO, "duration > 7d"},
	{"duration > 0", YES, "duration > 0"},
	/* addresses */
	{"src.ip == 10.1.2.3", YES, "src.ip == 10.1.2.3"},
	{"src.ip != 10.1.2.3", NO, "src.ip != 10.1.2.3"},
	{"src.ip == 10.1.2.4", NO, "src.ip == 10.1.2.4"},
	{"src.ip == 10.0.0.0/8", YES, "src.ip in 10.0.0.0/8"},
	{"src.ip in 10.1.2.99/24", YES, "src.ip in 10.1.2.0/24"},
	{"src.ip in 10.1.3.0/24", NO, "src.ip in 10.1.3.0/24"},
	{"src.ip != 10.0.0.0/8", NO, "not src.ip in 10.0.0.0/8"},
	{"src.ip in 10.1.2.2-10.1.2.3", YES, "src.ip in 10.1.2.2/31"},
	{"src.ip in 10.1.2.3-10.1.2.9", YES, "src.ip in 10.1.2.3-10.1.2.9"},
	{"src.ip in 10.1.2.4-10.1.2.9", NO, "src.ip in 10.1.2.4-10.1.2.9"},
	{"src.ip in {10.1.2.4, 10.1.2.3, 2001:db8::/32}", YES,
	 "src.ip in {10.1.2.3, 10.1.2.4, 2001:db8::/32}"},
	{"src.ip in {10.0.0.0/8, 10.1.0.0/16}", YES, "src.ip in 10.0.0.0/8"},
	{"src.ip in ::/0", NO, "src.ip in ::/0"},
	{"dst.ip in ::/0", YES, "dst.ip in ::/0"},
	{"dst.ip in 0.0.0.0/0", NO, "dst.ip in 0.0.0.0/0"},
	{"src.ip in 0.0.0.0/0", YES, "src.ip in 0.0.0.0/0"},
	{"src.ip == ::ffff:10.1.2.3", YES, "src.ip == 10.1.2.3"},
	{"dst.ip == 2001:DB8:0::80", YES, "dst.ip == 2001:db8::80"},
	{"dst.ip in 2001:db8::/64", YES, "dst.ip in 2001:db8::/64"},
	{"dst.ip in 2001:db8::/121", NO, "dst.ip in 2001:db8::/121"},
	{"dst.ip in 2001:db8::1-2001:db8::90", YES, "dst.ip in 2001:db8::1-2001:db8::90"},
	{"dst.ip in {::1, 2001:db8::81, 1.2.3.4}", NO, "dst.ip in {1.2.3.4, ::1, 2001:db8::81}"},
	{"src.ip in lan", YES, "src.ip in lan"},
	{"dst.ip in lan", NO, "dst.ip in lan"},
	/* texts */
	{"comm == curl", YES, "comm == \"curl\""},
	{"comm == \"curl\"", YES, "comm == \"curl\""},
	{"comm == Curl", NO, "comm == \"Curl\""},
	{"comm == cur", NO, "comm == \"cur\""},
	{"comm == curls", NO, "comm == \"curls\""},
	{"comm == \"\"", NO, "comm == \"\""},
	{"comm != curl", NO, "comm != \"curl\""},
	{"comm != wget", YES, "comm != \"wget\""},
	{"comm in {wget, curl}", YES, "comm in {\"curl\", \"wget\"}"},
	{"comm in {wget, wget}", NO, "comm == \"wget\""},
	{"comm in {a,b,c,d,e,f,g,h,i,j,curl}", YES,
	 "comm in {\"a\", \"b\", \"c\", \"curl\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\"}"},
	{"comm in {a,b,c,d,e,f,g,h,i,j,curls}", NO,
	 "comm in {\"a\", \"b\", \"c\", \"curls\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\"}"},
	{"comm == \"\\x63url\"", YES, "comm == \"curl\""},
	{"cmdline == \"curl https://www.example.com/a*b \\\"x\\\"\"", YES,
	 "cmdline == \"curl https://www.example.com/a*b \\\"x\\\"\""},
	{"comm == \"a\\n\\r\\t\\\\b\"", NO, "comm == \"a\\x0a\\x0d\\x09\\\\b\""},
	{"exe == /usr/bin/curl", YES, "exe == \"/usr/bin/curl\""},
	{"parent.comm == bash", YES, "parent.comm == \"bash\""},
	{"cgroup ~ /user*", YES, "cgroup ~ \"/user*\""},
	{"unit == cron.service", YES, "unit == \"cron.service\""},
	{"netns == 4026531840", YES, "netns == \"4026531840\""},
	{"http.method in {GET, HEAD}", YES, "http.method in {\"GET\", \"HEAD\"}"},
	{"app == tls", YES, "app == \"tls\""},
	{"ja3 == e7d705a3286e19ea42f587b344ee6865", YES,
	 "ja3 == \"e7d705a3286e19ea42f587b344ee6865\""},
	{"ja4 ~ \"t13d*h2_*\"", YES, "ja4 ~ \"t13d*h2_*\""},
	/* host names */
	{"host == www.example.com", YES, "host == \"www.example.com\""},
	{"host == WWW.EXAMPLE.COM.", YES, "host == \"www.example.com\""},
	{"host ~ WWW.example.com..", YES, "host ~ \"www.example.com\""},
	{"host == example.com", NO, "host == \"example.com\""},
	{"host in {a.com, WWW.example.COM}", YES, "host in {\"a.com\", \"www.example.com\"}"},
	{"host in {a,b,c,d,e,f,g,h,i,j,Www.Example.Com}", YES,
	 "host in {\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\", "
	 "\"www.example.com\"}"},
	{"host in ads", YES, "host in ads"},
	{"sni in ads", NO, "sni in ads"},
	{"http.host not in ads", YES, "not http.host in ads"},
	/* globs */
	{"host ~ \"*.example.com\"", YES, "host ~ \"*.example.com\""},
	{"host ~ *.EXAMPLE.com.", YES, "host ~ \"*.example.com\""},
	{"http.host ~ \"*.example.com\"", NO, "http.host ~ \"*.example.com\""},
	{"host ~ \"www.*\"", YES, "host ~ \"www.*\""},
	{"host ~ \"ww.*\"", NO, "host ~ \"ww.*\""},
	{"host ~ \"*\"", YES, "host ~ \"*\""},
	{"host ~ \"w?w.*.com\"", YES, "host ~ \"w?w.*.com\""},
	{"host ~ \"www.example.com\"", YES, "host ~ \"www.example.com\""},
	{"host ~ \"www.example.co\"", NO, "host ~ \"www.example.co\""},
	{"host ~ \"w*w\"", NO, "host ~ \"w*w\""},
	{"host ~ \"*ex*pl*e.c*\"", YES, "host ~ \"*ex*pl*e.c*\""},
	{"host ~ \"[w]ww.[!a-d]*\"", YES, "host ~ \"[w]ww.[!a-d]*\""},
	{"host ~ \"[A-D]*\"", NO, "host ~ \"[a-d]*\""},
	{"exe ~ \"/usr/*/curl\"", YES, "exe ~ \"/usr/*/curl\""},
	{"exe ~ \"/USR/*\"", NO, "exe ~ \"/USR/*\""},
	{"exe ~ /usr/*", YES, "exe ~ \"/usr/*\""},
	{"cmdline ~ \"*a\\*b*\"", YES, "cmdline ~ \"*a\\*b*\""},
	{"cmdline ~ \"*e\\*b*\"", NO, "cmdline ~ \"*e\\*b*\""},
	{"cmdline ~ \"*\\\"x\\\"\"", YES, "cmdline ~ \"*\\\"x\\\"\""},
	{"comm ~ \"????\"", YES, "comm ~ \"????\""},
	{"comm ~ \"?????\"", NO, "comm ~ \"?????\""},
	{"comm ~ \"[]c]url\"", YES, "comm ~ \"[]c]url\""},
	{"comm ~ \"[\\]a-d]url\"", YES, "comm ~ \"[\\]a-d]url\""},
	{"comm ~ \"[^c]url\"", NO, "comm ~ \"[^c]url\""},
	{"comm ~ \"\"", NO, "comm ~ \"\""},
	/* regular expressions */
	{"host =~ \"^(www|cdn)\\.EXAMPLE\\.com$\"", YES, "host =~ \"^(www|cdn)\\.EXAMPLE\\.com$\""},
	{"exe =~ \"^/usr/(local/)?bin/\"", YES, "exe =~ \"^/usr/(local/)?bin/\""},
	{"exe =~ \"CURL\"", NO, "exe =~ \"CURL\""},
	{"exe =~ \"(?i)CURL\"", YES, "exe =~ \"(?i)CURL\""},
	{"cmdline =~ \"\\\"x\\\"$\"", YES, "cmdline =~ \"\\\"x\\\"$\""},
	{"cmdline =~ \"\\x22x\"", YES, "cmdline =~ \"\\x22x\""},
	{"http.path =~ \"\\?q=(\\d+)$\"", YES, "http.path =~ \"\\?q=(\\d+)$\""},
	{"comm =~ \"^(.)..l$\"", YES, "comm =~ \"^(.)..l$\""},
	{"comm =~ \"^(.)\\1\"", NO, "comm =~ \"^(.)\\1\""},
	/* words */
	{"proto == tcp", YES, "proto == tcp"},
	{"proto == 6", YES, "proto == tcp"},
	{"proto == udp", NO, "proto == udp"},
	{"proto != udp", YES, "proto != udp"},
	{"proto in {udp, tcp}", YES, "proto in {tcp, udp}"},
	{"proto in {icmp, icmp6}", NO, "proto in {icmp, icmp6}"},
	{"proto == icmpv6", NO, "proto == icmp6"},
	{"proto in {132, 47-50}", NO, "proto in {47-50, 132}"},
	{"proto in tcp", YES, "proto == tcp"},
	{"dir == out", YES, "dir == out"},
	{"dir == in", NO, "dir == in"},
	{"dir in in", NO, "dir == in"},
	{"dir in {in, out}", YES, "dir in {out, in}"},
	{"state == open", YES, "state == open"},
	{"state == held", NO, "state == held"},
	{"verdict == allow", YES, "verdict == allow"},
	{"verdict != block", YES, "verdict != block"},
	/* users and groups */
	{"user == alice", YES, "user == 1000"},
	{"user == \"alice\"", YES, "user == 1000"},
	{"user == www-data", NO, "user == 1001"},
	{"user == 1000", YES, "user == 1000"},
	{"user in {alice, www-data, 2000-2999}", YES, "user in {1000, 1001, 2000-2999}"},
	{"user in 1001-1999", NO, "user in 1001-1999"},
	{"user in alice", YES, "user == 1000"},
	{"uid in web", YES, "uid in web"},
	{"uid >= 1000", YES, "uid >= 1000"},
	{"uid < 1000", NO, "uid < 1000"},
	{"gid == staff", YES, "gid == 50"},
	{"gid != 50", NO, "gid != 50"},
	/* flags: SYN and ACK are set */
	{"tcp.flags == \"syn,ack\"", YES, "tcp.flags == \"syn,ack\""},
	{"tcp.flags == SA", YES, "tcp.flags == \"syn,ack\""},
	{"tcp.flags == syn", NO, "tcp.flags == \"syn\""},
	{"tcp.flags == 0x12", YES, "tcp.flags == \"syn,ack\""},
	{"tcp.flags == 0", NO, "tcp.flags == 0"},
	{"tcp.flags != 0x100", YES, "tcp.flags != 0x100"},
	{"tcp.flags in {syn, \"ack,syn\"}", YES, "tcp.flags in {\"syn\", \"syn,ack\"}"},
	{"tcp.flags & syn", YES, "tcp.flags & \"syn\""},
	{"tcp.flags & \"syn,fin\"", YES, "tcp.flags & \"fin,syn\""},
	{"tcp.flags & fr", NO, "tcp.flags & \"fin,rst\""},
	{"tcp.flags ~ \"syn,fin\"", NO, "tcp.flags ~ \"fin,syn\""},
	{"tcp.flags ~ syn", YES, "tcp.flags ~ \"syn\""},
	/* lists: one element is enough, so != wants that it is none of them */
	{"ancestor.exe == /usr/sbin/sshd", YES, "ancestor.exe == \"/usr/sbin/sshd\""},
	{"ancestor.exe != /usr/sbin/sshd", NO, "ancestor.exe != \"/usr/sbin/sshd\""},
	{"ancestor.exe == /usr/bin/ssh", NO, "ancestor.exe == \"/usr/bin/ssh\""},
	{"ancestor.comm ~ \"ss*\"", YES, "ancestor.comm ~ \"ss*\""},
	{"dns.name == CDN.example.net", YES, "dns.name == \"cdn.example.net\""},
	{"alpn == http/1.1", YES, "alpn == \"http/1.1\""},
	{"alpn in {h3, spdy}", NO, "alpn in {\"h3\", \"spdy\"}"},
	{"tag == slow", YES, "tag == \"slow\""},
	{"tag in tags", YES, "tag in tags"},
	{"tag =~ \"^sl\"", YES, "tag =~ \"^sl\""},
};

static bool is_negative(const char *as)
{
	return !strncmp(as, "not ", 4) || strstr(as, " != ");
}

/** normal_form - of @e; static */
static const char *normal_form(const struct expr *e)
{
	static char text[2][70000];
	static unsigned turn;
	char *out = text[turn++ % 2];

	return expr_print(e, out, sizeof(text[0])) < sizeof(text[0]) ? out : "too long";
}

static void test_comparison(size_t i)
{
	const char *text = comparisons[i].text, *as = comparisons[i].as;
	struct expr *e = compile(text), *again;

	if (!tap_ok(e != NULL, "%s compiles", text))
		return;
	tap_is(expr_eval(e, get, &full), comparisons[i].expect, "%s", text);
	tap_is(expr_eval(e, get, &absent), is_negative(as) ? YES : NO, "%s, absent", text);
	tap_is(expr_eval(e, get, &not_yet), EXPR_UNKNOWN, "%s, not yet known", text);
	if (!tap_ok(!strcmp(normal_form(e), as), "%s prints as %s", text, as))
		printf("# got %s\n", normal_form(e));
	again = compile(as);
	tap_ok(again && !strcmp(normal_form(again), as), "%s: the normal form stays", text);
	if (again)
		tap_is(expr_eval(again, get, &full), comparisons[i].expect,
		       "%s: and means the same", text);
	expr_free(again);
	expr_free(e);
}

static void test_comparisons(void)
{
	for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++)
		test_comparison(i);
}

/* --- and, or, not ------------------------------------------------------------------- */

/* what the table in expr.h says, of comm (yes), uid 1 (no) and sni (not yet) */
static void test_truth(void)
{
	static const char *const atoms[] = {
		[EXPR_NO] = "uid == 1", [EXPR_YES] = "comm == curl", [EXPR_UNKNOWN] = "sni == x"};
	static const int and_table[3][3] = {
		[EXPR_NO] = {NO, NO, NO},
		[EXPR_YES] = {NO, YES, EXPR_UNKNOWN},
		[EXPR_UNKNOWN] = {NO, EXPR_UNKNOWN, EXPR_UNKNOWN},
	};
	static const int or_table[3][3] = {
		[EXPR_NO] = {NO, YES, EXPR_UNKNOWN},
		[EXPR_YES] = {YES, YES, YES},
		[EXPR_UNKNOWN] = {EXPR_UNKNOWN, YES, EXPR_UNKNOWN},
	};
	static const int not_table[3] = {YES, NO, EXPR_UNKNOWN};
	struct subject s = full;
	char text[100];

	s.n[EXPR_F_SNI] = 0;
	s.rest[EXPR_F_SNI] = EXPR_NOT_YET;
	for (int x = 0; x < 3; x++) {
		snprintf(text, sizeof(text), "not (%s)", atoms[x]);
		tap_is(truth(text, &s), not_table[x], "%s", text);
		for (int y = 0; y < 3; y++) {
			snprintf(text, sizeof(text), "%s and %s", atoms[x], atoms[y]);
			tap_is(truth(text, &s), and_table[x][y], "%s", text);
			snprintf(text, sizeof(text), "%s or %s", atoms[x], atoms[y]);
			tap_is(truth(text, &s), or_table[x][y], "%s", text);
			snprintf(text, sizeof(text), "not (%s and %s)", atoms[x], atoms[y]);
			tap_is(truth(text, &s), not_table[and_table[x][y]], "%s", text);
			snprintf(text, sizeof(text), "not (%s or %s)", atoms[x], atoms[y]);
			tap_is(truth(text, &s), not_table[or_table[x][y]], "%s", text);
		}
	}
}

/** plain - @text for a line of TAP */
static const char *plain(const char *text)
{
	static char buffers[2][200];
	static unsigned turn;
	char *out = buffers[turn++ % 2];
	size_t n = 0;

	for (; text[n] && n + 1 < sizeof(buffers[0]); n++)
		out[n] = (unsigned char)text[n] < ' ' || text[n] == '#' ? '_' : text[n];
	out[n] = '\0';
	return out;
}

/** test_lists - more elements may still come */
static void test_lists(void)
{
	struct subject s = full;

	s.rest[EXPR_F_TAG] = EXPR_NOT_YET;
	tap_is(truth("tag == slow", &s), YES, "a list that goes on: there already");
	tap_is(truth("tag != slow", &s), NO, "... so != is no");
	tap_is(truth("tag == fast", &s), EXPR_UNKNOWN, "a list that goes on: may come");
	tap_is(truth("tag != fast", &s), EXPR_UNKNOWN, "... so != is unknown, too");
	s = full;
	s.rest[EXPR_F_COMM] = EXPR_NOT_YET;
	tap_is(truth("comm == wget", &s), NO,
	       "of a field that is no list only the first one counts");
}

static enum expr_known get_endless(const void *subject, enum expr_field f, unsigned i,
				   struct expr_value *out)
{
	unsigned *calls = *(unsigned *const *)subject;

	(void)f;
	(void)i;
	out->text.s = "x";
	out->text.len = 1;
	++*calls;
	return EXPR_KNOWN;
}

static void test_endless_list(void)
{
	unsigned calls = 0, *p = &calls;
	struct expr *e = compile("tag == y");

	tap_is(expr_eval(e, get_endless, &p), NO, "a list without end comes to one");
	tap_is(calls, EXPR_LIST_MAX, "... after %d elements", EXPR_LIST_MAX);
	expr_free(e);
}

/** test_zone - a link-local address is compared without its zone */
static void test_zone(void)
{
	struct subject s = full;

	s.n[EXPR_F_DST_IP] = 0;
	add_addr(&s, EXPR_F_DST_IP, "fe80::1");
	addr_set_zone(&s.value[EXPR_F_DST_IP][0].addr, 3);
	tap_is(truth("dst.ip == fe80::1", &s), YES, "a zone does not count");
	tap_is(truth("dst.ip in fe80::/64", &s), YES, "... in a prefix");
	tap_is(truth("dst.ip in link", &s), YES, "... in a named set");
}

static const struct {
	const char *text, *as;
	int expect;
} shapes[] = {
	{"comm == curl and uid == 1000 and gid == 50",
	 "comm == \"curl\" and uid == 1000 and gid == 50", YES},
	{"comm == x or uid == 1000 and gid == 50", "comm == \"x\" or uid == 1000 and gid == 50",
	 YES},
	{"comm == curl or uid == 1 and gid == 1", "comm == \"curl\" or uid == 1 and gid == 1", YES},
	{"(comm == curl or uid == 1) and gid == 1", "(comm == \"curl\" or uid == 1) and gid == 1",
	 NO},
	{"((comm == curl and uid == 1000)) and (gid == 50 and pid == 1)",
	 "comm == \"curl\" and uid == 1000 and gid == 50 and pid == 1", NO},
	{"comm == a or (uid == 1 or (gid == 50))", "comm == \"a\" or uid == 1 or gid == 50", YES},
	{"not comm == curl", "comm != \"curl\"", NO},
	{"not comm == curl or uid == 1000", "comm != \"curl\" or uid == 1000", YES},
	{"not (comm == curl or uid == 1)", "not (comm == \"curl\" or uid == 1)", NO},
	{"not (comm == curl and uid == 1)", "not (comm == \"curl\" and uid == 1)", YES},
	{"not not (comm == curl and uid == 1)", "comm == \"curl\" and uid == 1", NO},
	{"not (not (comm == curl and uid == 1000)) and gid == 50",
	 "comm == \"curl\" and uid == 1000 and gid == 50", YES},
	{"gid == 50 and not (comm == a and uid == 1)",
	 "gid == 50 and not (comm == \"a\" and uid == 1)", YES},
	{"gid == 1 or not (comm == a or uid == 1)", "gid == 1 or not (comm == \"a\" or uid == 1)",
	 YES},
	{"not uid < 5", "not uid < 5", YES},
	{"! uid == 5 && comm == curl || gid == 1", "uid != 5 and comm == \"curl\" or gid == 1",
	 YES},
	{"!(uid==5)&&!comm!=curl", "uid != 5 and comm == \"curl\"", YES},
	{"\n\tuid==1000\r\n and\tcomm==curl ", "uid == 1000 and comm == \"curl\"", YES},
	{"user == alice and dst.port in {80, 443} and host ~ \"*.example.com\"",
	 "user == 1000 and dst.port in {80, 443} and host ~ \"*.example.com\"", YES},
};

static void test_shapes(void)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct expr *e = compile(shapes[i].text), *again;

		if (!tap_ok(e != NULL, "%s compiles", plain(shapes[i].text)))
			continue;
		tap_is(expr_eval(e, get, &full), shapes[i].expect, "%s", shapes[i].as);
		if (!tap_ok(!strcmp(normal_form(e), shapes[i].as), "%s prints", shapes[i].as))
			printf("# got %s\n", normal_form(e));
		again = compile(normal_form(e));
		tap_ok(again && !strcmp(normal_form(again), shapes[i].as), "... and prints again");
		expr_free(again);
		expr_free(e);
	}
}

/* --- errors -------------------------------------------------------------------------- */

static const struct {
	const char *text;
	unsigned line, column, width;
	const char *says;
} errors[] = {
	{"", 1, 1, 1, "nothing here"},
	{"  ", 1, 3, 1, "nothing here"},
	{"sni", 1, 1, 3, "sni needs an operator behind it, as in sni ~ \"*.example.com\""},
	{"uid == 1 and sni", 1, 14, 3, "sni needs an operator"},
	{"sni foo", 1, 5, 3, "sni needs an operator"},
	{"proto tcp", 1, 7, 3, "as in proto == one of tcp udp icmp icmp6"},
	{"(sni)", 1, 2, 3, "sni needs an operator"},
	{"not sni", 1, 5, 3, "sni needs an operator"},
	{"hsot == x", 1, 1, 4, "no field is named hsot: did you mean host?"},
	{"dst.prot == 1", 1, 1, 8, "did you mean dst.port?"},
	{"ip.dst == 1.2.3.4", 1, 1, 6, "did you mean dst.ip?"},
	{"qqqqqqqq == 1", 1, 1, 8, "no field is named qqqqqqqq"},
	{"gibberishlongername == 1", 1, 1, 19, "no field is named gibberishlongername"},
	{"qqqqqqqq", 1, 1, 8, "no field is named qqqqqqqq"},
	{"\"host\" == x", 1, 1, 6, "the field stands on the left"},
	{"443 == dst.port", 1, 1, 3, "no field is named 443"},
	{"== 443", 1, 1, 2, "expected a field, not =="},
	{"dst.port == http", 1, 13, 4, "dst.port is compared with a number, not with http"},
	{"uid == 1 and\n  dst.port == \"http\"", 2, 15, 6, "a number, not with \"http\""},
	{"dst.port == 65536", 1, 13, 5, "dst.port is at most 65535"},
	{"dst.port == 99999999999999999999", 1, 13, 20, "dst.port is at most 65535"},
	{"dst.port == 80x", 1, 13, 3, "a number, not with 80x"},
	{"dst.port == 0x", 1, 13, 2, "a number"},
	{"dst.port == 80-", 1, 13, 3, "without blanks"},
	{"dst.port == 90-80", 1, 13, 5, "ends before it begins"},
	{"dst.port == 80-70000", 1, 16, 5, "at most 65535"},
	{"dst.port < 80-90", 1, 12, 5, "a range goes with"},
	{"dst.port < 0", 1, 12, 1, "never less than 0"},
	{"dst.port > 65535", 1, 12, 5, "never more"},
	{"dst.port > 65536", 1, 12, 5, "at most 65535"},
	{"dst.port ~ 80", 1, 10, 1, "~ is no operator for dst.port (a number): there are == !="},
	{"dst.port in {80, x}", 1, 18, 1, "a number, not with x"},
	{"dst.port in {80 90}", 1, 17, 2, "expected , or }"},
	{"dst.port in {}", 1, 14, 1, "empty set"},
	{"dst.port in {80", 1, 16, 1, "expected , or } in a set, not the end"},
	{"dst.port in {,}", 1, 14, 1, "expected a value, not ,"},
	{"dst.port in nobody", 1, 13, 6, "no set is named nobody"},
	{"dst.port in ads", 1, 13, 3, "set ads is of another type"},
	{"host in lan", 1, 9, 3, "set lan is of another type"},
	{"comm in ads", 1, 9, 3, "set ads is of another type"},
	{"host in tags", 1, 9, 4, "set tags is of another type"},
	{"dst.ip in web", 1, 11, 3, "set web is of another type"},
	{"host in a.example.com", 1, 9, 13, "no set is named a.example.com"},
	{"host in \"x\"", 1, 9, 3, "in needs a set: {\"x\"}"},
	{"host == {a}", 1, 9, 1, "a set of values goes with in"},
	{"dst.ip == www.example.com", 1, 11, 15, "an address, a prefix or a range, not with www"},
	{"dst.ip == 1.2.3", 1, 11, 5, "an address"},
	{"dst.ip == 1.2.3.4/33", 1, 11, 10, "an address"},
	{"dst.ip == 1.2.3.4-::1", 1, 11, 11, "from one family to the other"},
	{"dst.ip == 1.2.3.4-1.2.3.3", 1, 11, 15, "ends before it begins"},
	{"dst.ip == 1.2.3.0/24-1.2.4.0", 1, 11, 18, "an address"},
	{"dst.ip < 1.2.3.4", 1, 8, 1, "< is no operator for dst.ip"},
	{"dst.ip == \"1.2.3.4\"", 1, 11, 9, "an address"},
	{"bytes.up > 10xb", 1, 14, 2, "xb is no unit of it: known are b kb mb gb kib mib gib"},
	{"bytes.up > 18446744073709551615kb", 1, 12, 22, "at most 18446744073709551615"},
	{"duration > 10", 1, 13, 1, "duration is a time: give a unit"},
	{"duration > 10kb", 1, 14, 2, "no unit of it: known are ns us ms s m h d"},
	{"duration > s", 1, 12, 1, "a time"},
	{"user == carol", 1, 9, 5, "no user is named carol"},
	{"user == \"\"", 1, 9, 2, "no user is named"},
	{"user == \"alice\\x00\"", 1, 9, 11, "no user is named"},
	{"user == broken", 1, 9, 6, "can't look up user broken: Input/output error"},
	{"user in {alice, carol}", 1, 17, 5, "no user is named carol"},
	{"user ~ a*", 1, 6, 1, "~ is no operator for user (a user, by name or number)"},
	{"gid == wheel", 1, 8, 5, "no group is named wheel"},
	{"uid == 4294967296", 1, 8, 10, "uid is at most 4294967295"},
	{"proto == sctp", 1, 10, 4, "proto is one of tcp udp icmp icmp6 or a number, not sctp"},
	{"proto < tcp", 1, 7, 1, "< is no operator for proto"},
	{"dir == up", 1, 8, 2, "dir is one of out in, not up"},
	{"dir == 1", 1, 8, 1, "dir is one of"},
	{"state == 1", 1, 10, 1, "state is one of"},
	{"tcp.flags == xyz", 1, 14, 3, "TCP flags"},
	{"tcp.flags == \"syn,\"", 1, 14, 6, "TCP flags"},
	{"tcp.flags == \"syn ack\"", 1, 14, 9, "TCP flags"},
	{"tcp.flags == \"\"", 1, 14, 2, "TCP flags"},
	{"tcp.flags == 0x1000", 1, 14, 6, "at most 4095"},
	{"tcp.flags & 0", 1, 13, 1, "at least one flag"},
	{"tcp.flags =~ \"s\"", 1, 11, 2, "=~ is no operator for tcp.flags"},
	{"host == *.example.com", 1, 9, 13, "patterns go with ~"},
	{"host == and", 1, 9, 3, "\"and\" needs quotes"},
	{"host ==", 1, 8, 1, "expected a value, not the end"},
	{"host == )", 1, 9, 1, "expected a value, not )"},
	{"host = x", 1, 6, 1, "to compare write =="},
	{"host == 'x'", 1, 9, 1, "double quotes"},
	{"uid == 1 | uid == 2", 1, 10, 1, "write or"},
	{"host == \"x", 1, 9, 1, "not closed"},
	{"host == x..", 1, 9, 3, "two dots"},
	{"host in {x, .y}", 1, 13, 2, "begins with a dot"},
	{"host == \"x\ny\"", 1, 9, 1, "not closed"},
	{"host == \"x\\\"", 1, 9, 1, "not closed"},
	{"host == \"a\001b\"", 1, 11, 1, "control character"},
	{"host == \"\\q\"", 1, 10, 2, "unknown escape"},
	{"host == \"\\x4\"", 1, 10, 2, "unknown escape"},
	{"host == \"\\x4g\"", 1, 10, 2, "unknown escape"},
	{"host == a#b", 1, 10, 1, "# means nothing here"},
	{"host == a\303\244", 1, 10, 1, "means nothing here"},
	{"host ~ \"a[b\"", 1, 10, 1, "this [ is not closed"},
	{"host ~ \"a[]\"", 1, 10, 1, "this [ is not closed"},
	{"host ~ \"\\\"a[\"", 1, 12, 1, "this [ is not closed"},
	{"comm ~ \"a\\\\\\\"\"", 1, 8, 7, NULL},
	{"host =~ abc", 1, 9, 3, "a regular expression stands in quotes"},
	{"host =~ \"a(b\"", 1, 13, 1, "parenthes"},
	{"host =~ \"a\\\"(b\"", 1, 15, 1, "parenthes"},
	{"host =~ \"a**+*\"", 1, 12, 1, "quantifier"},
	{"host =~ \"(*UTF)a\"", 1, 16, 1, "UTF"},
	{"(uid == 1", 1, 1, 1, "this parenthesis is not closed"},
	{"(uid == 1))", 1, 11, 1, "expected and, or or the end, not )"},
	{"(uid == 1 uid == 2)", 1, 11, 3, "expected and, or or ), not uid"},
	{"uid == 1 uid == 2", 1, 10, 3, "expected and, or or the end, not uid"},
	{"uid == 1 and", 1, 13, 1, "expected a field, not the end"},
	{"uid == 1 or or", 1, 13, 2, "expected a field, not or"},
	{"uid not == 1", 1, 9, 2, "expected in behind not"},
	{"not", 1, 4, 1, "expected a field, not the end"},
	{"()", 1, 2, 1, "expected a field, not )"},
};

static void test_error(size_t i)
{
	const char *text = errors[i].text;
	struct expr *e = NULL;
	int rc = expr_compile(&context, text, strlen(text), &e, &err);

	if (!errors[i].says) { /* the counter-example: this is right */
		tap_is(rc, 0, "%s is no error", plain(text));
		expr_free(e);
		return;
	}
	if (!tap_ok(rc == -EINVAL && !e, "%s is an error", plain(text))) {
		expr_free(e);
		return;
	}
	if (!tap_ok(strstr(err.text, errors[i].says), "%s: says %s", plain(text),
		    plain(errors[i].says)))
		printf("# got %s\n", err.text);
	if (!tap_ok(err.line == errors[i].line && err.column == errors[i].column &&
			    err.width == errors[i].width,
		    "... at the right place"))
		printf("# got %u:%u width %u\n", err.line, err.column, err.width);
}

static void test_errors(void)
{
	struct expr *e = NULL;
	const struct expr_context bare = {0};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		test_error(i);
	tap_is(expr_compile(&bare, "ttl == 1", 8, &e, &err), -EINVAL, "no packets, no ttl");
	tap_ok(strstr(err.text, "field of packets"), "... says so");
	tap_is(expr_compile(&bare, "user == a", 9, &e, &err), -EINVAL, "no users, no names");
	tap_ok(strstr(err.text, "give the number"), "... says so");
	tap_is(expr_compile(&bare, "host in a", 9, &e, &err), -EINVAL, "no sets");
	tap_is(expr_compile(&bare, "user == 7\0", 10, &e, &err), -EINVAL, "a NUL is no blank");
	tap_is(err.column, 10, "... found at its place");
	tap_is(expr_compile(&bare, "user == 77", 9, &e, &err), 0, "the length counts, not a NUL");
	tap_ok(!strcmp(normal_form(e), "user == 7"), "... %s", normal_form(e));
	expr_free(e);
}

static void show(const char *text, const char *want)
{
	char buf[400];
	struct expr *e;

	if (!tap_ok(expr_compile(&context, text, strlen(text), &e, &err) == -EINVAL, "an error"))
		return;
	expr_error_show(&err, text, strlen(text), buf, sizeof(buf));
	if (!tap_ok(!strcmp(buf, want), "is shown as it should"))
		printf("# got:\n# %s\n", buf);
}

static void test_error_show(void)
{
	char buf[30], text[300];

	show("uid == 1\nand dst.port == http and uid == 2",
	     "2:17: dst.port is compared with a number, not with http\n"
	     "and dst.port == http and uid == 2\n"
	     "                ^^^^");
	show("uid\t==", "1:7: expected a value, not the end\nuid ==\n      ^");
	show("comm == \"\303\244\303\266\" and x == 1",
	     "1:20: no field is named x\ncomm == \"\303\244\303\266\" and x == 1\n"
	     "                 ^");
	memset(text, ' ', sizeof(text));
	memcpy(text, "uid == 1 and", 12);
	memcpy(text + 250, "pidx == 1 and comm == curl", 27);
	show(text, "1:251: no field is named pidx: did you mean pid?\n"
		   "                                                            "
		   "pidx == 1 and comm == curl\n"
		   "                                                            ^^^^");
	expr_error_show(&err, text, strlen(text), buf, sizeof(buf));
	tap_is(strlen(buf), sizeof(buf) - 1, "a short buffer is filled and terminated");
	expr_error_show(&err, text, strlen(text), NULL, 0);
}

/* --- bounds -------------------------------------------------------------------------- */

static char big[EXPR_LEN_MAX + 100];

static void repeat(const char *text, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		strcat(big, text);
}

static int compile_big(void)
{
	struct expr *e;
	int rc = expr_compile(&context, big, strlen(big), &e, &err);

	expr_free(e);
	return rc;
}

static void test_bounds(void)
{
	char *p = big;

	big[0] = '\0';
	repeat("(", EXPR_DEPTH_MAX);
	repeat("uid == 1", 1);
	repeat(")", EXPR_DEPTH_MAX);
	tap_is(compile_big(), 0, "%d parentheses", EXPR_DEPTH_MAX);
	big[0] = '\0';
	repeat("(", EXPR_DEPTH_MAX + 1);
	tap_is(compile_big(), -EINVAL, "one more is too many");
	tap_is(err.column, EXPR_DEPTH_MAX + 1, "... at its place");
	big[0] = '\0';
	repeat("not ", 10000);
	repeat("uid == 1", 1);
	tap_is(compile_big(), 0, "any number of nots");

	p += sprintf(p, "dst.port in {1");
	for (unsigned i = 1; i < EXPR_SET_MAX; i++)
		p += sprintf(p, ",%u", i % 1000);
	strcpy(p, "}");
	tap_is(compile_big(), 0, "%d values", EXPR_SET_MAX);
	strcpy(p, ",1}");
	tap_is(compile_big(), -EINVAL, "one more is too many");
	tap_ok(strstr(err.text, "more than 8192 values"), "... says so");

	memset(big, ' ', sizeof(big));
	memcpy(big, "uid == 1", 8);
	big[EXPR_LEN_MAX] = '\0';
	tap_is(compile_big(), 0, "a long text");
	big[EXPR_LEN_MAX] = ' ';
	big[EXPR_LEN_MAX + 1] = '\0';
	tap_is(compile_big(), -EINVAL, "a longer one");

	big[0] = '\0';
	repeat("comm =~ \"x\" or ", EXPR_REGEXES_MAX);
	repeat("uid == 1", 1);
	tap_is(compile_big(), 0, "%d regular expressions", EXPR_REGEXES_MAX);
	repeat(" or comm =~ \"x\"", 1);
	tap_is(compile_big(), -EINVAL, "one more is too many");
	strcpy(big, "comm =~ \"");
	repeat("a", EXPR_REGEX_MAX + 1);
	repeat("\"", 1);
	tap_is(compile_big(), -EINVAL, "a regular expression that is too long");
	strcpy(big, "comm =~ \"");
	repeat("(?:a{1,200}){1,200}", 40);
	repeat("\"", 1);
	tap_is(compile_big(), -EINVAL, "a regular expression that is too large");
	tap_ok(strstr(err.text, "too large"), "... says so");
	strcpy(big, "comm ~ \"");
	repeat("a", EXPR_GLOB_MAX + 1);
	repeat("\"", 1);
	tap_is(compile_big(), -EINVAL, "a glob that is too long");
}

/** test_large_set - every one of many is found, and no other */
static void test_large_set(void)
{
	struct subject s = full;
	char *p = big, name[32];
	struct expr *e;
	unsigned wrong = 0;

	p += sprintf(p, "host in {h0");
	for (unsigned i = 1; i < 3000; i++)
		p += sprintf(p, ",h%u.example.com", i * 2);
	strcpy(p, "}");
	e = compile(big);
	for (unsigned i = 1; i < 6000; i++) {
		snprintf(name, sizeof(name), "H%u.Example.com", i);
		s.n[EXPR_F_HOST] = 0;
		add_text(&s, EXPR_F_HOST, name);
		wrong += expr_eval(e, get, &s) != (i % 2 ? NO : YES);
	}
	tap_is(wrong, 0, "a set of 3000 names");
	expr_free(e);

	p = big;
	p += sprintf(p, "dst.port in {0");
	for (unsigned i = 1; i < 1000; i++)
		p += sprintf(p, ",%u-%u", i * 10, i * 10 + 4);
	strcpy(p, "}");
	e = compile(big);
	wrong = 0;
	for (unsigned i = 1; i < 12000; i++) {
		s.value[EXPR_F_DST_PORT][0].num = i;
		wrong += expr_eval(e, get, &s) != (i >= 10 && i < 10000 && i % 10 < 5 ? YES : NO);
	}
	tap_is(wrong, 0, "a set of 1000 ranges");
	expr_free(e);
}

/* --- regular expressions on hostile texts -------------------------------------------- */

static struct subject with_path(const char *path, size_t len)
{
	struct subject s = full;

	s.value[EXPR_F_HTTP_PATH][0].text.s = path;
	s.value[EXPR_F_HTTP_PATH][0].text.len = len;
	return s;
}

static char hostile[EXPR_SUBJECT_MAX + 2];

/** path_truth - of @pattern for @len bytes of hostile text; *@hit: was a limit hit? */
static enum expr_truth path_truth(const char *pattern, size_t len, bool *hit)
{
	const uint64_t before = expr_limits_hit();
	const struct subject s = with_path(hostile, len);
	enum expr_truth t;
	char text[100];

	snprintf(text, sizeof(text), "http.path =~ \"%s\"", pattern);
	t = (enum expr_truth)truth(text, &s);
	*hit = expr_limits_hit() == before + 1;
	return t;
}

/* hostile texts are many a's; what is tried on them, for how many, and what comes of it */
static const struct {
	const char *pattern;
	size_t len;
	enum expr_truth expect;
	bool hit;
	const char *name;
} hostile_cases[] = {
	{"(a+)+[bc]", 1000, NO, true, "endless backtracking is no, and counted"},
	{"(a+)+$", EXPR_SUBJECT_MAX, YES, false, "a long text is tried"},
	{"(a+)+$", EXPR_SUBJECT_MAX + 1, NO, true, "a longer one is no, and counted"},
	{"^(?:(a)|b)*$", 1000, YES, false, "frames that need more room find it"},
	{"^(?:(a)|b)*$", EXPR_SUBJECT_MAX, NO, true, "... within bounds"},
	{"^(?:(a)|b)*$", 1001, YES, false, "and afterwards all is as before"},
	{"a.*[bc]", 500, NO, false, "few steps from each of many places are no limit"},
	{"a.*[bc]", EXPR_SUBJECT_MAX, NO, true, "many steps from all places together are"},
	{"^a.*[bc]", EXPR_SUBJECT_MAX, NO, false, "as many from one place are none"},
};

static void test_regex_limits(void)
{
	struct timespec before, after;
	struct expr *keep = compile("comm =~ \"^c\""); /* keeps the room that they share */
	bool hit;
	double ms;

	memset(hostile, 'a', sizeof(hostile));
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	for (size_t i = 0; i < sizeof(hostile_cases) / sizeof(hostile_cases[0]); i++) {
		tap_is(path_truth(hostile_cases[i].pattern, hostile_cases[i].len, &hit),
		       hostile_cases[i].expect, "%s", hostile_cases[i].name);
		tap_is(hit, hostile_cases[i].hit, "... limit");
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	ms = (double)(after.tv_sec - before.tv_sec) * 1e3 +
	     (double)(after.tv_nsec - before.tv_nsec) / 1e6;
	tap_ok(ms < 1000, "all of them take %.1f ms", ms);
	expr_free(keep);
	tap_is(path_truth("^a", 10, &hit), YES, "the room is made again when it is needed again");
}

/** test_regex_end - $ is the very end */
static void test_regex_end(void)
{
	const struct subject s = with_path("x\n", 2);

	tap_is(truth("http.path =~ \"x$\"", &s), NO, "a newline is no end");
	tap_is(truth("http.path =~ \"x\\n$\"", &s), YES, "what is behind it is");
}

/* --- memory -------------------------------------------------------------------------- */

#if OWN_MALLOC
static const char *const everything =
	"user == alice and dst.port in {80, 443, 8000-8080} and host ~ \"*.example.com\" and "
	"(exe =~ \"^/usr/(?:(b)in|lib)*\" or comm in {a,b,c,d,e,f,g,h,i,j} or src.ip in "
	"{10.0.0.0/8, ::1}) and not host in ads and tag == slow and (tcp.flags & syn or (ttl > 3))";

static void test_no_allocation(void)
{
	struct expr *e = compile(everything);
	long before = allocations;
	unsigned yes = 0;

	for (unsigned i = 0; i < 100; i++) {
		yes += expr_eval(e, get, &full) == NO;
		yes += expr_eval(e, get, &absent) == NO;
		yes += expr_eval(e, get, &not_yet) == EXPR_UNKNOWN;
	}
	tap_is(allocations - before, 0, "evaluation allocates nothing");
	tap_is(yes, 300, "... of what it should");
	expr_free(e);
	e = compile("http.path =~ \"^(?:(.)|b)*$\"");
	before = allocations;
	tap_is(expr_eval(e, get, &full), YES, "a regular expression with many frames");
	tap_is(allocations - before, 0, "... allocates nothing");
	expr_free(e);
}

static void test_no_memory(void)
{
	struct expr *e = NULL;
	long limit = 0;
	int rc;

	do {
		allowed = limit++;
		rc = expr_compile(&context, everything, strlen(everything), &e, &err);
		allowed = -1;
	} while (rc == -ENOMEM && !e && limit < 1000);
	tap_is(rc, 0, "compiles as soon as there is memory enough");
	tap_ok(limit > 10 && limit < 100, "after %ld allocations, each of which may fail",
	       limit - 1);
	expr_free(e);
}
#else
static void test_no_allocation(void)
{
	tap_skip("evaluation allocates nothing", "the sanitizer has its own malloc");
}

static void test_no_memory(void)
{
	tap_skip("allocation failure", "the sanitizer has its own malloc");
}
#endif

/* --- for an index --------------------------------------------------------------------- */

static char told[2000];

static void tell(void *ctx, const struct expr_value *v, int prefix_bits)
{
	enum expr_field f = *(enum expr_field *)ctx;
	char *end = told + strlen(told), text[ADDR_STRLEN];

	if (expr_field_type(f) == EXPR_ADDR)
		sprintf(end, " %s/%d", addr_format(&v->addr, text), prefix_bits);
	else if (expr_field_type(f) == EXPR_TEXT || expr_field_type(f) == EXPR_HOSTNAME)
		sprintf(end, " %.*s%s", (int)v->text.len, v->text.s, prefix_bits == -1 ? "" : "?");
	else
		sprintf(end, " %llu%s", (unsigned long long)v->num, prefix_bits == -1 ? "" : "?");
}

static const struct {
	const char *text, *told;
} requirements[] = {
	{"dst.port == 443", "dst.port 443;"},
	{"dst.port in {80, 443-445} and uid == 1000", "dst.port 80 443 444 445; uid 1000;"},
	{"dst.port in 1-64",
	 "dst.port 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 "
	 "26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 "
	 "51 52 53 54 55 56 57 58 59 60 61 62 63 64;"},
	{"dst.port in 1-65", ""},
	{"dst.port < 5", ""},
	{"dst.port >= 65535", ""},
	{"dst.port != 443 and host == A.com.", "host a.com;"},
	{"not (dst.port == 443)", ""},
	{"not (dst.port == 443 and uid == 1)", ""},
	{"dst.port == 443 or uid == 1", ""},
	{"(dst.port == 443 or uid == 1) and gid == 1", "gid 1;"},
	{"(dst.port == 443 and (uid == 1 and gid == 1))", "dst.port 443; uid 1; gid 1;"},
	{"host in ads and comm in {b, a} and exe ~ x and exe =~ \"x\"", "comm a b;"},
	{"src.ip == 10.0.0.1 and dst.ip in 10.0.0.0/8", "src.ip 10.0.0.1/32; dst.ip 10.0.0.0/8;"},
	{"src.ip in 10.0.0.1-10.0.0.9", "src.ip 10.0.0.1/32 10.0.0.2/31 10.0.0.4/30 10.0.0.8/31;"},
	{"src.ip in 0.0.0.0-255.255.255.254",
	 "src.ip 0.0.0.0/1 128.0.0.0/2 192.0.0.0/3 224.0.0.0/4 240.0.0.0/5 248.0.0.0/6 252.0.0.0/7 "
	 "254.0.0.0/8 255.0.0.0/9 255.128.0.0/10 255.192.0.0/11 255.224.0.0/12 255.240.0.0/13 "
	 "255.248.0.0/14 255.252.0.0/15 255.254.0.0/16 255.255.0.0/17 255.255.128.0/18 "
	 "255.255.192.0/19 255.255.224.0/20 255.255.240.0/21 255.255.248.0/22 255.255.252.0/23 "
	 "255.255.254.0/24 255.255.255.0/25 255.255.255.128/26 255.255.255.192/27 "
	 "255.255.255.224/28 255.255.255.240/29 255.255.255.248/30 255.255.255.252/31 "
	 "255.255.255.254/32;"},
	{"src.ip in {::/0, 0.0.0.0/0}", "src.ip 0.0.0.0/0 ::/0;"},
	{"src.ip in ::fffe:ffff:ffff-::1:0:0:0", "src.ip ::fffe:ffff:ffff/128 ::1:0:0:0/128;"},
	{"proto == tcp and tcp.flags == syn and tcp.flags & syn", "proto 6; tcp.flags 2;"},
};

static void test_required(void)
{
	for (size_t i = 0; i < sizeof(requirements) / sizeof(requirements[0]); i++) {
		struct expr *e = compile(requirements[i].text);
		enum expr_field f, g;

		told[0] = '\0';
		for (unsigned k = 0; e && expr_required(e, k, &f, NULL, NULL); k++) {
			sprintf(told + strlen(told), "%s%s", k ? " " : "", expr_field_name(f));
			expr_required(e, k, &g, tell, &f);
			strcat(told, ";");
		}
		if (!tap_ok(!strcmp(told, requirements[i].told), "%s requires %s",
			    requirements[i].text, requirements[i].told))
			printf("# got %s\n", told);
		expr_free(e);
	}
}

static void test_required_tail(void)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
		{"host ~ \"*.Example.COM.\"", "host .example.com;"},
		{"host ~ *a and uid == 1 and exe ~ */Sh", "host a; exe /Sh;"},
		{"host ~ \"*\"", ""},
		{"not host ~ *.a", ""},
		{"host ~ *.a or uid == 1", ""},
		{"host ~ a* and sni ~ *a* and http.host ~ *?a", ""},
		{"(uid == 1 or uid == 3) and sni ~ *.x", "sni .x;"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct expr_value v;
		enum expr_field f;
		struct expr *e = compile(cases[i].text);

		told[0] = '\0';
		for (unsigned k = 0; e && expr_required_tail(e, k, &f, &v); k++)
			sprintf(told + strlen(told), "%s%s %.*s;", k ? " " : "", expr_field_name(f),
				(int)v.text.len, v.text.s);
		if (!tap_ok(!strcmp(told, cases[i].told), "%s requires a tail: %s", cases[i].text,
			    cases[i].told))
			printf("# got %s\n", told);
		expr_free(e);
	}
}

/* expr.h says whose the numbers are */
_Static_assert((int)EXPR_STATE_NEW == FLOW_NEW && (int)EXPR_STATE_CLOSING == FLOW_CLOSING &&
		       (int)EXPR_STATE_OPEN == FLOW_OPEN && (int)EXPR_STATE_HELD >= FLOW_STATE_MAX,
	       "states are those of flow.h, and one more");

static void test_fields(void)
{
	struct expr *e = compile("uid == 1 and (host ~ x or not tag == y)");

	tap_ok(expr_fields(e) == (1ULL << EXPR_F_UID | 1ULL << EXPR_F_HOST | 1ULL << EXPR_F_TAG),
	       "the fields that an expression looks at");
	expr_free(e);
	for (unsigned f = 0; f < EXPR_FIELD_MAX; f++) {
		const char *name = expr_field_name((enum expr_field)f);

		if (expr_field_find(name, strlen(name)) != f)
			tap_ok(false, "field %u is not found", f);
	}
	tap_ok(expr_field_find("hos", 3) == EXPR_FIELD_MAX, "a part of a name is no field");
	tap_is(expr_field_type(EXPR_F_TTL), EXPR_NUMBER, "the last field is in the table");
	tap_is(expr_name_find(EXPR_F_STATE, "held", 4), EXPR_STATE_HELD, "a word's number");
	for (unsigned v = 0; v < POLICY_VERDICT_MAX; v++)
		tap_ok(expr_name_text(EXPR_F_VERDICT, v), "verdict %u of policy.h has a word", v);
	tap_is(expr_name_find(EXPR_F_VERDICT, "ask", 3), POLICY_ASK, "... the right one");
	tap_ok(!strcmp(expr_name_text(EXPR_F_PROTO, 58), "icmp6"), "a number's word");
	tap_ok(!expr_name_text(EXPR_F_PROTO, 132), "... which may not be there");
}

static void test_print_sizes(void)
{
	struct expr *e = compile("comm == curl");
	char buf[20];

	tap_is(expr_print(e, NULL, 0), 14, "as long as it would be");
	tap_is(expr_print(e, buf, 5), 14, "... in a short buffer");
	tap_ok(!strcmp(buf, "comm"), "... of which all is used");
	tap_is(expr_print(e, buf, 15), 14, "... in one that is just enough");
	tap_ok(!strcmp(buf, "comm == \"curl\""), "... completely");
	expr_free(e);
}

/* --- random expressions against a naive evaluator -------------------------------------- */

static uint64_t seed = 1;

static unsigned pick(unsigned n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(seed >> 33) % n;
}

static bool naive_compare(const char *field, const char *op, const char *right,
			  const struct expr_value *v)
{
	char text[64];

	if (!strcmp(field, "dst.port")) {
		const unsigned long n = v->num, r = strtoul(right, NULL, 10);

		if (!strcmp(op, "in"))
			return n >= r && n <= strtoul(strchr(right, '-') + 1, NULL, 10);
		return !strcmp(op, "<")	   ? n < r
		       : !strcmp(op, "<=") ? n <= r
		       : !strcmp(op, ">")  ? n > r
		       : !strcmp(op, ">=") ? n >= r
					   : n == r;
	}
	snprintf(text, sizeof(text), "%.*s", (int)v->text.len, v->text.s);
	if (!strcmp(op, "~"))
		return !fnmatch(right, text, FNM_NOESCAPE);
	if (!strcmp(op, "=~"))
		return strstr(text, right);
	return !strcmp(text, right);
}

/** random_test - appends a comparison to @out, and says what it is of @s */
static int random_test(char *out, const struct subject *s)
{
	static const char *const fields[] = {"dst.port", "comm", "tag"};
	static const enum expr_field ids[] = {EXPR_F_DST_PORT, EXPR_F_COMM, EXPR_F_TAG};
	static const char *const number_ops[] = {"==", "!=", "<", "<=", ">", ">=", "in"};
	static const char *const text_ops[] = {"==", "!=", "~", "=~"};
	const unsigned which = pick(3);
	const enum expr_field f = ids[which];
	const char *op = which ? text_ops[pick(4)] : number_ops[pick(7)];
	char right[20];
	unsigned n = 0;
	int t;

	if (!which) {
		const unsigned lo = 1 + pick(4);

		sprintf(right, strcmp(op, "in") ? "%u" : "%u-%u", lo, lo + pick(3));
	} else {
		const char *letters = strcmp(op, "~") ? "ab" : "ab*?";

		for (unsigned len = 1 + pick(4); n < len; n++)
			right[n] = letters[pick((unsigned)strlen(letters))];
		right[n] = '\0';
	}
	sprintf(out + strlen(out), which ? "%s %s \"%s\"" : "%s %s %s", fields[which], op, right);
	t = s->rest[f] == EXPR_NOT_YET ? EXPR_UNKNOWN : NO;
	for (unsigned i = 0; i < s->n[f]; i++)
		if (naive_compare(fields[which], op, right, &s->value[f][i]))
			t = YES;
	if (which != 2 && s->n[f] && t == EXPR_UNKNOWN)
		t = NO;
	if (!strcmp(op, "!=") && t != EXPR_UNKNOWN)
		t = t == YES ? NO : YES;
	return t;
}

/** random_expr - the same for an expression, always with parentheses */
static int random_expr(char *out, const struct subject *s, unsigned depth)
{
	const unsigned kind = depth ? pick(4) : 3;
	int x, y;

	if (kind == 3)
		return random_test(out, s);
	if (kind == 2) {
		strcat(out, "not (");
		x = random_expr(out, s, depth - 1);
		strcat(out, ")");
		return x == EXPR_UNKNOWN ? x : x == YES ? NO : YES;
	}
	strcat(out, "(");
	x = random_expr(out, s, depth - 1);
	strcat(out, kind ? ") and (" : ") or (");
	y = random_expr(out, s, depth - 1);
	strcat(out, ")");
	if (kind)
		return x == NO || y == NO ? NO : x == YES && y == YES ? YES : EXPR_UNKNOWN;
	return x == YES || y == YES ? YES : x == NO && y == NO ? NO : EXPR_UNKNOWN;
}

static void random_subject(struct subject *s)
{
	static const char *const texts[] = {"a", "b", "ab", "ba", "aab", "abab", "bb"};

	memset(s, 0, sizeof(*s));
	for (unsigned i = pick(2); i > 0; i--)
		add_num(s, EXPR_F_DST_PORT, 1 + pick(6));
	for (unsigned i = pick(2); i > 0; i--)
		add_text(s, EXPR_F_COMM, texts[pick(7)]);
	for (unsigned i = pick(4); i > 0; i--)
		add_text(s, EXPR_F_TAG, texts[pick(7)]);
	for (unsigned f = 0; f < EXPR_FIELD_MAX; f++)
		s->rest[f] = pick(2) ? EXPR_ABSENT : EXPR_NOT_YET;
}

static void test_random(void)
{
	static char text[10000], again_text[10000];
	unsigned wrong = 0, counts[3] = {0};
	struct subject s;

	for (unsigned i = 0; i < 20000 && !wrong; i++) {
		struct expr *e, *again;
		int want;

		text[0] = '\0';
		random_subject(&s);
		want = random_expr(text, &s, 4);
		counts[want]++;
		e = compile(text);
		expr_print(e, again_text, sizeof(again_text));
		again = compile(again_text);
		wrong += expr_eval(e, get, &s) != (enum expr_truth)want ||
			 expr_eval(again, get, &s) != (enum expr_truth)want ||
			 expr_fields(e) != expr_fields(again);
		if (wrong)
			printf("# %s\n# %s\n# want %d\n", text, again_text, want);
		expr_free(e);
		expr_free(again);
	}
	tap_is(wrong, 0, "20000 random expressions mean what a naive evaluator says");
	tap_ok(counts[0] > 1000 && counts[1] > 1000 && counts[2] > 1000,
	       "... no %u, yes %u, unknown %u", counts[0], counts[1], counts[2]);
}

/* --- the manual ------------------------------------------------------------------------- */

#define MANUAL "docs/weir-rules.5.scd"

/** read_manual - its section on the language up to the examples of errors, static, or NULL */
static const char *read_manual(void)
{
	static char text[100000];
	FILE *f = fopen(MANUAL, "r");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	char *from, *to;

	if (f)
		fclose(f);
	text[n] = '\0';
	from = strstr(text, "# FILTER LANGUAGE\n");
	to = from ? strstr(from, "\n## Errors\n") : NULL;
	if (to)
		*to = '\0';
	return to ? from : NULL;
}

/** has_word - is @word in @text, and no part of a longer name? */
static bool has_word(const char *text, const char *word)
{
	for (const char *p = text; (p = strstr(p, word)); p++)
		if (strchr(" ,", p[-1]) && strchr(" ,\n", p[strlen(word)]))
			return true;
	return false;
}

/** test_example - a line of the manual as an expression, without the backslashes of scdoc */
static void test_example(const char *line, size_t len)
{
	char text[200];
	size_t n = 0;
	struct expr *e;

	for (size_t i = 0; i < len && n + 1 < sizeof(text); i++) {
		i += line[i] == '\\';
		text[n++] = line[i];
	}
	text[n] = '\0';
	e = compile(text);
	tap_ok(e != NULL, MANUAL ": %s", text);
	expr_free(e);
}

static void test_manual(void)
{
	const char *text = read_manual(), *p = text;
	unsigned examples = 0;

	if (!tap_ok(text, MANUAL " has a section on the language"))
		return;
	for (unsigned f = 0; f < EXPR_FIELD_MAX; f++)
		if (!has_word(text, expr_field_name((enum expr_field)f)))
			tap_ok(false, MANUAL " says nothing of %s",
			       expr_field_name((enum expr_field)f));
	while ((p = strstr(p, "\n```\n"))) {
		const char *end = strstr(p + 5, "\n```\n");

		if (!end)
			break;
		test_example(p + 5, (size_t)(end - p - 5));
		examples++;
		p = end + 5;
	}
	tap_ok(examples > 4, "%u examples", examples);
}

/* --- speed: a figure, not a test -------------------------------------------------------- */

static void say_speed(const char *text)
{
	struct expr *e = compile(text);
	const struct subject *volatile s = &full;
	struct timespec before, after;
	const unsigned rounds = 200000;
	unsigned yes = 0;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	for (unsigned i = 0; i < rounds; i++)
		yes += expr_eval(e, get, s) == EXPR_YES;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	printf("# %.0f ns%s: %s\n",
	       ((double)(after.tv_sec - before.tv_sec) * 1e9 +
		(double)(after.tv_nsec - before.tv_nsec)) /
		       rounds,
	       yes ? "" : " (no)", text);
	expr_free(e);
}

int main(void)
{
	make_subjects();
	test_comparisons();
	test_truth();
	test_lists();
	test_endless_list();
	test_zone();
	test_shapes();
	test_errors();
	test_error_show();
	test_bounds();
	test_large_set();
	test_regex_limits();
	test_regex_end();
	test_no_allocation();
	test_no_memory();
	test_required();
	test_required_tail();
	test_fields();
	test_print_sizes();
	test_random();
	test_manual();
	say_speed("dst.port == 443");
	say_speed(
		"user == alice and proto == tcp and dst.port in {80, 443} and src.ip in 10.0.0.0/8 "
		"and host ~ \"*.example.com\" and exe == /usr/bin/curl");
	say_speed("host in {a,b,c,d,e,f,g,h,www.example.com}");
	say_speed("host =~ \"^(www|cdn)\\.example\\.com$\"");
	return tap_done();
}

/* SPDX-License-Identifier: MIT */
/*
 * With the argument "show" prints a table of many kinds of rows, to look at.
 *
 * LINK: src/record.o src/record_json.o src/communityid.o src/sink.o src/table.o src/base/addr.o
 * LINK: src/base/util.o src/base/clock.o src/learnt.o
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/util.h"
#include "expr.h"
#include "owner_bpf.h"
#include "sink.h"
#include "table.h"
#include "../lib/tap.h"

/* fakes: one word each */
const char *owner_source_text(unsigned source)
{
	return source == OWNER_BY_BPF ? "bpf" : "sockdiag";
}

const char *owner_why_text(unsigned why)
{
	return why == OWNER_NO_PROCESS ? "gone" : "known";
}

const char *flow_verdict_text(unsigned verdict)
{
	static const char *const text[] = {"allow", "block", "drop", "reset", "held", "wait"};

	return text[verdict];
}

const char *flow_reason_text(unsigned reason)
{
	return reason == FLOW_ENDED_REFUSED ? "refused" : "fin";
}

static struct owner curl(void)
{
	struct owner o = {.id = 7,
			  .uid = 1000,
			  .gid = 1000,
			  .pid = 4242,
			  .start_ns = 5,
			  .user = "alice",
			  .comm = "curl",
			  .exe = "/usr/bin/curl",
			  .cmdline = "curl https://example.org",
			  .cgroup = "/user.slice",
			  .parents_len = 2,
			  .parents = {{.pid = 100, .comm = "bash"}, {.pid = 1, .comm = "init"}}};

	return o;
}

static struct flow_rec flow(uint8_t proto)
{
	struct flow_rec f = {
		.id = 1234567890123ull,
		.proto = proto,
		.state = FLOW_CLOSING,
		.reason = FLOW_ENDED_FIN,
		.owner = 7,
		.owner_uid = 1000,
		.cookie = 99,
		.inode = 77,
		.start_wall = 1795222923123456000ull,
		.start = 10 * NSEC_PER_SEC,
		.connected = 10 * NSEC_PER_SEC + 12345678,
		.first_byte = 10 * NSEC_PER_SEC + 20000000,
		.last = 13 * NSEC_PER_SEC,
		.end = 13 * NSEC_PER_SEC + 500000000,
		.up = {517, 4, 1, 0},
		.down = {123456, 9, 1, 0},
	};

	addr_parse("192.0.2.10", &f.app.addr);
	addr_parse("198.51.100.7", &f.net.addr);
	f.app.port = 40000;
	f.net.port = 443;
	return f;
}

static json_t *json_of(const struct flow_rec *f, const struct owner *o, const char *host)
{
	char *line = record_json(f, o, host, NULL);
	json_t *j = line ? json_loads(line, 0, NULL) : NULL;

	tap_ok(line && !strchr(line, '\n'), "one line");
	free(line);
	return j;
}

static const char *text_at(json_t *j, const char *a, const char *b, const char *c)
{
	j = json_object_get(j, a);
	j = b ? json_object_get(j, b) : j;
	j = c ? json_object_get(j, c) : j;
	return json_string_value(j) ? json_string_value(j) : "";
}

static long long number_at(json_t *j, const char *a, const char *b, const char *c)
{
	j = json_object_get(j, a);
	j = b ? json_object_get(j, b) : j;
	j = c ? json_object_get(j, c) : j;
	return json_is_integer(j) ? json_integer_value(j) : -1;
}

/** inbound - the peer is the client: source and direction of bytes are turned round */
static void inbound(void)
{
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	char dest[TABLE_DEST];
	json_t *j;

	f.inbound = 1;
	f.host_port = 8080;
	f.orig_port = 4444;
	j = json_of(&f, &o, NULL);
	tap_ok(!strcmp(text_at(j, "dest_ip", NULL, NULL), "192.0.2.10") &&
		       number_at(j, "src_port", NULL, NULL) == 443,
	       "inbound: the peer is the source");
	tap_is(number_at(j, "flow", "bytes_toclient", NULL), 517, "what the program sent");
	tap_is(number_at(j, "flow", "bytes_toserver", NULL), 123456, "what the peer sent");
	tap_ok(!strcmp(text_at(j, "weir", "direction", NULL), "in") &&
		       number_at(j, "weir", "published_port", NULL) == 8080 &&
		       number_at(j, "weir", "orig_port", NULL) == 4444,
	       "direction and ports");
	json_decref(j);
	f.host_port = 0;
	j = json_of(&f, &o, NULL);
	tap_is(number_at(j, "weir", "published_port", NULL), -1,
	       "one that was steered has no port outside");
	json_decref(j);
	f.host_port = 8080;
	table_dest(&f, NULL, dest);
	tap_ok(!strncmp(dest, "port ", 5) && strstr(dest, " from ") && !strstr(dest, "443"),
	       "the table names the port and the client, not the client's: %s", dest);
	f.reason = FLOW_ENDED_REFUSED;
	f.app_errno = ECONNREFUSED;
	f.net_errno = 0;
	tap_ok(!strcmp(table_ended(&f), "refused"), "refused inside");
	f.inbound = f.host_port = 0;
	j = json_of(&f, &o, NULL);
	tap_ok(!strcmp(text_at(j, "weir", "direction", NULL), "out") &&
		       number_at(j, "weir", "published_port", NULL) == -1,
	       "others are outbound");
	json_decref(j);
}

/* learnt_case - what names flows have learnt shows where EVE has it, and the best one is the host
 */
static void learnt_case(void)
{
	static const struct {
		unsigned field;
		const char *value, *path[2];
	} names[] = {
		{EXPR_F_APP, "tls", {"app_proto"}},
		{EXPR_F_JA4, "t13d", {"tls", "ja4"}},
		{EXPR_F_HTTP_METHOD, "GET", {"http", "http_method"}},
		{EXPR_F_HTTP_PATH, "/x", {"http", "url"}},
		{EXPR_F_SNI, "sni.example", {"tls", "sni"}},
		{EXPR_F_HTTP_HOST, "http.example", {"http", "hostname"}},
	};
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	struct learnt l = {0};
	struct record_more more = {.learnt = &l};
	char text[FLOW_HOST_MAX], *line;
	json_t *j;

	tap_ok(!strcmp(record_host(&more, "dns.example", text), "dns.example") &&
		       !record_host(NULL, NULL, text),
	       "the host is the resolver's name, or nobody");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		learnt_add(&l, names[i].field, names[i].value);
	learnt_add(&l, EXPR_F_ALPN, "h2");
	learnt_add(&l, EXPR_F_ALPN, "http/1.1");
	learnt_add(&l, EXPR_F_JA3, "0123");
	line = record_json(&f, &o, "dns.example", &more);
	j = line ? json_loads(line, 0, NULL) : NULL;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		tap_ok(!strcmp(text_at(j, names[i].path[0], names[i].path[1], NULL),
			       names[i].value),
		       "learnt: %s", names[i].value);
	tap_ok(!strcmp(text_at(j, "tls", "ja3", "hash"), "0123") &&
		       json_array_size(
			       json_object_get(json_object_get(j, "tls"), "client_alpns")) == 2,
	       "learnt: JA3, two ALPN");
	tap_ok(!strcmp(text_at(j, "weir", "host", NULL), "http.example") &&
		       !strcmp(text_at(j, "weir", "dns_name", NULL), "dns.example"),
	       "the request's host is the flow's; the resolver's stands beside it");
	json_decref(j);
	free(line);
	learnt_forget(&l, EXPR_F_HTTP_HOST);
	tap_ok(!strcmp(record_host(&more, "dns.example", text), "sni.example"), "else the hello's");
	line = record_json(&f, &o, "sni.example", &more);
	tap_ok(line && !strstr(line, "dns_name"), "the same name is not said twice");
	free(line);
}

static void listening(void)
{
	struct record_listen l = {.proto = IPPROTO_TCP, .listens = true, .uid = 1000, .inode = 77};
	struct owner o = curl();
	char *line;
	json_t *j;

	addr_parse("::", &l.at.addr);
	l.at.port = 80;
	line = record_listen_json(&l, &o, 1795230123123456000ULL);
	j = line ? json_loads(line, 0, NULL) : NULL;
	tap_ok(j && !strcmp(text_at(j, "event_type", NULL, NULL), "listen") &&
		       !strcmp(text_at(j, "dest_ip", NULL, NULL), "::") &&
		       number_at(j, "dest_port", NULL, NULL) == 80 &&
		       !strcmp(text_at(j, "proto", NULL, NULL), "TCP"),
	       "who listens: where");
	tap_ok(!strcmp(text_at(j, "weir", "state", NULL), "listening") &&
		       !strcmp(text_at(j, "weir", "owner", "comm"), "curl") &&
		       number_at(j, "weir", "owner", "inode") == 77,
	       "... and who");
	json_decref(j);
	free(line);
	l.listens = false;
	l.why = OWNER_NO_SOCKET;
	line = record_listen_json(&l, NULL, 0);
	j = line ? json_loads(line, 0, NULL) : NULL;
	tap_ok(j && !strcmp(text_at(j, "weir", "state", NULL), "closed") &&
		       number_at(j, "weir", "owner", "socket_uid") == 1000 &&
		       *text_at(j, "weir", "owner", "why"),
	       "who does not any more: whose it was");
	json_decref(j);
	free(line);
}

/** hook_records - what a hook has made is JSON of its own name, or nothing */
static void hook_records(void)
{
	static const struct {
		const char *type, *json;
		bool good;
	} cases[] = {
		{"alert", "{\"n\":1}", true},
		{"a-b_9", "{}", true},
		{"flow", "{}", false},
		{"weir", "{}", false},
		{"", "{}", false},
		{"a b", "{}", false},
		{"alert", "[]", false},
		{"alert", "{\"n\":1", false},
		{"alert", "{}\n{}", false},
		{"a2345678901234567890123456789012", "{}", false},
	};
	const struct flow_rec f = flow(IPPROTO_TCP);
	const struct owner o = curl();
	char *line;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		line = record_hook_json(&f, &o, "h.example", cases[i].type, cases[i].json, 0);
		tap_ok(!line == !cases[i].good, "a hook's record \"%s\": %s", cases[i].type,
		       cases[i].good ? "is written" : "is not");
		free(line);
	}
	line = record_hook_json(&f, &o, "h.example", "alert", "{\"n\":\"\\n\"}", 0);
	json_t *j = line ? json_loads(line, 0, NULL) : NULL;

	tap_ok(j && !strchr(line, '\n') && !strcmp(text_at(j, "alert", "n", NULL), "\n") &&
		       !strcmp(text_at(j, "event_type", NULL, NULL), "alert") &&
		       !strcmp(text_at(j, "weir", "host", NULL), "h.example") &&
		       number_at(j, "flow_id", NULL, NULL) == (long long)f.id,
	       "one line, with the flow before it");
	json_decref(j);
	free(line);
}

static void owner_cases(void)
{
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	json_t *j;

	f.owner_uid = 0;
	o.uid = 1000;
	j = json_of(&f, &o, NULL);
	tap_ok(!strcmp(text_at(j, "weir", "owner", "source"), "sockdiag") &&
		       number_at(j, "weir", "owner", "uid") == 0 &&
		       number_at(j, "weir", "owner", "socket_uid") == 0,
	       "looked up later: the process may be another user by now, the socket is not");
	json_decref(j);
	o.source = OWNER_BY_BPF;
	j = json_of(&f, &o, NULL);
	tap_ok(!strcmp(text_at(j, "weir", "owner", "source"), "bpf") &&
		       number_at(j, "weir", "owner", "uid") == 1000 &&
		       number_at(j, "weir", "owner", "socket_uid") == 0,
	       "noted when the socket was used: the user of that moment");
	json_decref(j);
	f.owner_uid = UINT32_MAX;
	j = json_of(&f, &o, NULL);
	tap_ok(number_at(j, "weir", "owner", "uid") == 1000 &&
		       number_at(j, "weir", "owner", "socket_uid") == -1,
	       "a socket of nobody in particular");
	json_decref(j);
}

static void json_cases(void)
{
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	json_t *j = json_of(&f, &o, "example.org");

	tap_ok(!strcmp(text_at(j, "timestamp", NULL, NULL), "2026-11-21T01:02:06.623456+0000"),
	       "timestamp: %s", text_at(j, "timestamp", NULL, NULL));
	tap_ok(!strcmp(text_at(j, "flow", "start", NULL), "2026-11-21T01:02:03.123456+0000"),
	       "start");
	tap_is(number_at(j, "flow_id", NULL, NULL), 1234567890123ll, "flow_id");
	tap_ok(!strcmp(text_at(j, "event_type", NULL, NULL), "flow"), "event_type");
	tap_ok(!strcmp(text_at(j, "src_ip", NULL, NULL), "192.0.2.10"), "src_ip");
	tap_is(number_at(j, "dest_port", NULL, NULL), 443, "dest_port");
	tap_ok(!strcmp(text_at(j, "proto", NULL, NULL), "TCP"), "proto");
	tap_ok(!strncmp(text_at(j, "community_id", NULL, NULL), "1:", 2), "community_id");
	tap_is(number_at(j, "flow", "bytes_toserver", NULL), 517, "bytes_toserver");
	tap_is(number_at(j, "flow", "bytes_toclient", NULL), 123456, "bytes_toclient");
	tap_is(number_at(j, "flow", "age", NULL), 3, "age");
	tap_ok(!strcmp(text_at(j, "flow", "state", NULL), "closed"), "state");
	tap_ok(!strcmp(text_at(j, "flow", "reason", NULL), "timeout"), "EVE's reason");
	tap_ok(!strcmp(text_at(j, "weir", "reason", NULL), "fin"), "our reason");
	tap_ok(!strcmp(text_at(j, "weir", "host", NULL), "example.org"), "host");
	tap_is(number_at(j, "weir", "owner", "pid"), 4242, "pid");
	tap_is(json_array_size(json_object_get(json_object_get(json_object_get(j, "weir"), "owner"),
					       "parents")),
	       2, "parents");
	tap_ok(!strcmp(text_at(j, "weir", "close", "app"), "fin"), "how the program closed");
	tap_ok(json_real_value(json_object_get(json_object_get(j, "weir"), "connect_ms")) == 12.345,
	       "connect_ms");
	tap_ok(json_real_value(json_object_get(json_object_get(j, "weir"), "first_byte_ms")) == 20,
	       "first_byte_ms, from the start of the flow");
	tap_ok(!strcmp(text_at(j, "weir", "verdict", NULL), "allow"), "verdict");
	json_decref(j);

	f.down.rst = 1; /* a FIN before it */
	f.up.fin = 0;
	f.verdict = 1;
	f.reason = FLOW_ENDED_BLOCKED;
	j = json_of(&f, &o, NULL);
	tap_ok(!strcmp(text_at(j, "weir", "close", "net"), "rst"), "the peer reset it at last");
	tap_ok(!strcmp(text_at(j, "weir", "close", "app"), "open"), "the program did not close it");
	tap_ok(!strcmp(text_at(j, "weir", "verdict", NULL), "block"), "blocked");
	tap_ok(!strcmp(text_at(j, "flow", "reason", NULL), "forced"), "in EVE's words: forced");
	tap_ok(!json_object_get(json_object_get(j, "weir"), "host"), "no name, no field");
	json_decref(j);

	f = flow(IPPROTO_ICMPV6);
	f.reason = FLOW_ENDED_REFUSED;
	f.net_errno = ECONNREFUSED;
	f.connected = 0;
	f.down.packets = 0;
	f.owner = 0;
	f.owner_why = OWNER_NO_PROCESS;
	j = json_of(&f, NULL, NULL);
	tap_ok(!strcmp(text_at(j, "proto", NULL, NULL), "IPv6-ICMP"), "echo: proto");
	tap_is(number_at(j, "icmp_type", NULL, NULL), 128, "echo: type");
	tap_ok(!json_object_get(j, "src_port"), "echo: no ports");
	tap_ok(!strcmp(text_at(j, "flow", "state", NULL), "new"), "never answered: new");
	tap_ok(!strcmp(text_at(j, "weir", "close", "net_errno"), "ECONNREFUSED"), "errno by name");
	tap_ok(!strcmp(text_at(j, "weir", "owner", "why"), "gone"), "why there is no owner");
	tap_is(number_at(j, "weir", "owner", "uid"), 1000, "what is known of it");
	json_decref(j);
}

static void hostile_text(void)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{"plain", "plain"},
		{"\xc3\xa4", "\xc3\xa4"},
		{"a\xff"
		 "b",
		 "a\xef\xbf\xbd"
		 "b"},
		{"\xc3", "\xef\xbf\xbd"},
		{"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\x1b[31m\"\\", "\x1b[31m\"\\"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct flow_rec f = flow(IPPROTO_TCP);
		struct owner o = curl();
		json_t *j;

		str_copy(o.cmdline, sizeof(o.cmdline), t[i].in);
		j = json_of(&f, &o, NULL);
		tap_ok(!strcmp(text_at(j, "weir", "owner", "cmdline"), t[i].out), "text %u", i);
		json_decref(j);
	}
}

static int try_log(const char *log, char *err, size_t size)
{
	struct record_config cfg = {.log = log, .out_fd = 2};
	struct record *r;
	int res = record_new(&cfg, &r, err, size);

	record_free(r);
	return res;
}

static void log_values(void)
{
	char err[200] = "", path[] = "/tmp/record_test.XXXXXX";
	int fd = mkstemp(path);

	tap_is(try_log("fd:", err, sizeof(err)), -EINVAL, "fd: without a number");
	tap_ok(strstr(err, "--log fd:") && !strchr(err, '\n'), "%s", err);
	tap_is(try_log("fd:1x", err, sizeof(err)), -EINVAL, "fd:1x");
	tap_is(try_log("fd:-1", err, sizeof(err)), -EINVAL, "fd:-1");
	tap_is(try_log("fd:999", err, sizeof(err)), -EBADF, "fd:999 is not open");
	tap_ok(strstr(err, "fd:999") != NULL, "%s", err);
	tap_is(try_log("/nonexistent/file", err, sizeof(err)), -ENOENT, "no such directory");
	tap_ok(strstr(err, "/nonexistent/file") != NULL, "%s", err);
	tap_is(try_log("/tmp", err, sizeof(err)), -EISDIR, "a directory");
	tap_is(try_log("", err, sizeof(err)), -ENOENT, "an empty name");
	tap_is(try_log("-", err, sizeof(err)), 0, "standard error");
	tap_is(try_log(path, err, sizeof(err)), 0, "a file");
	unlink(path);
	close(fd);
}

static unsigned lines_in(int fd, bool *whole)
{
	static char buf[1 << 20];
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);
	unsigned lines = 0;
	char *p = buf, *end;

	*whole = n > 0 && buf[n - 1] == '\n';
	buf[MAX(n, 0)] = '\0';
	for (; (end = strchr(p, '\n')) != NULL; p = end + 1) {
		json_t *j;

		*end = '\0';
		j = json_loads(p, 0, NULL);
		*whole = *whole && j;
		json_decref(j);
		lines++;
	}
	return lines;
}

static void log_file(void)
{
	char err[200], path[] = "/tmp/record_test.XXXXXX", spec[16];
	int fd = mkstemp(path);
	struct record_config cfg = {.log = path, .out_fd = 2};
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	struct record *r;
	bool whole;

	record_new(&cfg, &r, err, sizeof(err));
	tap_ok(record_log_fd(r) >= 0 && fcntl(record_log_fd(r), F_GETFD) & FD_CLOEXEC,
	       "close-on-exec");
	for (int i = 0; i < 10; i++)
		record_end(r, &f, &o, "example.org", NULL);
	tap_is(record_flush(r), 0, "nothing waits");
	record_free(r);
	tap_is(lines_in(fd, &whole), 10, "ten lines in the file");
	tap_ok(whole, "each a JSON object");
	record_new(&cfg, &r, err, sizeof(err));
	record_end(r, &f, &o, NULL, NULL);
	record_free(r);
	tap_is(lines_in(fd, &whole), 11, "a file that is there is appended to");
	/* a descriptor of a file is written at its own offset, which others share */
	snprintf(spec, sizeof(spec), "fd:%d", fd);
	if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET))
		tap_ok(false, "truncate");
	cfg.log = spec;
	record_new(&cfg, &r, err, sizeof(err));
	record_end(r, &f, &o, NULL, NULL);
	tap_ok(lseek(fd, 0, SEEK_CUR) > 0, "fd:N of a file moves the shared offset");
	record_end(r, &f, &o, NULL, NULL);
	record_free(r);
	tap_is(lines_in(fd, &whole), 2, "two lines");
	unlink(path);
	close(fd);
}

/* a socket that keeps the borders of messages shows what each write() held */
static void one_write_a_line(void)
{
	int p[2];
	char spec[16], err[200], buf[4096];
	struct record_config cfg = {.log = spec, .out_fd = 2};
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	struct record *r;
	unsigned lines = 0, broken = 0;
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, p))
		return;
	snprintf(spec, sizeof(spec), "fd:%d", p[1]);
	tap_is(record_new(&cfg, &r, err, sizeof(err)), 0, "a socket of messages");
	for (int i = 0; i < 5; i++)
		record_end(r, &f, &o, "example.org", NULL);
	record_free(r);
	while ((n = recv(p[0], buf, sizeof(buf), 0)) > 0) {
		lines++;
		broken += buf[0] != '{' || buf[n - 1] != '\n' || memchr(buf, '\n', (size_t)n - 1);
	}
	tap_ok(lines == 5 && !broken, "one write() a line: %u, %u are no line", lines, broken);
	close(p[0]);
	close(p[1]);
}

/* "-" is standard error, where COMMAND's own output is not */
static void log_to_stderr(void)
{
	int p[2], old = dup(2);
	char err[200], buf[4096];
	struct record_config cfg = {.log = "-", .out_fd = 2};
	struct flow_rec f = flow(IPPROTO_TCP);
	struct record *r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, p))
		return;
	dup2(p[1], 2);
	record_new(&cfg, &r, err, sizeof(err));
	record_end(r, &f, NULL, NULL, NULL);
	record_free(r);
	dup2(old, 2);
	tap_ok(recv(p[0], buf, sizeof(buf), 0) > 100, "--log - is standard error");
	close(p[0]);
	close(p[1]);
	close(old);
}

/* a reader that does not read: nothing blocks, lines stay whole, the overflow is counted */
static void slow_reader(bool use_socket)
{
	int p[2], flags;
	char spec[16], err[200], buf[65536], *got = NULL;
	struct record_config cfg = {.log = spec, .out_fd = 2};
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	struct record *r;
	size_t len = 0, waiting, lines = 0;
	ssize_t n;

	if (use_socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, p) : pipe(p))
		return;
	snprintf(spec, sizeof(spec), "fd:%d", p[1]);
	tap_is(record_new(&cfg, &r, err, sizeof(err)), 0, "%s", use_socket ? "socket" : "pipe");
	flags = fcntl(p[1], F_GETFL);
	tap_ok(!(flags & O_NONBLOCK), "the caller's description stays blocking");
	for (int i = 0; i < 2000; i++)
		record_end(r, &f, &o, "example.org", NULL);
	waiting = record_flush(r);
	tap_ok(waiting > 0, "%zu bytes wait", waiting);
	close(p[1]);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	for (int rounds = 0; rounds < 100000; rounds++) {
		waiting = record_flush(r);
		n = read(p[0], buf, sizeof(buf));
		if (n > 0) {
			got = realloc(got, len + (size_t)n + 1);
			memcpy(got + len, buf, (size_t)n);
			len += (size_t)n;
		} else if (!waiting) {
			break;
		}
	}
	got[len] = '\0';
	for (char *at = got, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		json_t *j = json_loadb(at, (size_t)(end - at), 0, NULL);

		lines += j != NULL;
		json_decref(j);
	}
	tap_is(lines, 2000, "all lines arrive whole when it reads at last");
	free(got);
	close(p[0]);
	record_end(r, &f, &o, NULL, NULL);
	tap_is(record_flush(r), 0, "a reader that has gone is no SIGPIPE");
	record_free(r);
}

static void overflow(void)
{
	int p[2];
	struct sink s;
	char line[1001];

	memset(line, 'x', 1000);
	line[1000] = '\0';
	if (pipe(p))
		return;
	tap_is(sink_fd(&s, p[1]), 0, "a pipe");
	for (int i = 0; i < 10000; i++)
		sink_line(&s, line);
	tap_ok(s.len <= 8u << 20, "the queue is bounded");
	tap_ok(s.lost > 1000 && s.lost < 2000, "%llu lines lost, counted",
	       (unsigned long long)s.lost);
	sink_close(&s);
	close(p[0]);
	close(p[1]);
}

/* torn_line - what a full disk has cut short must not swallow the next line */
static void torn_line(void)
{
	char name[] = "/tmp/weir-record-XXXXXX", got[64] = "";
	struct rlimit before, small = {4, 0};
	int fd = mkstemp(name);
	struct sink s;

	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	tap_is(sink_fd(&s, fd), 0, "a file");
	setrlimit(RLIMIT_FSIZE, &small);
	sink_line(&s, "one-two");
	sink_line(&s, "three");
	setrlimit(RLIMIT_FSIZE, &before);
	tap_is((long)s.lost, 2, "no room: two lines lost");
	sink_line(&s, "four");
	pread(fd, got, sizeof(got) - 1, 0);
	tap_ok(!strcmp(got, "one-\nfour\n"), "the next one starts anew: \"%s\"", got);
	sink_close(&s);
	close(fd);
	unlink(name);
}

/* last_lines - the end waits for one that reads, and counts what one that doesn't has missed */
static void last_lines(void)
{
	char line[4096], buf[65536];
	int p[2], status = 1;
	struct sink s;
	pid_t pid;

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	if (pipe(p) || sink_fd(&s, p[1]))
		return;
	for (int i = 0; i < 50; i++)
		sink_line(&s, line);
	pid = fork();
	if (!pid) {
		size_t have = 0;
		ssize_t n;

		close(p[1]);
		sink_close(&s);
		while (usleep(20000), (n = read(p[0], buf, sizeof(buf))) > 0)
			have += (size_t)n;
		_exit(have != 50 * sizeof(line));
	}
	close(p[0]);
	sink_finish(&s);
	tap_is((long)s.lost, 0, "a slow reader: nothing lost");
	sink_close(&s);
	close(p[1]);
	waitpid(pid, &status, 0);
	tap_is(status, 0, "... and it got all");
	if (pipe(p) || sink_fd(&s, p[1]))
		return;
	for (int i = 0; i < 50; i++)
		sink_line(&s, line);
	sink_finish(&s);
	tap_ok(s.lost > 20 && !s.len, "nobody reads: %llu lines lost, and said so",
	       (unsigned long long)s.lost);
	sink_close(&s);
	close(p[0]);
	close(p[1]);
}

/* --- the table ------------------------------------------------------------------------------- */

static char *table_text(struct table *t, unsigned columns, unsigned rows)
{
	struct table_view v = {columns, rows, false};
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	table_print(t, &v, 0, f);
	fclose(f);
	return text;
}

static size_t widest(const char *text)
{
	size_t w = 0, n;

	while (*text) {
		n = strcspn(text, "\n");
		w = MAX(w, n);
		text += n + (text[n] == '\n');
	}
	return w;
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void fill(struct table *t, unsigned n)
{
	static const char *const hosts[] = {"example.org",
					    "a-rather-long-name.of-some.cdn.example.net", NULL,
					    "deb.debian.org"};
	struct owner o = curl();

	for (unsigned i = 0; i < n; i++) {
		struct flow_rec f = flow(i % 5 == 3 ? IPPROTO_UDP : IPPROTO_TCP);

		o.id = i + 1;
		o.pid = 4242 + (int)i;
		str_copy(o.comm, sizeof(o.comm), i % 3 ? "curl" : "python3");
		f.start += i * NSEC_PER_SEC;
		f.end = f.start + (i % 7 + 1) * (uint64_t)(i * i + 3) * NSEC_PER_MSEC * 20;
		f.up.bytes = i * 1000 + 80;
		f.down.bytes = (uint64_t)i * i * i * 4321;
		f.reason = (uint8_t)(1 + i % (FLOW_REASON_MAX - 1));
		f.net_errno = ECONNREFUSED;
		if (i % 4 == 2)
			addr_parse("2001:db8:1234:5678:9abc:def0:1234:5678", &f.net.addr);
		f.net.port = i % 5 == 3 ? 53 : 443;
		table_add(t, &f, i % 11 == 10 ? NULL : &o, hosts[i % 4]);
	}
}

static void table_cases(void)
{
	struct table *t = table_new();
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	char *text = table_text(t, 80, 40), buf[TABLE_DEST], num[TABLE_NUMBER];

	tap_ok(strstr(text, "0 flows of 0 programs") != NULL, "nothing seen: a summary only");
	free(text);
	table_add(t, &f, &o, NULL);
	table_add(t, &f, &o, NULL);
	o.id |= OWNER_BPF_ID;
	table_add(t, &f, &o, NULL);
	text = table_text(t, 80, 40);
	tap_ok(strstr(text, "3 flows of 2 programs") != NULL,
	       "programs are counted once, whoever noted them");
	free(text);
	table_free(t);
	t = table_new();
	str_copy(o.comm, sizeof(o.comm), "ev\x1b[2Jil");
	table_add(t, &f, &o, "ev\x1b]il");
	text = table_text(t, 80, 40);
	tap_ok(!strchr(text, '\x1b'), "no escape reaches the terminal");
	tap_ok(strstr(text, "closed") && strstr(text, "alice") && strstr(text, "123 kB"),
	       "its facts");
	tap_ok(strstr(text, "1 flow of 1 program,"), "one is singular");
	free(text);
	fill(t, 30);
	text = table_text(t, 80, 20);
	tap_ok(widest(text) <= 80, "fits 80 columns (%zu)", widest(text));
	tap_ok(strstr(text, "... and 11 more") != NULL, "and 20 rows");
	tap_is(count_lines(text), 25, "heading, rows, more, summary of three lines");
	free(text);
	text = table_text(t, 130, 100);
	tap_ok(widest(text) <= 130 && widest(text) > 80, "uses 130 (%zu)", widest(text));
	free(text);
	fill(t, 2000);
	text = table_text(t, 80, 40);
	tap_ok(strstr(text, "x example.org") != NULL, "many: equal ones merged, counted");
	tap_ok(count_lines(text) <= 44, "on one screen");
	tap_ok(strstr(text, "weir: 2031 flows") != NULL, "the sum is of all");
	free(text);
	table_free(t);

	tap_ok(!strcmp(table_bytes(999, num), "999 B"), "999 B");
	tap_ok(!strcmp(table_bytes(1000, num), "1.0 kB"), "1.0 kB");
	tap_ok(!strcmp(table_bytes(9960, num), "10 kB"), "10 kB: %s", num);
	tap_ok(!strcmp(table_bytes(999600, num), "1.0 MB"), "1.0 MB: %s", num);
	tap_ok(!strcmp(table_bytes(UINT64_MAX, num), "18 EB"), "18 EB");
	tap_ok(!strcmp(table_time(0, num), "0 ms"), "0 ms");
	tap_ok(!strcmp(table_time(999600000, num), "1.0 s"), "1.0 s: %s", num);
	tap_ok(!strcmp(table_time(59960 * NSEC_PER_MSEC, num), "1m00s"), "1m00s: %s", num);
	tap_ok(!strcmp(table_time(7500 * NSEC_PER_SEC, num), "2h05m"), "2h05m: %s", num);
	tap_ok(!strcmp(table_dest(&f, NULL, buf), "198.51.100.7:443"), "destination: %s", buf);
	tap_ok(!strcmp(table_dest(&f, "h", buf), "h:443 (198.51.100.7)"), "with a name: %s", buf);
	f.proto = IPPROTO_ICMP;
	tap_ok(!strcmp(table_dest(&f, NULL, buf), "198.51.100.7 ping"), "echo: %s", buf);
}

static void live_case(void)
{
	int p[2];
	struct record_config cfg = {.live = true};
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	struct record *r;
	char err[200], buf[1024];
	ssize_t n;

	if (pipe(p))
		return;
	cfg.out_fd = p[1];
	tap_is(record_new(&cfg, &r, err, sizeof(err)), 0, "live");
	record_open(r, &f, &o, "example.org");
	record_end(r, &f, &o, "example.org", NULL);
	n = read(p[0], buf, sizeof(buf) - 1);
	buf[MAX(n, 0)] = '\0';
	printf("# %s", buf);
	tap_ok(strstr(buf, "weir: + curl(4242) alice -> example.org:443") != NULL,
	       "a line at open");
	tap_ok(strstr(buf, "\nweir: - curl(4242)") && strstr(buf, "3.5 s, closed\n"),
	       "a line at end");
	record_free(r);
	close(p[0]);
	close(p[1]);
}

static int show(void)
{
	struct record_config cfg = {.table = true, .live = true, .out_fd = 2};
	struct flow_rec f = flow(IPPROTO_TCP);
	struct owner o = curl();
	struct record *r;
	struct table *t = table_new();
	struct table_view v = {80, 40, true};
	char err[200];

	fill(t, 14);
	table_print(t, &v, 0, stderr);
	fill(t, 100);
	table_print(t, &v, 3, stderr);
	table_free(t);
	if (record_new(&cfg, &r, err, sizeof(err)))
		return 1;
	record_open(r, &f, &o, "example.org");
	record_end(r, &f, &o, "example.org", NULL);
	record_table(r);
	record_free(r);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "show"))
		return show();
	inbound();
	learnt_case();
	listening();
	json_cases();
	owner_cases();
	hook_records();
	hostile_text();
	log_values();
	log_file();
	one_write_a_line();
	log_to_stderr();
	slow_reader(false);
	slow_reader(true);
	overflow();
	torn_line();
	last_lines();
	table_cases();
	live_case();
	return tap_done();
}

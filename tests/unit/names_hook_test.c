/* SPDX-License-Identifier: MIT */
/*
 * The hook `names` with a host that writes down what it is told: learn() as field=value, tag() as
 * #tag, event() as the JSON, learn_done() as "|", done() as ".". Each stream is given in one piece,
 * cut once at each place, and byte by byte; the outcome must be the same. nDPI is a fake that knows
 * one word.
 *
 * LINK: src/hooks/names.o src/hooks/names_app.o src/hooks/names_event.o src/hooks/names_follow.o
 * LINK: src/hooks/names_http.o src/hooks/names_ja.o src/hooks/names_quic.o src/hooks/names_tls.o
 */
#include "weir/hook.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "names_hello.h"
#include "../lib/quic_forge.h"
#include "../lib/tap.h"

#include "hooks/names_ndpi.h"

extern const struct weir_hook *const weir_builtin_names;

struct weir_flow {
	void *data;
	void (*free_fn)(void *data);
	bool done;
	uint8_t proto;
	char text[8192];
	size_t n;
};

static const struct weir_hook *hook;
static void *state;
static unsigned ndpi_asked;

static bool ndpi_here = true;

struct names_ndpi {
	char unused;
};

struct names_ndpi *names_ndpi_new(const char **err)
{
	static struct names_ndpi nd;

	*err = "not here";
	return ndpi_here ? &nd : NULL;
}

void names_ndpi_free(struct names_ndpi *nd)
{
	(void)nd;
}

bool names_ndpi_app(struct names_ndpi *nd, const struct names_ndpi_payload *p,
		    char out[NAMES_NDPI_APP_MAX + 1])
{
	(void)nd;
	ndpi_asked++;
	snprintf(out, NAMES_NDPI_APP_MAX + 1, "word%u-%s-%u", p->from_port, p->udp ? "udp" : "tcp",
		 p->to_port);
	return p->bytes.len >= 4 && !memcmp(p->bytes.at, "word", 4);
}

__attribute__((format(printf, 2, 3))) static void note(struct weir_flow *f, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	f->n += (size_t)vsnprintf(f->text + f->n, sizeof(f->text) - f->n, format, ap);
	va_end(ap);
}

static void fake_set_data(struct weir_flow *f, void *data, void (*free_fn)(void *data))
{
	f->data = data;
	f->free_fn = free_fn;
}

static void *fake_data(struct weir_flow *f)
{
	return f->data;
}

static void fake_done(struct weir_flow *f)
{
	f->done = true;
	note(f, ".");
}

static const struct weir_info *fake_info(struct weir_flow *f)
{
	static struct weir_info info = {.size = sizeof(info), .app.port = 1001, .net.port = 80};

	info.proto = f->proto;
	return &info;
}

static int fake_learn(struct weir_flow *f, const char *field, const char *value)
{
	note(f, "%s=%s ", field, value);
	return 0;
}

static void fake_learn_done(struct weir_flow *f)
{
	note(f, "|");
}

static int fake_tag(struct weir_flow *f, const char *tag)
{
	note(f, "#%s ", tag);
	return 0;
}

static int fake_event(struct weir_flow *f, const char *type, const char *json)
{
	note(f, "%s%s", type, json);
	return 0;
}

static const struct weir_host host = {
	.size = sizeof(host),
	.abi = WEIR_HOOK_ABI,
	.info = fake_info,
	.set_data = fake_set_data,
	.data = fake_data,
	.done = fake_done,
	.learn = fake_learn,
	.learn_done = fake_learn_done,
	.tag = fake_tag,
	.event = fake_event,
};

static void restart(const char *option)
{
	const char *err;

	if (state)
		hook->unload(state);
	state = hook->load(&host, NULL, &err);
	if (option)
		hook->config(state, option, "yes", &err);
	hook->ready(state, &err);
}

static void flow_begin(struct weir_flow *f, uint8_t proto, bool inbound)
{
	struct weir_info info = {.size = sizeof(info), .proto = proto, .inbound = inbound};

	*f = (struct weir_flow){.proto = proto};
	hook->flow_open(state, f, &info);
}

static void flow_end(struct weir_flow *f)
{
	struct weir_info info = {.size = sizeof(info)};

	hook->flow_close(state, f, &info);
	if (f->free_fn)
		f->free_fn(f->data);
}

/* give - all is accepted, always; after done() nothing is shown; memory ends where the piece does
 */
static void give(struct weir_flow *f, enum weir_dir dir, const void *data, size_t len, bool last)
{
	uint8_t *exact = malloc(len + 1);
	struct weir_payload p = {
		.size = sizeof(p), .dir = dir, .flags = last, .data = exact, .len = len};

	if (len)
		memcpy(exact, data, len);
	if (!f->done && hook->payload(state, f, &p) != (int64_t)len)
		note(f, "HELD");
	free(exact);
}

static bool same(const struct weir_flow *f, const char *expect, const char *how, size_t cut)
{
	if (!strcmp(f->text, expect))
		return true;
	printf("# %s %zu: %s\n", how, cut, f->text);
	return false;
}

/* stream - the client's bytes in every way */
static void stream(const char *what, const void *data, size_t len, const char *expect)
{
	struct weir_flow f;
	bool good = true;
	size_t cut, i;

	for (cut = 0; cut <= len; cut++) {
		flow_begin(&f, IPPROTO_TCP, false);
		give(&f, WEIR_UP, data, cut, false);
		give(&f, WEIR_UP, (const uint8_t *)data + cut, len - cut, true);
		flow_end(&f);
		good = same(&f, expect, "cut at", cut) && good;
	}
	flow_begin(&f, IPPROTO_TCP, false);
	for (i = 0; i < len; i++)
		give(&f, WEIR_UP, (const uint8_t *)data + i, 1, false);
	give(&f, WEIR_UP, NULL, 0, true);
	flow_end(&f);
	good = same(&f, expect, "byte by byte", 1) && good;
	tap_ok(good, "%s: %s", what, expect);
}

#define text(what, s, expect) stream(what, s, sizeof(s) - 1, expect)

static void test_streams(void)
{
	static uint8_t msg[HELLO_ROOM], wire[2 * HELLO_ROOM];
	struct hello_spec spec = hello_foxio;
	size_t len;

	restart(NULL);
	len = hello_records(msg, hello_make(&spec, msg), 200, wire);
	wire[len] = 0x17;
	stream("TLS", wire, len + 1,
	       "app=tls sni=www.example.org ja3=c000e2caf3a25423f9de6c8a4b12a975 "
	       "ja4=t13d1516h2_8daaf6152771_e5627efa2ab1 alpn=h2 alpn=http/1.1 |.");
	stream("TLS that ends early", wire, len - 1, "app=tls |.");
	spec.extensions = (const uint16_t[]){0, 0xfe0d, HELLO_END};
	len = hello_records(msg, hello_make(&spec, msg), 200, wire);
	stream("TLS with ECH", wire, len,
	       "app=tls sni=www.example.org ja3=28dc411cbd9a9295924f4f43c938bf4c "
	       "ja4=t12d150200_8daaf6152771_57e012f5680b #ech |.");
	text("HTTP", "GET /a?b HTTP/1.1\r\nHost: Example.org:80\r\n\r\nrest",
	     "app=http http.method=GET http.path=/a http.host=example.org |.");
	text("HTTP without end", "GET /a HTTP/1.1\r\nHost: h\r\n",
	     "app=http http.method=GET http.path=/a |.");
	text("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", "app=http2 |.");
	text("SSH", "SSH-2.0-OpenSSH\r\n", "app=ssh |.");
	text("DNS", "\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01z", "app=dns |.");
	text("something", "\x05\x01\x00", "|.");
	text("text", "hello\r\n", "|.");
	text("nothing", "", "");
}

static void test_bounds(void)
{
	uint8_t msg[HELLO_ROOM], wire[HELLO_ROOM];
	char alpn[200] = "2h2";
	struct hello_spec spec = {
		.version = 0x303, .extensions = (const uint16_t[]){16, HELLO_END}, .alpn = alpn};
	struct weir_flow f;

	restart(NULL);
	alpn[3] = '0' + 41; /* hello_alpn() takes any character as a length */
	memset(alpn + 4, 'a', 41);
	alpn[45] = '0' + 40;
	memset(alpn + 46, 'b', 40);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, wire, hello_records(msg, hello_make(&spec, msg), 9999, wire), false);
	tap_ok(strstr(f.text, "alpn=h2 alpn=bbb") != NULL && !strstr(f.text, "aaaa"),
	       "protocols of more than 40 bytes are nobody's: %s", f.text);
	tap_ok(!f.data, "nothing is kept of a flow that it is done with");
	flow_end(&f);
	for (unsigned i = 0; i < 9; i++)
		memcpy(alpn + 2 * i, (char[]){'1', (char)('a' + i), 0}, 3);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, wire, hello_records(msg, hello_make(&spec, msg), 9999, wire), false);
	tap_ok(strstr(f.text, "alpn=h |.") != NULL, "eight of them are learnt: %s", f.text);
	flow_end(&f);
}

static void test_directions(void)
{
	static const char request[] = "GET / HTTP/1.0\r\n\r\n";
	struct weir_flow f;

	restart(NULL);
	flow_begin(&f, IPPROTO_TCP, true);
	give(&f, WEIR_DOWN, request, sizeof(request) - 1, false);
	tap_ok(!strcmp(f.text, "app=http http.method=GET http.path=/ |."),
	       "in a flow that came in the client's bytes go down: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_DOWN, "220 mx.example ESMTP x\r\n", 24, false);
	tap_ok(!strcmp(f.text, "app=smtp |."), "the server first: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_DOWN, "SSH-2.0-x\r\n", 11, false);
	tap_ok(!strcmp(f.text, "app=ssh |."), "the server first: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, NULL, 0, true);
	give(&f, WEIR_DOWN, "SSH-2.0-x\r\n", 11, false);
	tap_ok(!strcmp(f.text, "app=ssh |."), "... to who says nothing: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, request, 10, false);
	give(&f, WEIR_DOWN, "SSH-2.0-x\r\n", 11, false);
	tap_ok(!strcmp(f.text, "|."), "the server before the request's end: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_DOWN, NULL, 0, true);
	tap_ok(!strcmp(f.text, ""), "the server's end is no byte: %s", f.text);
	give(&f, WEIR_UP, request, sizeof(request) - 1, false);
	tap_ok(!strcmp(f.text, "app=http http.method=GET http.path=/ |."),
	       "the client may still speak: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_ICMP, false);
	tap_ok(!strcmp(f.text, "|."), "an echo has no names: %s", f.text);
	flow_end(&f);
}

static void test_path(void)
{
	struct weir_flow f;
	char request[2000] = "GET /";

	restart(NULL);
	memset(request + 5, 'a', 1900);
	memcpy(request + 1905, " HTTP/1.1\r\n\r\n", 14);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, request, strlen(request), false);
	tap_is(strspn(strchr(f.text, '/'), "/a"), 511, "a long path is cut");
	flow_end(&f);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, "GET /a\0b HTTP/1.1\r\n\r\n", 21, false);
	tap_ok(strstr(f.text, "path=/a?b ") != NULL, "NUL in a path does not end it: %s", f.text);
	flow_end(&f);
}

/* --- requests that are logged
 * --------------------------------------------------------------------- */

#define HEAD		 "app=http http.method=GET http.path=/ http.host=h |"
#define EV(method, rest) "http{\"http_method\":\"" method "\",\"hostname\":\"h\"," rest "}"
#define FIRST		 "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define SECOND		 "HEAD /x\"\xe9?q HTTP/1.1\r\nHost: h\r\n\r\n"

/* talk - "up", "down" ... in turn, each in pieces of @step; expect after flow_close() */
static void talk(const char *what, const char *const *turns, const char *expect)
{
	bool good = true;

	for (size_t step = 1; step < 200; step = step * 2 + 1) {
		struct weir_flow f;

		flow_begin(&f, IPPROTO_TCP, false);
		for (unsigned i = 0; turns[i]; i++)
			for (size_t at = 0, n, len = strlen(turns[i]); at < len; at += n) {
				n = len - at < step ? len - at : step;
				give(&f, i & 1 ? WEIR_DOWN : WEIR_UP, turns[i] + at, n, false);
			}
		flow_end(&f);
		good = same(&f, expect, "pieces of", step) && good;
	}
	tap_ok(good, "%s: %s", what, expect);
}

#define TALK(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_http_events(void)
{
	restart("http-events");
	talk("two requests, one after the other",
	     TALK(FIRST, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", SECOND,
		  "HTTP/1.0 404 N\r\nContent-Length: 9\r\n\r\n"),
	     HEAD EV("GET", "\"url\":\"/\",\"protocol\":\"HTTP/1.1\",\"status\":200,\"length\":3")
		     EV("HEAD", "\"url\":\"/x\\\"\\u00e9?q\",\"protocol\":\"HTTP/1.1\","
				"\"status\":404,\"length\":0"));
	talk("two at once, an interim answer, one to the end",
	     TALK(FIRST FIRST, "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 N\r\n\r\n"
			       "HTTP/1.1 200 OK\r\n\r\nto the end"),
	     HEAD EV("GET", "\"url\":\"/\",\"protocol\":\"HTTP/1.1\",\"status\":204,\"length\":0")
		     EV("GET", "\"url\":\"/\",\"protocol\":\"HTTP/1.1\",\"status\":200,"
			       "\"length\":10"));
	talk("no answer", TALK(FIRST), HEAD EV("GET", "\"url\":\"/\",\"protocol\":\"HTTP/1.1\""));
	talk("another protocol from here",
	     TALK(FIRST, "HTTP/1.1 101 S\r\n\r\n\x01\x02", "\x03\x04"),
	     HEAD EV("GET",
		     "\"url\":\"/\",\"protocol\":\"HTTP/1.1\",\"status\":101,\"length\":0") ".");
	talk("an answer that nobody asked for",
	     TALK(FIRST, "HTTP/1.1 204 N\r\n\r\nHTTP/1.1 408 T\r\n\r\n"),
	     HEAD EV("GET",
		     "\"url\":\"/\",\"protocol\":\"HTTP/1.1\",\"status\":204,\"length\":0") ".");
	talk("no HTTP behind the first", TALK(FIRST "\x01\x02"),
	     HEAD EV("GET", "\"url\":\"/\",\"protocol\":\"HTTP/1.1\"") ".");
}

static void test_many_under_way(void)
{
	struct weir_flow f;
	unsigned n = 0;

	restart("http-events");
	flow_begin(&f, IPPROTO_TCP, false);
	while (!f.done && ++n < 100)
		give(&f, WEIR_UP, FIRST, sizeof(FIRST) - 1, false);
	tap_is(n, 17, "16 requests may be under way");
	flow_end(&f);
}

static void test_tls_events(void)
{
	uint8_t msg[1000], wire[1000];
	struct weir_flow f;

	restart("tls-events");
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, wire, hello_records(msg, hello_make(&hello_foxio, msg), 9999, wire),
	     false);
	tap_ok(strstr(f.text, "tls{\"offered_version\":\"TLS 1.3\","
			      "\"sni\":\"www.example.org\",\"client_alpns\":[\"h2\",\"http/1.1\"],"
			      "\"ja3\":{\"hash\":\"c000e2caf3a25423f9de6c8a4b12a975\"},"
			      "\"ja4\":\"t13d1516h2_8daaf6152771_e5627efa2ab1\"}|.") != NULL,
	       "a hello in the log: %s", f.text);
	flow_end(&f);
}

/* --- datagrams
 * ------------------------------------------------------------------------------------- */

static void datagram(struct weir_flow *f, enum weir_dir dir, const void *data, size_t len)
{
	struct weir_datagram d = {.size = sizeof(d), .dir = dir, .data = data, .len = len};

	if (!f->done && hook->datagram(state, f, &d) != WEIR_PASS)
		note(f, "HELD");
}

#define QUIC_HELLO                                                                                 \
	"app=quic sni=www.example.org ja3=c000e2caf3a25423f9de6c8a4b12a975 "                       \
	"ja4=q13d1516h2_8daaf6152771_e5627efa2ab1 alpn=h2 alpn=http/1.1 |."

static void test_quic(void)
{
	static uint8_t msg[HELLO_ROOM], frames[FORGE_ROOM], packet[FORGE_ROOM];
	struct forge q = {FORGE_V1, (const uint8_t *)"12345678", 8, NULL, 0, 1, 0, 1162};
	struct hello_spec spec = hello_foxio;
	struct weir_flow f;
	size_t len, n;

	spec.key_share = 1200;
	len = hello_make(&spec, msg);
	restart(NULL);
	flow_begin(&f, IPPROTO_UDP, false);
	n = forge_initial(&q, frames, forge_crypto(frames, 0, msg, 1100), packet);
	datagram(&f, WEIR_UP, packet, n);
	tap_ok(!strcmp(f.text, "app=quic "), "QUIC, the first half: %s", f.text);
	datagram(&f, WEIR_DOWN, "\xc0", 1); /* acknowledges it */
	q.number++;
	n = forge_initial(&q, frames, forge_crypto(frames, 1100, msg + 1100, len - 1100), packet);
	datagram(&f, WEIR_UP, packet, n);
	tap_ok(!strcmp(f.text, QUIC_HELLO), "QUIC, the second: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_UDP, false);
	packet[n - 1] ^= 1;
	datagram(&f, WEIR_UP, packet, n);
	tap_ok(!strcmp(f.text, "|."), "what only looks like QUIC: %s", f.text);
	flow_end(&f);
}

static void test_datagrams(void)
{
	static const struct {
		const char *what, *bytes;
		size_t len;
		const char *expect;
	} cases[] = {
		{"DNS", "\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x01z\0\0\x01\0\x01", 19, "app=dns |."},
		{"DNS with EDNS",
		 "\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x01z\0\0\x1c\0\x01"
		 "\0\0\x29\x04\xd0\0\0\0\0\0\0",
		 30, "app=dns |."},
		{"an answer", "\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\x01z\0\0\x01\0\x01", 19, "|."},
		{"a label too long", "\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x40z\0\0\x01\0\x01", 19,
		 "|."},
		{"a query with a rest", "\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01z\0\0\x01\0\x01x", 20,
		 "|."},
		{"STUN",
		 "\0\x01\0\x04\x21\x12\xa4\x42"
		 "123456789012abcd",
		 24, "app=stun |."},
		{"STUN of another length",
		 "\0\x01\0\x08\x21\x12\xa4\x42"
		 "123456789012abcd",
		 24, "|."},
		{"something", "\xff\xff", 2, "|."},
		{"nothing", "", 0, "|."},
	};
	uint8_t foreign[1200] = {0xc3, 0x51, 0x30, 0x35, 0x30, 0, 0};
	struct weir_flow f;

	restart(NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		flow_begin(&f, IPPROTO_UDP, false);
		datagram(&f, WEIR_UP, cases[i].bytes, cases[i].len);
		tap_ok(!strcmp(f.text, cases[i].expect), "%s: %s", cases[i].what, f.text);
		flow_end(&f);
	}
	flow_begin(&f, IPPROTO_UDP, false);
	datagram(&f, WEIR_UP, foreign, sizeof(foreign));
	tap_ok(!strcmp(f.text, "app=quic |."), "QUIC of another version: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_UDP, true);
	datagram(&f, WEIR_UP, cases[0].bytes, cases[0].len);
	tap_ok(!strcmp(f.text, "|."), "the server first: %s", f.text);
	flow_end(&f);
}

static void test_ndpi(void)
{
	struct weir_flow f;

	restart("ndpi");
	text("HTTP", "GET / HTTP/1.1\r\n\r\n", "app=http http.method=GET http.path=/ |.");
	tap_is(ndpi_asked, 0, "is not asked about what is known anyway");
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_UP, "word\r\n", 6, false);
	tap_ok(!strcmp(f.text, "app=word1001-tcp-80 |."), "nDPI: the client's: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_TCP, false);
	give(&f, WEIR_DOWN, "word\r\n", 6, false);
	tap_ok(!strcmp(f.text, "app=word80-tcp-1001 |."), "nDPI: the server's: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_UDP, false);
	datagram(&f, WEIR_UP, "word", 4);
	tap_ok(!strcmp(f.text, "app=word1001-udp-80 |."), "nDPI: a datagram: %s", f.text);
	flow_end(&f);
	flow_begin(&f, IPPROTO_UDP, false);
	datagram(&f, WEIR_UP, "else", 4);
	tap_ok(!strcmp(f.text, "|."), "nDPI does not know: %s", f.text);
	flow_end(&f);
	ndpi_asked = 0;
	restart(NULL);
	flow_begin(&f, IPPROTO_UDP, false);
	datagram(&f, WEIR_UP, "word", 4);
	tap_ok(!strcmp(f.text, "|.") && !ndpi_asked, "nDPI is not asked without the option");
	flow_end(&f);
}

static void test_config(void)
{
	const char *err = NULL;
	char line[200];

	restart(NULL);
	tap_ok(hook->config(state, "http-events", "no", &err) == 0, "an option");
	tap_ok(hook->config(state, "http-events", "maybe", &err) == -1 &&
		       !strcmp(err, "neither yes nor no"),
	       "a wrong value");
	tap_ok(hook->config(state, "sni", "yes", &err) == -1 && strstr(err, "no such key"),
	       "a wrong key");
	hook->config(state, "ndpi", "yes", &err);
	ndpi_here = false;
	tap_ok(hook->ready(state, &err) == -1 && !strcmp(err, "not here"), "nDPI is missing");
	hook->report(state, line, sizeof(line));
	tap_ok(!strcmp(line, "0 flows: 0 tls, 0 quic, 0 http, 0 others, 0 unknown"), "report: %s",
	       line);
}

int main(void)
{
	hook = weir_builtin_names;
	test_streams();
	test_bounds();
	test_directions();
	test_path();
	test_http_events();
	test_many_under_way();
	test_tls_events();
	test_quic();
	test_datagrams();
	test_ndpi();
	test_config();
	hook->unload(state);
	return tap_done();
}

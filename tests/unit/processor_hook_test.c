/* SPDX-License-Identifier: MIT */
/*
 * the hooks exec and socket against a host that is faked and a processor that the test plays.
 * LINK: src/hooks/exec.o src/hooks/socket.o src/hooks/processor_flow.o src/hooks/processor_link.o
 * LINK: src/hooks/processor_say.o src/hooks/processor_wire.o src/hooks/shared_util.o
 */
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fake_host.h"
#include "../lib/tap.h"

extern const struct weir_hook *const weir_builtin_exec, *const weir_builtin_socket;
static const struct weir_hook *hook;

static void *state;
static int peer = -1; /* the processor's end */
static struct fake_bytes heard;
static const char *said;

/* --- the processor ------------------------------------------------------------------------- */

static void configure(const char *settings)
{
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", settings);
	for (char *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		char *value = strchr(s, '=');

		*value++ = 0;
		if (hook->config(state, s, value, &said))
			abort();
	}
}

static void connect_it(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	peer = pair[1];
	fcntl(peer, F_SETFL, O_NONBLOCK);
	hook->connected(state, pair[0]);
}

static void start(const char *settings)
{
	hook = weir_builtin_exec;
	state = hook->load(&fake_host, NULL, &said);
	configure(settings);
	if (hook->config(state, "command", "/bin/true", &said) || hook->ready(state, &said))
		abort();
	fake.log[0] = 0;
	fake.n_logs = 0;
	fake.now += UINT64_C(10000000000);
	heard.len = 0;
}

static void stop(void)
{
	for (unsigned i = 0; i < FAKE_MAX; i++)
		if (fake.flows[i])
			fake_close_flow(hook, state, fake.flows[i]);
	hook->unload(state);
	for (unsigned i = 0; i < FAKE_MAX; i++)
		if (fake.timers[i].armed || fake.watches[i].on)
			tap_ok(false, "a timer or a watch outlives the hook");
	close(peer);
	peer = -1;
}

/** hear - what the processor has been told since, as text */
static const char *hear(void)
{
	ssize_t n;

	fake_poll(0);
	heard.len = 0;
	while ((n = read(peer, heard.data + heard.len, sizeof(heard.data) - heard.len - 1)) > 0) {
		heard.len += (size_t)n;
		fake_poll(0);
	}
	heard.data[heard.len] = 0;
	return (const char *)heard.data;
}

static bool hears(const char *text)
{
	if (strstr(hear(), text))
		return true;
	printf("# heard: %.300s\n", (const char *)heard.data);
	return false;
}

/** say - as the processor, and let the hook read it */
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (write(peer, text, (size_t)n) != n)
		abort();
	fake_poll(100);
}

static bool logged(const char *text)
{
	if (strstr(fake.log, text))
		return true;
	printf("# logged: %s\n", fake.log);
	return false;
}

/* --- the relay ----------------------------------------------------------------------------------
 */

static int open_flow(struct weir_flow *f)
{
	return hook->flow_open(state, f, &f->info);
}

static int64_t show(struct weir_flow *f, enum weir_dir d, const char *text, bool last)
{
	return fake_payload(hook, state, f, d, text, strlen(text), last);
}

/** opened - a flow that the processor has let pass; the next request is number 2 */
static struct weir_flow *opened(const char *settings)
{
	struct weir_flow *f = fake_flow(7);

	start(settings);
	connect_it();
	open_flow(f);
	say("{\"id\":1,\"verdict\":\"pass\"}\n");
	hear();
	return f;
}

/** answered - show @data, say @answer about it, and show it again: what the relay is told */
static int64_t answered(struct weir_flow *f, const char *data, bool last, const char *answer)
{
	int64_t n = show(f, WEIR_UP, data, last);

	hear();
	if (n != WEIR_PEND)
		return n;
	say("%s", answer);
	return show(f, WEIR_UP, data, last);
}

/* --- tests
 * ---------------------------------------------------------------------------------------- */

static void test_events(void)
{
	static const char open_line[] =
		"{\"id\":1,\"event\":\"flow_open\",\"flow\":7,\"proto\":\"tcp\",\"inbound\":false,"
		"\"app\":{\"ip\":\"10.0.0.1\",\"port\":40000},\"net\":{\"ip\":\"192.0.2.1\",\"port\":443},"
		"\"host\":\"example.org\",\"owner\":{\"source\":\"sockdiag\",\"uid\":1000,\"gid\":100,"
		"\"socket_uid\":1000,\"pid\":42,\"user\":\"alice\",\"comm\":\"curl\","
		"\"exe\":\"/usr/bin/curl\",\"cmdline\":\"curl -s x\",\"cgroup\":\"/\","
		"\"parents\":[{\"pid\":41,\"comm\":\"bash\"},{\"pid\":40,\"comm\":\"sshd\"}]}}\n";
	struct weir_flow *f = fake_flow(7);

	start("format=raw");
	tap_is(open_flow(f), WEIR_PEND, "a flow waits for the processor, which is not there yet");
	connect_it();
	hear();
	tap_ok(strstr((char *)heard.data,
		      "{\"event\":\"hello\",\"version\":1,\"format\":\"raw\"}\n") ==
		       (char *)heard.data,
	       "a greeting comes first");
	tap_ok(strstr((char *)heard.data, open_line) != NULL, "flow_open, with the owner");
	say("{\"id\":1,\"verdict\":\"pass\"}\n");
	tap_ok(f->n_decided == 1 && f->decided == WEIR_PASS, "the answer decides");
	tap_is(show(f, WEIR_UP, "ab\"\n\xff", false), WEIR_PEND, "payload waits");
	tap_ok(hears("{\"id\":2,\"event\":\"payload\",\"flow\":7,\"dir\":\"up\",\"last\":false,"
		     "\"len\":5}\nab\"\n\xff"),
	       "payload, with its bytes behind the line");
	tap_is(show(f, WEIR_UP, "ab\"\n\xff", false), WEIR_PEND, "it is asked once");
	tap_is(strlen(hear()), 0, "... and no more");
	say("{\"id\":2,\"verdict\":\"pass\"}\n");
	tap_ok(f->resumed[0] == 1 && !f->resumed[1], "the answer wakes the flow");
	tap_is(show(f, WEIR_UP, "ab\"\n\xff", false), 5, "and lets it pass");
	tap_is(show(f, WEIR_UP, "", true), 0, "the bare end of a stream needs no answer");
	hook->half_close(state, f, WEIR_UP);
	hook->name_learned(state, f, "sni", "a\"b");
	f->info.bytes_up = 5;
	fake_close_flow(hook, state, f);
	tap_ok(hears("{\"event\":\"half_close\",\"flow\":7,\"dir\":\"up\"}\n"
		     "{\"event\":\"name_learned\",\"flow\":7,\"field\":\"sni\",\"value\":\"a\\\"b\"}\n"
		     "{\"event\":\"flow_close\",\"flow\":7,\"bytes_up\":5,\"bytes_down\":0,"
		     "\"reason\":\"fin\"}\n"),
	       "what needs no answer has no id");
	stop();
}

static void test_json(void)
{
	struct weir_flow *f = opened("format=json");

	show(f, WEIR_DOWN, "ab\"\\\n\x01\xe9", true);
	tap_ok(hears("{\"id\":2,\"event\":\"payload\",\"flow\":7,\"dir\":\"down\",\"last\":true,\"len\":7,"
		     "\"data\":\"ab\\\"\\\\\\n\\u0001\\u00e9\"}\n"),
	       "payload inside of the line, each byte a character");
	say("{\"id\":2,\"verdict\":\"replace\",\"data\":\"x\\u00e9\xc3\xa9\\u0000\"}\n");
	tap_is(show(f, WEIR_DOWN, "ab\"\\\n\x01\xe9", true), 7, "and so it comes back");
	tap_ok(f->out[1].len == 4 && !memcmp(f->out[1].data, "x\xe9\xe9\0", 4), "byte for byte");
	stop();
}

static void test_open_answers(void)
{
	static const struct {
		const char *answer;
		int decided;
	} cases[] = {
		{"\"verdict\":\"pass\"", WEIR_PASS},
		{"\"verdict\":\"block\"", WEIR_BLOCK},
		{"\"verdict\":\"drop\"", WEIR_DROP},
		{"\"verdict\":\"hold\"", WEIR_ERROR},
		{"\"verdict\":\"pass\",\"accept\":1", WEIR_ERROR},
		{"\"verdict\":\"replace\",\"data\":\"x\"", WEIR_ERROR},
		{"\"verdict\":\"pass\",\"replace\":[[0,0,\"x\"]]", WEIR_ERROR},
		{"\"verdict\":\"allow\"", WEIR_ERROR},
		{"\"verdct\":\"pass\"", WEIR_ERROR},
		{"\"tag\":\"x\"", WEIR_ERROR},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_flow *f = fake_flow(1);

		start("format=raw");
		connect_it();
		open_flow(f);
		say("{\"id\":1,%s}\n", cases[i].answer);
		tap_ok(f->n_decided == 1 && f->decided == cases[i].decided, "flow_open: %s",
		       cases[i].answer);
		tap_ok(cases[i].decided != WEIR_ERROR || logged("0 flow its answer is wrong: "),
		       "... and is said");
		stop();
	}
}

static void test_payload_answers(void)
{
	static const struct {
		const char *answer;
		int64_t n;
		const char *out;
	} cases[] = {
		{"\"verdict\":\"pass\"", 5, "abcde"},
		{"\"verdict\":\"pass\",\"accept\":2", 2, "ab"},
		{"\"verdict\":\"pass\",\"accept\":0", 0, ""},
		{"\"verdict\":\"hold\"", 0, ""},
		{"\"verdict\":\"block\"", WEIR_BLOCK, ""},
		{"\"verdict\":\"drop\"", 5, ""},
		{"\"verdict\":\"replace\",\"data\":\"xy\"", 5, "xy"},
		{"\"verdict\":\"pass\",\"replace\":[[1,2,\"X\"],[3,0,\"Y\"],[4,1,\"\"]]", 5,
		 "aXYd"},
		{"\"verdict\":\"pass\",\"accept\":3,\"replace\":[[0,1,\"A\"]]", 3, "Abc"},
		{"\"verdict\":\"pass\",\"accept\":6", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"replace\":[[4,2,\"X\"]]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"replace\":[[2,1,\"X\"],[1,1,\"Y\"]]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"replace\":[[1,2,\"X\"],[2,1,\"Y\"]]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"replace\":[[1,2]]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"replace\":[[-1,2,\"x\"]]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"replace\":[[9223372036854775807,9223372036854775807,\"x\"]]",
		 WEIR_ERROR, ""},
		{"\"verdict\":\"block\",\"accept\":1", WEIR_ERROR, ""},
		{"\"verdict\":\"replace\"", WEIR_ERROR, ""},
		{"\"verdict\":\"replace\",\"data\":\"\\u0100\"", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"data\":\"x\"", WEIR_ERROR, ""},
		{"\"verdict\":7", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"acept\":1", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"inject\":[[\"left\",\"x\"]]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"close\":\"all\"", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"event\":[\"x\"]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"learn\":{\"app\":7}", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"done\":1", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"log\":[\"loud\",\"x\"]", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"inject\":\"down\"", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"flow\":7", WEIR_ERROR, ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_flow *f = opened("format=raw");
		char answer[512];

		snprintf(answer, sizeof(answer), "{\"id\":2,%s}\n", cases[i].answer);
		tap_is(answered(f, "abcde", false, answer), cases[i].n, "payload: %s",
		       cases[i].answer);
		tap_ok(fake_out(f, WEIR_UP, cases[i].out), "... and what passes");
		tap_ok(cases[i].n != WEIR_ERROR || logged("0 flow its answer is wrong: "),
		       "... and is said");
		tap_is(answered(f, "more", false, "{\"id\":3,\"verdict\":\"pass\"}\n"), 4,
		       "... and the connection goes on");
		stop();
	}
}

static void test_raw_body(void)
{
	struct weir_flow *f = opened("format=raw");

	show(f, WEIR_UP, "abc", false);
	say("{\"id\":2,\"verdict\":\"replace\",\"len\":6}\nx\n");
	tap_is(show(f, WEIR_UP, "abc", false), WEIR_PEND, "bytes behind an answer are waited for");
	say("{\"y}{\"id\":99,\"verdict\":\"pass\"}\n");
	tap_is(show(f, WEIR_UP, "abc", false), 3, "and taken as they are");
	tap_ok(fake_out(f, WEIR_UP, "x\n{\"y}"), "whatever they look like");
	tap_is(answered(f, "abc", false,
			"{\"id\":3,\"verdict\":\"drop\",\"inject\":\"down\",\"len\":2}\nhi"),
	       3, "they may be injected");
	tap_ok(fake_out(f, WEIR_DOWN, "hi"), "in the other direction");
	tap_is(answered(f, "abc", false, "{\"id\":4,\"verdict\":\"replace\",\"len\":0}\n"), 3,
	       "none are bytes, too");
	tap_ok(fake_out(f, WEIR_UP, ""), "... none");
	stop();
}

static void test_actions(void)
{
	static const char all[] =
		"{\"id\":2,\"verdict\":\"drop\",\"tag\":\"t\",\"log\":[\"warn\",\"a line\"],\"learn\":{\"app\":\"x\",\"alpn\":null},"
		"\"learn_done\":true,\"event\":[\"dlp\",{\"n\":1}],\"inject\":[[\"down\",\"a\"],[\"down\",\"b\"]],"
		"\"close\":[\"up\",\"down\"],\"done\":true}\n";
	struct weir_flow *f = opened("format=raw");

	tap_is(answered(f, "abc", false, all), 3, "an answer with all there is");
	tap_ok(!strcmp(f->tags.text, "t\n") && !strcmp(f->learned.text, "app=x\nalpn\n") &&
		       f->learn_done && !strcmp(f->events.text, "dlp={\"n\":1}\n") &&
		       fake_out(f, WEIR_DOWN, "ab") && f->closed[0] && f->closed[1] && f->done &&
		       !strcmp(fake.log, "1 flow a line"),
	       "is carried out");
	say("{\"flow\":7,\"tag\":\"unasked\"}\n{\"flow\":7,\"verdict\":\"block\"}\n");
	tap_ok(strstr(f->tags.text, "unasked\n") && f->decided == WEIR_BLOCK,
	       "a message about a flow, unasked");
	say("{\"flow\":8,\"verdict\":\"block\"}\n{\"id\":77,\"verdict\":\"pass\"}\n");
	tap_ok(fake.n_logs == 1, "what comes too late is passed over");
	say("{\"flow\":7,\"learn\":{\"nonsense\":\"x\"}}\n");
	tap_ok(logged("0 flow its answer is wrong: learn: nonsense cannot be learnt"),
	       "a field that there is not");
	stop();
}

static void test_more_came(void)
{
	struct weir_flow *f = opened("format=raw");

	show(f, WEIR_UP, "abc", false);
	hear();
	say("{\"id\":2,\"verdict\":\"pass\"}\n");
	tap_is(show(f, WEIR_UP, "abcdef", false), 3, "an answer is for what was asked");
	tap_is(f->resumed[0], 2, "the rest is asked to be shown again");
	tap_is(show(f, WEIR_UP, "def", true), WEIR_PEND, "it is a question of its own");
	tap_ok(hears("\"id\":3") && strstr((char *)heard.data, "\"len\":3}\ndef"),
	       "... of its bytes");
	say("{\"id\":3,\"verdict\":\"hold\"}\n");
	tap_is(show(f, WEIR_UP, "def", true), 0, "what is held at the end is the hook's answer");
	tap_is(f->resumed[0], 3, "and is not asked again");
	say("\n\n{\"id\":4,\"verdict\":\"pass\"}\n");
	tap_ok(!fake.n_logs, "empty lines are nothing");
	show(f, WEIR_DOWN, "x", false);
	say("{\"id\":4,\"verdict\":\"hold\"}\n");
	tap_is(show(f, WEIR_DOWN, "x", true), 0, "held");
	tap_is(f->resumed[1], 2, "the end that came meanwhile is news");
	stop();
}

static void test_datagrams(void)
{
	static const struct {
		const char *answer;
		int n;
		const char *out;
	} cases[] = {
		{"\"verdict\":\"pass\"", WEIR_PASS, "abc"},
		{"\"verdict\":\"drop\"", WEIR_DROP, ""},
		{"\"verdict\":\"block\"", WEIR_BLOCK, ""},
		{"\"verdict\":\"replace\",\"data\":\"x\"", WEIR_PASS, "x"},
		{"\"verdict\":\"hold\"", WEIR_ERROR, ""},
		{"\"verdict\":\"pass\",\"accept\":1", WEIR_ERROR, ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_flow *f = opened("format=raw");

		tap_is(fake_datagram(hook, state, f, WEIR_UP, "abc", 3), WEIR_PEND,
		       "a datagram waits");
		tap_ok(hears("{\"id\":2,\"event\":\"datagram\",\"flow\":7,\"dir\":\"up\",\"len\":3}\nabc"),
		       "... is shown");
		say("{\"id\":2,%s}\n", cases[i].answer);
		tap_is(fake_datagram(hook, state, f, WEIR_UP, "abc", 3), cases[i].n, "... %s",
		       cases[i].answer);
		tap_ok(fake_out(f, WEIR_UP, cases[i].out), "... and what passes");
		stop();
	}
}

static void test_order(void)
{
	struct weir_flow *f[8];

	start("format=raw");
	connect_it();
	for (uint64_t i = 0; i < 8; i++) {
		f[i] = fake_flow(i);
		tap_is(open_flow(f[i]), WEIR_PEND, "several requests are out");
	}
	for (int i = 7; i >= 0; i--)
		say("{\"id\":%d,\"verdict\":\"%s\"}\n", i + 1, i & 1 ? "block" : "pass");
	for (int i = 0; i < 8; i++)
		tap_is(f[i]->decided, i & 1 ? WEIR_BLOCK : WEIR_PASS, "answers in any order");
	stop();
}

static void test_timeout(void)
{
	struct weir_flow *f = opened("format=raw timeout=2s"), *g = fake_flow(8);

	show(f, WEIR_UP, "abc", false);
	fake_advance(1500);
	open_flow(g);
	tap_ok(!f->resumed[0] && !g->n_decided, "an answer may take its time");
	fake_advance(600);
	tap_ok(f->resumed[0] == 1 && logged("0 flow no answer within the time"), "but not more");
	tap_is(show(f, WEIR_UP, "abc", false), WEIR_ERROR, "then the hook has failed");
	tap_is(g->n_decided, 0, "... for this flow");
	fake_advance(1500);
	tap_ok(g->n_decided == 1 && g->decided == WEIR_ERROR, "a flow's beginning likewise");
	say("{\"id\":2,\"verdict\":\"pass\"}\n");
	tap_ok(f->resumed[0] == 1, "an answer that comes later is nothing");
	stop();
}

static void test_down(void)
{
	struct weir_flow *f = opened("format=raw"), *g = fake_flow(8), *h = fake_flow(9);

	show(f, WEIR_UP, "abc", false);
	open_flow(g);
	close(peer);
	fake_poll(100);
	tap_ok(f->resumed[0] == 1 && g->decided == WEIR_ERROR &&
		       logged("0 the processor: it has ended the connection"),
	       "the end of the connection is that of what waits");
	tap_is(show(f, WEIR_UP, "abc", false), WEIR_ERROR, "... payload");
	tap_is(open_flow(h), WEIR_ERROR, "flows that begin meanwhile fail");
	tap_is(show(f, WEIR_DOWN, "abc", false), WEIR_ERROR, "and what is said in others");
	hook->connected(state, -ECHILD);
	tap_is(fake.n_logs, 1, "its end is said once");
	connect_it();
	show(f, WEIR_DOWN, "abc", false);
	hear();
	tap_ok(!strncmp((char *)heard.data, "{\"event\":\"hello\"", 16) &&
		       strstr((char *)heard.data, "{\"event\":\"flow_open\",\"flow\":7,") &&
		       strstr((char *)heard.data, "{\"id\":4,\"event\":\"payload\""),
	       "a new one is told of a flow that lives on");
	say("{\"id\":2,\"verdict\":\"pass\"}\n{\"id\":4,\"verdict\":\"pass\"}\n");
	tap_is(show(f, WEIR_DOWN, "abc", false), 3, "and is asked");
	fake_close_flow(hook, state, g);
	tap_ok(!strstr(hear(), "flow_close"), "of one it never knew it is not told the end");
	stop();
}

static void test_hostile(void)
{
	static const char *const lines[] = {
		"nonsense",
		"[]",
		"7",
		"null",
		"{",
		"{}",
		"{\"id\":-1,\"verdict\":\"pass\"}",
		"{\"id\":\"2\",\"verdict\":\"pass\"}",
		"{\"id\":1.5,\"verdict\":\"pass\"}",
		"{\"id\":99999999999999999999,\"verdict\":\"pass\"}",
		"{\"flow\":7,\"verdict\":\"pass\"}",
		"{\"flow\":7,\"tag\":7}",
		"{\"verdict\":\"pass\"}",
		"{\"id\":2,\"id\":3,\"verdict\":\"pass\"}",
		"{\"id\":2,\"verdict\":\"pass\",\"len\":5}",
		"{\"id\":2,\"verdict\":\"replace\",\"len\":1048577}",
		"{\"id\":2,\"verdict\":\"replace\",\"len\":-1}",
		"\xff\xfe",
		"{\"id\":2,\"verdict\":\"p\xff\"}",
		"HTTP/1.1 200 OK",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct weir_flow *f = opened("format=raw");
		ssize_t n;

		show(f, WEIR_UP, "abc", false);
		say("%s\n", lines[i]);
		tap_ok(logged("0 the processor: its line is wrong: "), "hostile: %s", lines[i]);
		tap_is(show(f, WEIR_UP, "abc", false), WEIR_ERROR, "... ends the connection");
		hear();
		n = read(peer, &(char){0}, 1);
		tap_ok(!n || (n < 0 && errno == ECONNRESET), "... which is closed");
		stop();
	}
}

static void test_long_line(void)
{
	static char line[65536];
	struct weir_flow *f = opened("format=raw");
	size_t sent = 0;

	memset(line, ' ', sizeof(line));
	show(f, WEIR_UP, "abc", false);
	hear();
	for (; sent < (4u << 20) && !fake.n_logs; fake_poll(0)) {
		ssize_t n = write(peer, line, sizeof(line));

		sent += n > 0 ? (size_t)n : 0;
	}
	tap_ok(logged("its line is wrong: it is too long") && sent <= (3u << 20),
	       "a line without end is not read for ever");
	stop();
}

static void test_slow_reader(void)
{
	static char chunk[32768];
	struct weir_flow *f[12];
	unsigned out = 0, later = 0;

	start("format=raw queue=64kb timeout=5s");
	connect_it();
	for (uint64_t i = 0; i < 12; i++) {
		f[i] = fake_flow(i);
		open_flow(f[i]);
		say("{\"id\":%u,\"verdict\":\"pass\"}\n", (unsigned)i + 1);
	}
	/* It reads nothing: the socket is filled, then the buffer, then flows wait. */
	memset(chunk, 'x', sizeof(chunk) - 1);
	for (unsigned i = 0; i < 12; i++)
		for (unsigned dir = 0; dir < 2; dir++)
			show(f[i], (enum weir_dir)dir, chunk, false);
	hear();
	for (const char *p = (char *)heard.data; (p = strstr(p, "\"payload\"")); p++)
		out++;
	tap_ok(out >= 3 && out < 20, "a slow processor is not told more than it reads (%u)", out);
	for (int turn = 0; turn < 20; turn++)
		for (unsigned i = 0; i < 12; i++)
			for (unsigned dir = 0; dir < 2; dir++) {
				if (f[i]->resumed[dir])
					show(f[i], (enum weir_dir)dir, chunk, false);
				f[i]->resumed[dir] = 0;
				for (const char *p = hear(); (p = strstr(p, "\"payload\"")); p++)
					later++;
			}
	tap_is(out + later, 24, "when it has read, the others come");
	stop();

	start("format=raw queue=64kb timeout=1s");
	connect_it();
	for (uint64_t i = 0; i < 12; i++) {
		f[i] = fake_flow(i);
		open_flow(f[i]);
		say("{\"id\":%u,\"verdict\":\"pass\"}\n", (unsigned)i + 1);
	}
	for (unsigned i = 0; i < 12; i++)
		for (unsigned dir = 0; dir < 2; dir++)
			show(f[i], (enum weir_dir)dir, chunk, false);
	fake_advance(1100);
	for (unsigned i = 0; i < 12; i++)
		later += f[i]->resumed[0] + f[i]->resumed[1];
	tap_is(later, 24 - out + 24, "one that never reads keeps nobody waiting");
	stop();
}

static void test_wants(void)
{
	struct weir_flow *f = fake_flow(7);

	start("wants=open");
	connect_it();
	open_flow(f);
	say("{\"id\":1,\"verdict\":\"pass\"}\n");
	tap_ok(f->done, "a processor that only judges is done then");
	stop();
	f = fake_flow(7);
	start("wants=payload+name");
	connect_it();
	tap_ok(open_flow(f) == WEIR_PASS && !f->done, "one that judges only payload");
	show(f, WEIR_UP, "abc", false);
	tap_ok(hears("{\"event\":\"flow_open\",\"flow\":7,") &&
		       strstr((char *)heard.data, "{\"id\":1,\"event\":\"payload\""),
	       "is told of the flow with the first of it");
	tap_is(fake_datagram(hook, state, f, WEIR_UP, "x", 1), WEIR_PASS, "and asked nothing else");
	stop();
}

static void test_config(void)
{
	static const struct {
		const char *key, *value;
		bool good;
	} cases[] = {
		{"format", "raw", true},  {"format", "json", true}, {"format", "xml", false},
		{"timeout", "5s", true},  {"timeout", "5", false},  {"queue", "1mb", true},
		{"queue", "1", false},	  {"wants", "open", true},  {"wants", "open+name", true},
		{"wants", "", false},	  {"wants", "ope", false},  {"wants", "open+x", false},
		{"nonsense", "x", false}, {"command", " ", false},
	};
	const char *const *argv;
	const char *err = NULL;

	hook = weir_builtin_exec;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		state = hook->load(&fake_host, NULL, &err);
		tap_is(hook->config(state, cases[i].key, cases[i].value, &err) == 0, cases[i].good,
		       "%s=%s", cases[i].key, cases[i].value);
		hook->unload(state);
	}
	state = hook->load(&fake_host, NULL, &err);
	tap_ok(hook->ready(state, &err) && strstr(err, "needs a program"), "a program is needed");
	hook->config(state, "command", "sh -c  true", &err);
	tap_is(hook->ready(state, &err), 0, "it is found in PATH");
	argv = hook->process(state);
	tap_ok(strstr(argv[0], "sh") && argv[0][0] == '/' && !strcmp(argv[1], "-c") &&
		       !strcmp(argv[2], "true") && !argv[3],
	       "and has arguments");
	hook->unload(state);
	state = hook->load(&fake_host, NULL, &err);
	hook->config(state, "command", "/nonexistent/program", &err);
	tap_ok(hook->ready(state, &err) && !strcmp(err, "there is no such program"), "or is not");
	hook->unload(state);
}

/* --- the hook socket
 * ------------------------------------------------------------------------------ */

static void give(int fd)
{
	struct fake_open o = fake.opens[0];

	fake.n_opens = 0;
	o.fn(o.ctx, fd);
}

static void test_socket(void)
{
	struct weir_flow *f = fake_flow(7), *g = fake_flow(8);
	int pair[2];

	hook = weir_builtin_socket;
	state = hook->load(&fake_host, NULL, &said);
	tap_ok(hook->ready(state, &said) && strstr(said, "needs a socket"), "a socket is needed");
	tap_ok(hook->config(state, "path", "/run/x y.sock", &said) && strstr(said, "blank"),
	       "one that could not be asked for is refused");
	hook->config(state, "path", "/run/x.sock", &said);
	hook->ready(state, &said);
	tap_ok(!strcmp(hook->paths(state), "/run/x.sock"), "its path may be opened");
	fake.n_logs = 0;
	hook->locked(state);
	tap_ok(fake.n_opens == 1 && !strcmp(fake.opens[0].path, "/run/x.sock"), "and is");
	open_flow(f);
	give(-ECONNREFUSED);
	tap_ok(f->decided == WEIR_ERROR && logged("/run/x.sock: Connection refused"),
	       "a service that is not there fails flows");
	for (int i = 0; i < 4; i++) {
		tap_is(fake.n_opens, 0, "it is waited");
		fake_advance(100 << i);
		tap_is(fake.n_opens, 1, "and tried again, later and later (%d)", i);
		if (i < 3)
			give(-ENOENT);
	}
	tap_is(fake.n_logs, 1, "which is said once");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		abort();
	peer = pair[1];
	fcntl(peer, F_SETFL, O_NONBLOCK);
	give(pair[0]);
	open_flow(g);
	tap_ok(hears("{\"id\":2,\"event\":\"flow_open\""), "when it is there it is asked");
	say("{\"id\":2,\"verdict\":\"pass\"}\n");
	tap_is(g->decided, WEIR_PASS, "and heard");
	close(peer);
	fake_poll(100);
	fake_advance(150);
	tap_is(fake.n_opens, 1, "one that was of use is missed soon");
	peer = -1;
	stop();
	fake.n_opens = 0;
}

int main(void)
{
	test_events();
	test_json();
	test_open_answers();
	test_payload_answers();
	test_raw_body();
	test_actions();
	test_more_came();
	test_datagrams();
	test_order();
	test_timeout();
	test_down();
	test_hostile();
	test_long_line();
	test_slow_reader();
	test_wants();
	test_config();
	test_socket();
	return tap_done();
}
